//! One worker per core: its connections, its streams, and the accounts of its time and memory.
//!
//! Nothing here is shared but immutable snapshots and a few counts, so the data path has no lock. A
//! turn goes: tasks of readable connections feed [`Worker::received`], which writes into the output
//! of *dirty* connections; when all of them have run, the flusher writes each of those once. No connection's
//! part of a turn is long ([`scheduler`]).

pub(crate) mod deadlines;
pub(crate) mod ending;
mod flush;
mod handle;
pub(crate) mod memory;
pub(crate) mod panics;
pub(crate) mod places;
pub(crate) mod reading;
mod reload;
mod resets;
mod reverify;
pub(crate) mod scheduler;
pub(crate) mod tick;
mod turn;

use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use self::deadlines::Deadlines;
use self::ending::Endings;
use self::flush::Dirty;
pub(crate) use self::handle::{WorkerHandle, report_limit, report_panic};
use self::places::Places;
use self::resets::Resets;
use self::scheduler::Share;
use self::tick::Walks;
use crate::access_log::AccessLogSink;
use crate::connection::permit::Count;
use crate::connection::session::MAX_RECORD;
use crate::connection::{Connection, Peer};
use crate::listener::BoundListener;
use crate::pool::Pool;
use crate::relay::Relay;
use crate::slab::{Key, Slab};
use crate::snapshot::Snapshot;
use crate::telemetry::{Metrics, WorkerMetrics};

/// One read takes at most this much, less the beginning of a record that was kept from the one before;
/// it is shared by all connections of a worker.
const SCRATCH: usize = (64 << 10) + MAX_RECORD;
/// The octets that a client may send on a stream before any of it has moved on (ARCHITECTURE, memory and flow control).
/// A gRPC message of 64 KiB fits in with its prefix: it goes in one flight.
const CLIENT_STREAM_WINDOW: u32 = 80 << 10;
/// Windows of requests beyond their base come to at most so many times [`crate::settings::Limits::connection_memory`].
pub(crate) const UPLOAD_BUDGETS: usize = 2;
/// The octets that a backend may send on a stream before the client's side has been asked (ARCHITECTURE, memory and
/// flow control).
pub(crate) const BACKEND_STREAM_WINDOW: u32 = 4 << 10;
/// RFC 9113 §6.9.1: the largest window.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Output of a client's connection before DATA waits on its stream.
const MAX_OUTPUT: usize = 64 << 10;
/// Output of a backend's connection before DATA waits on its stream. Many clients share it.
const MAX_BACKEND_OUTPUT: usize = 256 << 10;
/// Output that is written before the turn ends: more would only wait, and fall out of the cache.
const EARLY_FLUSH: usize = 48 << 10;
/// Deadlines end at the beginning of one of these.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The state that workers and the control side share.
pub(crate) struct SharedState {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) certificates: certstore::Reader,
    pub(crate) access_log: Option<AccessLogSink>,
    /// The newest snapshot, for a worker that starts again.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) connections: Count,
    /// Handshakes that have not ended.
    pub(crate) handshakes: Arc<Places>,
    /// Connections of HTTP/1.1.
    pub(crate) http1: Arc<Places>,
    /// The memory that the process had before it had clients, if it is this gateway's.
    pub(crate) at_rest: Option<memory::Resident>,
    /// The memory that all workers' connections are charged with.
    pub(crate) held: std::sync::atomic::AtomicUsize,
    /// The part of it that those are charged with that are counted by `large`.
    pub(crate) held_by_large: std::sync::atomic::AtomicUsize,
    /// Connections of clients that hold much.
    pub(crate) large: std::sync::atomic::AtomicUsize,
    pub(crate) draining: AtomicBool,
    pub(crate) peers: Vec<Mailbox>,
}

/// The way to reach a worker from outside, and its load.
pub(crate) struct Mailbox {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) connections: Count,
    /// Between a panic and the next start: it is given no sockets.
    pub(crate) resting: AtomicBool,
}

