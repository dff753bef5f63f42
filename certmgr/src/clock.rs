//! The seams to time and chance, which the program's start gives; and the nearness of an end.

use std::sync::Arc;

use certstore::UnixTime;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Gives numbers from 0 up to but not including 1.
pub type Random = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Nearness of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    Soon,
    Past,
}

impl Expiry {
    /// `None` while at least the last part of the life is left: a fifth of it for `last_part` 5.
    pub(crate) fn of(
        not_before: UnixTime,
        not_after: UnixTime,
        now: UnixTime,
        last_part: u64,
    ) -> Option<Self> {
        let (from, until, now) = (not_before.as_secs(), not_after.as_secs(), now.as_secs());
        if now > until {
            Some(Self::Past)
        } else if until.saturating_sub(now) < until.saturating_sub(from) / last_part {
            Some(Self::Soon)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn the_end_is_near_when_a_twentieth_of_life_is_left_and_past_after_the_last_second() {
        let end = |now| Expiry::of(at(1_000), at(3_000), at(now), 20);
        assert_eq!(end(500), None, "not begun");
        assert_eq!(end(2_900), None);
        assert_eq!(end(2_901), Some(Expiry::Soon));
        assert_eq!(end(3_000), Some(Expiry::Soon));
        assert_eq!(end(3_001), Some(Expiry::Past));
    }

    #[test]
    fn a_life_of_no_length_ends() {
        assert_eq!(Expiry::of(at(5), at(5), at(5), 20), None);
        assert_eq!(Expiry::of(at(5), at(5), at(6), 20), Some(Expiry::Past));
        assert_eq!(Expiry::of(at(9), at(5), at(6), 20), Some(Expiry::Past));
    }
}
