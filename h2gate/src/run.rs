//! The assembly: gateway, certificate manager and admin interface in one process.
//!
//! [`start`] puts them together; `h2gate run` and `h2gate demo` both use it.

mod certificates;
pub(crate) mod file_watch;
mod open_files;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certmgr::TrustConfig;
use gateway::access_log::{AccessLogSink, AccessLogWriter, Destination};
use gateway::settings::Listener;
use gateway::{Drained, Gateway};
use open_files::Lowered;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::{self, AdminPort, ConnectionBounds, Hosts, Phase, Services, Sources, View};
use crate::config::Resolved;
use crate::counters::Events;
use crate::process::{open_file_limit, unix_now};

/// The longest wait of a reload for the first read of certificates and trust bundles whose names are new.
const NEW_NAMES: Duration = Duration::from_secs(2);

/// The longest wait of a start until kept certificates serve, before the ports open.
const KEPT: Duration = Duration::from_secs(10);

/// The longest wait for the access log's last lines at the end of the program.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The reason why the program could not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin address cannot be bound.
    #[error("the admin interface cannot listen on {address}")]
    AdminAddress {
        /// The address, in the form of the configuration.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The admin interface's own services cannot be built.
    #[error("the descriptors of the admin interface's gRPC services cannot be read")]
    Admin(#[from] tonic_reflection::server::Error),
    /// There are certificates to order, and nowhere to note it. The message says what to do.
    #[error("ACME certificates need a state directory")]
    State(#[from] certmgr::StateError),
    /// The access log cannot be opened.
    #[error(
        "the access log {} cannot be opened; its directory must exist and be writable for the user that h2gate runs as",
        .path.display()
    )]
    AccessLog {
        /// The path, in the form of the configuration.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The gateway cannot start; the message names the listener.
    #[error(transparent)]
    Gateway(#[from] gateway::StartError),
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The gateway's part of it.
    pub gateway: gateway::Applied,
    /// Settings that differ and that only a restart can change.
    pub needs_restart: Vec<&'static str>,
}

/// The access log, open: its two ends.
#[derive(Debug)]
struct OpenAccessLog {
    sink: AccessLogSink,
    writer: AccessLogWriter,
}

/// The configuration in force; the file may differ by now.
#[derive(Debug)]
struct InForce {
    resolved: Resolved,
    /// The warning that was logged last.
    lowered: Option<Lowered>,
}

/// Everything at work. Dropping it stops everything at once; [`Running::drain`] first loses nothing.
#[derive(Debug)]
pub struct Running {
    gateway: Gateway,
    certificates: certstore::Reader,
    manager: certmgr::Handle,
    admin: AdminPort,
    access_log: Option<OpenAccessLog>,
    view: Arc<View>,
    /// The configuration that runs now; the lock makes reloads follow one another.
    in_force: Mutex<InForce>,
    _tasks: JoinSet<()>,
}

/// Puts everything together and starts it. To be called inside a Tokio runtime, which carries the control
/// work; the gateway brings its own threads.
///
/// Starts the gateway. Kept certificates serve before the ports open. Returns once all listeners are bound;
/// certificates may still be on their
/// way: see [`Running::ready`].
pub async fn start(resolved: Resolved) -> Result<Running, StartError> {
    let mut resolved = resolved;
    let lowered = open_files::fit(&mut resolved, open_file_limit());
    lowered.iter().for_each(Lowered::warn);
    let address = resolved.admin.address;
    let bound = admin::Bound::bind(address)
        .await
        .map_err(|source| StartError::AdminAddress { address, source })?;
    resolved.gateway.admin = Some(bound.address());
    let hosts = Hosts::new(resolved.admin.hosts.clone());

    let events = Events::default();
    let state = certificates::open_state(&resolved).await?;
    let (writer, reader) = certstore::store();
    let manager = certmgr::start(
        resolved.certificates.clone(),
        writer,
        certificates::options(&resolved, &events, state),
    );
    manager.reload_trust(trust_in_use(&resolved));
    // Whoever connects from now on would be answered with less than what served last.
    if timeout(KEPT, manager.restored()).await.is_err() {
        tracing::warn!(
            "the state directory is slow: what it keeps may not serve from the first connection on"
        );
    }
    let access_log = open_access_log(&resolved)?;
    let sink = access_log.as_ref().map(|log| log.sink.clone());
    let gateway = Gateway::start(resolved.gateway.clone(), reader.clone(), sink.clone())?;

    let sources = Sources {
        gateway: Some(gateway.metrics()),
        access_log: sink,
        certificates: reader.clone(),
        certificate_events: events,
        control: Some(manager.control()),
    };
    let view = Arc::new(View::new(sources, resolved.effective(), services(&resolved)));
    let admin = bound
        .serve(Arc::clone(&view), ConnectionBounds::default(), hosts)
        .await?;

    let mut tasks = JoinSet::new();
    let (first_load, readiness) = (manager.first_load_done(), view.readiness().clone());
    tasks.spawn(async move {
        first_load.await;
        readiness.advance(Phase::Ready);
    });
    let in_force = Mutex::new(InForce { resolved, lowered });
    Ok(Running {
        gateway,
        certificates: reader,
        manager,
        admin,
        access_log,
        view,
        in_force,
        _tasks: tasks,
    })
}

impl Running {
    /// Listeners by name, with the address that was really bound.
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.gateway.local_addresses()
    }

    /// The address that the admin interface really listens on.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The certificates that serve.
    pub fn certificates(&self) -> &certstore::Reader {
        &self.certificates
    }

    /// The facts that the admin interface shows.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Waits until new connections are welcome: the first read of every certificate has ended, whether or
    /// not there is one. Never resolves once a drain has begun before that.
    pub async fn ready(&self) {
        let mut phase = self.view.readiness().watch();
        if phase.wait_for(|phase| phase.is_ready()).await.is_err() {
            std::future::pending().await
        }
    }

    /// Goes over to another configuration. On an error nothing has changed; its message names the listener.
    pub async fn reload(&self, resolved: Resolved) -> Result<Applied, gateway::ReloadError> {
        let mut in_force = self.in_force.lock().await;
        let mut next = resolved;
        let needs_restart = keep_fixed(&in_force.resolved, &mut next);
        let lowered = open_files::fit(&mut next, open_file_limit());
        match self.apply(&in_force.resolved, &next).await {
            Ok(gateway) => {
                let effective = with_pending(next.effective(), &needs_restart);
                self.view.reconfigured(effective, services(&next));
                self.view.reloads().applied(unix_now());
                let lowered = match (lowered, in_force.lowered) {
                    (Some(now), Some(logged)) if !now.is_news_after(&logged) => Some(logged),
                    (now, _) => {
                        now.iter().for_each(Lowered::warn);
                        now
                    }
                };
                *in_force = InForce {
                    resolved: next,
                    lowered,
                };
                Ok(Applied {
                    gateway,
                    needs_restart,
                })
            }
            Err(error) => {
                self.view.reloads().refused();
                Err(error)
            }
        }
    }

    /// A configuration could not even be read; nothing has changed.
    pub fn reload_refused(&self) {
        self.view.reloads().refused();
    }

    async fn apply(
        &self,
        running: &Resolved,
        resolved: &Resolved,
    ) -> Result<gateway::Applied, gateway::ReloadError> {
        let (before, after) = (&running.certificates, &resolved.certificates);
        let (trust_before, trust_after) = (trust_in_use(running), trust_in_use(resolved));
        // New names come first, so that a listener that names them finds them; what the old listeners name
        // stays until the new ones are in force.
        let trusted = with_new_names(&trust_before, &trust_after, |one| &one.name);
        self.manager.reload_trust(trusted);
        self.manager
            .reload(with_new_names(before, after, |one| &one.name));
        let _ = timeout(NEW_NAMES, self.manager.first_load_done()).await;
        let gateway = match self.gateway.reload(resolved.gateway.clone()) {
            Ok(applied) => applied,
            Err(error) => {
                self.manager.reload(before.clone());
                self.manager.reload_trust(trust_before);
                return Err(error);
            }
        };
        self.manager.reload_trust(trust_after);
        self.manager.reload(after.clone());
        Ok(gateway)
    }

    /// Tells load balancers to go elsewhere, then clients, and waits until their streams have ended or the
    /// grace has passed.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.view.readiness().advance(Phase::Draining);
        self.gateway.drain(grace).await
    }

    /// The longest time of a drain, from the configuration that runs now.
    pub async fn drain_grace(&self) -> Duration {
        self.in_force.lock().await.resolved.gateway.timeouts.drain
    }

    /// Opens the files of logs anew, after somebody moved them away.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.access_log {
            log.sink.reopen();
        }
    }

    /// Stops everything at once; lines of the access log that are pending are still written.
    pub async fn stop(self) {
        let Self {
            gateway, access_log, ..
        } = self;
        drop(gateway);
        if let Some(log) = access_log {
            let closed = tokio::task::spawn_blocking(move || log.writer.close(LAST_LINES)).await;
            if !closed.unwrap_or(false) {
                tracing::warn!("the access log did not take its last lines in time");
            }
        }
    }
}

