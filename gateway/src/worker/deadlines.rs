//! Deadlines in ticks: who is due. No clock, and nothing is taken out for an RPC that ends in time.
//!
//! A wheel of wheels: a slot of the first is one tick, one of the second 64 ticks, and so on. When a tick begins, its
//! slot is handed out; when 64 begin, their slot is sorted into those before it.

use std::collections::VecDeque;

/// Slots of a wheel, as a power of two.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// So many wheels reach beyond all ticks.
const WHEELS: usize = 32_usize.div_ceil(BITS as usize);
/// Entries of RPCs that have ended may be as many as those of others, and so many more.
const STALE: usize = 4096;

/// Octets that one RPC with a deadline takes here, with a stale entry and what the slots keep in reserve.
pub(crate) const DEADLINE_MEMORY: usize = 4 * size_of::<TimerEntry<super::Key>>();

#[derive(Debug, Clone, Copy)]
struct TimerEntry<K> {
    due: u32,
    key: K,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<K> {
    /// Its tick has come; it may have ended before.
    Due(K),
    /// The entry was sorted into an earlier slot.
    Sorted,
    /// Nothing is to be done in this tick.
    Nothing,
}

/// The keys of RPCs with a deadline, and the ticks at which they are due.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    /// The tick that has begun.
    now: u32,
    wheels: [[Vec<TimerEntry<K>>; SLOTS]; WHEELS],
    /// Slots whose time has come, and since when.
    handed_out: VecDeque<(u32, Vec<TimerEntry<K>>)>,
    entries: usize,
    /// The next entry of the sweep: a slot, by its number, and a position in it.
    sweep: (usize, usize),
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            now: 0,
            wheels: std::array::from_fn(|_| std::array::from_fn(|_| Vec::new())),
            handed_out: VecDeque::new(),
            entries: 0,
            sweep: (0, 0),
        }
    }
}

/// The position of a tick in a wheel.
fn position(tick: u32, wheel: usize) -> usize {
    (tick >> (wheel as u32 * BITS)) as usize % SLOTS
}

impl<K: Copy> Deadlines<K> {
    /// `key` is due at the beginning of a tick, of the next one at the earliest.
    pub(super) fn insert(&mut self, due: u32, key: K) {
        let due = due.max(self.now.saturating_add(1));
        // The wheel of the first digit in which both differ: its slot is handed out when that digit has come.
        let digit = (due ^ self.now).checked_ilog2().unwrap_or(0) / BITS;
        let wheel = self.wheels.get_mut(digit as usize);
        if let Some(slot) = wheel.and_then(|wheel| wheel.get_mut(position(due, digit as usize))) {
            slot.push(TimerEntry { due, key });
            self.entries += 1;
        }
    }

    /// This tick has begun.
    pub(super) fn advance(&mut self, now: u32) {
        while self.now < now {
            self.now += 1;
            for (number, wheel) in self.wheels.iter_mut().enumerate() {
                let position = position(self.now, number);
                if let Some(slot) = wheel.get_mut(position).filter(|slot| !slot.is_empty()) {
                    self.handed_out.push_back((self.now, std::mem::take(slot)));
                }
                if position > 0 {
                    break;
                }
            }
        }
    }

    /// One of those whose slot was handed out.
    pub(super) fn next(&mut self) -> Step<K> {
        while let Some((_, slot)) = self.handed_out.front_mut() {
            let Some(entry) = slot.pop() else {
                self.handed_out.pop_front();
                continue;
            };
            self.entries -= 1;
            if entry.due <= self.now {
                return Step::Due(entry.key);
            }
            self.insert(entry.due, entry.key);
            return Step::Sorted;
        }
        Step::Nothing
    }

    /// For how many ticks somebody has been due.
    pub(super) fn overdue(&self) -> Option<u32> {
        self.handed_out.front().map(|(since, _)| self.now - since)
    }

