//! Instants as dates, in UTC.

use certstore::{UnixTime, rfc3339};

/// `2026-11-20`.
pub(super) fn date(time: UnixTime) -> String {
    let mut text = rfc3339(time);
    text.truncate("2026-11-20".len());
    text
}

/// `72 days`, `5 hours`.
pub(super) fn days(seconds: u64) -> String {
    let (number, word) = match seconds {
        0..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {word}{} left", if number == 1 { "" } else { "s" })
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
        assert_eq!(days(86_400 * 72 + 5), "72 days left");
        assert_eq!(days(3_600), "1 hour left");
        assert_eq!(days(0), "0 hours left");
    }
}
