//! Instants of the wall clock, as they are noted, on the clock that only runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Book;
use crate::schedule::{Now, Steady};

/// Where the seconds of the wall clock that occur in a book lie on the steady clock. What the process noted itself
/// it knows exactly; the rest is judged by the wall clock as it stands when it is first seen, and what lies in
/// its future is taken as just now, so that a clock that was set back holds up nothing for longer than a fresh
/// event would.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps(BTreeMap<u64, Steady>);

impl Stamps {
    /// Takes in what a book has that is new, and forgets what is no more in it.
    pub(crate) fn learn(&mut self, book: &Book, now: Now) {
        let instants = book.instants();
        self.0.retain(|at, _| instants.contains(at));
        for at in instants {
            self.0.entry(at).or_insert_with(|| {
                let age = Duration::from_secs(now.wall.as_secs().saturating_sub(at));
                Steady(now.steady.0.saturating_sub(age))
            });
        }
    }

    /// Something is being noted now.
    pub(super) fn note(&mut self, now: Now) -> u64 {
        let at = now.wall.as_secs();
        // After the clock was set back a second may come twice: the later one counts, which waits longer.
        self.0.insert(at, now.steady);
        at
    }

    pub(in crate::ledger) fn of(&self, at: u64) -> Steady {
        self.0
            .get(&at)
            .copied()
            .unwrap_or(Steady(Duration::from_secs(at)))
    }
}
