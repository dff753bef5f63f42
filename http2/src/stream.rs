//! The streams of one connection and their states.
//!
//! RFC 9113 §5.1 without the states of server push, which we neither offer nor take:
//!
//! ```text
//!                +--------+
//!                |  idle  |   id above every id seen
//!                +--------+
//!                     | H: HEADERS sent or received
//!                     v
//!                +--------+
//!        ES sent |        | ES received        H:  HEADERS
//!       ,--------|  open  |-------.            ES: END_STREAM
//!      v         |        |        v           R:  RST_STREAM
//! +----------+   +--------+   +----------+
//! |   half   |        |       |   half   |
//! |  closed  |        | R     |  closed  |
//! | (local)  |        |       | (remote) |
//! +----------+        v       +----------+
//!      |         +--------+        |
//!      `-------->| closed |<-------'
//!   ES received, |        | ES sent, R
//!   R            +--------+
//! ```
//!
//! Open and half closed streams have a [`Stream`], whose `local_ended` and `remote_ended` tell them apart. Idle and
//! closed ones have none; their ids tell them apart, and [`Closed`](crate::connection) remembers the youngest dead.

mod index;
pub(crate) mod queue;

use crate::Field;
use crate::flow::{ReceiveWindow, SendOffset};
use crate::message::UNKNOWN_LENGTH;
use crate::slots::Slots;
use index::StreamIndex;
use queue::Queue;
use std::cell::RefCell;

/// Names one stream of one connection. A key outlives its stream harmlessly: ids are never used twice.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// The id on the wire (RFC 9113 §5.1.1).
    pub fn id(self) -> u32 {
        self.id
    }
}

/// A stream that is open or half closed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) tag: u32,
    /// The octets that may be sent on it beyond the peer's initial window.
    pub(crate) send: SendOffset,
    pub(crate) receive: ReceiveWindow,
    /// Octets of DATA that the peer's content-length still promises.
    pub(crate) content_left: u64,
    /// The time when it was opened, in milliseconds of the connection's life.
    pub(crate) opened_ms: u32,
    /// We sent END_STREAM: half closed (local).
    pub(crate) local_ended: bool,
    /// The peer sent END_STREAM: half closed (remote).
    pub(crate) remote_ended: bool,
    /// The final response head was sent (server) or received (client).
    pub(crate) has_response: bool,
    /// The request was too large: its DATA is swallowed.
    pub(crate) swallow: bool,
    /// The request was HEAD: a content-length promises nothing.
    pub(crate) head_request: bool,
    /// END_STREAM goes behind the queue, or with the trailers.
    pub(crate) end_queued: bool,
    /// Server: a backend answered it.
    pub(crate) served: bool,
    /// Server: the caller answered it, for it was meant for no backend.
    pub(crate) turned_away: bool,
    /// Server: octets of `header_expansion` that come back when it ends.
    pub(crate) expansion: u16,
    /// Client: interim heads so far.
    pub(crate) informational: u32,
    /// Server: milliseconds after which a reset by the peer is explained; 0: never.
    pub(crate) deadline_ms: u32,
    /// Waits in the ring of streams that could send, or in the line of those whose head or trailers are not framed. If it
    /// has data and is in neither, its window is what it waits for.
    pub(crate) in_ring: bool,
    /// Data that waits for windows or for room in the output.
    pub(crate) queue: Queue,
    /// The head and the trailers that wait.
    pub(crate) lists: Option<Box<Lists>>,
}

/// Lists of fields that are not framed yet.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// The final response head, which waits for room in the output, before the queue.
    pub(crate) head: Option<Vec<Field>>,
    /// Trailers, which wait behind the queue, or for room in the output.
    pub(crate) trailers: Option<Vec<Field>>,
    /// The memory of all of it.
    pub(crate) heap: usize,
}

impl Stream {
    pub(crate) fn new(receive_window: u32, tag: u32, opened_ms: u32) -> Self {
        Self {
            tag,
            send: SendOffset::default(),
            receive: ReceiveWindow::new(receive_window),
            content_left: UNKNOWN_LENGTH,
            opened_ms,
            local_ended: false,
            remote_ended: false,
            has_response: false,
            swallow: false,
            head_request: false,
            end_queued: false,
            served: false,
            turned_away: false,
            expansion: 0,
            informational: 0,
            deadline_ms: 0,
            in_ring: false,
            queue: Queue::default(),
            lists: None,
        }
    }

