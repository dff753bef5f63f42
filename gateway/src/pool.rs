//! The endpoints of one backend as one worker sees them: pure choice, no I/O.
//!
//! The rule is that of gRPC's `round_robin`: RPCs go round the endpoints that are *ready* (a connection is made, and
//! the peer's SETTINGS have come), the others are connected beside that, and where none is ready an RPC waits for
//! whichever is first.

pub(crate) mod share;
pub(crate) mod spoken;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::share::{EndpointId, ShareRequest, Streams, may_have_another};
use self::spoken::Spoken;
use self::waiting::{Waiter, Waiting};
use crate::slab::Key;
use crate::snapshot::RunningBackend;
use crate::status::Refusal;

/// Connections of one worker to one endpoint. Each further one is opened only because the peer's
/// stream limit forces it, and costs write batching.
const MAX_CONNECTIONS: usize = 16;
/// First pause after an attempt to connect that failed; doubles up to [`MAX_BACKOFF`], with ±25 % jitter.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Short, because an endpoint that comes back should be used within a second or two.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Endpoints of one backend, round robin.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) backend: Arc<RunningBackend>,
    endpoints: Vec<Endpoint>,
    next: usize,
    /// For names of endpoints, which no other ever gets.
    named: u32,
    /// An endpoint was passed over to which a connection can be made.
    passed_over: bool,
    /// No snapshot names the backend any more.
    retired: bool,
    /// RPCs queued until a connection can take them.
    waiting: Waiting,
    /// The time when one of them was given a stream for the last time.
    served_at: Option<Instant>,
}

#[derive(Debug)]
struct Endpoint {
    id: EndpointId,
    address: SocketAddr,
    /// Connections whose peer has sent its SETTINGS, and said no goodbye.
    ready: Vec<Key>,
    attempt: Attempt,
    /// Attempts that failed in a row.
    failures: u32,
    retry_at: Option<Instant>,
    /// Connections in a row that were ended before they had served anything.
    useless: u32,
    /// The protocol that it spoke at the last attempt, if that was not HTTP/2.
    spoke: Option<Spoken>,
    /// Not in the backend's addresses any more: only what runs goes on.
    gone: bool,
}

/// A connection that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    None,
    /// By TCP.
    Connecting,
    /// TCP is done; the peer's SETTINGS are to come.
    Greeting(Key),
}

/// The decision on an RPC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This connection takes a stream now.
    Ready(Key),
    /// The RPC waits, for a connection or for a stream.
    Wait,
    /// No endpoint can be tried now.
    Nothing,
}

/// The state of a connection for its endpoint when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its SETTINGS had not come.
    Attempt,
    Ready,
    /// The connection had left before.
    Nothing,
}

impl Pool {
    pub(crate) fn new(backend: Arc<RunningBackend>) -> Self {
        let mut pool = Self {
            backend,
            endpoints: Vec::new(),
            next: 0,
            named: 0,
            passed_over: false,
            retired: false,
            waiting: Waiting::default(),
            served_at: None,
        };
        pool.apply_addresses();
        pool
    }

    /// Goes over to the settings and addresses of `backend`, the newest of its name.
    pub(crate) fn apply_backend(&mut self, backend: Arc<RunningBackend>) {
        self.backend = backend;
        self.retired = false;
        self.apply_addresses();
    }

    /// Takes over the addresses that discovery knows now; none for a retired pool. Endpoints that stay keep their
    /// state.
    pub(crate) fn apply_addresses(&mut self) {
        // Discovery publishes to the backend; no pool hears of it.
        let addresses = self.backend.addresses.load();
        let addresses = if self.retired { &[] } else { addresses.as_slice() };
        for endpoint in &mut self.endpoints {
            endpoint.gone = !addresses.contains(&endpoint.address);
        }
        for address in addresses.iter() {
            if !self.endpoints.iter().any(|known| known.address == *address) {
                self.named += 1;
                let id = EndpointId {
                    pool: self.backend.label.index() as u32,
                    number: self.named,
                };
                self.endpoints.push(Endpoint::new(id, *address));
            }
        }
        self.endpoints.retain(|e| !e.gone || e.is_alive());
    }

