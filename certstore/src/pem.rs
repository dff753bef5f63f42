//! The sections of a PEM text, with an exact word about what is there when they cannot be found.
//!
//! Sections are found here, because decoders skip what they do not know: a file that was cut in the middle of
//! a line, an encrypted key, or a `.p12` would all be "nothing found".

use crate::bundle::Found;
use crate::is_shown;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The labels named in a message, and how much of each: they come from a file that may hold anything.
const SHOWN_LABELS: usize = 5;
const SHOWN_LABEL_CHARS: usize = 40;

/// Why a text has no sections that could be read. What it is the text of, the caller knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No bytes, or only white space.
    #[error("it is empty")]
    Empty,
    /// Refused before parsing.
    #[error("it has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is read at most.
        max: usize,
    },
    /// No PEM section in it.
    #[error("it is not PEM: it is {found}")]
    NotPem {
        /// What it seems to be.
        found: Found,
    },
    /// A section begins and does not end: half-written or cut off.
    #[error("it is cut off: `{label}` begins and does not end")]
    Truncated {
        /// The section's label.
        label: String,
    },
    /// A section's body is not base64, or its first line is broken.
    #[error("it holds a broken `{label}` section: {reason}")]
    BadSection {
        /// The section's label.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// One section, from its BEGIN line to its END line.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) label: &'a [u8],
    pub(crate) text: &'a [u8],
}

impl<'a> Section<'a> {
    pub(crate) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.text
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii_end)
    }

    pub(crate) fn not_base64(&self) -> PemError {
        PemError::BadSection {
            label: shown(self.label),
            reason: "its body is not base64",
        }
    }
}

/// All sections of the text, in its order; at least one.
pub(crate) fn sections(pem: &[u8], max: usize) -> Result<Vec<Section<'_>>, PemError> {
    if pem.len() > max {
        return Err(PemError::TooLarge {
            bytes: pem.len(),
            max,
        });
    }
    // Editors on Windows put a byte order mark before the first line.
    let pem = pem.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(pem);
    if pem.trim_ascii().is_empty() {
        return Err(PemError::Empty);
    }
    let bad = |label: &[u8], reason| PemError::BadSection {
        label: shown(label),
        reason,
    };
    let truncated = |label: &[u8]| PemError::Truncated { label: shown(label) };

    let mut sections = Vec::new();
    let mut open: Option<(&[u8], &[u8])> = None;
    let mut rest = pem;
    while !rest.is_empty() {
        let from_here = rest;
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or(&[]);
        let is_last = rest.trim_ascii().is_empty();
        let line = line.trim_ascii_end();

        if let Some(label) = line.strip_prefix(BEGIN) {
            if let Some((unfinished, _)) = open {
                return Err(truncated(unfinished));
            }
            match label.strip_suffix(DASHES) {
                Some(label) => open = Some((label, from_here)),
                None if is_last => return Err(truncated(label)),
                None => return Err(bad(label, "its first line does not end with five dashes")),
            }
        } else if let Some(label) = line.strip_prefix(END) {
            match (open.take(), label.strip_suffix(DASHES)) {
                (Some((begun, start)), Some(ended)) if begun == ended => {
                    let length = start.len() - from_here.len() + line.len();
                    sections.push(Section {
                        label: begun,
                        text: start.get(..length).unwrap_or(start),
                    });
                }
                (Some((begun, _)), None) if is_last => return Err(truncated(begun)),
                (Some((begun, _)), _) => return Err(bad(begun, "its last line names another section")),
                (None, label) => {
                    return Err(bad(label.unwrap_or_default(), "it ends and has not begun"));
                }
            }
        } else if is_last && open.is_none() && line.starts_with(b"-") {
            return Err(truncated(b"?"));
        }
    }
    match open {
        Some((label, _)) => Err(truncated(label)),
        None if sections.is_empty() => Err(PemError::NotPem { found: guess(pem) }),
        None => Ok(sections),
    }
}

/// What there is instead of what was wanted.
pub(crate) fn labels(sections: &[Section<'_>]) -> Found {
    let mut labels: Vec<String> = Vec::new();
    for label in sections.iter().map(|section| shown(section.label)) {
        if !labels.contains(&label) && labels.len() < SHOWN_LABELS {
            labels.push(label);
        }
    }
    Found::Sections(labels)
}

fn shown(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .chars()
        .filter(|letter| is_shown(*letter))
        .take(SHOWN_LABEL_CHARS)
        .collect()
}

/// What something without PEM sections is, by its first bytes.
fn guess(bytes: &[u8]) -> Found {
    match bytes {
        // A PFX begins with its version, the integer 3 (RFC 7292 §4); the length takes 1 to 3 bytes.
        [0x30, _, 2, 1, 3, ..] | [0x30, 0x81, _, 2, 1, 3, ..] | [0x30, 0x82, _, _, 2, 1, 3, ..] => {
            Found::Pkcs12
        }
        [0x30, 0x80..=0x84, ..] => Found::Der,
        [0xFE, 0xED, 0xFE, 0xED, ..] | [0xCE, 0xCE, 0xCE, 0xCE, ..] => Found::JavaKeyStore,
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [b'-', 0, b'-', 0, ..] | [0, b'-', 0, b'-', ..] => Found::Utf16,
        _ => match bytes.trim_ascii_start() {
            [b'{' | b'[', ..] => Found::Json,
            [b'<', ..] => Found::Markup,
            text if std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0')) => Found::Text,
            _ => Found::Binary,
        },
    }
}
