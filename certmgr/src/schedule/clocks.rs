//! The two clocks: one that may be set, and one that only ever runs.

use std::time::Duration;

use certstore::UnixTime;

/// Both clocks, read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// The clock that may be set.
    pub(crate) wall: UnixTime,
    /// The clock that only ever runs.
    pub(crate) steady: Steady,
}

/// An instant on the steady clock: the wall clock as it stood when the process began, and from then on the
/// time that has really passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Steady(pub(crate) Duration);

/// What the wall clock shows after this long, if nobody sets it.
pub(crate) fn later(at: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()).saturating_add(by))
}

impl Now {
    /// How long until an instant; zero if it has passed.
    pub(super) fn until(self, at: Steady) -> Duration {
        at.0.saturating_sub(self.steady.0)
    }

    pub(super) fn until_wall(self, at: UnixTime) -> Duration {
        Duration::from_secs(at.as_secs().saturating_sub(self.wall.as_secs()))
    }

    /// Both clocks when the wall clock shows a later time, if nobody sets it.
    pub(crate) fn later(self, at: UnixTime) -> Self {
        Self {
            wall: at.max(self.wall),
            steady: self.steady.after(self.until_wall(at)),
        }
    }

    /// What the wall clock shows at an instant, if nobody sets it.
    pub(crate) fn wall_at(self, at: Steady) -> UnixTime {
        let wall = Duration::from_secs(self.wall.as_secs());
        let at =
            (wall + at.0.saturating_sub(self.steady.0)).saturating_sub(self.steady.0.saturating_sub(at.0));
        UnixTime::since_unix_epoch(at)
    }
}

impl Steady {
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}
