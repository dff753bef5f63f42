//! Times, versions and foreign text, for people.

use certstore::{UnixTime, is_shown};
use prost_types::Timestamp;

/// The wall clock, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(pub(super) u64);

impl Now {
    pub(super) fn read() -> Self {
        Self(UnixTime::now().as_secs())
    }
}

/// `2026-11-20T17:04:05Z (in 12 d)`.
pub(super) fn at_and_when(time: &Timestamp, now: Now) -> String {
    format!("{time} ({})", when(time, now))
}

/// `in 12 d`, `now`, `3 h ago`.
pub(super) fn when(time: &Timestamp, now: Now) -> String {
    let at = seconds(time);
    match (at.saturating_sub(now.0), now.0.saturating_sub(at)) {
        (0, 0) => "now".to_owned(),
        (0, since) => format!("{} ago", span(since)),
        (left, _) => format!("in {}", span(left)),
    }
}

/// The words for a time that is due, like [`when`]: a time in the past is now.
pub(super) fn due(time: &Timestamp, now: Now) -> String {
    match seconds(time) <= now.0 {
        true => "now".to_owned(),
        false => when(time, now),
    }
}

/// `12 d`, `5 h`, `3 min`, `20 s`; rounded down, and never to a bare 1.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The first 12 digits, as logs and metrics show a fingerprint.
pub(super) fn short(fingerprint: &str) -> String {
    one_line(fingerprint.get(..12).unwrap_or(fingerprint))
}

/// Text from a CA or a file name in it may hold anything: a terminal must not obey it.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect()
}

pub(super) fn seconds(time: &Timestamp) -> u64 {
    u64::try_from(time.seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_in_the_unit_that_says_most() {
        let now = Now(1_000_000);
        let of = |seconds: i64| Timestamp { seconds, nanos: 0 };
        for (offset, text) in [
            (0, "now"),
            (1, "in 1 s"),
            (119, "in 119 s"),
            (120, "in 2 min"),
            (7_199, "in 119 min"),
            (7_200, "in 2 h"),
            (172_799, "in 47 h"),
            (172_800, "in 2 d"),
            (86_400 * 12 + 5, "in 12 d"),
            (-30, "30 s ago"),
            (-86_400 * 3, "3 d ago"),
        ] {
            assert_eq!(when(&of(1_000_000 + offset), now), text);
        }
        assert_eq!(due(&of(5), now), "now");
        assert_eq!(due(&of(1_000_060), now), "in 60 s");
    }

    #[test]
    fn a_terminal_has_nothing_to_obey() {
        assert_eq!(one_line("a\u{1b}[2J\r\nb\u{9b}c\u{202e}d"), "a [2J  b c d");
    }
}