    /// The next endpoint in turn that is ready and has a stream for this client; `streams` says what a connection
    /// takes.
    pub(crate) fn pick(
        &mut self,
        now: Instant,
        asking: ShareRequest<'_>,
        streams: impl Fn(Key) -> Streams,
    ) -> Pick {
        let mut hope = false;
        for _ in 0..self.endpoints.len() {
            self.next = if self.next + 1 < self.endpoints.len() {
                self.next + 1
            } else {
                0
            };
            let Some(endpoint) = self.endpoints.get(self.next).filter(|e| !e.gone) else {
                continue;
            };
            if let Some(ready) = endpoint.stream_for(now, asking, &streams) {
                return Pick::Ready(ready);
            }
            let due = endpoint.is_due(now);
            self.passed_over |= due;
            hope |= due || endpoint.is_alive();
        }
        if hope { Pick::Wait } else { Pick::Nothing }
    }

    /// `true` if somebody waits who should not: no connection is there, and none is being made.
    pub(crate) fn is_hopeless(&self) -> bool {
        // Those that are gone serve who has waited for them, if there are no others.
        !self.waiting.is_empty() && !self.endpoints.iter().any(|e| e.is_alive() && self.serves(e))
    }

    /// The refusal where nothing was found.
    pub(crate) fn why_nothing(&self) -> Refusal {
        let backend = self.backend.name.to_string();
        let spoke = self.endpoints.iter().find_map(|endpoint| endpoint.spoke.as_ref());
        match spoke {
            _ if self.all_gone() => Refusal::NoEndpoints { backend },
            Some(spoke) => Refusal::NotHttp2 {
                backend,
                instead: spoke.name(),
            },
            None => Refusal::ConnectFailed { backend },
        }
    }

    /// Holds an RPC. `false`: too many wait already.
    pub(crate) fn wait(&mut self, client: Key, relay: Key, now: Instant, max_waiting: usize) -> bool {
        let admitted = self.waiting.admits(client, max_waiting);
        if admitted {
            self.waiting.push(client, Waiter { relay, since: now });
        }
        admitted
    }

