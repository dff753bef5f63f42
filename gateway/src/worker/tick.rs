//! The work that the clock starts: deadlines of RPCs and connections, discovery's news, memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http2::ErrorCode;

use super::deadlines::Step;
use super::{Key, TICK, Worker};
use crate::connection::{Connection, Peer, Transport};
use crate::failpoint;
use crate::status::Refusal;
use crate::telemetry::event::Event;
use crate::telemetry::{HandshakeFailure, SentAway};

/// Connections and pools are looked at every so many ticks: half a second.
const TICKS_PER_REVIEW: u32 = 5;
/// A connection that has said its last word waits this long for the peer to close.
const LINGER: Duration = Duration::from_secs(2);

/// A peer may be silent within a frame or a TLS record for so many times [`crate::settings::Timeouts::header_block`]: a
/// network that is gone for a moment cuts nobody off.
const SILENCE: u32 = 6;

/// The time of a tick that each walk over all that lives may use.
const PART: Duration = Duration::from_millis(2);
/// The most that ending late RPCs uses of a turn.
const LATE: Duration = Duration::from_millis(10);
/// Entries of deadlines that are looked at in a tick, while too many are of RPCs that have ended: more than are made
/// in one.
const SWEPT: usize = 32 << 10;
/// Looks after which the clock is read.
const UNTIMED: usize = 256;

/// A reason for the clock to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    /// No preface and SETTINGS of a client within [`crate::settings::Timeouts::handshake`].
    Handshake,
    /// A header block unfinished for [`crate::settings::Timeouts::header_block`].
    HeaderBlock,
    /// Nothing came for [`SILENCE`] of those within a frame or a TLS record.
    Silent,
    /// No stream for [`crate::settings::Timeouts::idle`].
    Idle,
    /// Its client was sent away, and its streams have had [`crate::settings::Timeouts::drain`] to end.
    SentAway(SentAway),
    /// The last word was said long enough ago, or nothing could be said any more.
    Lingering,
}

/// Walks over all that lives: each goes on in the next tick where its part of this one was used up.
#[derive(Debug, Default)]
pub(super) struct Walks {
    relays: u32,
    /// So often the walk over relays must still come to its end.
    wanted: u8,
    /// `None` between two walks.
    connections: Option<u32>,
    drain: Option<u32>,
    /// Connections whose RPCs the walk over relays ends, and which end when it has seen all.
    cut: HashMap<Key, SentAway>,
}

impl Walks {
    /// Every relay that lives now is to be looked at.
    pub(super) fn look_at_all_relays(&mut self) {
        self.wanted = if self.relays == 0 { 1 } else { 2 };
    }
}

/// The time that a walk may use of one tick, or of one turn.
pub(crate) struct Part {
    time: Duration,
    began: Instant,
    seen: usize,
}

impl Part {
    pub(crate) fn begin() -> Self {
        Self::of(PART)
    }

    pub(super) fn of(time: Duration) -> Self {
        Self {
            time,
            began: Instant::now(),
            seen: 0,
        }
    }

    /// One more was looked at. The clock is read where something was done, and now and then.
    pub(crate) fn is_used_up(&mut self, acted: bool) -> bool {
        self.seen += 1;
        (acted || self.seen.is_multiple_of(UNTIMED)) && self.began.elapsed() >= self.time
    }
}

