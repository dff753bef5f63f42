//! The endpoints of one backend as one worker sees them: pure choice, no I/O.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rpc::status::Refusal;
use crate::snapshot::Backend;
use crate::worker::slab::Key;

/// Connections of one worker to one endpoint. Each further one is opened only because the peer's
/// stream limit forces it, and costs write batching.
const MAX_CONNECTIONS: usize = 16;
/// First pause after a connect that failed; doubles up to [`MAX_BACKOFF`], with ±25 % jitter.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Short, because an endpoint that comes back should be used within a second or two.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Endpoints of one backend, round robin.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) backend: Arc<Backend>,
    endpoints: Vec<Endpoint>,
    next: usize,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    connections: Vec<Key>,
    connecting: bool,
    /// RPCs held until a connection can take them, oldest first.
    waiting: VecDeque<Key>,
    failures: u32,
    retry_at: Option<Instant>,
    /// Not in the backend's addresses any more: only what runs goes on.
    gone: bool,
}

/// What to do with an RPC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This connection takes a stream now.
    Ready(Key),
    /// Make a connection to this endpoint and wait for it.
    Connect(SocketAddr),
    /// A connection to this endpoint is being made, or one of its streams must end first.
    Wait(SocketAddr),
    /// Too many wait already.
    Full,
    /// No endpoint can be tried now.
    Nothing,
}

