//! The memory that peers make this worker keep, whom it is charged to, and who gives way when it is too much.
//!
//! Everything that a client's bytes make us keep is charged to its connection: answers that wait for it, requests that
//! wait for backends wherever they wait, fields of RPCs whose answer has not begun, copies for a second attempt,
//! tables, partial frames and records, and the streams of its RPCs at backends. What an ordinary connection needs is
//! free, so that many of them take nothing from those that carry something.

mod bounds;
mod handshakes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http2::{ErrorCode, Limit};

use super::deadlines::DEADLINE_MEMORY;
use super::tick::Part;
use super::{Key, SharedState, Worker};
use crate::connection::{Connection, Peer, Transport};
use crate::relay::call::Kind;
use crate::relay::{BackendStream, ClientStream, Relay};
use crate::slab::Slab;
use crate::status::Refusal;
pub(crate) use bounds::Resident;
use bounds::{FREE, IDLE, LOOKS, PARTS, bound, charged_for, free_of_each, lasting, share};
pub(crate) use handshakes::HandshakeMemory;
use handshakes::LongHandshake;

/// The name of the limit of what all workers hold.
const PROCESS_MEMORY: &str = "process_memory";
/// The allocator has about this part more than it is asked for: its sizes are eighths of powers of two, and what comes
/// and goes leaves its pages with gaps.
const OVERHEAD: usize = 4;
/// Of which much is unfinished: of a backend. A client is *large* that is charged with what is free of others: only large
/// ones have a share, and only they give way.
const LARGE: usize = 16 << 10;
/// Changes of the sum smaller than this are not published to the other workers.
const STEP: usize = 64 << 10;
/// Streams of one connection that are ended at once to save memory.
const VICTIMS: usize = 16;
/// Connections that are looked at when memory grows beyond its bound; what is left goes on between turns.
const AT_ONCE: usize = 4;
/// After a search without a victim there is none before this part of the memory has been added, or time has passed.
const SEARCH_AGAIN: usize = 64;

/// Clients whose streams move give way once memory was over its bound at so many ticks in a row, or is over it by such a
/// part: before that, whoever holds more and stands still may be another worker's.
const MOVING_AFTER: u32 = 2;
const MOVING_BEYOND: usize = 16;

/// The amount of freed memory at which pages are given back to the system.
const FREED: usize = 1 << 20;
/// For so many looks at memory after that: the allocator lets pages rest for a second, and may return them in parts.
const RETURNING: u8 = 20;
/// Larger than what allocators put beside other things.
const BLOCK: usize = 1 << 20;

/// The account of one worker.
#[derive(Debug)]
pub(super) struct Memory {
    /// The part of each connection that is free now, and the memory that is left for what is counted.
    free: usize,
    bound: usize,
    /// The value of `bound` if what the process has for nobody now lasts: windows are narrow before streams have to
    /// end.
    bound_soon: usize,
    /// The memory that the process has and nobody is charged with, at the last looks.
    beyond: [usize; LOOKS],
    /// The sum of what all connections are charged with.
    held: usize,
    /// The part of it that the other workers know.
    published: usize,
    /// The sum of what large clients are charged with.
    held_by_large: usize,
    published_by_large: usize,
    /// Clients that are large, or were when they were last looked at.
    large: Vec<Key>,
    /// The memory of what backends have begun and not ended: frames and header blocks.
    unfinished: usize,
    /// Backends' connections of which much is unfinished, or was when they were last looked at.
    unfinished_backends: Vec<Key>,
    /// The memory of unfinished handshakes.
    handshakes: usize,
    /// Those of them that keep much.
    long_handshakes: Slab<LongHandshake>,
    /// The octets that one client may have under way while memory is short; else there is no such bound.
    window: usize,
    /// No victim is looked for below this.
    rest_until: usize,
    /// Those above their share at the last look, the heaviest last.
    victims: Vec<Key>,
    /// Victims are being ended now.
    is_saving: bool,
    /// Ticks in a row that found more held than may be.
    over_for: u32,
    returning: Returning,
}