/// A command to a worker from outside.
pub(crate) enum Command {
    Reload(Arc<Snapshot>),
    /// A socket that another worker accepted while it had more than its share.
    HandOver {
        stream: TcpStream,
        peer: SocketAddr,
        listener: Arc<BoundListener>,
    },
    /// GOAWAY to all clients, accept no more, let streams finish.
    Drain,
    /// The grace is over: end what still runs.
    Close,
    /// The gateway is gone.
    Stop,
}

/// The state of one worker: connections, RPCs, pools of backends, and the accounts of its memory and time.
///
/// Promises: a connection and its streams stay here until their end; no call waits, and what takes longer than a turn
/// may last is left to chores and ticks; each connection with output is written to once, at the end of the turn, and
/// before that only if much has gathered.
///
/// The tasks of its thread are its only callers, each by [`WorkerHandle`] and without an `await` in between: the loop
/// of `thread.rs` with commands and ticks, the tasks that read, that connect to backends or that wait for room in a
/// socket, the flusher and the chores. A call names connections and RPCs by [`Key`]; a key whose entry is gone finds
/// nothing, and is no error.
///
/// A panic ends the connections that were being worked on, at most two. Without any the worker ends as it does by
/// [`Command::Stop`], and the thread's loop says which it was: all its connections close without GOAWAY, and their RPCs are
/// neither counted as ended nor logged. A graceful end is `Drain` and `Close` before `Stop`. After a panic `thread.rs`
/// starts another worker with the newest snapshot. The drop passes the access log on and takes its part out of the
/// memory that all workers count.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) connections: Slab<Box<Connection>>,
    pub(crate) relays: Slab<Relay>,
    /// By the backend's label, which no other backend ever gets.
    pub(crate) pools: Vec<Option<Pool>>,
    pub(crate) snapshot: Rc<View>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) shared: Arc<SharedState>,
    pub(crate) handle: Weak<WorkerHandle>,
    /// The time of this turn.
    pub(crate) now: Instant,
    /// The time that the connection that is read from has used of its turn.
    share: Share,
    /// Relays alive that have a deadline.
    pub(crate) deadlines: usize,
    /// The ticks since `began` at which they are due.
    due: Deadlines<Key>,
    /// Streams of backends that are to be reset.
    pub(crate) resets: Resets,
    began: Instant,
    endings: Endings,
    pub(crate) random: u64,
    pub(crate) log: crate::access_log::Batch,
    /// Buffers of finished requests, for the next ones.
    pub(crate) spare: Vec<Vec<u8>>,
    dirty: Dirty,
    flusher: Rc<Notify>,
    scratch: Vec<u8>,
    memory: memory::Memory,
    ticks: u32,
    walks: Walks,
    /// Woken when there is more to do than a turn may last.
    pub(crate) chores: Rc<Notify>,
    pub(crate) draining: bool,
    /// The number of snapshots so far.
    reloads: u64,
    /// The number of swaps of trust bundles that were applied.
    trust_swaps: u64,
    /// Clients to be compared with their listener and its trust bundle again.
    outdated: reverify::Outdated,
}

/// The snapshot as one worker holds it: an RPC takes a reference to it without touching memory that
/// other cores write.
#[derive(Debug)]
pub(crate) struct View {
    snapshot: Arc<Snapshot>,
    client_limits: Rc<http2::Limits>,
    backend_limits: Rc<http2::Limits>,
}

impl View {
    fn of(snapshot: Arc<Snapshot>) -> Self {
        let client_limits = Rc::new(snapshot.limits.client.clone());
        let backend_limits = Rc::new(snapshot.limits.backend.clone());
        Self {
            snapshot,
            client_limits,
            backend_limits,
        }
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        shared: Arc<SharedState>,
        metrics: Arc<WorkerMetrics>,
        handle: Weak<WorkerHandle>,
        flusher: Rc<Notify>,
    ) -> Self {
        let snapshot = shared.snapshot.load_full();
        let mut worker = Self {
            index,
            connections: Slab::new(),
            relays: Slab::new(),
            pools: Vec::new(),
            snapshot: Rc::new(View::of(snapshot)),
            metrics,
            handle,
            now: Instant::now(),
            share: Share::default(),
            deadlines: 0,
            due: Deadlines::default(),
            resets: Resets::default(),
            began: Instant::now(),
            endings: Endings::default(),
            random: crate::forwarded::seed(),
            log: crate::access_log::Batch::new(shared.access_log.clone()),
            spare: Vec::new(),
            dirty: Dirty::default(),
            flusher,
            scratch: vec![0; SCRATCH],
            memory: memory::Memory::default(),
            ticks: 0,
            walks: Walks::default(),
            chores: Rc::default(),
            draining: shared.draining.load(Ordering::Relaxed),
            // A new client is of none yet.
            reloads: 1,
            trust_swaps: 0,
            outdated: reverify::Outdated::default(),
            shared,
        };
        worker.bound_memory();
        worker
    }