/// The configuration that runs, and those entries of the new one whose names are not in it.
fn with_new_names<T: Clone>(before: &[T], after: &[T], name: impl Fn(&T) -> &str) -> Vec<T> {
    let is_new = |one: &&T| before.iter().all(|known| name(known) != name(one));
    before
        .iter()
        .chain(after.iter().filter(is_new))
        .cloned()
        .collect()
}

fn open_access_log(resolved: &Resolved) -> Result<Option<OpenAccessLog>, StartError> {
    let Some(destination) = resolved.access_log.clone() else {
        return Ok(None);
    };
    let path = match &destination {
        Destination::Stdout => PathBuf::from("on standard output"),
        Destination::File(path) => path.clone(),
    };
    match AccessLogSink::open(destination) {
        Ok((sink, writer)) => Ok(Some(OpenAccessLog { sink, writer })),
        Err(source) => Err(StartError::AccessLog { path, source }),
    }
}

/// The services that routes name.
fn services(resolved: &Resolved) -> Services {
    resolved
        .gateway
        .routes
        .iter()
        .filter_map(|route| route.service.clone())
        .collect()
}

/// The trust bundles that a listener or a certificate names. The others are not even read: nothing waits for them, and
/// nobody is verified against them.
fn trust_in_use(resolved: &Resolved) -> Vec<TrustConfig> {
    let tls = resolved.gateway.listeners.iter().filter_map(Listener::tls);
    let of_clients = tls.filter_map(|tls| Some(&tls.client_auth.as_ref()?.trust));
    let of_certificates = resolved.certificates.iter().filter_map(|one| one.trust.as_ref());
    let names: Vec<_> = of_clients.chain(of_certificates).collect();
    let bundles = resolved.trust_bundles.iter();
    bundles
        .filter(|bundle| names.contains(&&bundle.name))
        .cloned()
        .collect()
}