/// The state of memory that was freed and that the system should have back.
#[derive(Debug, Default)]
struct Returning {
    /// The most that was had since memory was freed last.
    most: usize,
    looks: u8,
}

impl Returning {
    /// So much is had now. `true`: the allocator is to be reminded.
    fn is_due(&mut self, now: usize) -> bool {
        self.most = self.most.max(now);
        if self.most - now >= FREED {
            (self.most, self.looks) = (now, RETURNING);
        }
        let is_due = self.looks > 0;
        self.looks = self.looks.saturating_sub(1);
        is_due
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            free: FREE,
            bound: usize::MAX,
            bound_soon: usize::MAX,
            beyond: [0; LOOKS],
            held: 0,
            published: 0,
            held_by_large: 0,
            published_by_large: 0,
            large: Vec::new(),
            unfinished: 0,
            unfinished_backends: Vec::new(),
            handshakes: 0,
            long_handshakes: Slab::new(),
            window: usize::MAX,
            rest_until: 0,
            victims: Vec::new(),
            is_saving: false,
            over_for: 0,
            returning: Returning::default(),
        }
    }
}

impl Memory {
    /// A panic may have come while victims were being ended.
    pub(super) fn get_over_panic(&mut self) {
        self.is_saving = false;
    }

    /// Takes back all that is held here.
    pub(super) fn withdraw(&self, shared: &SharedState) {
        shared.held.fetch_sub(self.published, Ordering::Relaxed);
        shared
            .held_by_large
            .fetch_sub(self.published_by_large, Ordering::Relaxed);
        shared.large.fetch_sub(self.large.len(), Ordering::Relaxed);
    }
}

