//! Backends: which endpoint gets an RPC, and the connections to it.
//!
//! Connections are made when RPCs come, one per worker and endpoint, another when its stream limit is
//! reached.

mod connect;
pub(crate) mod discovery;

use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http2::ErrorCode;

use self::connect::Fault;
use crate::connection::{BackendPeer, Connection, Peer};
use crate::pool::share::{EndpointId, ShareRequest, Streams};
use crate::pool::{Left, Pick, Pool};
use crate::relay::ClientStream;
use crate::slab::{Key, Slab};
use crate::snapshot::RunningBackend;
use crate::status::{self, MAX_STARVED, Refusal};
use crate::telemetry::event::Event;
use crate::worker::Worker;
use crate::worker::ending::Fate;

/// A connection that ends before this age, has answered nothing and is about to answer nothing, was of no use.
const USELESS_BEFORE: Duration = Duration::from_secs(1);

/// Streams that are taken from clients at one look at those who wait, at most.
const TAKEN_AT_ONCE: usize = 64;
/// The debug data of gRPC's C core, with INTERNAL_ERROR, when it ends a connection that has been idle for as long as it
/// allows.
const IDLE: &[u8] = b"connection idle";

fn was_useless(connection: &Connection, now: Instant) -> bool {
    let goes_on = connection.h2.peer_going_away() && connection.h2.open_streams() > 0;
    connection.h2.header_blocks() == 0
        && !goes_on
        && now.saturating_duration_since(connection.opened_at) < USELESS_BEFORE
}

/// The streams that a connection to a backend takes now.
fn streams(connections: &Slab<Box<Connection>>) -> impl Fn(Key) -> Streams {
    |key| connections.get(key).map_or(Streams::default(), |c| c.streams())
}

/// A client as one that asks for a stream; `None` if it is gone.
fn asking<'c>(connections: &'c Slab<Box<Connection>>) -> impl Fn(Key) -> Option<ShareRequest<'c>> {
    |key| match &**connections.get(key)? {
        Connection {
            h2,
            peer: Peer::Client(client),
            ..
        } => Some(ShareRequest {
            streams: u32::try_from(h2.open_streams()).unwrap_or(u32::MAX),
            shares: &client.shares,
        }),
        _ => None,
    }
}

impl Worker {
    /// Finds an endpoint for a queued RPC: it is sent at once, waits for a connection or a stream, or is refused.
    pub(crate) fn pick(&mut self, relay: Key, backend: &Arc<RunningBackend>) {
        self.update_pool(backend);
        let Some(client) = self.relays.get(relay).map(|relay| relay.down.connection) else {
            return debug_assert!(false, "an RPC that is to be sent is in the table");
        };
        let index = backend.label.index();
        let (mut asked_discovery, mut asked_for_room) = (false, false);
        loop {
            let (now, max_waiting) = (self.now, self.snapshot.limits.max_waiting);
            let connections = &self.connections;
            let Some(pool) = self.pools.get_mut(index).and_then(Option::as_mut) else {
                let backend = backend.name.to_string();
                return self.refuse(relay, &Refusal::NoEndpoints { backend });
            };
            let Some(asks) = asking(connections)(client) else {
                // Nobody is left to be answered.
                return self.finish(relay, status::UNKNOWN);
            };
            match pool.pick(now, asks, streams(connections)) {
                Pick::Ready(connection) => {
                    let others = pool.has_passed_over();
                    let sent = self.send(relay, connection);
                    if others {
                        self.connect_wanted(index);
                    }
                    if sent {
                        return;
                    }
                }
                Pick::Wait if pool.wait(client, relay, now, max_waiting) => {
                    return self.connect_wanted(index);
                }
                Pick::Wait => {
                    let gives_way = pool.waiting().gives_way_to(client).filter(|_| !asked_for_room);
                    let backend = backend.name.to_string();
                    self.refuse(gives_way.unwrap_or(relay), &Refusal::TooManyWaiting { backend });
                    if gives_way.is_none() {
                        return;
                    }
                    asked_for_room = true;
                }
                Pick::Nothing if !asked_discovery => {
                    // An answer may have come since the last tick.
                    pool.apply_addresses();
                    asked_discovery = true;
                }
                Pick::Nothing => {
                    let refusal = pool.why_nothing();
                    return self.refuse(relay, &refusal);
                }
            }
        }
    }

