//! The handle of a running gateway: start, reload, drain, watch.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::access_log::AccessLogSink;
use crate::backend::discovery::Discovery;
use crate::connection::permit::Count;
pub use crate::listener::BindError;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::thread;
use crate::worker::{Command, Mailbox, SharedState, memory};

/// Commands and sockets that may wait for a worker.
const MAILBOX: usize = 1024;
/// The interval at which a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);
/// After the grace: time for the last words to leave.
const FINAL_FLUSH_TIME: Duration = Duration::from_secs(1);

/// A running gateway. Dropping it stops the workers at once; [`Gateway::drain`] first loses nothing.
pub struct Gateway {
    shared: Arc<SharedState>,
    /// The snapshot that runs now; the lock makes reloads wait for one another.
    settings: Mutex<Settings>,
    discovery: Discovery,
    threads: Vec<JoinHandle<()>>,
}

/// The gateway could not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gave no thread, or no descriptors for its runtime.
    #[error("a worker cannot be started")]
    Worker(#[from] io::Error),
}

/// A reload was refused. What ran before runs on unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A listener could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A worker did not take the new snapshot.
    #[error("worker {worker} does not take commands")]
    Worker {
        /// Its number.
        worker: usize,
    },
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Listeners that are the same objects as before.
    pub listeners_kept: usize,
    /// Listeners that are new or changed.
    pub listeners_new: usize,
    /// Settings that only a restart can change, and that differ.
    pub needs_restart: Vec<&'static str>,
}

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections of clients that were still open when the grace was over.
    pub cut: usize,
}

impl Gateway {
    /// Binds every listener, then starts the workers.
    ///
    /// Must be called inside a Tokio runtime, which carries the control work (discovery). An error
    /// names the listener and leaves nothing bound.
    pub fn start(
        settings: Settings,
        certificates: certstore::Reader,
        access_log: Option<AccessLogSink>,
    ) -> Result<Self, StartError> {
        let workers = settings.workers.get();
        let metrics = Arc::new(Metrics::new(workers));
        let snapshot = Arc::new(Snapshot::build(&settings, &certificates, &metrics, None)?);
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (commands, inbox) = mpsc::channel(MAILBOX);
                (
                    Mailbox {
                        commands,
                        connections: Count::default(),
                        resting: false.into(),
                    },
                    inbox,
                )
            })
            .unzip();
        let shared = Arc::new(SharedState {
            metrics,
            certificates,
            access_log,
            snapshot: ArcSwap::new(snapshot.clone()),
            connections: Count::default(),
            handshakes: Arc::default(),
            http1: Arc::default(),
            at_rest: settings.owns_process.then(memory::Resident::read).flatten(),
            held: AtomicUsize::new(0),
            held_by_large: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            draining: false.into(),
            peers: mailboxes,
        });
        let discovery = Discovery::start();
        discovery.set_backends(&snapshot.backends);
        let mut gateway = Self {
            shared,
            settings: Mutex::new(settings),
            discovery,
            threads: Vec::with_capacity(workers),
        };
        let (ready, begun) = std::sync::mpsc::channel();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (shared, ready) = (gateway.shared.clone(), ready.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || thread::begin(index, &shared, inbox, ready))?;
            gateway.threads.push(thread);
        }
        drop(ready);
        // A caller that knows that the gateway runs may take every descriptor that is left.
        for made in begun {
            made?;
        }
        Ok(gateway)
    }

    /// Listeners by name, with the address that was really bound.
    pub fn local_addresses(&self) -> Vec<(String, SocketAddr)> {
        let snapshot = self.shared.snapshot.load();
        snapshot
            .listeners
            .iter()
            .map(|l| (l.settings.name.clone(), l.local))
            .collect()
    }

    /// Goes over to `settings` for everything that begins from now on; running streams and
    /// connections are not touched. On an error nothing has changed.
    pub fn reload(&self, settings: Settings) -> Result<Applied, ReloadError> {
        let mut running = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let needs_restart = if settings.workers == running.workers {
            vec![]
        } else {
            vec!["workers"]
        };
        let settings = Settings {
            workers: running.workers,
            ..settings
        };
        let before = self.shared.snapshot.load_full();
        let after = Arc::new(Snapshot::build(
            &settings,
            &self.shared.certificates,
            &self.shared.metrics,
            Some(&before),
        )?);
        // A place in every mailbox first: either all workers go over or none.
        let mut places = Vec::with_capacity(self.shared.peers.len());
        for (worker, mailbox) in self.shared.peers.iter().enumerate() {
            let place = mailbox.commands.try_reserve();
            places.push(place.map_err(|_| ReloadError::Worker { worker })?);
        }
        // Backends that are new know their addresses before a worker has an RPC for them.
        self.discovery.set_backends(&after.backends);
        // A worker that starts again meanwhile, and has thrown the command away, has the newest.
        self.shared.snapshot.store(after.clone());
        for place in places {
            place.send(Command::Reload(after.clone()));
        }
        let kept = |listener: &&Arc<_>| before.listeners.iter().any(|known| Arc::ptr_eq(known, listener));
        let listeners_kept = after.listeners.iter().filter(kept).count();
        let listeners_new = after.listeners.len() - listeners_kept;
        *running = settings;
        Ok(Applied {
            listeners_kept,
            listeners_new,
            needs_restart,
        })
    }

    /// Resolves when each backend's name has been looked up once, found or not.
    pub async fn discovered(&self) {
        self.discovery.settled().await;
    }

    /// The counters of all workers.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Accepts no more, sends every client elsewhere (GOAWAY, RFC 9113 §6.8), and waits until
    /// their streams have ended; after `grace`, what still runs ends with UNAVAILABLE.
    ///
    /// Cancelling this future leaves the drain going on without its end.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.command_all(|| Command::Drain).await;
        let deadline = Instant::now() + grace;
        self.wait_for_clients(deadline).await;
        let cut = self.shared.connections.now();
        if cut > 0 {
            self.command_all(|| Command::Close).await;
            self.wait_for_clients(Instant::now() + FINAL_FLUSH_TIME).await;
        }
        Drained { cut }
    }

    async fn command_all(&self, command: impl Fn() -> Command) {
        for mailbox in &self.shared.peers {
            let _ = mailbox.commands.send(command()).await;
        }
    }

    async fn wait_for_clients(&self, deadline: Instant) {
        while self.shared.connections.now() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("workers", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut all_sent = true;
        for mailbox in &self.shared.peers {
            // A full mailbox belongs to a worker that is stuck; it ends with the process.
            let sent = mailbox.commands.try_send(Command::Stop);
            all_sent &= !matches!(sent, Err(TrySendError::Full(_)));
        }
        for thread in self.threads.drain(..).filter(|_| all_sent) {
            // What the workers still had to say, in the access log above all, is said when they are gone.
            let _ = thread.join();
        }
    }
}