    /// An RPC for a stream of this connection, of the next client in turn that may have one.
    pub(crate) fn next_waiting<'c>(
        &mut self,
        (address, key): (SocketAddr, Key),
        now: Instant,
        asking: impl Fn(Key) -> Option<ShareRequest<'c>>,
        streams: impl Fn(Key) -> Streams,
    ) -> Option<(Key, Waiter)> {
        if self.waiting.is_empty() || streams(key).available == 0 {
            return None;
        }
        let endpoint = self.endpoints.iter().find(|e| e.address == address)?;
        if !endpoint.ready.contains(&key) || !self.serves(endpoint) {
            return None;
        }
        let next = self.waiting.next(|client| {
            asking(client).is_none_or(|asking| endpoint.shares_with(now, asking, streams(key), &streams))
        })?;
        self.served_at = Some(now);
        Some(next)
    }

    /// An RPC that could not be sent after all.
    pub(crate) fn put_back(&mut self, client: Key, waiter: Waiter) {
        self.waiting.put_back(client, waiter);
    }

    /// An RPC that has ended waits no more.
    pub(crate) fn forget_waiting(&mut self, client: Key, relay: Key) {
        if !self.waiting.is_empty() {
            self.waiting.remove(client, relay);
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// RPCs that wait in vain or for too long; ending them takes them out.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// The number of clients that hold no stream of this backend and have waited for so long, while nobody who waits
    /// was given one; `most` at most.
    pub(crate) fn starving<'c>(
        &self,
        now: Instant,
        wait: Duration,
        asking: impl Fn(Key) -> Option<ShareRequest<'c>>,
        most: usize,
    ) -> usize {
        if self
            .served_at
            .is_some_and(|at| now.saturating_duration_since(at) < wait)
        {
            return 0;
        }
        let has_none = |asks: ShareRequest<'_>| self.endpoints.iter().all(|e| asks.shares.at(e.id) == 0);
        let waiting = self.waiting.since(now, wait);
        let starving = waiting.filter(|client| asking(*client).is_some_and(has_none));
        starving.take(most).count()
    }

    /// Endpoints all of whose streams are taken, and to which no further connection can be made now.
    pub(crate) fn taken(&self, now: Instant, streams: impl Fn(Key) -> Streams) -> Vec<EndpointId> {
        let is_taken = |endpoint: &&Endpoint| {
            let none_left = endpoint.ready.iter().all(|key| streams(*key).available == 0);
            none_left
                && endpoint.attempt == Attempt::None
                && endpoint.unopened(now) == 0
                && self.serves(endpoint)
        };
        self.endpoints.iter().filter(is_taken).map(|e| e.id).collect()
    }

    /// Connections that may have a stream for those who wait.
    pub(crate) fn ready(&self) -> Vec<Key> {
        let serving = self.endpoints.iter().filter(|e| self.serves(e));
        serving
            .flat_map(|endpoint| endpoint.ready.iter().copied())
            .collect()
    }

    /// `true` if [`pick`](Self::pick) has passed over an endpoint to which a connection can be made.
    pub(crate) fn has_passed_over(&self) -> bool {
        self.passed_over
    }

    /// Endpoints to which a connection is to be made now: those that have none, and, if RPCs wait, those whose
    /// connections are full.
    pub(crate) fn wanting(&mut self, now: Instant, streams: impl Fn(Key) -> Streams) -> Vec<SocketAddr> {
        self.passed_over = false;
        let wanting = self.endpoints.iter().filter(|endpoint| {
            endpoint.is_due(now) || !self.waiting.is_empty() && endpoint.is_full(now, &streams)
        });
        wanting.map(|endpoint| endpoint.address).collect()
    }

    pub(crate) fn connecting(&mut self, address: SocketAddr) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.attempt = Attempt::Connecting;
        }
    }

    /// `None`: it is not known any more.
    pub(crate) fn id_of(&self, address: SocketAddr) -> Option<EndpointId> {
        let endpoint = self.endpoints.iter().find(|e| e.address == address)?;
        Some(endpoint.id)
    }

    /// TCP is connected.
    pub(crate) fn greeting(&mut self, address: SocketAddr, key: Key) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.attempt = Attempt::Greeting(key);
        }
    }

    /// SETTINGS came. `Some`: they are the first of this connection; `true`: the endpoint had been down.
    pub(crate) fn greeted(&mut self, address: SocketAddr, key: Key) -> Option<bool> {
        let endpoint = self.endpoint(address)?;
        if endpoint.attempt != Attempt::Greeting(key) {
            return None;
        }
        endpoint.attempt = Attempt::None;
        endpoint.retry_at = None;
        endpoint.spoke = None;
        endpoint.ready.push(key);
        Some(std::mem::take(&mut endpoint.failures) > 0)
    }

    /// The attempt failed: a pause.
    pub(crate) fn failed(&mut self, address: SocketAddr, spoke: Option<Spoken>, now: Instant, random: u64) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.attempt = Attempt::None;
            endpoint.spoke = spoke;
            endpoint.retry_at = Some(now + backoff(endpoint.failures, random));
            endpoint.failures = endpoint.failures.saturating_add(1);
        }
    }

    /// A connection takes no RPC any more. One for which this is [`Left::Attempt`] is still to be reported as
    /// [`failed`](Self::failed).
    pub(crate) fn leave(&mut self, address: SocketAddr, key: Key) -> Left {
        let Some(endpoint) = self.endpoint(address) else {
            return Left::Nothing;
        };
        if endpoint.attempt == Attempt::Greeting(key) {
            return Left::Attempt;
        }
        let before = endpoint.ready.len();
        endpoint.ready.retain(|known| *known != key);
        if endpoint.ready.len() < before {
            Left::Ready
        } else {
            Left::Nothing
        }
    }

    /// A connection was ended without having served anything, soon after it was made. That happens, but an endpoint
    /// that does nothing else gets its pauses. `true`: this is one.
    pub(crate) fn was_useless(&mut self, address: SocketAddr, now: Instant, random: u64) -> bool {
        let Some(endpoint) = self.endpoint(address) else {
            return false;
        };
        let again = endpoint.useless > 0;
        if again {
            endpoint.retry_at = Some(now + backoff(endpoint.useless - 1, random));
        }
        endpoint.useless = endpoint.useless.saturating_add(1);
        again
    }

    /// A connection has ended that was of use.
    pub(crate) fn was_useful(&mut self, address: SocketAddr) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.useless = 0;
        }
    }

    /// The configuration names this backend no more: only what runs goes on.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
        self.apply_addresses();
    }

    /// Connections to endpoints that are in no list of addresses any more, and that nobody waits for.
    pub(crate) fn leftovers(&self) -> impl Iterator<Item = Key> {
        let left = self
            .endpoints
            .iter()
            .filter(|e| e.gone && !(self.has_waiting() && self.serves(e)));
        left.flat_map(|e| e.ready.iter().copied())
    }

    fn all_gone(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.gone)
    }

    /// `true` if this endpoint has streams for RPCs that wait.
    fn serves(&self, endpoint: &Endpoint) -> bool {
        !endpoint.gone || self.all_gone()
    }

    fn endpoint(&mut self, address: SocketAddr) -> Option<&mut Endpoint> {
        self.endpoints
            .iter_mut()
            .find(|endpoint| endpoint.address == address)
    }
}