    /// Makes the backend's pool, or brings it in line with a reload.
    fn update_pool(&mut self, backend: &Arc<RunningBackend>) {
        let index = backend.label.index();
        if self.pools.len() <= index {
            self.pools.resize_with(index + 1, || None);
        }
        match self.pools.get_mut(index) {
            Some(Some(pool)) if Arc::ptr_eq(&pool.backend, backend) => {}
            Some(Some(pool)) => pool.apply_backend(backend.clone()),
            Some(empty) => *empty = Some(Pool::new(backend.clone())),
            None => debug_assert!(false, "the table was made long enough"),
        }
    }

    /// A connection can take streams again: those that wait for its backend go first.
    pub(crate) fn serve_waiting(&mut self, key: Key) {
        let Some(peer) = self.backend_peer(key) else {
            return;
        };
        loop {
            let (now, connections) = (self.now, &self.connections);
            let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) else {
                return debug_assert!(false, "a backend's connection has a pool");
            };
            let place = (peer.endpoint, key);
            let Some((client, waiter)) =
                pool.next_waiting(place, now, asking(connections), streams(connections))
            else {
                break;
            };
            if !self.send(waiter.relay, key) {
                if let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) {
                    pool.put_back(client, waiter);
                }
                break;
            }
        }
        self.connect_wanted(peer.pool);
    }

    /// Waiting RPCs that no event reaches: a pause of an endpoint has ended, or they have waited for too long.
    pub(crate) fn look_after_waiting(&mut self) {
        for index in 0..self.pools.len() {
            let pool = self.pools.get(index).and_then(Option::as_ref);
            let Some(pool) = pool.filter(|pool| pool.has_waiting()) else {
                continue;
            };
            let max_wait = self.snapshot.limits.max_wait;
            let refusal = Refusal::WaitedTooLong {
                backend: pool.backend.name.to_string(),
                max_wait,
            };
            let ready = pool.ready();
            for relay in pool.waiting().expired(self.now, max_wait) {
                self.refuse(relay, &refusal);
            }
            for key in ready {
                self.serve_waiting(key);
            }
            self.connect_wanted(index);
            self.feed_starving(index);
        }
    }

    /// Takes a stream from whoever has most for each client that has none and has waited for `max_starved`, because
    /// others have all of them and do not end. Its place goes to one who has none, for the others have too many
    /// ([`crate::pool::share`]).
    fn feed_starving(&mut self, index: usize) {
        let limits = &self.snapshot.limits;
        let (now, max_starved, connections) = (self.now, limits.max_starved, &self.connections);
        let Some(pool) = self.pools.get(index).and_then(Option::as_ref) else {
            return debug_assert!(false, "its pool was there a moment ago");
        };
        let starving = pool.starving(now, max_starved, asking(connections), TAKEN_AT_ONCE);
        if starving == 0 || max_starved >= limits.max_wait {
            return;
        }
        let taken = pool.taken(now, streams(connections));
        let backend = pool.backend.name.to_string();
        let mut holders: BinaryHeap<(u32, usize)> = BinaryHeap::new();
        let mut places: Vec<(Key, EndpointId)> = Vec::new();
        for (key, connection) in connections.iter() {
            let Peer::Client(client) = &connection.peer else {
                continue;
            };
            for endpoint in &taken {
                let used = client.shares.at(*endpoint);
                // The last one is left to everybody.
                if used > 1 {
                    holders.push((used, places.len()));
                    places.push((key, *endpoint));
                }
            }
        }
        for _ in 0..starving {
            let Some((used, place)) = holders.pop().filter(|(used, _)| *used > 1) else {
                return;
            };
            if let Some((client, endpoint)) = places.get(place).copied() {
                self.take_stream(client, endpoint, &backend);
            }
            holders.push((used - 1, place));
        }
    }

    /// Ends the youngest of a client's RPCs at an endpoint.
    fn take_stream(&mut self, client: Key, endpoint: EndpointId, backend: &str) {
        let (now, relays) = (self.now, &self.relays);
        let relay = |tag| {
            let relay = relays.key_at(tag).and_then(|key| relays.get(key))?;
            (relay.down.connection == client && relay.shared == Some(endpoint)).then_some(relay)
        };
        // What is queued on a stream counts as well, but less than a millisecond of its age.
        let youth = |tag| {
            relay(tag).map_or(0, |relay| {
                let age = now.saturating_duration_since(relay.started).as_millis() as usize;
                (usize::MAX >> 1) - age.saturating_mul(1 << 26).min(usize::MAX >> 2)
            })
        };
        let Some(connection) = self.connections.get(client) else {
            return;
        };
        let youngest = connection.h2.heaviest_with(1, youth);
        let Some((stream, tag)) = youngest.into_iter().find(|(_, tag)| relay(*tag).is_some()) else {
            return;
        };
        let backend = backend.to_owned();
        self.limit_reached(client, MAX_STARVED);
        let at = ClientStream::new(client, stream);
        self.end_client_victim(at, tag, &Refusal::GaveStream { backend });
    }

    /// Makes the connections that a pool needs. If there is none and none can be made now, those who wait are refused.
    fn connect_wanted(&mut self, index: usize) {
        let Some(pool) = self.pools.get_mut(index).and_then(Option::as_mut) else {
            return debug_assert!(false, "whoever asks for connections has a pool");
        };
        let backend = pool.backend.clone();
        for endpoint in pool.wanting(self.now, streams(&self.connections)) {
            self.connect(backend.clone(), endpoint);
        }
        let hopeless = self.pools.get(index).and_then(Option::as_ref);
        if let Some(pool) = hopeless.filter(|pool| pool.is_hopeless()) {
            let refusal = pool.why_nothing();
            for relay in pool.waiting().all() {
                self.refuse(relay, &refusal);
            }
        }
    }

    /// Backends that the new snapshot does not name get no further RPC; the others take its settings.
    pub(crate) fn apply_reload(&mut self) {
        let snapshot = Rc::clone(&self.snapshot);
        for pool in self.pools.iter_mut().flatten() {
            match snapshot
                .backends
                .iter()
                .find(|backend| backend.label == pool.backend.label)
            {
                Some(backend) => pool.apply_backend(backend.clone()),
                None => pool.retire(),
            }
        }
    }

    /// A stream has ended on this connection.
    pub(crate) fn stream_freed(&mut self, key: Key) {
        let Some(peer) = self.backend_peer(key) else {
            return;
        };
        let waiting = self
            .pools
            .get(peer.pool)
            .and_then(Option::as_ref)
            .is_some_and(Pool::has_waiting);
        if waiting {
            self.serve_waiting(key);
        }
        self.mark_if_finished(key);
    }

    /// A backend's SETTINGS came: with the first of them its connection is ready.
    pub(crate) fn backend_settings(&mut self, key: Key) {
        let Some(peer) = self.backend_peer(key) else {
            return debug_assert!(false, "SETTINGS of a backend are of a backend");
        };
        let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) else {
            return debug_assert!(false, "a backend's connection has a pool");
        };
        if let Some(was_down) = pool.greeted(peer.endpoint, key) {
            self.metrics.backend_connected(pool.backend.label);
            if let Some(Peer::Backend(peer, _)) = self.connections.get_mut(key).map(|c| &mut c.peer) {
                peer.counted = true;
            }
            if was_down {
                Event::EndpointUp {
                    backend: &pool.backend.name,
                    endpoint: peer.endpoint,
                }
                .report(self.now);
            }
        }
        self.serve_waiting(key);
    }

    /// The backend will take no more streams here (RFC 9113 §6.8).
    pub(crate) fn backend_going_away(&mut self, key: Key, code: ErrorCode, debug: &[u8]) {
        let Some(peer) = self.backend_peer(key) else {
            return debug_assert!(false, "GOAWAY of a backend is of a backend");
        };
        let is_idle = code == ErrorCode::INTERNAL_ERROR && debug == IDLE;
        if code != ErrorCode::NO_ERROR
            && !is_idle
            && let Some(pool) = self.pools.get(peer.pool).and_then(Option::as_ref)
        {
            Event::BackendEndsConnection {
                backend: &pool.backend.name,
                endpoint: peer.endpoint,
                code,
                said: debug,
            }
            .report(self.now);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return debug_assert!(false, "its connection was there a moment ago");
        };
        let unprocessed = connection.h2.take_unprocessed();
        self.leave_pool(key);
        self.end_taken(key, Fate::Unprocessed, unprocessed);
        self.mark_if_finished(key);
    }

    /// A backend connection that will take no more streams leaves its place to another, and is flushed
    /// for the last time when it has none left.
    fn mark_if_finished(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let exhausted = connection.h2.ids_exhausted();
        if !exhausted && !connection.h2.peer_going_away() {
            return;
        }
        if connection.h2.open_streams() == 0 {
            connection.closing.get_or_insert(self.now);
            self.mark_dirty(key);
        }
        if exhausted {
            self.leave_pool(key);
        }
    }

    /// No RPC is given to this connection any more; those it has go on.
    pub(crate) fn leave_pool(&mut self, key: Key) {
        let Some(peer) = self.backend_peer(key) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) else {
            return debug_assert!(false, "a backend's connection has a pool");
        };
        match pool.leave(peer.endpoint, key) {
            Left::Attempt => self.greeting_failed(key, Fault::Closed),
            Left::Ready => {
                let random = crate::forwarded::next(&mut self.random);
                let connection = self.connections.get(key);
                if connection.is_none_or(|connection| !was_useless(connection, self.now)) {
                    pool.was_useful(peer.endpoint);
                } else if pool.was_useless(peer.endpoint, self.now, random) {
                    self.metrics.backend_failed(pool.backend.label);
                    Event::EndpointDown {
                        backend: &pool.backend.name,
                        endpoint: peer.endpoint,
                        error: format_args!("it ends each connection before it has answered anything"),
                    }
                    .report(self.now);
                }
                if pool.has_waiting() {
                    self.connect_wanted(peer.pool);
                }
            }
            Left::Nothing => {}
        }
    }

    pub(crate) fn backend_gone(&mut self, peer: &BackendPeer) {
        if let Some(pool) = self.pools.get(peer.pool).and_then(Option::as_ref)
            && peer.counted
        {
            self.metrics.backend_closed(pool.backend.label);
        }
    }

    pub(crate) fn backend_peer(&self, key: Key) -> Option<BackendPeer> {
        match &self.connections.get(key)?.peer {
            Peer::Backend(peer, _) => Some(*peer),
            Peer::Client(_) => None,
        }
    }

    /// The backend of an RPC, as the newest snapshot that has it knows it.
    pub(crate) fn backend_of(&self, relay: Key) -> Option<Arc<RunningBackend>> {
        let index = self.relays.get(relay)?.backend.index();
        Some(self.pools.get(index)?.as_ref()?.backend.clone())
    }

    pub(crate) fn backend_name(&self, relay: Key) -> String {
        self.backend_of(relay)
            .map(|backend| backend.name.to_string())
            .unwrap_or_default()
    }
}