    /// It has data, and no window for it.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        !self.queue.is_empty() && !self.in_ring
    }

    /// Nothing more can be handed to it for sending.
    pub(crate) fn send_closed(&self) -> bool {
        self.local_ended || self.end_queued
    }

    /// Nothing of it waits that would have to be framed before what is handed in now.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.lists.as_ref().is_none_or(|lists| lists.head.is_none())
    }

    /// The memory of its head and trailers that wait.
    pub(crate) fn heap_of_lists(&self) -> usize {
        self.lists.as_ref().map_or(0, |lists| lists.heap)
    }

    /// The final head waits. Returns how much its heap has grown.
    pub(crate) fn put_head(&mut self, fields: Vec<Field>) -> usize {
        let grown = heap_of_list(&fields);
        self.lists_with(grown).head = Some(fields);
        grown
    }

    /// Trailers wait. Returns how much its heap has grown.
    pub(crate) fn put_trailers(&mut self, fields: Vec<Field>) -> usize {
        let grown = heap_of_list(&fields);
        self.lists_with(grown).trailers = Some(fields);
        grown
    }

    fn lists_with(&mut self, more: usize) -> &mut Lists {
        let lists = self.lists.get_or_insert_default();
        lists.heap += more;
        lists
    }
}

/// The rest of a stream that was taken out.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Gone {
    pub(crate) remote_ended: bool,
    /// Octets that the caller had not released.
    pub(crate) unreleased: u32,
    /// Octets that were queued, and are dropped.
    pub(crate) queued: usize,
    /// The memory of these, its head and its trailers.
    pub(crate) waiting_heap: usize,
}

/// The memory of a list of fields that waits, as if it shared none of them, and its part of [`Lists`].
fn heap_of_list(fields: &Vec<Field>) -> usize {
    size_of::<Lists>()
        + fields.capacity() * size_of::<Field>()
        + fields.iter().map(Field::size).sum::<usize>()
}

/// All open and half closed streams, by key and by id.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Slots<Stream>,
    by_id: StreamIndex,
    /// Last time it needed a large table.
    large: bool,
}

/// With this many slots or fewer the table is kept although no stream is left: a connection between two RPCs then
/// allocates nothing, and an idle one holds about 1 KiB. Larger ones go to the next busy connection of the thread.
const KEPT_SLOTS: usize = 8;
const SPARE_TABLES: usize = 8;
/// Larger ones than this are freed.
const LARGEST_SPARE: usize = 1024;

thread_local! {
    static SPARE: RefCell<Vec<Streams>> = const { RefCell::new(Vec::new()) };
}

fn with_spare<T: Default>(f: impl FnOnce(&mut Vec<Streams>) -> T) -> T {
    let borrowed = SPARE.try_with(|spare| spare.try_borrow_mut().map(|mut spare| f(&mut spare)).ok());
    borrowed.ok().flatten().unwrap_or_default()
}

/// The memory of one open stream in the table of its connection.
pub const STREAM_MEMORY: usize = Slots::<Stream>::ENTRY + StreamIndex::ENTRY;

impl Streams {
    /// Octets that the table has from the allocator, without what its streams queue.
    pub(crate) fn heap(&self) -> usize {
        self.slots.heap() + self.by_id.heap()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.len() == 0
    }

    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<StreamKey> {
        self.by_id.get(id).map(|slot| StreamKey { slot, id })
    }

