//! The counters of one worker.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::by_index::ByIndex;
use super::counter::Counter;
use super::histogram::Buckets;
use super::{BackendLabel, HandshakeFailure, HttpRequest, RouteLabel, SentAway, TlsLabel, lock};

/// gRPC statuses 0 to 16.
pub(super) const STATUSES: usize = 17;
const UNKNOWN: usize = 2;
/// Names of limits that can be counted; there are about fifty in the program.
const LIMITS: usize = 128;

/// The counters of one worker. Only that worker writes them: two writers would lose counts.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub(super) routes: ByIndex<RouteCounters>,
    pub(super) backends: ByIndex<BackendCounters>,
    pub(super) accepted: Counter,
    pub(super) closed: Counter,
    pub(super) handshakes: [HandshakeCounters; TlsLabel::ALL.len()],
    pub(super) handshake_failures: [Counter; HandshakeFailure::ALL.len()],
    pub(super) challenges_answered: Counter,
    pub(super) clients_sent_away: [Counter; SentAway::ALL.len()],
    pub(super) http_requests: [Counter; HttpRequest::ALL.len()],
    /// Few are alive at once, and they are touched once per connection: a lock is cheap enough.
    pub(super) open: Mutex<Vec<Open>>,
    pub(super) limits: LimitCounters,
    pub(super) held_bytes: Counter,
    pub(super) turns: Counter,
    pub(super) panics: Counter,
    /// Milliseconds of [`super::Metrics::age`] at which the worker last ran.
    pub(super) alive_at: Counter,
    starts: Counter,
}

#[derive(Debug, Default)]
pub(super) struct RouteCounters {
    pub(super) active: Counter,
    pub(super) took: Buckets,
    pub(super) ended: OnceLock<Box<EndedCounters>>,
}

/// RPCs of a route that one backend answered. A route has had few backends, mostly one.
#[derive(Debug)]
pub(super) struct EndedCounters {
    pub(super) backend: BackendLabel,
    pub(super) by_status: [Counter; STATUSES],
    pub(super) next: OnceLock<Box<Self>>,
}

#[derive(Debug, Default)]
pub(super) struct BackendCounters {
    pub(super) connected: Counter,
    pub(super) failed: Counter,
    pub(super) closed: Counter,
    pub(super) open: Counter,
}

#[derive(Debug, Default)]
pub(super) struct HandshakeCounters {
    pub(super) full: Counter,
    pub(super) resumed: Counter,
    pub(super) took: Buckets,
}

/// Connections that are open now.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) version: TlsLabel,
    pub(super) install: u64,
    pub(super) count: u64,
}

