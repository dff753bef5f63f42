//! The two clocks: the wall clock, which may be set, and the monotonic clock, which only runs.

use std::time::Duration;

use certstore::UnixTime;

/// Both clocks, read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// The wall clock.
    pub(crate) wall: UnixTime,
    /// The monotonic clock.
    pub(crate) monotonic: MonotonicTime,
}

/// An instant on the monotonic clock: the wall clock as it stood when the process began, and from then on the
/// time that has really passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonotonicTime(pub(crate) Duration);

/// Returns the time of the wall clock after this long, if nobody sets it.
pub(crate) fn later(at: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()).saturating_add(by))
}

impl Now {
    /// Returns the time until an instant; zero if it has passed.
    pub(super) fn until(self, at: MonotonicTime) -> Duration {
        at.0.saturating_sub(self.monotonic.0)
    }

    pub(super) fn until_wall(self, at: UnixTime) -> Duration {
        Duration::from_secs(at.as_secs().saturating_sub(self.wall.as_secs()))
    }

    /// Returns both clocks for a later time of the wall clock, if nobody sets it.
    pub(crate) fn later(self, at: UnixTime) -> Self {
        Self {
            wall: at.max(self.wall),
            monotonic: self.monotonic.after(self.until_wall(at)),
        }
    }

    /// Returns the time of the wall clock at an instant, if nobody sets it.
    pub(crate) fn wall_at(self, at: MonotonicTime) -> UnixTime {
        let wall = Duration::from_secs(self.wall.as_secs());
        let at = (wall + at.0.saturating_sub(self.monotonic.0))
            .saturating_sub(self.monotonic.0.saturating_sub(at.0));
        UnixTime::since_unix_epoch(at)
    }
}

impl MonotonicTime {
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}
