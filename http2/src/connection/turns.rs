//! Which stream with queued data sends next.

use crate::flow::SendOffset;
use crate::stream::{Stream, StreamKey, Streams};
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

/// The memory of a blocked stream: nodes of the set are half full at the least.
const BLOCKED: usize = 24;

/// Each stream with queued data, once, unless its head waits as well: in the ring if it has a window, else among the
/// blocked.
///
/// A new initial window moves none of them, and so costs the same however many there are: a stream of the ring that has no
/// window any more is found when its turn comes, and one of the blocked that has one now is taken when it can send.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ring: VecDeque<StreamKey>,
    /// Made when the first stream is blocked: most connections are idle, and small.
    blocked: Option<Box<Blocked>>,
}

#[derive(Debug, Default)]
struct Blocked {
    /// The largest window first, then the oldest stream.
    by_window: BTreeSet<(Reverse<SendOffset>, u32)>,
    /// The initial window grew since the last look. Nothing else gives a window to those that stay here.
    may_unblock: bool,
}

impl Turns {
    /// The stream has queued data and waits nowhere.
    #[inline]
    pub(super) fn join(&mut self, key: StreamKey, stream: &mut Stream, initial: u32) {
        if stream.send.available(initial) > 0 {
            stream.in_ring = true;
            self.ring.push_back(key);
        } else {
            let blocked = self.blocked.get_or_insert_default();
            blocked.by_window.insert((Reverse(stream.send), key.id()));
        }
    }

    /// The stream is no longer one of the blocked, where it was with this window.
    pub(super) fn leave_blocked(&mut self, key: StreamKey, window: SendOffset) {
        if let Some(blocked) = &mut self.blocked {
            blocked.by_window.remove(&(Reverse(window), key.id()));
        }
    }

    pub(super) fn initial_window_changed(&mut self, old: u32, new: u32) {
        if let Some(blocked) = &mut self.blocked {
            blocked.may_unblock |= new > old;
        }
    }

    /// Whose turn it is, taken out; its window may be closed, or the stream gone. Those that were blocked come first, with
    /// one frame each: only a growth of the initial window gives them one, so the ring waits for them once.
    #[inline]
    pub(super) fn next(&mut self, streams: &Streams, initial: u32) -> Option<StreamKey> {
        if let Some(blocked) = &mut self.blocked
            && blocked.may_unblock
            && let Some(key) = blocked.next(streams, initial)
        {
            return Some(key);
        }
        self.ring.pop_front()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let blocked = self.blocked.as_ref();
        self.ring.len() + blocked.map_or(0, |blocked| blocked.by_window.len())
    }

    /// Forgets streams that are gone.
    pub(super) fn sweep(&mut self, streams: &Streams) {
        self.ring.retain(|&key| streams.get(key).is_some());
        if let Some(blocked) = &mut self.blocked {
            blocked.by_window.retain(|&(_, id)| streams.find(id).is_some());
        }
    }

    /// The ring is empty: a large one is not kept.
    #[inline]
    pub(super) fn shrink(&mut self) {
        if self.ring.capacity() > 64 {
            self.ring.shrink_to(0);
        }
    }

    pub(super) fn heap(&self) -> usize {
        let blocked = self.blocked.as_ref();
        let blocked = blocked.map_or(0, |blocked| {
            size_of::<Blocked>() + blocked.by_window.len() * BLOCKED
        });
        self.ring.capacity() * size_of::<StreamKey>() + blocked
    }
}

impl Blocked {
    /// One that has a window now, taken out.
    #[cold]
    fn next(&mut self, streams: &Streams, initial: u32) -> Option<StreamKey> {
        while let Some(&(Reverse(window), id)) = self.by_window.first()
            && window.available(initial) > 0
        {
            self.by_window.pop_first();
            if let Some(key) = streams.find(id) {
                return Some(key);
            }
        }
        self.may_unblock = false;
        None
    }
}