/// Each name takes the first free place for good.
#[derive(Debug)]
pub(super) struct LimitCounters([(OnceLock<&'static str>, Counter); LIMITS]);

impl WorkerMetrics {
    /// Counters that begin at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An RPC has its route.
    #[inline]
    pub fn rpc_started(&self, route: RouteLabel) {
        if let Some(route) = self.routes.at(route.index()) {
            route.active.add(1);
        }
    }

    /// An RPC that was started is over, whoever ended it. A `status` above 16 counts as UNKNOWN (2).
    #[inline]
    pub fn rpc_ended(&self, route: RouteLabel, backend: BackendLabel, status: u8, took: Duration) {
        let Some(route) = self.routes.at(route.index()) else {
            return;
        };
        route.active.one_less();
        route.took.record(took);
        let by_status = &EndedCounters::of(&route.ended, backend).by_status;
        if let Some(count) = by_status
            .get(usize::from(status))
            .or_else(|| by_status.get(UNKNOWN))
        {
            count.add(1);
        }
    }

    /// A client's connection was accepted.
    pub fn connection_accepted(&self) {
        self.accepted.add(1);
    }

    /// A connection that was accepted is gone, however far it had come.
    pub fn connection_closed(&self) {
        self.closed.add(1);
    }

    /// A TLS handshake is done.
    pub fn handshake_done(&self, version: TlsLabel, resumed: bool, took: Duration) {
        let Some(counters) = self.handshakes.get(version.index()) else {
            return;
        };
        if resumed {
            &counters.resumed
        } else {
            &counters.full
        }
        .add(1);
        counters.took.record(took);
    }

    /// A connection did not get to HTTP/2.
    pub fn handshake_failed(&self, class: HandshakeFailure) {
        if let Some(count) = self.handshake_failures.get(class.index()) {
            count.add(1);
        }
    }

    /// A CA finished a handshake of `acme-tls/1` (RFC 8737).
    pub fn challenge_answered(&self) {
        self.challenges_answered.add(1);
    }

    /// A connected client is sent away.
    pub fn client_sent_away(&self, why: SentAway) {
        if let Some(count) = self.clients_sent_away.get(why as usize) {
            count.add(1);
        }
    }

    /// A request of plain HTTP was answered.
    pub fn http_request(&self, kind: HttpRequest) {
        if let Some(count) = self.http_requests.get(kind.index()) {
            count.add(1);
        }
    }

    /// A connection entered HTTP/2 and was shown this install of a certificate (0: none).
    pub fn connection_opened(&self, version: TlsLabel, install: u64) {
        let mut open = lock(&self.open);
        match open
            .iter_mut()
            .find(|open| open.version == version && open.install == install)
        {
            Some(known) => known.count += 1,
            None => open.push(Open {
                version,
                install,
                count: 1,
            }),
        }
    }

    /// A connection that was opened is gone; the same arguments as then.
    pub fn connection_gone(&self, version: TlsLabel, install: u64) {
        let mut open = lock(&self.open);
        let known = open
            .iter()
            .position(|open| open.version == version && open.install == install);
        let Some((position, known)) = known.and_then(|position| Some((position, open.get_mut(position)?)))
        else {
            return;
        };
        known.count = known.count.saturating_sub(1);
        // Installs come and go as long as the process lives: only those in use are kept.
        if known.count == 0 {
            open.swap_remove(position);
        }
    }

    /// A limit was reached: [`http2::Limit::name`], or a name of the gateway's own.
    pub fn limit_reached(&self, limit: &'static str) {
        self.limits.reached(limit);
    }

    /// A connection to an endpoint of the backend was made.
    pub fn backend_connected(&self, backend: BackendLabel) {
        let Some(counters) = self.backends.at(backend.index()) else {
            return;
        };
        counters.connected.add(1);
        counters.open.add(1);
    }

    /// No connection to an endpoint of the backend could be made.
    pub fn backend_failed(&self, backend: BackendLabel) {
        if let Some(counters) = self.backends.at(backend.index()) {
            counters.failed.add(1);
        }
    }

    /// A connection that was made is gone.
    pub fn backend_closed(&self, backend: BackendLabel) {
        let Some(counters) = self.backends.at(backend.index()) else {
            return;
        };
        counters.closed.add(1);
        counters.open.one_less();
    }

    /// The number of bytes that the worker's queues hold now.
    pub fn held_bytes(&self, bytes: usize) {
        self.held_bytes.set(bytes as u64);
    }

    /// One pass of the worker's loop.
    #[inline]
    pub fn turn(&self) {
        self.turns.add(1);
    }

    /// Something panicked, and ended a connection or the worker.
    pub fn panicked(&self) {
        self.panics.add(1);
    }

    /// The worker runs, at this age of the metrics.
    pub fn alive(&self, age: Duration) {
        self.alive_at.set(age.as_millis() as u64);
    }

    /// A worker takes over: what its predecessor had open is gone with it.
    pub(super) fn begin(&self) {
        self.starts.add(1);
        self.routes.iter().for_each(|route| route.active.set(0));
        for backend in self.backends.iter() {
            backend.closed.add(backend.open.value());
            backend.open.set(0);
        }
        self.closed.set(self.accepted.value());
        lock(&self.open).clear();
        self.held_bytes.set(0);
    }

    pub(super) fn restarts(&self) -> u64 {
        self.starts.value().saturating_sub(1)
    }
}

impl EndedCounters {
    #[inline]
    fn of(first: &OnceLock<Box<Self>>, backend: BackendLabel) -> &Self {
        let mut place = first;
        loop {
            let counters = place.get_or_init(|| Box::new(Self::new(backend)));
            if counters.backend == backend {
                return counters;
            }
            place = &counters.next;
        }
    }

    fn new(backend: BackendLabel) -> Self {
        Self {
            backend,
            by_status: Default::default(),
            next: OnceLock::new(),
        }
    }
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self([const { (OnceLock::new(), Counter::new()) }; LIMITS])
    }
}

impl LimitCounters {
    fn reached(&self, name: &'static str) {
        for (known, count) in &self.0 {
            if *known.get_or_init(|| name) == name {
                return count.add(1);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0
            .iter()
            .map_while(|(name, count)| Some((*name.get()?, count.value())))
    }
}