    /// `true` if there are many more entries than RPCs with a deadline.
    pub(super) fn is_stale(&self, live: usize) -> bool {
        self.entries > 2 * live + STALE
    }

    /// Looks at some entries, and forgets those of RPCs that have ended.
    pub(super) fn sweep(&mut self, is_live: impl Fn(K) -> bool, looks: usize) {
        for _ in 0..looks {
            let (number, position) = self.sweep;
            let wheel = self.wheels.get_mut(number / SLOTS);
            let Some(slot) = wheel.and_then(|wheel| wheel.get_mut(number % SLOTS)) else {
                self.sweep = (0, 0);
                return;
            };
            match slot.get(position) {
                Some(entry) if is_live(entry.key) => self.sweep = (number, position + 1),
                Some(_) => {
                    slot.swap_remove(position);
                    self.entries -= 1;
                }
                None => {
                    if slot.capacity() > 4 * slot.len() {
                        slot.shrink_to_fit();
                    }
                    self.sweep = (number + 1, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks in which each was due, as they are found one tick after the other.
    fn found(deadlines: &mut Deadlines<u32>, until: u32) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for tick in deadlines.now + 1..=until {
            deadlines.advance(tick);
            loop {
                match deadlines.next() {
                    Step::Due(key) => found.push((key, tick)),
                    Step::Sorted => {}
                    Step::Nothing => break,
                }
            }
        }
        found
    }

    #[test]
    fn each_is_due_in_its_tick_however_far_it_is() {
        let mut deadlines = Deadlines::default();
        deadlines.advance(1_000_003);
        while deadlines.next() != Step::Nothing {}
        let ahead = [
            1, 2, 61, 62, 63, 64, 65, 127, 128, 4_000, 4_095, 4_096, 4_097, 300_000,
        ];
        for ahead in ahead {
            deadlines.insert(1_000_003 + ahead, ahead);
        }
        let found = found(&mut deadlines, 1_400_000);
        assert_eq!(found, ahead.map(|ahead| (ahead, 1_000_003 + ahead)));
        assert_eq!(deadlines.entries, 0);
        assert!(deadlines.overdue().is_none());
    }

    #[test]
    fn what_is_past_is_due_in_the_next_tick_and_what_is_never_stays() {
        let mut deadlines = Deadlines::default();
        deadlines.advance(10);
        deadlines.insert(3, 1);
        deadlines.insert(u32::MAX, 2);
        assert_eq!(found(&mut deadlines, 20_000), [(1, 11)]);
        assert_eq!(deadlines.entries, 1);
    }

    #[test]
    fn who_is_due_later_waits_behind_those_who_are_due() {
        let mut deadlines = Deadlines::default();
        for key in 0..100_000 {
            deadlines.insert(3, key);
        }
        deadlines.insert(5, 100_000);
        deadlines.advance(3);
        for _ in 0..50_000 {
            assert!(matches!(deadlines.next(), Step::Due(_)));
        }
        deadlines.advance(5);
        assert_eq!(deadlines.overdue(), Some(2));
        let rest = found(&mut deadlines, 6);
        assert_eq!((rest.len(), rest.last()), (50_001, Some(&(100_000, 6))));
    }

    #[test]
    fn entries_of_rpcs_that_have_ended_are_forgotten_in_parts() {
        let mut deadlines = Deadlines::default();
        let live = 1_000;
        for key in 0..100_000 {
            deadlines.insert(600 + key % 500, key);
            while deadlines.is_stale(live) {
                deadlines.sweep(|key| key < 1_000, 256);
            }
        }
        assert!(deadlines.entries <= 2 * live + STALE + 1, "{}", deadlines.entries);
        let found = found(&mut deadlines, 1_200);
        assert_eq!(found.iter().filter(|(key, _)| *key < 1_000).count(), 1_000);
        let capacity: usize = deadlines.wheels.iter().flatten().map(Vec::capacity).sum();
        assert!(capacity < 10_000, "{capacity}");
    }
}