impl Pool {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        let mut pool = Self {
            backend,
            endpoints: Vec::new(),
            next: 0,
        };
        pool.follow_addresses();
        pool
    }

    /// Takes over the addresses that discovery knows now. Endpoints that stay keep their state.
    pub(crate) fn follow_addresses(&mut self) {
        // Discovery publishes to the backend; nobody tells a pool.
        let addresses = self.backend.addresses.load();
        for endpoint in &mut self.endpoints {
            endpoint.gone = !addresses.contains(&endpoint.address);
        }
        for address in addresses.iter() {
            if !self.endpoints.iter().any(|known| known.address == *address) {
                self.endpoints.push(Endpoint::new(*address));
            }
        }
        self.endpoints
            .retain(|e| !e.gone || e.connecting || !e.connections.is_empty() || !e.waiting.is_empty());
    }

    /// The next endpoint in turn that can be used; `takes` says whether a connection takes a stream.
    pub(crate) fn choose(&mut self, now: Instant, max_waiting: usize, takes: impl Fn(Key) -> bool) -> Choice {
        let mut full = false;
        for _ in 0..self.endpoints.len() {
            self.next = if self.next + 1 < self.endpoints.len() {
                self.next + 1
            } else {
                0
            };
            let Some(endpoint) = self.endpoints.get_mut(self.next) else {
                break;
            };
            match endpoint.choose(now, max_waiting, &takes) {
                Choice::Nothing => {}
                Choice::Full => full = true,
                usable => return usable,
            }
        }
        if full { Choice::Full } else { Choice::Nothing }
    }

    /// Why [`Self::choose`] found nothing.
    pub(crate) fn why_nothing(&self) -> Refusal {
        let backend = self.backend.name.to_string();
        if self.endpoints.iter().all(|endpoint| endpoint.gone) {
            Refusal::NoEndpoints { backend }
        } else {
            Refusal::ConnectFailed { backend }
        }
    }

    pub(crate) fn wait(&mut self, address: SocketAddr, relay: Key) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.waiting.push_back(relay);
        }
    }

    /// Back to the head of the queue, where it came from.
    pub(crate) fn wait_first(&mut self, address: SocketAddr, relay: Key) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.waiting.push_front(relay);
        }
    }

    pub(crate) fn next_waiting(&mut self, address: SocketAddr) -> Option<Key> {
        self.endpoint(address)?.waiting.pop_front()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.endpoints.iter().any(|endpoint| !endpoint.waiting.is_empty())
    }

    pub(crate) fn connecting(&mut self, address: SocketAddr) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.connecting = true;
        }
    }

    /// The connect succeeded. `true`: the endpoint had been down.
    pub(crate) fn connected(&mut self, address: SocketAddr, key: Key) -> bool {
        let Some(endpoint) = self.endpoint(address) else {
            return false;
        };
        endpoint.connecting = false;
        endpoint.retry_at = None;
        endpoint.connections.push(key);
        std::mem::take(&mut endpoint.failures) > 0
    }

    /// The connect failed: a pause, and those who waited look for another endpoint.
    pub(crate) fn failed(&mut self, address: SocketAddr, now: Instant, random: u64) -> VecDeque<Key> {
        let Some(endpoint) = self.endpoint(address) else {
            return VecDeque::new();
        };
        endpoint.connecting = false;
        endpoint.retry_at = Some(now + backoff(endpoint.failures, random));
        endpoint.failures = endpoint.failures.saturating_add(1);
        std::mem::take(&mut endpoint.waiting)
    }

    pub(crate) fn forget(&mut self, address: SocketAddr, key: Key) {
        if let Some(endpoint) = self.endpoint(address) {
            endpoint.connections.retain(|known| *known != key);
        }
    }

    /// Drops waiting RPCs that are not there any more.
    pub(crate) fn forget_waiting(&mut self, is_there: impl Fn(Key) -> bool) {
        for endpoint in &mut self.endpoints {
            endpoint.waiting.retain(|relay| is_there(*relay));
        }
    }

    /// Connections to endpoints at which somebody waits.
    pub(crate) fn connections_with_waiting(&self) -> impl Iterator<Item = Key> {
        let waiting = self
            .endpoints
            .iter()
            .filter(|endpoint| !endpoint.waiting.is_empty());
        waiting.flat_map(|endpoint| endpoint.connections.iter().copied())
    }

    /// Endpoints at which somebody waits and to which a further connection may be made now.
    pub(crate) fn wanting(&self, now: Instant) -> Vec<SocketAddr> {
        let wanting = self.endpoints.iter().filter(|endpoint| {
            let free = !endpoint.connecting && endpoint.connections.len() < MAX_CONNECTIONS;
            let paused = endpoint.retry_at.is_some_and(|at| at > now);
            !endpoint.waiting.is_empty() && free && !paused
        });
        wanting.map(|endpoint| endpoint.address).collect()
    }

    /// The configuration names this backend no more: only what runs goes on.
    pub(crate) fn retire(&mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.gone = true;
        }
    }

    /// Connections to endpoints that are in no list of addresses any more.
    pub(crate) fn leftovers(&self) -> impl Iterator<Item = Key> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.gone)
            .flat_map(|e| e.connections.iter().copied())
    }

    /// Endpoints with somebody waiting, no connection, and none being made.
    pub(crate) fn stranded(&mut self) -> Vec<Key> {
        let stranded = self
            .endpoints
            .iter_mut()
            .filter(|e| !e.connecting && e.connections.is_empty());
        stranded
            .flat_map(|endpoint| std::mem::take(&mut endpoint.waiting))
            .collect()
    }

    fn endpoint(&mut self, address: SocketAddr) -> Option<&mut Endpoint> {
        self.endpoints
            .iter_mut()
            .find(|endpoint| endpoint.address == address)
    }
}

impl Endpoint {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections: Vec::new(),
            connecting: false,
            waiting: VecDeque::new(),
            failures: 0,
            retry_at: None,
            gone: false,
        }
    }

    fn choose(&self, now: Instant, max_waiting: usize, takes: impl Fn(Key) -> bool) -> Choice {
        if self.gone {
            return Choice::Nothing;
        }
        if let Some(ready) = self.connections.iter().copied().find(|key| takes(*key)) {
            return Choice::Ready(ready);
        }
        let paused = self.retry_at.is_some_and(|at| at > now);
        if paused && self.connections.is_empty() {
            Choice::Nothing
        } else if self.waiting.len() >= max_waiting {
            Choice::Full
        } else if self.connecting || paused || self.connections.len() >= MAX_CONNECTIONS {
            Choice::Wait(self.address)
        } else {
            Choice::Connect(self.address)
        }
    }
}

/// The pause after `failures` connects in a row have failed before this one.
fn backoff(failures: u32, random: u64) -> Duration {
    let base = FIRST_BACKOFF
        .saturating_mul(1 << failures.min(8))
        .min(MAX_BACKOFF);
    let jitter = 0.75 + (random % 1000) as f64 / 2000.0;
    base.mul_f64(jitter)
}

#[cfg(test)]
mod tests;