    pub(crate) fn reload(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = Rc::new(View::of(snapshot));
        self.bound_memory();
        self.reloads = self.reloads.wrapping_add(1);
        self.outdated.look_at_all();
        self.apply_reload();
    }

    /// HTTP/2 towards a client: what it may make us hold is bounded (ARCHITECTURE, memory and flow control).
    pub(crate) fn client_config(&self) -> http2::Config {
        let limits = &self.snapshot.limits;
        let memory = limits.connection_memory;
        let stream = CLIENT_STREAM_WINDOW.min(u32::try_from(memory).unwrap_or(u32::MAX));
        // As wide as all windows of streams together: however many of them are stuck, they stop no other.
        let streams = (stream as usize).saturating_mul(limits.client.max_concurrent_streams as usize);
        let all = memory.saturating_mul(UPLOAD_BUDGETS).saturating_add(streams);
        http2::Config {
            limits: self.snapshot.client_limits.clone(),
            initial_stream_window: stream,
            connection_window: u32::try_from(all).unwrap_or(u32::MAX).min(MAX_WINDOW),
            connection_credit: http2::Credit::OnRelease,
            max_output: MAX_OUTPUT,
        }
    }

    /// HTTP/2 towards a backend: a stalled stream never takes credit from others.
    pub(crate) fn backend_config(&self) -> http2::Config {
        http2::Config {
            limits: self.snapshot.backend_limits.clone(),
            initial_stream_window: BACKEND_STREAM_WINDOW,
            connection_window: MAX_WINDOW,
            connection_credit: http2::Credit::OnReceipt,
            max_output: MAX_BACKEND_OUTPUT,
        }
    }

    /// A connection takes its place; it is flushed at the end of the turn.
    pub(crate) fn enter(&mut self, connection: Connection) -> Key {
        self.now = Instant::now();
        if let Peer::Client(client) = &connection.peer {
            self.metrics.connection_opened(client.tls, client.certificate);
        }
        let key = self.connections.insert(Box::new(connection));
        if self.draining
            && let Some(connection) = self.connections.get_mut(key)
            && matches!(connection.peer, Peer::Client(_))
        {
            connection.h2.drain();
        }
        // A reload may have come while it shook hands.
        self.apply_listener(key);
        self.reverify_later(key);
        self.mark_dirty(key);
        key
    }

    pub(crate) fn knows(&self, key: Key) -> bool {
        self.connections.get(key).is_some()
    }

    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        let scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            vec![0; SCRATCH]
        } else {
            scratch
        }
    }

    pub(crate) fn give_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.begin_draining();
    }

    fn get_over(&mut self, about: Option<Key>) -> bool {
        let touched = self.connections.take_touched();
        self.memory.get_over_panic();
        let mut some = false;
        for key in [about, touched].into_iter().flatten() {
            some |= self.knows(key);
            self.lost(key);
        }
        // The flusher was woken for the first of them, which it may have been flushing.
        if !self.dirty.is_empty() {
            self.flusher.notify_one();
        }
        // An RPC may be known to neither of its connections.
        self.walks.look_at_all_relays();
        some
    }

    fn clients(&self) -> impl Iterator<Item = Key> {
        let clients = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.peer, Peer::Client(_)));
        clients.map(|(key, _)| key)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.log.hand_over();
        // After a panic the process lives on: what was counted here counts no more.
        self.memory.withdraw(&self.shared);
    }
}
