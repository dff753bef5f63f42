//! A moment as RFC 3339 writes it.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;
/// Of the last moment with a year of four digits.
const LATEST: u64 = 253_402_300_799;

/// `2026-11-21T03:04:05.678Z`
#[derive(Debug)]
pub(super) struct Timestamp([u8; 24]);

impl Timestamp {
    /// UTC, to the millisecond. Before 1970 and after 9999 there is only the nearest moment between.
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(LATEST);
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let second = seconds % SECONDS_PER_DAY;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..23, since.subsec_millis().into()),
        ];
        for (place, mut number) in parts {
            for digit in text.get_mut(place).into_iter().flatten().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        Self(text)
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.0
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years (146,097 days).
fn date(day: u64) -> (u64, u64, u64) {
    // 719,468 days from 0000-03-01 to 1970-01-01.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn text(milliseconds: u64) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
        String::from_utf8(Timestamp::of(time).text().to_vec()).unwrap()
    }

    #[test]
    fn known_moments_read_as_they_should() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(text(1_795_231_445_678), "2026-11-21T03:24:05.678Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(u64::MAX / 2), "9999-12-31T23:59:59.807Z");
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let leap = |year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut expected = (1970, 1, 1);
        for day in 0..300_000 {
            assert_eq!(date(day), expected);
            let (year, month, day) = expected;
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day == length) {
                (_, false) => (year, month, day + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
    }
}
