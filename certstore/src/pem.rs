//! The sections of a PEM text, or an exact description of the content when they cannot be found.
//!
//! Sections are found here, because decoders skip what they do not know: a file that was cut in the middle of
//! a line, an encrypted key, or a `.p12` would all be "nothing found".
//!
//! Nothing of the text is ever shown. A key on one line has its numbers where a label is looked for, so a label is
//! shown only if it is one of [`KNOWN_LABELS`].

use std::fmt;

use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The labels named in a message.
const MAX_SHOWN_LABELS: usize = 5;

/// The label that is shown for one that is not known.
const UNKNOWN_LABEL: &str = "unknown";

/// The labels of RFC 7468 and those that OpenSSL, OpenSSH and Java write.
const KNOWN_LABELS: [&str; 23] = [
    "ATTRIBUTE CERTIFICATE",
    "CERTIFICATE",
    "CERTIFICATE REQUEST",
    "CMS",
    "DH PARAMETERS",
    "DSA PARAMETERS",
    "DSA PRIVATE KEY",
    "EC PARAMETERS",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "NEW CERTIFICATE REQUEST",
    "OPENSSH PRIVATE KEY",
    "PGP PRIVATE KEY BLOCK",
    "PKCS7",
    "PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PRIVATE KEY",
    "RSA PUBLIC KEY",
    "SSH2 ENCRYPTED PRIVATE KEY",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "X509 CRL",
    "X9.42 DH PARAMETERS",
];

/// The kind of content of an input without the wanted PEM section. Never the content itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Binary DER, such as a `.der` or `.cer` file.
    Der,
    /// A PKCS#12 container, such as a `.p12` or `.pfx` file.
    Pkcs12,
    /// A PKCS#7 container of certificates, such as a `.p7b` file.
    Pkcs7,
    /// A Java key store.
    JavaKeyStore,
    /// A private key as OpenSSH writes it.
    OpenSshKey,
    /// JSON.
    Json,
    /// A text in quotes, such as JSON that was put into JSON once more.
    JsonString,
    /// PEM that was encoded in base64 once more, or DER in base64 without the boundaries of PEM.
    Base64,
    /// An HTML or XML page.
    Markup,
    /// Text in UTF-16.
    Utf16,
    /// Some other text.
    Text,
    /// Some other binary data.
    Binary,
    /// PEM, but of these sections only.
    Sections(Vec<String>),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Der => "binary DER data",
            Self::Pkcs12 => "a PKCS#12 container",
            Self::Pkcs7 => "a PKCS#7 container",
            Self::JavaKeyStore => "a Java key store",
            Self::OpenSshKey => "a key in the format of OpenSSH",
            Self::Json => "JSON",
            Self::JsonString => "a text in quotes, such as JSON within JSON",
            Self::Base64 => "base64 without BEGIN and END lines",
            Self::Markup => "an HTML or XML page",
            Self::Utf16 => "text in UTF-16",
            Self::Text => "text without any PEM section",
            Self::Binary => "binary data",
            Self::Sections(labels) => {
                return write!(f, "the PEM sections {}", labels.join(", "));
            }
        })
    }
}

/// The reason for which a text has no sections that could be read. The caller adds what the text is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemError {
    /// No bytes, or only white space.
    Empty,
    /// Refused before parsing.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most bytes that are read.
        max: usize,
    },
    /// No PEM section in it.
    NotPem {
        /// The kind of content that the text seems to be.
        found: Found,
    },
    /// A section begins and does not end: half-written or cut off.
    Truncated {
        /// The section's label.
        label: String,
    },
    /// A section stands on one line with its boundaries, as forms leave it.
    NoLineBreaks {
        /// The section's label.
        label: String,
    },
    /// Two sections meet on one line, as two files do of which the first has no line break at its end.
    Joined {
        /// The label of the section that begins there.
        label: String,
    },
    /// A section's body is not base64, or its first line is broken.
    BadSection {
        /// The section's label.
        label: String,
        /// The defect.
        reason: &'static str,
    },
}

