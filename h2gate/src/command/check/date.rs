//! Instants as dates, in UTC.

use certstore::UnixTime;

/// `2026-11-20`.
pub(super) fn date(time: UnixTime) -> String {
    let (year, month, day) = civil(time.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-20T17:04:05Z` (RFC 3339).
pub(super) fn date_time(time: UnixTime) -> String {
    let second = time.as_secs() % 86_400;
    format!(
        "{}T{:02}:{:02}:{:02}Z",
        date(time),
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// `72 days`, `5 hours`.
pub(super) fn days(seconds: u64) -> String {
    let (number, word) = match seconds {
        0..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {word}{} left", if number == 1 { "" } else { "s" })
}

/// Days since 1 January 1970 as year, month and day of the Gregorian calendar. Years are counted from
/// March, so that the odd day of a leap year is the last one and months follow one rule.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 1 March of year 0
    let days = days.saturating_add(DAYS_TO_1970);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_194_245, "2026-11-20T17:04:05Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(
                date_time(UnixTime::since_unix_epoch(Duration::from_secs(seconds))),
                text
            );
        }
    }

    #[test]
    fn the_time_left_is_in_days_and_at_the_end_in_hours() {
        assert_eq!(days(86_400 * 72 + 5), "72 days left");
        assert_eq!(days(3_600), "1 hour left");
        assert_eq!(days(0), "0 hours left");
    }
}