/// Puts back into `next` what only a restart can change, and names what differed.
fn keep_fixed(running: &Resolved, next: &mut Resolved) -> Vec<&'static str> {
    let mut pending = Vec::new();
    let mut keep = |differs: bool, name| pending.extend(differs.then_some(name));
    keep(running.gateway.workers != next.gateway.workers, "workers");
    keep(running.admin != next.admin, "admin");
    keep(running.access_log != next.access_log, "access_log");
    keep(running.state_dir != next.state_dir, "state_dir");
    keep(running.core_dumps != next.core_dumps, "core_dumps");
    keep(running.max_orders != next.max_orders, "limits.max_orders");
    keep(running.log.format != next.log.format, "log.format");
    next.gateway.workers = running.gateway.workers;
    next.admin.clone_from(&running.admin);
    next.gateway.admin = running.gateway.admin;
    next.access_log.clone_from(&running.access_log);
    next.state_dir.clone_from(&running.state_dir);
    next.core_dumps = running.core_dumps;
    next.max_orders = running.max_orders;
    next.log.format = running.log.format;
    next.keep_effective(running, &pending);
    pending
}

/// The configuration in force, and what of the file waits for a restart.
fn with_pending(mut effective: Value, pending: &[&'static str]) -> Value {
    if let (false, Some(map)) = (pending.is_empty(), effective.as_object_mut()) {
        map.insert(admin::PENDING_RESTART.to_owned(), Value::from(pending.to_vec()));
    }
    effective
}