impl PemError {
    /// The defect of this text (`private key`), or of one that the caller names.
    pub(crate) fn about(&self, text: Option<&str>) -> String {
        let (it, of_it) = match text {
            Some(text) => (format!("the {text}"), format!(" of the {text}")),
            None => ("it".to_owned(), String::new()),
        };
        match self {
            Self::Empty => format!("{it} is empty"),
            Self::TooLarge { bytes, max } => format!("{it} has {bytes} bytes; at most {max} are read"),
            Self::NotPem { found } => format!("{it} is not PEM: it is {found}"),
            Self::Truncated { label } => format!("{it} is cut off: `{label}` begins and does not end"),
            Self::NoLineBreaks { label } => {
                format!("the line breaks{of_it} are missing: `{label}` does not stand on lines of its own")
            }
            Self::Joined { label } => format!(
                "a line break{of_it} is missing: the end of a section and the beginning of the next, `{label}`, are one \
                 line"
            ),
            Self::BadSection { label, reason } => format!("{it} holds a broken `{label}` section: {reason}"),
        }
    }

    /// The operator's remedy, in one sentence: `large` for a text that is too large.
    pub(crate) fn remedy(
        &self,
        large: &'static str,
        not_pem: impl Fn(&Found) -> &'static str,
    ) -> &'static str {
        match self {
            Self::Empty | Self::Truncated { .. } | Self::BadSection { .. } => {
                "write the file again in full: into a new file that is then renamed over the old one"
            }
            Self::NoLineBreaks { .. } => {
                "put line breaks after `-----BEGIN …-----` and before `-----END …-----`, where they were when it was made"
            }
            Self::Joined { .. } => "put a line break between `-----END …-----` and `-----BEGIN …-----`",
            Self::TooLarge { .. } => large,
            Self::NotPem { found } => not_pem(found),
        }
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about(None))
    }
}

impl std::error::Error for PemError {}

/// One section.
pub(crate) struct Section {
    label: Label,
    /// Base64, without white space around the lines and without headers.
    body: Zeroizing<Vec<u8>>,
    /// RFC 1421 §4.6.1.1: OpenSSL's mark of an encrypted key in the old format.
    is_encrypted: bool,
}

/// The text between `BEGIN` and the dashes, with single blanks between its words.
#[derive(Clone, PartialEq, Eq)]
struct Label(Vec<u8>);

impl Section {
    pub(crate) fn is(&self, label: &str) -> bool {
        self.label.0 == label.as_bytes()
    }

    /// The second is the label of before RFC 7468, which OpenSSL takes as well.
    pub(crate) fn is_certificate(&self) -> bool {
        self.is("CERTIFICATE") || self.is("X509 CERTIFICATE")
    }

    pub(crate) fn is_private_key(&self) -> bool {
        self.label.0.ends_with(b"PRIVATE KEY")
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted || self.is("ENCRYPTED PRIVATE KEY")
    }

    /// True if the other section holds the same, under whatever label.
    pub(crate) fn has_body_of(&self, other: &Self) -> bool {
        *self.body == *other.body
    }

    /// Its body, decoded.
    pub(crate) fn der(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        // The decoder takes more care of what is secret.
        let label = if self.is_private_key() {
            "PRIVATE KEY"
        } else {
            "CERTIFICATE"
        };
        let begin = format!("-----BEGIN {label}-----\n");
        let end = format!("\n-----END {label}-----\n");
        let mut pem = Zeroizing::new(Vec::with_capacity(begin.len() + self.body.len() + end.len()));
        pem.extend_from_slice(begin.as_bytes());
        pem.extend_from_slice(&self.body);
        pem.extend_from_slice(end.as_bytes());
        <(SectionKind, Vec<u8>)>::from_pem_slice(&pem)
            .map(|(_, der)| Zeroizing::new(der))
            .map_err(|_| PemError::BadSection {
                label: self.label.text(),
                reason: "its body is not base64",
            })
    }
}

impl Label {
    fn of(text: &[u8]) -> Self {
        let words: Vec<&[u8]> = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        Self(words.join(&b' '))
    }

    fn text(&self) -> String {
        let known = KNOWN_LABELS.iter().find(|known| known.as_bytes() == self.0);
        (*known.unwrap_or(&UNKNOWN_LABEL)).to_owned()
    }

    fn bad(&self, reason: &'static str) -> PemError {
        PemError::BadSection {
            label: self.text(),
            reason,
        }
    }

    fn truncated(&self) -> PemError {
        PemError::Truncated { label: self.text() }
    }
}