impl Endpoint {
    fn new(id: EndpointId, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            ready: Vec::new(),
            attempt: Attempt::None,
            failures: 0,
            retry_at: None,
            useless: 0,
            spoke: None,
            gone: false,
        }
    }

    /// A connection is there, or is being made.
    fn is_alive(&self) -> bool {
        !self.ready.is_empty() || self.attempt != Attempt::None
    }

    /// A first connection is to be made now.
    fn is_due(&self, now: Instant) -> bool {
        !self.gone && !self.is_alive() && !self.is_paused(now)
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    /// A further connection is of use: it would have streams, and those that are there have none.
    fn is_full(&self, now: Instant, streams: impl Fn(Key) -> Streams) -> bool {
        let full = |key: &Key| {
            let streams = streams(*key);
            // RFC 9113 §5.1.2: who allows none at all wants none now.
            streams.available == 0 && streams.limit > 0
        };
        self.unopened(now) > 0
            && self.attempt == Attempt::None
            && !self.ready.is_empty()
            && self.ready.iter().all(full)
    }

    /// The number of further connections that may be made.
    fn unopened(&self, now: Instant) -> usize {
        if self.gone || self.is_paused(now) {
            return 0;
        }
        MAX_CONNECTIONS.saturating_sub(self.ready.len())
    }

    /// A connection with a stream for this client.
    fn stream_for(
        &self,
        now: Instant,
        asking: ShareRequest<'_>,
        streams: impl Fn(Key) -> Streams,
    ) -> Option<Key> {
        let mut ready = self.ready.iter().map(|key| (*key, streams(*key)));
        let (key, one) = ready.find(|(_, one)| one.available > 0)?;
        self.shares_with(now, asking, one, &streams).then_some(key)
    }

    /// `true` if this client may have another stream here; a connection with `one` has it.
    fn shares_with(
        &self,
        now: Instant,
        asking: ShareRequest<'_>,
        one: Streams,
        streams: impl Fn(Key) -> Streams,
    ) -> bool {
        if !one.are_few() {
            return true;
        }
        let unopened = self.unopened(now) as u64 * u64::from(one.limit);
        let places = unopened + self.ready.len() as u64 * u64::from(one.limit);
        // What it holds in all is mostly few enough, and costs nothing to ask.
        if may_have_another(asking.streams.into(), u64::from(one.available) + unopened, places) {
            return true;
        }
        let free: u64 = self
            .ready
            .iter()
            .map(|key| u64::from(streams(*key).available))
            .sum();
        may_have_another(asking.shares.at(self.id).into(), free + unopened, places)
    }
}

/// The pause after `failures` attempts in a row have failed before this one.
fn backoff(failures: u32, random: u64) -> Duration {
    let base = FIRST_BACKOFF
        .saturating_mul(1 << failures.min(8))
        .min(MAX_BACKOFF);
    let jitter = 0.75 + (random % 1000) as f64 / 2000.0;
    base.mul_f64(jitter)
}

#[cfg(test)]
mod tests;
