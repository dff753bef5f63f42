//! Backends: which endpoint gets an RPC, and the connections to it.
//!
//! Connections are made lazily, one per worker and endpoint, another when its stream limit is
//! reached.

mod connect;
pub(crate) mod discovery;
pub(crate) mod pool;

use std::rc::Rc;
use std::sync::Arc;

use http2::ErrorCode;

use self::pool::{Choice, Pool};
use crate::connection::{BackendPeer, Peer};
use crate::rpc::relay::StreamOf;
use crate::rpc::status::Refusal;
use crate::snapshot::Backend;
use crate::telemetry::event::Event;
use crate::worker::Worker;
use crate::worker::slab::Key;

impl Worker {
    /// Finds an endpoint for a held RPC: it is sent at once, waits for a connection, or is refused.
    pub(crate) fn pick(&mut self, relay: Key, backend: &Arc<Backend>) {
        self.follow(backend);
        let mut asked_discovery = false;
        let mut purged = false;
        loop {
            let (now, max_waiting) = (self.now, self.snapshot.limits.max_waiting);
            let connections = &self.connections;
            let Some(pool) = self.pools.get_mut(backend.label.index()).and_then(Option::as_mut) else {
                return;
            };
            let takes = |key: Key| connections.get(key).is_some_and(|c| c.takes_streams());
            match pool.choose(now, max_waiting, takes) {
                Choice::Ready(connection) => {
                    if self.send(relay, connection) {
                        return;
                    }
                }
                Choice::Connect(endpoint) => {
                    pool.wait(endpoint, relay);
                    return self.connect(backend.clone(), endpoint);
                }
                Choice::Wait(endpoint) => return pool.wait(endpoint, relay),
                Choice::Full if !purged => {
                    // RPCs that were cancelled while they waited take nobody's place.
                    pool.forget_waiting(|waiting| self.relays.get(waiting).is_some());
                    purged = true;
                }
                Choice::Full => {
                    let backend = backend.name.to_string();
                    return self.refuse(relay, &Refusal::TooManyWaiting { backend });
                }
                Choice::Nothing if !asked_discovery => {
                    // An answer may have come since the last tick.
                    pool.follow_addresses();
                    asked_discovery = true;
                }
                Choice::Nothing => {
                    let refusal = pool.why_nothing();
                    return self.refuse(relay, &refusal);
                }
            }
        }
    }

    /// Makes the backend's pool, or brings it in line with a reload.
    fn follow(&mut self, backend: &Arc<Backend>) {
        let index = backend.label.index();
        if self.pools.len() <= index {
            self.pools.resize_with(index + 1, || None);
        }
        match self.pools.get_mut(index) {
            Some(Some(pool)) if Arc::ptr_eq(&pool.backend, backend) => {}
            Some(Some(pool)) => {
                pool.backend = backend.clone();
                pool.follow_addresses();
            }
            Some(empty) => *empty = Some(Pool::new(backend.clone())),
            None => {}
        }
    }

    /// A connection can take streams again: those that wait for its endpoint go first.
    pub(crate) fn serve_waiting(&mut self, key: Key) {
        let Some(peer) = self.backend_peer(key) else {
            return;
        };
        while self.connections.get(key).is_some_and(|c| c.takes_streams()) {
            let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) else {
                return;
            };
            let Some(relay) = pool.next_waiting(peer.endpoint) else {
                return;
            };
            if !self.send(relay, key) {
                self.wait_again(peer, relay);
                break;
            }
        }
        self.connect_for_waiting(peer.pool);
    }

    /// Waiting RPCs that no event reaches: more of them than the connections take, or a pause that ended.
    pub(crate) fn serve_all_waiting(&mut self) {
        let mut connections = Vec::new();
        for pool in self.pools.iter().flatten() {
            connections.extend(pool.connections_with_waiting());
        }
        for key in connections {
            self.serve_waiting(key);
        }
        for index in 0..self.pools.len() {
            self.connect_for_waiting(index);
        }
    }

    /// Makes the connections that the RPCs waiting in a pool need.
    fn connect_for_waiting(&mut self, pool: usize) {
        let Some(pool) = self.pools.get(pool).and_then(Option::as_ref) else {
            return;
        };
        let backend = pool.backend.clone();
        for endpoint in pool.wanting(self.now) {
            self.connect(backend.clone(), endpoint);
        }
    }

    /// Backends that the new snapshot does not name get no further RPC; the others follow it.
    pub(crate) fn follow_reload(&mut self) {
        let snapshot = Rc::clone(&self.snapshot);
        for pool in self.pools.iter_mut().flatten() {
            match snapshot
                .backends
                .iter()
                .find(|backend| backend.label == pool.backend.label)
            {
                Some(backend) => {
                    pool.backend = backend.clone();
                    pool.follow_addresses();
                }
                None => pool.retire(),
            }
        }
    }

    fn wait_again(&mut self, peer: BackendPeer, relay: Key) {
        if let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut) {
            pool.wait_first(peer.endpoint, relay);
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

    /// The backend will take no more streams here (RFC 9113 §6.8).
    pub(crate) fn backend_going_away(&mut self, key: Key, code: ErrorCode, debug: &[u8]) {
        if code != ErrorCode::NO_ERROR
            && let Some(peer) = self.backend_peer(key)
            && let Some(pool) = self.pools.get(peer.pool).and_then(Option::as_ref)
        {
            Event::BackendEndsConnection {
                backend: &pool.backend.name,
                endpoint: peer.endpoint,
                code,
                said: debug,
            }
            .tell(self.now);
        }
        self.leave_pool(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        for (stream, tag) in connection.h2.take_unprocessed() {
            if let Some((relay, _)) = self.relay_up(
                tag,
                StreamOf {
                    connection: key,
                    stream,
                },
            ) {
                self.send_again(relay);
            }
        }
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
        if let Some(peer) = self.backend_peer(key)
            && let Some(pool) = self.pools.get_mut(peer.pool).and_then(Option::as_mut)
        {
            pool.forget(peer.endpoint, key);
        }
    }

    pub(crate) fn upstream_gone(&mut self, peer: &BackendPeer) {
        if let Some(pool) = self.pools.get(peer.pool).and_then(Option::as_ref) {
            self.metrics.upstream_closed(pool.backend.label);
        }
    }

    fn backend_peer(&self, key: Key) -> Option<BackendPeer> {
        match &self.connections.get(key)?.peer {
            Peer::Backend(peer) => Some(*peer),
            Peer::Client(_) => None,
        }
    }

    /// The backend of an RPC, as the newest snapshot that has it knows it.
    pub(crate) fn backend_of(&self, relay: Key) -> Option<Arc<Backend>> {
        let index = self.relays.get(relay)?.backend.index();
        Some(self.pools.get(index)?.as_ref()?.backend.clone())
    }

    pub(crate) fn backend_name(&self, relay: Key) -> String {
        self.backend_of(relay)
            .map(|backend| backend.name.to_string())
            .unwrap_or_default()
    }
}
