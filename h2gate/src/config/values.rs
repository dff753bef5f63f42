//! Text → typed values: durations, sizes, numbers, addresses, domains. Pure; an error names the mistake
//! and the remedy.

use std::ops::RangeInclusive;
use std::time::Duration;

mod address;
mod name;
mod remote;

pub(super) use address::{endpoint, network, socket_address};
pub(super) use name::{
    MAX_MADE_LABEL, domain, grpc_method, grpc_service, host_pattern, label, route_label, shorten,
};
pub(super) use remote::{
    bucket, is_local, mail, may_hold_secret, path, queue, region, resolver, role, text, url, variable,
};

/// The reason why a text is not the value that a key wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueError {
    pub(super) message: String,
    pub(super) remedy: Option<String>,
}

impl ValueError {
    pub(super) fn new(message: String) -> Self {
        let remedy = None;
        Self { message, remedy }
    }
}

/// A [`ValueError`]: the message, and behind a `;` the remedy; both as in [`format!`].
macro_rules! value_error {
    ($message:literal $(, $value:expr)*) => {
        $crate::config::values::ValueError::new(format!($message $(, $value)*))
    };
    ($message:literal $(, $value:expr)*; $remedy:literal $(, $instead:expr)*) => {
        $crate::config::values::ValueError {
            message: format!($message $(, $value)*),
            remedy: Some(format!($remedy $(, $instead)*)),
        }
    };
}

/// Returns the error where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($error:tt)+) => {
        if !$condition {
            return Err($crate::config::values::value_error!($($error)+));
        }
    };
}

pub(super) use {ensure, value_error};

/// `a`, `b`, `c`: for messages.
pub(super) fn listed(names: &[&str]) -> String {
    let names = names.iter().map(|name| format!("`{name}`"));
    names.collect::<Vec<_>>().join(", ")
}

const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// `500ms`, `10s`, `1h30m`: whole numbers with units, at least a millisecond.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(value_error!("`{text}` has no unit"; "write `{text}s` for seconds, or use ms, m, h, d"));
    }
    let not_a_duration = || {
        value_error!(
            "`{text}` is not a duration";
            "write a whole number and a unit: 500ms, 10s, 5m, 1h, 7d"
        )
    };
    let mut milliseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(not_a_duration)?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let (_, factor) = DURATION_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(not_a_duration)?;
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*factor))
            .ok_or_else(not_a_duration)?;
        milliseconds = milliseconds.checked_add(part).ok_or_else(not_a_duration)?;
        rest = after;
    }
    // A hundred years is for ever, and sums with clocks stay far from their ends.
    ensure!(
        milliseconds <= 36_500 * 86_400_000,
        "`{text}` is longer than a hundred years"
    );
    match milliseconds {
        0 if text.is_empty() => Err(not_a_duration()),
        0 => Err(value_error!("a duration must be more than zero")),
        n => Ok(Duration::from_millis(n)),
    }
}

/// A duration, read like [`duration`], or zero.
pub(super) fn age(text: &str) -> Result<Duration, ValueError> {
    if matches!(text, "0s" | "0ms") {
        Ok(Duration::ZERO)
    } else {
        duration(text)
    }
}

/// A duration, read like [`duration`] or [`age`], within these bounds.
pub(super) fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, ValueError> {
    let given = if least.is_zero() {
        age(text)?
    } else {
        duration(text)?
    };
    if (least..=most).contains(&given) {
        return Ok(given);
    }
    let what = if given < least { "short" } else { "long" };
    Err(value_error!("`{text}` is too {what}"; "write {} to {}", write_duration(least), write_duration(most)))
}

/// The shortest text that [`duration`] reads as the same, to the millisecond.
pub(super) fn write_duration(value: Duration) -> String {
    let mut rest = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS.into_iter().skip(1) {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `64KiB`, `4MiB`, `1500B`, `65536`: bytes.
pub(super) fn size(text: &str) -> Result<u64, ValueError> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => Some(1),
        unit => SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor),
    };
    let number = number.replace('_', "").parse::<u64>().ok();
    match number.zip(factor).and_then(|(n, factor)| n.checked_mul(factor)) {
        Some(0) => Err(value_error!("a size must be more than zero")),
        Some(bytes) => Ok(bytes),
        None => Err(value_error!(
            "`{text}` is not a size";
            "write a whole number and a unit: 1500B, 64KiB, 4MiB, 1GiB"
        )),
    }
}

/// The text with the largest binary unit that divides `bytes`.
pub(super) fn write_size(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(name, factor)| name.ends_with("iB") && bytes != 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A whole number from 1; `_` may separate digits.
pub(super) fn count(text: &str) -> Result<u64, ValueError> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    match text.replace('_', "").parse::<u64>() {
        Ok(0) => Err(value_error!(
            "must be at least 1";
            "write 1 or more, or leave the key out for its default"
        )),
        Ok(n) if digits => Ok(n),
        _ => Err(value_error!("`{text}` is not a whole number"; "write digits, such as 1000 or 100_000")),
    }
}

/// A [`count`] within bounds.
pub(super) fn count_within(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, ValueError> {
    let given = count(text)?;
    if bounds.contains(&given) {
        return Ok(given);
    }
    let what = if given < *bounds.start() { "few" } else { "many" };
    let remedy = format!("write {} to {}", bounds.start(), bounds.end());
    Err(value_error!("{given} are too {what}"; "{remedy}"))
}

/// `true` or `false`, and nothing else.
pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(value_error!("`{text}` is neither true nor false"; "write true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1m5s250ms", 65_250),
        ] {
            let read = duration(text).expect(text);
            assert_eq!(read, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(write_duration(read), text);
        }
        assert_eq!(write_duration(duration("7d").expect("7d")), "168h");
    }

    #[test]
    fn durations_that_mean_nothing_are_refused() {
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5s",
            "0s",
            "0h0m",
            "10sec",
            "99999999999999999999s",
            "9999999999d",
            "1s1",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_told_its_unit() {
        assert_eq!(
            duration("10").expect_err("10").remedy.as_deref(),
            Some("write `10s` for seconds, or use ms, m, h, d")
        );
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("64KiB", 65_536, "64KiB"),
            ("4 MiB", 4 << 20, "4MiB"),
            ("1_500", 1_500, "1500B"),
            ("65536", 65_536, "64KiB"),
            ("1kb", 1_000, "1000B"),
            ("1GiB", 1 << 30, "1GiB"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(write_size(bytes), written);
            assert_eq!(size(written), Ok(bytes));
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "64K",
            "0",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!(count("100_000"), Ok(100_000));
        for text in ["0", "-1", "+1", "1e3", "_1", "", "ten", "18446744073709551616"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}