impl Worker {
    /// Counts what this connection holds now, and ends the stream that holds most if more is queued than may be.
    pub(crate) fn count_held(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let held = memory(connection);
        let free = self.memory.free;
        let held = charged_for(held + held / OVERHEAD, free);
        let charge = &mut connection.charge;
        self.memory.held = (self.memory.held + held).saturating_sub(charge.held);
        if charge.is_large {
            self.memory.held_by_large = (self.memory.held_by_large + held).saturating_sub(charge.held);
        }
        (charge.held, charge.free) = (held, free);
        charge.least = charge.least.min(held);
        if held >= free && !charge.is_large && matches!(connection.peer, Peer::Client(_)) {
            charge.is_large = true;
            self.memory.held_by_large += held;
            self.memory.large.push(key);
            self.shared.large.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((stream, tag, _)) = connection.h2.over_queue_bound() {
            let is_backend = connection.peer.is_backend();
            let limit = Limit::Queued.name();
            let refusal = Refusal::GaveWay { limit };
            if is_backend {
                self.end_backend_victim(BackendStream::new(key, stream), tag, &refusal);
            } else {
                self.end_client_victim(ClientStream::new(key, stream), tag, &refusal);
            }
        }
        self.count_unfinished(key);
        self.publish();
    }

    /// Something else is free now than when this connection was counted.
    pub(super) fn recount_free(&mut self, key: Key) {
        let free = self.memory.free;
        if self.connections.get(key).is_some_and(|c| c.charge.free != free) {
            self.count_held(key);
        }
    }

    /// A connection has left the table.
    pub(super) fn uncount(&mut self, connection: &Connection) {
        let charge = &connection.charge;
        self.memory.held = self.memory.held.saturating_sub(charge.held);
        if charge.is_large {
            self.memory.held_by_large = self.memory.held_by_large.saturating_sub(charge.held);
        }
        self.memory.unfinished = self.memory.unfinished.saturating_sub(charge.unfinished);
    }

    /// Counts the memory of what a backend begins and does not end. No client gives way for it: the backends
    /// that keep most end until the others are within their part.
    fn count_unfinished(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.peer.is_backend() {
            return;
        }
        let now = connection.h2.unfinished_memory();
        let before = std::mem::replace(&mut connection.charge.unfinished, now);
        self.memory.unfinished = (self.memory.unfinished + now).saturating_sub(before);
        if before < LARGE && now >= LARGE {
            self.memory.unfinished_backends.push(key);
        }
        while self.memory.unfinished > self.part() {
            let connections = &self.connections;
            let unfinished = |key: &Key| connections.get(*key).map_or(0, |c| c.charge.unfinished);
            self.memory
                .unfinished_backends
                .retain(|key| unfinished(key) >= LARGE);
            let heaviest = self
                .memory
                .unfinished_backends
                .iter()
                .copied()
                .max_by_key(unfinished);
            let Some(heaviest) = heaviest else {
                return;
            };
            self.limit_reached(heaviest, PROCESS_MEMORY);
            self.end_unfinished(heaviest, b"memory");
            self.count_held(heaviest);
        }
    }

    /// This worker's part of what others than clients may have of the memory.
    fn part(&self) -> usize {
        self.snapshot.limits.memory_for_peers() / PARTS / self.shared.peers.len().max(1)
    }

    /// Counts a relay anew, whose memory has changed.
    pub(crate) fn recount(&mut self, key: Key) {
        let Some(relay) = self.relays.get_mut(key) else {
            return debug_assert!(false, "an RPC that is counted is in the table");
        };
        let now = relay.memory();
        let before = std::mem::replace(&mut relay.charged, now);
        if before != now
            && let Some(connection) = self.connections.get_mut(relay.down.connection)
        {
            connection.charge.recount(before, now);
        }
    }

    /// The octets that one client's streams may have under way in one direction; no bound while memory is not short.
    pub(crate) fn memory_window(&self) -> usize {
        self.memory.window
    }

    fn publish(&mut self) {
        let Memory { held, published, .. } = self.memory;
        if held.abs_diff(published) < STEP {
            return;
        }
        publish(&self.shared.held, &mut self.memory.published, held);
        let by_large = self.memory.held_by_large;
        publish(
            &self.shared.held_by_large,
            &mut self.memory.published_by_large,
            by_large,
        );
        self.metrics.held_bytes(held);
        self.bound_windows();
        if held > published && held >= self.memory.rest_until {
            self.keep_within_memory();
        }
    }

    /// While memory is short, what one client may have under way is a third of its share: what is kept of it comes to
    /// twice as much, with buffers that are being written and the allocator's part. So it is less than the share, also when
    /// some more clients share the memory.
    fn bound_windows(&mut self) {
        let bound = self.memory.bound_soon;
        let is_short = self.held_by_all() > bound / 2;
        self.memory.window = if is_short {
            self.share_of(bound) / 3
        } else {
            usize::MAX
        };
    }

    /// The memory that all workers hold. What was reported to the others lags a little behind what is held here.
    fn held_by_all(&self) -> usize {
        let all = self.shared.held.load(Ordering::Relaxed);
        all.saturating_sub(self.memory.published) + self.memory.held
    }

    /// An equal part for each large connection of the process of the memory that nobody else holds: while more is held
    /// than may be, one of them holds more. A part of it is always theirs, whatever others hold.
    fn share(&self) -> usize {
        self.share_of(self.memory.bound)
    }

    /// The share if so much may be held.
    fn share_of(&self, bound: usize) -> usize {
        let by_large = self.shared.held_by_large.load(Ordering::Relaxed);
        let by_large = by_large.saturating_sub(self.memory.published_by_large) + self.memory.held_by_large;
        let by_others = self.held_by_all().saturating_sub(by_large);
        share(bound, by_others, self.shared.large.load(Ordering::Relaxed))
    }

    /// Clients that are not large any more leave the list, which is never longer than memory divided by [`LEAST_FREE`].
    fn forget_small(&mut self) {
        let before = self.memory.large.len();
        let (connections, held_by_large) = (&mut self.connections, &mut self.memory.held_by_large);
        let free = self.memory.free;
        self.memory.large.retain(|key| match connections.get_mut(*key) {
            Some(connection) => {
                let charge = &mut connection.charge;
                charge.is_large = charge.held >= free;
                if !charge.is_large {
                    *held_by_large = held_by_large.saturating_sub(charge.held);
                }
                charge.is_large
            }
            None => false,
        });
        let gone = before - self.memory.large.len();
        self.shared.large.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Twice a second: what has stood still since the last time, and whether memory is short.
    pub(super) fn review_memory(&mut self) {
        self.forget_small();
        for key in &self.memory.large {
            if let Some(connection) = self.connections.get_mut(*key) {
                let charge = &mut connection.charge;
                charge.steady = charge.least;
                charge.least = charge.held;
            }
        }
        let at_rest = self.shared.at_rest.as_ref();
        let now = at_rest.and_then(Resident::now).unwrap_or(0);
        let now = now.saturating_sub(self.held_by_all());
        let [.., oldest] = &mut self.memory.beyond;
        *oldest = now;
        self.memory.beyond.rotate_right(1);
        let connections = self.shared.peers.get(self.index);
        let idle = connections.map_or(0, |mine| mine.connections.now() * IDLE);
        if self.memory.returning.is_due(self.memory.held + idle) {
            // mimalloc returns pages that have rested when another one is freed, and a worker that has become idle
            // frees none. A block that has pages of its own is one; it is not written to.
            drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK)));
        }
    }

    fn is_over_memory(&self) -> bool {
        self.held_by_all() > self.memory.bound
    }

    /// Counts the ticks in a row that find memory over its bound, and keeps it within.
    pub(super) fn check_memory(&mut self) {
        self.memory.over_for = if self.is_over_memory() {
            self.memory.over_for.saturating_add(1)
        } else {
            0
        };
        self.keep_within_memory();
    }

    fn spares_moving(&self) -> bool {
        let much = self
            .memory
            .bound
            .saturating_add(self.memory.bound / MOVING_BEYOND);
        self.memory.over_for < MOVING_AFTER && self.held_by_all() <= much
    }

    /// Sets the part of each connection that is free from now on: the walk over all of them counts them again.
    pub(super) fn bound_free(&mut self) {
        let connections = self.shared.connections.now();
        self.memory.free = free_of_each(self.snapshot.limits.memory_for_peers(), connections);
    }

    /// Sets the memory that this leaves for what is counted, after all have been.
    pub(super) fn bound_memory(&mut self) {
        let limits = &self.snapshot.limits;
        let (process, peers) = (limits.process_memory, limits.memory_for_peers());
        let foreseen = self.shared.connections.now() * (IDLE + self.memory.free);
        let at_rest = self.shared.at_rest.as_ref().map_or(0, Resident::all);
        let at_rest = at_rest.max(process - peers);
        let [newest, ..] = self.memory.beyond;
        let bound = |beyond: usize| bound(peers, process, foreseen.max(beyond.saturating_sub(at_rest)));
        self.memory.bound = bound(lasting(self.memory.beyond));
        // What has lasted is at most what is there now: this is never more than `bound`.
        self.memory.bound_soon = bound(newest);
        self.bound_windows();
    }

    /// Makes clients give way when the process holds more than it may: of the clients that hold more than their share,
    /// those that hold most lose the streams for which most is held, until they hold their share or memory is enough.
    /// One that holds less than its share is never touched, unless it is of something that was begun and not ended.
    /// Some of it is done at once, the rest between turns ([`Self::go_on_saving`]).
    pub(super) fn keep_within_memory(&mut self) {
        if !self.is_over_memory() || self.memory.is_saving {
            return;
        }
        let began = Instant::now();
        if self.memory.victims.is_empty() {
            self.find_victims();
        }
        let goes_on = (0..AT_ONCE).all(|_| self.save_some());
        if goes_on {
            self.chores.notify_one();
        }
        // Whoever is served now is seldom one of those who hold too much.
        self.share.excuse(began.elapsed());
    }

    /// Says whether there is more to do.
    pub(super) fn go_on_saving(&mut self) -> bool {
        let mut part = Part::begin();
        while self.save_some() {
            if part.is_used_up(true) {
                return true;
            }
        }
        false
    }

    /// Those who keep what they have begun go before all others, and while there is one of them nobody else goes.
    fn find_victims(&mut self) {
        self.forget_small();
        let (share, spares_moving) = (self.share(), self.spares_moving());
        let mut keeping: Vec<(usize, Key)> = Vec::new();
        let mut heaviest: Vec<(usize, Key)> = Vec::new();
        for key in &self.memory.large {
            if let Some(connection) = self.connections.get(*key)
                && (connection.closing.is_none() || connection.blocked)
            {
                let weighed = (connection.charge.weight(), *key);
                if keeps_unfinished(connection) {
                    keeping.push(weighed);
                } else if connection.charge.held > share && !(spares_moving && connection.charge.is_moving())
                {
                    heaviest.push(weighed);
                }
            }
        }
        let mut victims = if keeping.is_empty() { heaviest } else { keeping };
        self.memory.rest_until = if victims.is_empty() {
            self.memory.held + self.memory.bound / SEARCH_AGAIN
        } else {
            0
        };
        victims.sort_unstable_by_key(|(weight, _)| *weight);
        self.memory.victims = victims.into_iter().map(|(_, key)| key).collect();
    }

    /// Ends some streams of the next victim. `false`: memory is enough, or nobody is left who holds too much.
    fn save_some(&mut self) -> bool {
        if !self.is_over_memory() {
            self.memory.victims = Vec::new();
        }
        let Some(key) = self.memory.victims.last().copied() else {
            return false;
        };
        self.memory.is_saving = true;
        if !self.lighten(key) {
            self.memory.victims.pop();
        }
        self.memory.is_saving = false;
        true
    }

    /// Ends the streams of this connection for which most is held, or all of it, if most is output that its peer does not
    /// take: the end of a stream frees nothing of that. `false`: it holds its share, or nothing any more.
    fn lighten(&mut self, key: Key) -> bool {
        let (share, relays) = (self.share(), &self.relays);
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let keeps_unfinished = keeps_unfinished(connection);
        if !keeps_unfinished && connection.charge.held <= share {
            return false;
        }
        let holds_by_output = connection.closing.is_some() || connection.h2.output().len() > share;
        if connection.blocked && holds_by_output {
            self.limit_reached(key, PROCESS_MEMORY);
            // Its last words would have to wait behind what it does not take.
            self.remove(key);
            return false;
        }
        if keeps_unfinished {
            self.limit_reached(key, PROCESS_MEMORY);
            self.abort(key, ErrorCode::ENHANCE_YOUR_CALM, b"memory");
            // What it has begun is given up with the last words.
            self.flush(key);
            return false;
        }
        let kept = |tag| {
            let relay = relays.key_at(tag).and_then(|relay| relays.get(relay));
            relay
                .filter(|relay| relay.down.connection == key)
                .map_or(0, |relay| relay.charged as usize)
        };
        let victims = connection.h2.heaviest_with(VICTIMS, kept);
        if victims.is_empty() {
            self.limit_reached(key, PROCESS_MEMORY);
            self.abort(key, ErrorCode::ENHANCE_YOUR_CALM, b"memory");
            return false;
        }
        for (stream, tag) in victims {
            self.limit_reached(key, PROCESS_MEMORY);
            let (at, limit) = (ClientStream::new(key, stream), PROCESS_MEMORY);
            self.end_client_victim(at, tag, &Refusal::GaveWay { limit });
            self.count_held(key);
            let holds_more = self.connections.get(key).is_some_and(|c| c.charge.held > share);
            if !self.is_over_memory() || !holds_more {
                return false;
            }
        }
        true
    }

    /// A client's stream that others need more is ended on both sides, and what is queued on it is dropped. The client is
    /// sent the reason where nothing that waits for it is before the words; RST_STREAM says the same with less.
    pub(crate) fn end_client_victim(&mut self, down: ClientStream, tag: u32, refusal: &Refusal) {
        let waits_for_client = self
            .connections
            .get(down.connection)
            .is_some_and(|c| c.h2.is_waiting(down.stream));
        if let Some((key, relay)) = self.relay_down(tag, down) {
            if !waits_for_client && (relay.kind == Kind::Grpc || !relay.committed()) {
                return self.refuse(key, refusal);
            }
            if let Some(log) = &mut relay.log {
                (log.reason, log.detail) = (Some(refusal.reason()), refusal.limit());
            }
            self.cancel(key, ErrorCode::CANCEL);
            self.finish(key, refusal.grpc_status());
        }
        // gRPC over HTTP/2, Errors: RESOURCE_EXHAUSTED for its client.
        self.reset_stream(down, ErrorCode::ENHANCE_YOUR_CALM);
    }

    /// A backend's stream on which too much is queued is ended on both sides.
    fn end_backend_victim(&mut self, up: BackendStream, tag: u32, refusal: &Refusal) {
        match self.relay_up(tag, up) {
            Some((relay, _)) => self.refuse(relay, refusal),
            None => self.reset_stream(up, ErrorCode::ENHANCE_YOUR_CALM),
        }
    }
}