impl Worker {
    pub(crate) fn tick(&mut self) {
        self.now = Instant::now();
        self.metrics.alive(self.shared.metrics.age());
        self.go_on_draining();
        if self.end_late_rpcs() | self.look_at_relays() | self.reset_some() {
            self.chores.notify_one();
        }
        self.forget_deadlines();
        self.look_after_waiting();
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_REVIEW) && self.walks.connections.is_none() {
            self.bound_free();
            self.walks.connections = Some(0);
        }
        self.end_overdue_connections();
        if self.ticks.is_multiple_of(TICKS_PER_REVIEW) {
            self.apply_trust();
            self.apply_discovery();
            self.review_memory();
        }
        self.check_memory();
        self.reverify();
        self.log.hand_over();
    }

    /// A part of what was begun and not finished. Says whether there is more.
    pub(crate) fn do_chores(&mut self) -> bool {
        self.now = Instant::now();
        let more = [
            self.end_late_rpcs(),
            self.look_at_relays(),
            self.reset_some(),
            self.go_on_ending(),
            self.go_on_saving(),
        ];
        more.contains(&true)
    }

    /// This RPC is to be ended at the first tick after `deadline`.
    pub(crate) fn end_at(&mut self, deadline: Instant, relay: Key) {
        // What does not fit is due in thirteen years.
        if let Some(due) = self.tick_of(deadline).and_then(|tick| tick.checked_add(1)) {
            self.due.insert(due, relay);
        }
    }

    /// The number of ticks of this worker that have begun at `at`.
    fn tick_of(&self, at: Instant) -> Option<u32> {
        let since = at.saturating_duration_since(self.began);
        u32::try_from(since.as_millis() / TICK.as_millis()).ok()
    }

    /// RPCs whose deadline has passed: the more time for them, the longer it has. Says whether there are more.
    pub(super) fn end_late_rpcs(&mut self) -> bool {
        if let Some(tick) = self.tick_of(self.now) {
            self.due.advance(tick);
        }
        let Some(overdue) = self.due.overdue() else {
            return false;
        };
        let mut part = Part::of((PART * overdue.saturating_add(1)).min(LATE));
        loop {
            let acted = match self.due.next() {
                Step::Due(key) => self.end_if_late(key),
                Step::Sorted => false,
                Step::Nothing => return false,
            };
            if part.is_used_up(acted) {
                return true;
            }
        }
    }

    fn end_if_late(&mut self, key: Key) -> bool {
        let is_late = self.relays.get(key).is_some_and(|relay| relay.is_late(self.now));
        if is_late {
            self.refuse(key, &Refusal::DeadlineExceeded);
        }
        is_late
    }

    /// Entries of RPCs that ended before their deadline are as few as those of others.
    fn forget_deadlines(&mut self) {
        if self.due.is_stale(self.deadlines) {
            let relays = &self.relays;
            self.due.sweep(|key| relays.get(key).is_some(), SWEPT);
        }
    }

    /// RPCs whose client is to be cut off, or whose connection a panic took. Says whether there are more.
    pub(super) fn look_at_relays(&mut self) -> bool {
        if self.walks.wanted == 0 {
            return false;
        }
        let mut part = Part::begin();
        while let Some((key, relay)) = self.relays.next(self.walks.relays) {
            self.walks.relays = key.index() + 1;
            let (down, up) = (relay.down, relay.up());
            let mut acted = true;
            if let Some(why) = self.walks.cut.get(&down.connection) {
                self.refuse(key, &Refusal::SentAway(*why));
            } else if !self.knows(down.connection) {
                self.client_reset(down, key.index(), ErrorCode::CANCEL, None);
            } else if let Some(up) = up.filter(|up| !self.knows(up.connection)) {
                self.backend_lost(up, key.index());
            } else {
                acted = false;
            }
            if part.is_used_up(acted) {
                return true;
            }
        }
        self.walks.relays = 0;
        self.walks.wanted = self.walks.wanted.saturating_sub(1);
        if self.walks.wanted == 0 {
            for (key, why) in std::mem::take(&mut self.walks.cut) {
                self.abort(key, ErrorCode::NO_ERROR, last_words(why));
            }
        }
        self.walks.wanted > 0
    }

    fn end_overdue_connections(&mut self) {
        let Some(mut at) = self.walks.connections else {
            return;
        };
        let mut part = Part::begin();
        while let Some((key, _)) = self.connections.next(at) {
            at = key.index() + 1;
            self.walks.connections = Some(at);
            self.connections.touch(key);
            failpoint::hit("tick");
            let connection = self.connections.get(key);
            let overdue = connection.and_then(|connection| self.overdue(connection));
            match overdue {
                Some(why) => self.end_overdue(key, why),
                None => self.recount_free(key),
            }
            if part.is_used_up(overdue.is_some()) {
                return;
            }
        }
        self.walks.connections = None;
        self.bound_memory();
    }

    fn end_overdue(&mut self, key: Key, why: Overdue) {
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
                self.limit_reached(key, "timeouts.header_block");
                self.end_unfinished(key, b"header block unfinished");
            }
            Overdue::Silent => {
                self.limit_reached(key, "timeouts.header_block");
                self.end_unfinished(key, b"frame or record unfinished");
            }
            Overdue::Idle => self.abort(key, ErrorCode::NO_ERROR, b"idle"),
            // Its RPCs end first, each with its reason. A CA that is gone may have thousands of clients.
            Overdue::SentAway(why) => {
                if self.walks.cut.insert(key, why).is_none() {
                    self.walks.look_at_all_relays();
                }
            }
            Overdue::Lingering => self.remove(key),
        }
    }

    /// GOAWAY to the clients of this worker, as many as a tick has time for.
    pub(super) fn begin_draining(&mut self) {
        self.walks.drain = Some(0);
        self.go_on_draining();
    }

    fn go_on_draining(&mut self) {
        let Some(mut at) = self.walks.drain else {
            return;
        };
        let mut part = Part::begin();
        while let Some((key, _)) = self.connections.next(at) {
            at = key.index() + 1;
            self.walks.drain = Some(at);
            if let Some(connection) = self.connections.get_mut(key)
                && matches!(connection.peer, Peer::Client(_))
            {
                failpoint::hit("drain");
                connection.h2.drain();
                self.mark_dirty(key);
            }
            if part.is_used_up(false) {
                return;
            }
        }
        self.walks.drain = None;
    }

    /// The first octets were no preface and SETTINGS, or nothing came in time.
    pub(super) fn not_http2(&self, key: Key) {
        if let Some(connection) = self.connections.get(key) {
            self.never_spoke(connection, HandshakeFailure::NotHttp2);
        }
    }

    /// A client is gone of which nothing was reported yet. If its SETTINGS never came, that is a class of its own.
    pub(super) fn gone_early(&self, connection: &Connection) {
        if connection.closing.is_some() || connection.h2.is_established() {
            return;
        }
        // Of TLS something has come in any case.
        let is_silent = connection.active_at == connection.opened_at;
        let class = match connection.transport {
            Transport::Plaintext if is_silent => HandshakeFailure::Probe,
            _ => HandshakeFailure::NotHttp2,
        };
        self.never_spoke(connection, class);
    }

    fn never_spoke(&self, connection: &Connection, class: HandshakeFailure) {
        if let Peer::Client(client) = &connection.peer {
            self.metrics.handshake_failed(class);
            let listener = client.listener.settings.name.as_str();
            Event::HandshakeFailed {
                class,
                listener,
                peer: client.address,
                error: None,
            }
            .report(self.now);
        }
    }

    fn overdue(&self, connection: &Connection) -> Option<Overdue> {
        let timeouts = &self.snapshot.timeouts;
        let since = |at: Instant| self.now.saturating_duration_since(at);
        if let Some(at) = connection.closing.or(connection.write_failed_at) {
            return (since(at) >= LINGER).then_some(Overdue::Lingering);
        }
        if let Peer::Client(client) = &connection.peer {
            if !connection.h2.is_established() {
                return (since(connection.opened_at) >= timeouts.handshake).then_some(Overdue::Handshake);
            }
            if let Some((at, why)) = client.sent_away
                && since(at) >= timeouts.drain
            {
                return Some(Overdue::SentAway(why));
            }
        }
        if connection
            .header_block
            .is_some_and(|(_, at)| since(at) >= timeouts.header_block)
        {
            return Some(Overdue::HeaderBlock);
        }
        let silent_for = since(connection.active_at);
        let silence = timeouts.header_block.saturating_mul(SILENCE);
        // Who is not read from may have sent the rest.
        if silent_for >= silence && connection.is_unfinished() && connection.paused.is_none() {
            return Some(Overdue::Silent);
        }
        let is_client = !connection.peer.is_backend();
        let idle = is_client && connection.h2.open_streams() == 0 && silent_for >= timeouts.idle;
        idle.then_some(Overdue::Idle)
    }

    /// Ends whoever keeps us waiting for the rest of what it has begun. Of a backend the RPCs are lost, and later ones go
    /// elsewhere.
    pub(super) fn end_unfinished(&mut self, key: Key, debug: &[u8]) {
        self.leave_pool(key);
        self.abort(key, ErrorCode::ENHANCE_YOUR_CALM, debug);
    }

    pub(crate) fn abort(&mut self, key: Key, code: ErrorCode, debug: &[u8]) {
        self.end_streams(key, None);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.h2.abort(code, debug);
        }
        self.close_after_flush(key);
    }

    fn apply_discovery(&mut self) {
        let mut leftovers = Vec::new();
        for pool in self.pools.iter_mut().flatten() {
            pool.apply_addresses();
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

    /// The grace of a drain is over: all of it at once, for nobody is left to wait.
    pub(crate) fn close_all(&mut self) {
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