    #[inline]
    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot, key.id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot, key.id)
    }

    pub(crate) fn insert(&mut self, id: u32, stream: Stream) -> StreamKey {
        if self.by_id.len() == self.slots.capacity() && self.slots.capacity() <= KEPT_SLOTS {
            self.grow();
        }
        let slot = self.slots.insert(id, stream);
        self.by_id.insert(id, slot);
        StreamKey { slot, id }
    }

    /// Takes a table that a connection gave back, if this one is becoming large.
    #[cold]
    fn grow(&mut self) {
        self.large |= self.slots.capacity() >= KEPT_SLOTS;
        if self.large
            && let Some(mut table) = with_spare(Vec::pop)
        {
            for (id, slot) in self.by_id.iter() {
                table.by_id.insert(id, slot);
            }
            self.by_id = table.by_id;
            self.slots.move_into(table.slots);
        }
    }

    /// Takes the stream out. What it queued goes with it.
    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Gone> {
        let stream = self.slots.remove(key.slot, key.id)?;
        self.by_id.remove(key.id);
        if self.by_id.len() == 0
            && (self.slots.capacity() > KEPT_SLOTS || self.by_id.capacity() > 2 * KEPT_SLOTS)
        {
            self.give_back();
        }
        Some(Gone {
            remote_ended: stream.remote_ended,
            unreleased: stream.receive.unreleased(),
            queued: stream.queue.len(),
            waiting_heap: stream.queue.heap() + stream.heap_of_lists(),
        })
    }

    /// No stream is left in a large table.
    #[cold]
    fn give_back(&mut self) {
        let mut table = std::mem::take(self);
        self.large = table.slots.was_filled_beyond(KEPT_SLOTS);
        table.slots.clear();
        table.by_id.clear();
        if table.slots.capacity() > KEPT_SLOTS
            && table.slots.capacity().max(table.by_id.capacity()) <= LARGEST_SPARE
        {
            with_spare(|spare| {
                if spare.len() < SPARE_TABLES {
                    spare.push(table);
                }
            });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamKey, &Stream)> {
        let entries = self.slots.iter();
        entries.map(|(slot, id, stream)| (StreamKey { slot, id }, stream))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        let entries = self.slots.iter_mut();
        entries.map(|(slot, id, stream)| (StreamKey { slot, id }, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(0, 0, 0)
    }

    #[test]
    fn a_stale_key_finds_nothing_although_its_slot_is_used_again() {
        let mut streams = Streams::default();
        let old = streams.insert(1, stream());
        assert!(streams.remove(old).is_some());
        let new = streams.insert(3, stream());
        assert_eq!(old.slot, new.slot);
        assert!(
            streams.get(old).is_none() && streams.get_mut(old).is_none() && streams.remove(old).is_none()
        );
        assert_eq!(streams.find(3), Some(new));
        assert_eq!(streams.find(1), None);
    }

    #[test]
    fn a_large_table_goes_to_the_next_busy_connection_and_a_small_one_stays() {
        let mut streams = Streams::default();
        let keys: Vec<_> = (0..100).map(|n| streams.insert(2 * n + 1, stream())).collect();
        assert!(
            keys.iter()
                .all(|&key| streams.get(key).is_some() && streams.find(key.id()) == Some(key))
        );
        assert_eq!(streams.len(), 100);
        for key in keys {
            assert!(streams.remove(key).is_some());
        }
        assert_eq!(
            (streams.len(), streams.slots.capacity(), streams.by_id.capacity()),
            (0, 0, 0)
        );
        // Another connection grows into it with its streams in place.
        let mut other = Streams::default();
        let keys: Vec<_> = (0..9).map(|n| other.insert(2 * n + 1, stream())).collect();
        assert!(other.slots.capacity() >= 100);
        assert!(
            keys.iter()
                .all(|&key| other.get(key).is_some() && other.find(key.id()) == Some(key))
        );
        let mut small = Streams::default();
        let key = small.insert(201, stream());
        small.remove(key);
        assert!((1..=KEPT_SLOTS).contains(&small.slots.capacity()));
    }

    #[test]
    fn a_table_of_several_chunks_leaves_nothing_behind_in_whatever_order_they_go() {
        for backwards in [false, true] {
            let mut streams = Streams::default();
            let mut keys: Vec<_> = (0..600).map(|n| streams.insert(2 * n + 1, stream())).collect();
            if backwards {
                keys.reverse();
            }
            for key in keys {
                assert!(streams.remove(key).is_some());
            }
            assert_eq!((streams.heap(), streams.large), (0, true), "{backwards}");
        }
    }

    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<Stream>() <= 128, "{}", size_of::<Stream>());
    }
}