/// Most of what this client holds is a frame or a TLS record that it has begun: no end of a stream frees it, and nobody
/// is served by it.
fn keeps_unfinished(connection: &Connection) -> bool {
    let record = match &connection.transport {
        Transport::Tls(session) => session.kept(),
        Transport::Plaintext | Transport::Lent => 0,
    };
    let unfinished = record + connection.h2.unfinished_memory();
    connection.is_unfinished() && connection.paused.is_none() && 2 * unfinished > connection.charge.held
}

/// Adds to the total of all workers what is new since the last time.
fn publish(total: &AtomicUsize, published: &mut usize, now: usize) {
    if now > *published {
        total.fetch_add(now - *published, Ordering::Relaxed);
    } else {
        total.fetch_sub(*published - now, Ordering::Relaxed);
    }
    *published = now;
}

/// The memory that this connection has from the allocator, beside what each connection has.
fn memory(connection: &Connection) -> usize {
    let Connection {
        h2,
        peer,
        transport,
        unhandled,
        charge,
        ..
    } = connection;
    let transport = match transport {
        Transport::Tls(session) => session.memory(),
        Transport::Plaintext | Transport::Lent => 0,
    };
    let http2 = match peer {
        // Requests wait for a backend on its connection, or in their relay: until they are passed on they are the
        // client's.
        Peer::Client(_) => h2.memory() + h2.unreleased() + charge.rpcs,
        Peer::Backend(..) => {
            let streams = h2.open_streams() * http2::STREAM_MEMORY;
            h2.memory().saturating_sub(h2.waiting_memory() + streams)
        }
    };
    http2 + transport + unhandled.capacity()
}

impl Relay {
    /// Octets that this RPC keeps beside its client's stream; the backend's is among them. A body that waits for its first
    /// backend counts as what the client's connection has not passed on.
    pub(crate) fn memory(&self) -> u32 {
        let log = self.log.as_ref().map_or(0, |log| log.memory as usize);
        let deadline = self.deadline.map_or(0, |_| DEADLINE_MEMORY);
        let all = size_of::<Self>() + http2::STREAM_MEMORY + deadline + log + self.request_memory();
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_is_reminded_for_some_time_after_much_was_freed() {
        let mut returning = Returning::default();
        let reminders = |returning: &mut Returning, had: &[usize]| -> usize {
            had.iter().filter(|had| returning.is_due(**had)).count()
        };
        assert_eq!(
            reminders(&mut returning, &[0, 5 * FREED, 5 * FREED, 4 * FREED + 1]),
            0
        );
        // What is freed little by little adds up.
        let mut after = vec![4 * FREED; 100];
        assert_eq!(reminders(&mut returning, &after), usize::from(RETURNING));
        after.fill(0);
        assert_eq!(reminders(&mut returning, &after), usize::from(RETURNING));
    }
}
