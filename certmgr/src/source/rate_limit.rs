//! At most one request a second to a remote store, whatever happens.

use std::time::Duration;

use tokio::time::Instant;

/// Cost of one request.
const PER_REQUEST: Duration = Duration::from_secs(1);

/// Each request is paid for by a second in which no reading begins. The requests of one reading follow each
/// other at once, for they belong together.
#[derive(Debug)]
pub(super) struct RateLimit {
    free_at: Instant,
}

impl RateLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self { free_at: now }
    }

    /// Earliest instant of the next reading.
    pub(super) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// Counts a request.
    pub(super) fn spend(&mut self, now: Instant) {
        self.free_at = self.free_at.max(now) + PER_REQUEST;
    }
}

/// A wait around `poll`: from 90 to 110 % of it, by `random` in 0..1. Keeps a fleet from asking all at once.
pub(super) fn jittered(poll: Duration, random: f64) -> Duration {
    poll.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_many_requests_are_followed_by_as_many_seconds() {
        let start = Instant::now();
        let mut rate_limit = RateLimit::new(start);
        assert_eq!(rate_limit.free_at(), start);
        for _ in 0..3 {
            rate_limit.spend(start);
        }
        assert_eq!(rate_limit.free_at(), start + 3 * PER_REQUEST);
        let late = start + 60 * PER_REQUEST;
        rate_limit.spend(late);
        assert_eq!(rate_limit.free_at(), late + PER_REQUEST);
    }

    #[test]
    fn a_poll_is_drawn_from_a_tenth_around_it() {
        let poll = Duration::from_secs(100);
        assert_eq!(jittered(poll, 0.0).as_secs(), 90);
        assert_eq!(jittered(poll, 0.5).as_secs(), 100);
        assert_eq!(jittered(poll, 1.0).as_millis(), 110_000);
    }
}
