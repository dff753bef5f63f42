//! The rate at which one connection may fill the log.

use std::time::{Duration, Instant};

/// The unit of time of a rate.
const SECOND: Duration = Duration::from_secs(1);

/// The lines of one connection. The clock is looked at only when they came to the rate: a connection that stays under it
/// pays an addition and a comparison for each line.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Of lines since `since`.
    octets: usize,
    /// `None`: since the connection began.
    since: Option<Instant>,
    /// A line was refused since.
    refused: bool,
}

/// The decision on a line that a connection wants to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    /// The first line that may not: a matter to be reported.
    NoMore,
    StillNot,
}

impl Spent {
    /// `true` if a connection that may have `rate` octets in a second may have another line. At most it has twice as
    /// many in one, when its lines came at the end of a long silence.
    #[inline]
    pub(crate) fn may_add(&mut self, rate: usize, now: Instant) -> Verdict {
        if self.octets < rate {
            return Verdict::Yes;
        }
        let is_over = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= SECOND);
        if is_over && rate > 0 {
            *self = Self {
                octets: 0,
                since: Some(now),
                refused: false,
            };
            return Verdict::Yes;
        }
        if std::mem::replace(&mut self.refused, true) {
            Verdict::StillNot
        } else {
            Verdict::NoMore
        }
    }

    /// A line was made.
    #[inline]
    pub(crate) fn add(&mut self, octets: usize) {
        self.octets = self.octets.saturating_add(octets);
    }
}