/// All sections of the text, in its order; at least one. Text around them does not matter.
pub(crate) fn sections(pem: &[u8], max: usize) -> Result<Vec<Section>, PemError> {
    if pem.len() > max {
        return Err(PemError::TooLarge {
            bytes: pem.len(),
            max,
        });
    }
    // Editors on Windows put a byte order mark before the first line.
    let pem = pem.strip_prefix(BYTE_ORDER_MARK).unwrap_or(pem);
    if pem.trim_ascii().is_empty() {
        return Err(PemError::Empty);
    }
    let with_breaks = with_line_breaks(pem);
    let text = with_breaks.as_ref().map_or(pem, |text| text.as_slice());

    let mut sections = Vec::new();
    let mut open: Option<Section> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let is_ended = !after.is_empty();
        rest = after.get(1..).unwrap_or(&[]);
        let is_last = rest.trim_ascii().is_empty();
        // Two files that were joined may have a mark in the middle.
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii();

        if let Some(begun) = boundary(line, BEGIN) {
            if let Some(unfinished) = open {
                return Err(unfinished.label.truncated());
            }
            open = Some(Section {
                label: begins(&begun, is_last)?,
                body: Zeroizing::new(Vec::with_capacity(max_body(rest))),
                is_encrypted: false,
            });
        } else if let Some(ended) = boundary(line, END) {
            match open.take() {
                Some(section) => {
                    ends(&section.label, &ended, is_last)?;
                    sections.push(section);
                }
                None => match guess(pem) {
                    found @ (Found::Json | Found::JsonString) => return Err(PemError::NotPem { found }),
                    _ => return Err(ended.label.bad("it ends and has not begun")),
                },
            }
        } else if let Some(section) = &mut open {
            section.take_line(line)?;
        } else if is_last && is_cut_boundary(line, is_ended) {
            return Err(Label::of(b"").truncated());
        }
    }
    match open {
        Some(section) => Err(section.label.truncated()),
        None if sections.is_empty() => Err(PemError::NotPem { found: guess(pem) }),
        None => Ok(sections),
    }
}

impl Section {
    fn take_line(&mut self, line: &[u8]) -> Result<(), PemError> {
        if contains(line, END) {
            return Err(PemError::NoLineBreaks {
                label: self.label.text(),
            });
        }
        // RFC 1421 §4.4: headers stand before the body; base64 has no colon.
        if self.body.is_empty() && line.contains(&b':') {
            self.is_encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        } else {
            self.body.extend_from_slice(line);
        }
        Ok(())
    }
}

/// The most bytes that a body can take. A buffer of this size never grows and leaves no copy behind.
fn max_body(rest: &[u8]) -> usize {
    rest.windows(END.len())
        .position(|window| window == END)
        .unwrap_or(rest.len())
}

/// A line that begins or ends a section.
struct Boundary<'a> {
    label: Label,
    /// The text that follows the dashes behind the label; `None` without them.
    tail: Option<&'a [u8]>,
}

fn boundary<'a>(line: &'a [u8], word: &[u8]) -> Option<Boundary<'a>> {
    let rest = line.strip_prefix(word)?;
    if !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return None;
    }
    let dashes = rest.windows(DASHES.len()).position(|window| window == DASHES);
    Some(match dashes.and_then(|at| rest.split_at_checked(at)) {
        Some((label, tail)) => Boundary {
            label: Label::of(label),
            tail: tail.strip_prefix(DASHES).map(<[u8]>::trim_ascii),
        },
        None => Boundary {
            label: Label::of(rest),
            tail: None,
        },
    })
}

fn begins(line: &Boundary<'_>, is_last: bool) -> Result<Label, PemError> {
    match line.tail {
        Some([]) => Ok(line.label.clone()),
        None if is_last => Err(line.label.truncated()),
        Some(tail) if tail.iter().any(|byte| *byte != b'-') => Err(PemError::NoLineBreaks {
            label: line.label.text(),
        }),
        Some(_) | None => Err(line.label.bad("its first line does not end with five dashes")),
    }
}

fn ends(begun: &Label, line: &Boundary<'_>, is_last: bool) -> Result<(), PemError> {
    match line.tail {
        Some([]) if line.label == *begun => Ok(()),
        Some(tail) if contains(tail, BEGIN) => Err(PemError::Joined {
            label: boundary(tail, BEGIN).map_or_else(|| UNKNOWN_LABEL.to_owned(), |next| next.label.text()),
        }),
        None if is_last => Err(begun.truncated()),
        Some([]) | None => Err(begun.bad("its last line names another section")),
        Some(_) => Err(begun.bad("something follows on its last line")),
    }
}

