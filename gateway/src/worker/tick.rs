//! What happens by the clock: deadlines of RPCs and connections, discovery's news, memory.

use std::time::{Duration, Instant};

use http2::ErrorCode;

use super::{Key, Worker};
use crate::connection::{Connection, Peer, SentAway};
use crate::rpc::status::Refusal;
use crate::telemetry::HandshakeFailure;
use crate::telemetry::event::Event;

/// Connections and pools are looked at every so many ticks: half a second.
const SLOW: u32 = 5;
/// A connection that has said its last word waits this long for the peer to close.
const LINGER: Duration = Duration::from_secs(2);

/// Why a connection is ended by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    /// No preface and SETTINGS of a client within [`crate::settings::Timeouts::handshake`].
    Handshake,
    /// A header block unfinished for [`crate::settings::Timeouts::header_block`].
    HeaderBlock,
    /// No stream for [`crate::settings::Timeouts::idle`].
    Idle,
    /// Its client was told to go, and its streams have had [`crate::settings::Timeouts::drain`] to end.
    SentAway(SentAway),
    /// The last word was said long enough ago, or nothing could be said any more.
    Lingering,
}

impl Worker {
    pub(super) fn tick(&mut self) {
        self.now = Instant::now();
        if self.deadlines > 0 {
            self.end_late_rpcs();
        }
        self.look_after_waiting();
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(SLOW) {
            self.end_overdue_connections();
            self.follow_trust();
            self.follow_discovery();
            self.review_memory();
        }
        self.reverify();
        self.log.hand_over();
    }

    fn end_late_rpcs(&mut self) {
        let now = self.now;
        let late: Vec<Key> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.is_late(now))
            .map(|(key, _)| key)
            .collect();
        for relay in late {
            self.refuse(relay, &Refusal::DeadlineExceeded);
        }
    }

    fn end_overdue_connections(&mut self) {
        let overdue: Vec<(Key, Overdue)> = self
            .connections
            .iter()
            .filter_map(|(key, c)| Some((key, self.overdue(c)?)))
            .collect();
        let sent_away = overdue.iter().filter_map(|(key, overdue)| match overdue {
            Overdue::SentAway(why) => Some((*key, *why)),
            _ => None,
        });
        self.cut_streams_of(&sent_away.collect());
        for (key, why) in overdue {
            match why {
                Overdue::Handshake => {
                    self.not_http2(key);
                    self.abort(
                        key,
                        ErrorCode::SETTINGS_TIMEOUT,
                        b"no preface and SETTINGS in time",
                    );
                }
                Overdue::HeaderBlock => {
                    self.limit_reached(key, "header_block_timeout");
                    self.abort(key, ErrorCode::ENHANCE_YOUR_CALM, b"header block unfinished");
                }
                Overdue::Idle => self.abort(key, ErrorCode::NO_ERROR, b"idle"),
                Overdue::SentAway(why) => self.abort(key, ErrorCode::NO_ERROR, last_words(why)),
                Overdue::Lingering => self.remove(key),
            }
        }
    }

    /// What came was no preface and SETTINGS, or nothing came in time.
    pub(super) fn not_http2(&self, key: Key) {
        let class = HandshakeFailure::NotHttp2;
        self.metrics.handshake_failed(class);
        if let Some(Peer::Client(client)) = self.connections.get(key).map(|c| &c.peer) {
            let listener = client.listener.settings.name.as_str();
            Event::HandshakeFailed {
                class,
                listener,
                peer: client.address,
                error: None,
            }
            .tell(self.now);
        }
    }

    fn overdue(&self, connection: &Connection) -> Option<Overdue> {
        let timeouts = &self.snapshot.timeouts;
        let since = |at: Instant| self.now.saturating_duration_since(at);
        if let Some(at) = connection.closing.or(connection.write_failed_at) {
            return (since(at) >= LINGER).then_some(Overdue::Lingering);
        }
        let Peer::Client(client) = &connection.peer else {
            return None;
        };
        if !connection.h2.is_established() {
            return (since(connection.opened_at) >= timeouts.handshake).then_some(Overdue::Handshake);
        }
        if let Some((at, why)) = client.sent_away
            && since(at) >= timeouts.drain
        {
            return Some(Overdue::SentAway(why));
        }
        if connection
            .header_block
            .is_some_and(|(_, at)| since(at) >= timeouts.header_block)
        {
            return Some(Overdue::HeaderBlock);
        }
        let idle = connection.h2.open_streams() == 0 && since(connection.active_at) >= timeouts.idle;
        idle.then_some(Overdue::Idle)
    }

    pub(crate) fn abort(&mut self, key: Key, code: ErrorCode, debug: &[u8]) {
        self.end_streams(key);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.h2.abort(code, debug);
        }
        self.close_after_flush(key);
    }

    fn follow_discovery(&mut self) {
        let mut leftovers = Vec::new();
        for pool in self.pools.iter_mut().flatten() {
            pool.follow_addresses();
            leftovers.extend(pool.leftovers());
        }
        for key in leftovers {
            if self
                .connections
                .get(key)
                .is_some_and(|c| c.h2.open_streams() == 0)
            {
                self.close_after_flush(key);
            }
        }
    }

    /// The grace of a drain is over.
    pub(super) fn close_all(&mut self) {
        self.now = Instant::now();
        let running: Vec<Key> = self.relays.iter().map(|(key, _)| key).collect();
        for relay in running {
            self.refuse(relay, &Refusal::Draining);
        }
        let clients: Vec<Key> = self.clients().collect();
        for key in clients {
            self.abort(key, ErrorCode::NO_ERROR, b"shutting down");
        }
    }
}

/// The text of a GOAWAY for a client whose time to go is over.
fn last_words(why: SentAway) -> &'static [u8] {
    match why {
        SentAway::Certificate => b"client certificate not accepted any more",
        SentAway::Listener => b"the listener asks for more than this connection fulfils",
    }
}
