//! Instants as dates, in UTC.

use certstore::{UnixTime, rfc3339};

use crate::command::count;

/// `2026-11-20`.
pub(super) fn date(time: UnixTime) -> String {
    let mut text = rfc3339(time);
    text.truncate("2026-11-20".len());
    text
}

/// The time until `end`: `72 days left`, `5 hours left`.
pub(super) fn time_left(end: UnixTime, now: UnixTime) -> String {
    let seconds = end.as_secs().saturating_sub(now.as_secs());
    let (number, word) = match seconds {
        0..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{} left", count(number, word))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_is_the_day_of_an_instant() {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(1_795_194_245));
        assert_eq!(date(at), "2026-11-20");
    }

    #[test]
    fn the_time_left_is_in_days_and_at_the_end_in_hours() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (seconds, text) in [
            (86_400 * 72 + 5, "72 days left"),
            (3_600, "1 hour left"),
            (0, "0 hours left"),
        ] {
            assert_eq!(time_left(at(1_000 + seconds), at(1_000)), text);
        }
        assert_eq!(time_left(at(0), at(1_000)), "0 hours left");
    }
}