/// True if the last line is the beginning of a boundary. A line of dashes alone is one only if nothing ends it.
fn is_cut_boundary(line: &[u8], is_ended: bool) -> bool {
    !line.is_empty() && BEGIN.starts_with(line) && (!is_ended || line.len() > DASHES.len())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// PEM that went through a form or a shell may have its line breaks as `\n` in letters, beside true ones. `None` if
/// it has not. Base64 has no backslash.
fn with_line_breaks(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if ![&b"-----\\n"[..], b"-----\\r", b"-----\\\\n", b"-----\\\\r"]
        .iter()
        .any(|mark| contains(text, mark))
    {
        return None;
    }
    let mut broken = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\\' {
            let unescaped = after
                .iter()
                .position(|byte| *byte != b'\\')
                .unwrap_or(after.len());
            if let Some([b'n' | b'r', after @ ..]) = after.get(unescaped..) {
                broken.push(b'\n');
                rest = after;
                continue;
            }
        }
        broken.push(byte);
    }
    Some(broken)
}

/// The kind of content, by the labels of the sections, where the wanted section is missing.
pub(crate) fn labels(sections: &[Section]) -> Found {
    let any = |label: &str| sections.iter().any(|section| section.is(label));
    if any("PKCS7") || any("CMS") {
        return Found::Pkcs7;
    }
    if any("OPENSSH PRIVATE KEY") {
        return Found::OpenSshKey;
    }
    let mut labels: Vec<String> = Vec::new();
    for label in sections.iter().map(|section| section.label.text()) {
        if !labels.contains(&label) && labels.len() < MAX_SHOWN_LABELS {
            labels.push(label);
        }
    }
    Found::Sections(labels)
}

/// The kind of content of an input without PEM sections, by its first bytes.
fn guess(bytes: &[u8]) -> Found {
    match bytes {
        // A PFX begins with its version, the integer 3 (RFC 7292 §4); the length takes 1 to 3 bytes.
        [0x30, _, 2, 1, 3, ..] | [0x30, 0x81, _, 2, 1, 3, ..] | [0x30, 0x82, _, _, 2, 1, 3, ..] => {
            Found::Pkcs12
        }
        [0x30, 0x80..=0x84, ..] if is_pkcs7(bytes) => Found::Pkcs7,
        [0x30, 0x80..=0x84, ..] => Found::Der,
        [0xFE, 0xED, 0xFE, 0xED, ..] | [0xCE, 0xCE, 0xCE, 0xCE, ..] => Found::JavaKeyStore,
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [b'-', 0, b'-', 0, ..] | [0, b'-', 0, b'-', ..] => Found::Utf16,
        _ => guess_text(bytes.trim_ascii_start()),
    }
}

fn guess_text(text: &[u8]) -> Found {
    match text {
        [b'{' | b'[', ..] => Found::Json,
        [b'"', ..] => Found::JsonString,
        [b'<', ..] => Found::Markup,
        // `-----BEGIN `, the magic number of a Java key store, and a DER sequence with a length of two bytes.
        _ if text.starts_with(b"LS0tLS1CRUdJTi") => Found::Base64,
        _ if text.starts_with(b"/u3+7Q") || text.starts_with(b"zs7Ozg") => Found::JavaKeyStore,
        _ if text.starts_with(b"MI") && is_base64(text) => Found::Base64,
        _ if std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0')) => Found::Text,
        _ => Found::Binary,
    }
}

fn is_base64(text: &[u8]) -> bool {
    let is_of_alphabet = |byte: &u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || matches!(byte, b'+' | b'/' | b'=')
    };
    text.len() > 64 && text.iter().all(is_of_alphabet)
}

/// True if it begins as a ContentInfo with signedData does (RFC 5652 §5.1).
pub(crate) fn is_pkcs7(der: &[u8]) -> bool {
    const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];
    der.first() == Some(&0x30)
        && (2..=6).any(|at| der.get(at..).is_some_and(|rest| rest.starts_with(SIGNED_DATA)))
}
