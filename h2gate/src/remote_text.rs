//! Whole texts of our own that others' words may have got into, made fit for logs and terminals: the last door.
//!
//! Where a remote text comes in it is escaped and bounded already (`certstore::RemoteText`). What is here holds
//! whatever way it took.

use std::borrow::Cow;
use std::fmt::Write as _;

use certstore::is_shown;
use serde_json::Value;

/// JSON in lines, with a newline at the end, for a log, a terminal or a browser.
pub(crate) fn json_lines(value: &Value) -> String {
    in_json(&format!("{value:#}\n")).into_owned()
}

/// JSON with the same meaning, in which no character outside of ASCII hides or commands anything. `json` is whole
/// JSON: what is replaced can stand in strings alone.
pub(crate) fn in_json(json: &str) -> Cow<'_, str> {
    escaped(
        json,
        |char| char.is_ascii() && char != '\x7f',
        |char, text| {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing into a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        },
    )
}

/// A line of a log without its end. `coloured`: escape sequences are the formatter's own, which lets through none
/// of others.
pub(crate) fn in_line(line: &str, coloured: bool) -> Cow<'_, str> {
    escaped(
        line,
        |char| coloured && char == '\x1b',
        |char, text| text.extend(char.escape_debug()),
    )
}

/// Lines for a terminal, their ends as they are.
pub(crate) fn in_lines(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |char| char == '\n',
        |char, text| text.extend(char.escape_debug()),
    )
}

fn escaped(text: &str, passes: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if passes(char) || is_shown(char) {
            shown.push(char);
        } else {
            escape(char, &mut shown);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_hides_nothing() {
        let value = Value::from("a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}txt.exe\u{feff}\u{e0041}\n\u{e4} \"\\ 寸");
        for json in [
            format!("{value}"),
            format!("{:#}\n", serde_json::json!({ "a": value })),
        ] {
            let text = in_json(&json);
            assert!(
                text.chars().all(|char| char == '\n' || is_shown(char)),
                "{text:?}"
            );
            assert_eq!(
                serde_json::from_str::<Value>(&text).ok(),
                serde_json::from_str(&json).ok()
            );
        }
    }

    #[test]
    fn a_line_cannot_be_two_and_turns_nothing_around() {
        let line = "said=a\n2026 ERROR forged\u{202e}\r\u{1b}[31m";
        assert_eq!(
            in_line(line, false),
            r"said=a\n2026 ERROR forged\u{202e}\r\u{1b}[31m"
        );
        assert_eq!(
            in_line("\u{1b}[31mERROR\u{1b}[0m a\nb", true),
            "\u{1b}[31mERROR\u{1b}[0m a\\nb"
        );
        assert_eq!(in_line("INFO listening ä", true), "INFO listening ä");
        assert_eq!(in_lines("a\u{1b}[2J\nb\n"), "a\\u{1b}[2J\nb\n");
    }
}
