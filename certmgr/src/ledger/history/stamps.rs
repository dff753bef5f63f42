//! Noted instants of the wall clock, on the monotonic clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::History;
use crate::schedule::{MonotonicTime, Now};

/// The noted instants of a history on the monotonic clock. Those that this process has noted are exact. The others are
/// computed from the wall clock as it is when they are first seen; an instant in its future counts as just now, so
/// that after a clock was set back nothing waits for longer than after a fresh event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps(BTreeMap<u64, MonotonicTime>);

impl Stamps {
    /// Adds the instants of a history that are new, and removes those that are not in it any more.
    pub(crate) fn learn(&mut self, history: &History, now: Now) {
        let instants = history.instants();
        self.0.retain(|at, _| instants.contains(at));
        for at in instants {
            self.0.entry(at).or_insert_with(|| {
                let age = Duration::from_secs(now.wall.as_secs().saturating_sub(at));
                MonotonicTime(now.monotonic.0.saturating_sub(age))
            });
        }
    }

    /// Adds the current instant, for a note that is made now.
    pub(super) fn note(&mut self, now: Now) -> u64 {
        let at = now.wall.as_secs();
        // After the clock was set back a second may come twice: the later one counts, which waits longer.
        self.0.insert(at, now.monotonic);
        at
    }

    fn of(&self, at: u64) -> MonotonicTime {
        let noted = self.0.get(&at).copied();
        noted.unwrap_or(MonotonicTime(Duration::from_secs(at)))
    }
}

/// The noted instants as they are seen now.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Times<'a> {
    pub(in crate::ledger) stamps: &'a Stamps,
    pub(in crate::ledger) now: Now,
}

impl Times<'_> {
    pub(in crate::ledger) fn of(self, at: u64) -> MonotonicTime {
        self.stamps.of(at)
    }

    /// True if this time has passed since a noted instant.
    pub(super) fn is_past(self, at: u64, after: Duration) -> bool {
        self.of(at).after(after) < self.now.monotonic
    }

    /// Time until this instant; `None`: it has come.
    pub(in crate::ledger) fn left(self, until: MonotonicTime) -> Option<Duration> {
        let left = until.0.checked_sub(self.now.monotonic.0);
        left.filter(|left| !left.is_zero())
    }
}
