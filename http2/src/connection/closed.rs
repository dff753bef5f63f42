//! The record of streams that are gone.

use crate::limits::Limits;
use std::mem;

/// No limits make more ids be remembered than this, twice.
const MOST: usize = 1 << 16;

/// A memory of the closed streams that the peer opened (RFC 9113 §5.1, state *closed*): the rules differ by how
/// a stream was closed, and ids below the highest one that were never used are an error of their own.
#[derive(Debug)]
pub(super) struct Closed {
    /// Closed by END_STREAM on both sides or by the peer's RST_STREAM: the last few. A frame that is an error on one of
    /// them is an error of another code on one that is forgotten, and nothing else: no peer that keeps the rules is hurt.
    ended: [u32; 4],
    next: u8,
    /// Reset by us while the peer could still send: what was in flight is ignored. The younger and the older half; once
    /// `capacity` ids are in the younger, the older is forgotten.
    young: Ids,
    old: Ids,
    capacity: usize,
}

impl Closed {
    /// Remembers as many resets as an ordinary peer may bring about in one flight: all the streams that it may have open,
    /// those beyond them that are refused, and those that break a rule.
    pub(super) fn new(limits: &Limits) -> Self {
        let all = [
            limits.max_concurrent_streams,
            limits.refused_streams.burst,
            limits.provoked_resets.burst,
        ];
        let all = all.iter().fold(0_usize, |sum, &n| sum.saturating_add(n as usize));
        Self {
            ended: [0; 4],
            next: 0,
            young: Ids::default(),
            old: Ids::default(),
            capacity: all.clamp(1, MOST),
        }
    }

    pub(super) fn heap(&self) -> usize {
        (self.young.ranges.capacity() + self.old.ranges.capacity()) * size_of::<IdRange>()
    }

    #[inline]
    pub(super) fn ended(&mut self, id: u32) {
        if let Some(place) = self.ended.get_mut(usize::from(self.next % 4)) {
            *place = id;
        }
        self.next = self.next.wrapping_add(1);
    }

    pub(super) fn reset(&mut self, id: u32) {
        if self.young.len >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    pub(super) fn has_ended(&self, id: u32) -> bool {
        self.ended.contains(&id)
    }

    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }
}

/// A set of ids as ranges: what is refused in one flight lies side by side.
#[derive(Debug, Default)]
struct Ids {
    /// In order, apart from each other.
    ranges: Vec<IdRange>,
    len: usize,
}

/// From one odd id to another, both within.
#[derive(Copy, Clone, Debug)]
struct IdRange {
    first: u32,
    last: u32,
}

impl Ids {
    /// The position of the first range that does not end before this id.
    fn place_of(&self, id: u32) -> usize {
        self.ranges.partition_point(|range| range.last < id)
    }

    fn contains(&self, id: u32) -> bool {
        let range = self.ranges.get(self.place_of(id));
        range.is_some_and(|range| range.first <= id)
    }

    fn insert(&mut self, id: u32) {
        let at = self.place_of(id);
        if self.ranges.get(at).is_some_and(|range| range.first <= id) {
            return;
        }
        self.len += 1;
        let before = at.checked_sub(1);
        let joins_before = before
            .and_then(|before| self.ranges.get(before))
            .is_some_and(|range| range.last + 2 == id);
        let joins_after = self.ranges.get(at).is_some_and(|range| id + 2 == range.first);
        match (before, joins_before, joins_after) {
            (Some(before), true, true) => {
                let after = self.ranges.remove(at);
                if let Some(range) = self.ranges.get_mut(before) {
                    range.last = after.last;
                }
            }
            (Some(before), true, false) => {
                if let Some(range) = self.ranges.get_mut(before) {
                    range.last = id;
                }
            }
            (_, _, true) => {
                if let Some(range) = self.ranges.get_mut(at) {
                    range.first = id;
                }
            }
            _ => self.ranges.insert(at, IdRange { first: id, last: id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rate;
    use std::collections::BTreeSet;

    /// Room for this many.
    fn closed(capacity: u32) -> Closed {
        let mut limits = Limits::edge();
        limits.max_concurrent_streams = capacity;
        (limits.refused_streams, limits.provoked_resets) = (Rate::new(0, 0), Rate::new(0, 0));
        Closed::new(&limits)
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut closed = closed(100);
        // No two of them side by side: the worst case for the room that they take.
        for n in 0..1000 {
            closed.reset(4 * n + 1);
            closed.ended(2 * n + 1);
        }
        let remembered = (0..1000).filter(|n| closed.was_reset(4 * n + 1)).count();
        assert!((100..=200).contains(&remembered), "{remembered}");
        assert!((900..1000).all(|n| closed.was_reset(4 * n + 1)));
        assert!(closed.has_ended(1993) && !closed.has_ended(1991));
        assert!(
            closed.heap() <= 4 * 100 * size_of::<IdRange>(),
            "{}",
            closed.heap()
        );
    }

    #[test]
    fn a_flight_of_refused_streams_takes_one_range() {
        let limits = Limits::edge();
        let mut closed = Closed::new(&limits);
        for n in 0..limits.refused_streams.burst {
            closed.reset(513 + 2 * n);
        }
        assert_eq!(closed.young.ranges.len(), 1);
        assert!((0..limits.refused_streams.burst).all(|n| closed.was_reset(513 + 2 * n)));
        assert!(!closed.was_reset(511) && !closed.was_reset(513 + 2 * limits.refused_streams.burst));
    }

    #[test]
    fn ids_in_any_order_are_found_again_and_no_others() {
        let mut seed = 7_u32;
        println!("seed {seed}");
        let (mut ids, mut model) = (Ids::default(), BTreeSet::new());
        for _ in 0..3_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (seed >> 20) | 1;
            ids.insert(id);
            model.insert(id);
        }
        assert_eq!(ids.len, model.len());
        for id in (1..4_099).step_by(2) {
            assert_eq!(ids.contains(id), model.contains(&id), "{id}");
        }
        let apart = ids.ranges.windows(2).all(|two| two[0].last + 2 < two[1].first);
        assert!(apart, "{:?}", ids.ranges);
    }
}
