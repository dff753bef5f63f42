//! Texts of remote parties, escaped so that people can be shown them.

use std::fmt::{self, Write as _};

/// Text that a remote party wrote (a CA, a backend, a client, the maker of a certificate), as a log or a terminal may
/// show it.
///
/// Printable characters stand as they are. All others are escaped as in Rust's strings: controls, octets that are not
/// UTF-8 (`\xff`), line separators, and characters that nobody sees but that turn or hide what is around them (U+202E
/// and its kind, `\u{202e}`). So are `"` and `\`, and a text in quotes cannot end them. Only the first
/// [`MAX_CHARS`](Self::MAX_CHARS) characters are shown; `…` stands for the rest.
#[derive(Clone, Copy)]
pub struct RemoteText<'a> {
    bytes: &'a [u8],
    max_chars: usize,
}

impl<'a> RemoteText<'a> {
    /// The most that is shown unless [`at_most`](Self::at_most) says otherwise, escapes counted as one each.
    pub const MAX_CHARS: usize = 256;

    /// Text in whatever octets came.
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            bytes: bytes.as_ref(),
            max_chars: Self::MAX_CHARS,
        }
    }

    /// The same text, with this many characters shown.
    pub fn at_most(self, max_chars: usize) -> Self {
        Self { max_chars, ..self }
    }
}

/// True if a log or a terminal may show this character of a remote text as it is: it can be printed, and neither
/// commands a terminal nor turns, hides or joins what is around it.
pub fn is_shown(char: char) -> bool {
    match char {
        ' '..='~' => true,
        _ => char.escape_debug().len() == 1,
    }
}

impl fmt::Display for RemoteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.max_chars;
        let mut spend = || {
            let some = left > 0;
            left = left.saturating_sub(1);
            some
        };
        for chunk in self.bytes.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    _ if !spend() => return f.write_char('…'),
                    // In double quotes it does no harm, and texts are full of it.
                    '\'' => f.write_char(char)?,
                    _ => write!(f, "{}", char.escape_debug())?,
                }
            }
            for octet in chunk.invalid() {
                if !spend() {
                    return f.write_char('…');
                }
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stands_as_it_is() {
        for text in ["", "max_age", "it's over: 100 %", "Größe 寸法 ✓"] {
            assert_eq!(RemoteText::new(text).to_string(), text);
        }
        assert_eq!(format!("{:?}", RemoteText::new("bye")), "\"bye\"");
    }

    #[test]
    fn nothing_reaches_a_terminal_that_it_obeys() {
        for (bytes, shown) in [
            (&b"\x1b[2J"[..], r"\u{1b}[2J"),
            (b"a\r\n2026 ERROR forged\t", r"a\r\n2026 ERROR forged\t"),
            (b"end\" level=\"x\\", r#"end\" level=\"x\\"#),
            (b"\0\x7f", r"\0\u{7f}"),
            (b"\xff\xe2\x82", r"\xff\xe2\x82"),
            ("\u{85}\u{9b}2J".as_bytes(), r"\u{85}\u{9b}2J"),
            ("\u{202e}txt.exe\u{2066}".as_bytes(), r"\u{202e}txt.exe\u{2066}"),
            (
                "\u{2028}\u{200b}\u{feff}\u{ad}".as_bytes(),
                r"\u{2028}\u{200b}\u{feff}\u{ad}",
            ),
            ("\u{e0041}\u{fff9}".as_bytes(), r"\u{e0041}\u{fff9}"),
        ] {
            assert_eq!(RemoteText::new(bytes).to_string(), shown);
        }
    }

    #[test]
    fn every_character_that_is_shown_as_it_is_can_be_printed() {
        for char in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = RemoteText::new(char.encode_utf8(&mut [0; 4])).to_string();
            assert!(!shown.chars().any(char::is_control), "{char:?}: {shown}");
            assert!(shown.chars().all(is_shown), "{char:?}: {shown}");
            assert!(!(char.is_control() && is_shown(char)), "{char:?}");
        }
    }

    #[test]
    fn what_commands_a_terminal_or_hides_is_never_shown_as_it_is() {
        let bad = "\0\n\r\t\u{1b}\u{7f}\u{9b}\u{ad}\u{200b}\u{200f}\u{202a}\u{202e}\u{2028}\u{2029}\u{2066}\u{2069}\u{feff}\u{e0041}";
        assert!(!bad.chars().any(is_shown));
        assert!("a \"quoted\" \\ it's Größe 寸法 ✓".chars().all(is_shown));
    }

    #[test]
    fn a_long_text_is_cut_whatever_it_is_made_of() {
        let most = RemoteText::MAX_CHARS;
        let whole = "é".repeat(most);
        assert_eq!(RemoteText::new(&whole).to_string(), whole);
        assert_eq!(RemoteText::new(&(whole.clone() + "é")).to_string(), whole + "…");
        assert_eq!(RemoteText::new(&[0xff; 9]).at_most(2).to_string(), r"\xff\xff…");
        assert_eq!(RemoteText::new("abc").at_most(0).to_string(), "…");
        assert_eq!(
            RemoteText::new(&vec![0; 1 << 20]).to_string().len(),
            2 * most + "…".len()
        );
    }
}
