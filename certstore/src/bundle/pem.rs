//! From PEM text to DER, with an exact word about what is there when it is not what was wanted.
//!
//! Sections are found here, because the decoder below skips what it does not know: a file that was cut in
//! the middle of a line, an encrypted key, or a `.p12` would all be "nothing found".

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::{BundleError, Found, Part};
use super::{MAX_CERTIFICATES, MAX_PEM_BYTES};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The labels named in a message, and how much of each: they come from a file that may hold anything.
const SHOWN_LABELS: usize = 5;
const SHOWN_LABEL_CHARS: usize = 40;

/// All certificates of the input, in its order. Other sections are skipped.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let sections = sections(Part::Chain, pem)?;
    let certificates: Vec<&Section<'_>> = sections
        .iter()
        .filter(|section| section.label == b"CERTIFICATE")
        .collect();
    match certificates.len() {
        0 => {
            return Err(BundleError::NoCertificate {
                found: labels(&sections),
            });
        }
        count if count > MAX_CERTIFICATES => return Err(BundleError::ManyCertificates { count }),
        _ => {}
    }
    let decode = |section: &&Section<'_>| {
        CertificateDer::from_pem_slice(section.text).map_err(|_| section.not_base64(Part::Chain))
    };
    certificates.iter().map(decode).collect()
}

/// The one private key of the input. Certificates and parameters beside it are skipped.
pub(super) fn private_key(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, BundleError> {
    let sections = sections(Part::Key, pem)?;
    let mut keys = sections
        .iter()
        .filter(|section| section.label.ends_with(b"PRIVATE KEY"));
    let Some(key) = keys.next() else {
        return Err(BundleError::NoKey {
            found: labels(&sections),
        });
    };
    match keys.count() {
        0 => {}
        others => return Err(BundleError::ManyKeys { count: others + 1 }),
    }
    match key.label {
        b"ENCRYPTED PRIVATE KEY" => Err(BundleError::EncryptedKey),
        // RFC 1421 §4.6.1.1: how OpenSSL marks an encrypted key in the old format.
        _ if key
            .lines()
            .any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED")) =>
        {
            Err(BundleError::EncryptedKey)
        }
        b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => PrivateKeyDer::from_pem_slice(key.text)
            .map(Zeroizing::new)
            .map_err(|_| key.not_base64(Part::Key)),
        _ => Err(BundleError::NoKey {
            found: labels(&sections),
        }),
    }
}

/// One section, from its BEGIN line to its END line.
struct Section<'a> {
    label: &'a [u8],
    text: &'a [u8],
}

impl<'a> Section<'a> {
    fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.text
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii_end)
    }

    fn not_base64(&self, part: Part) -> BundleError {
        BundleError::BadSection {
            part,
            label: shown(self.label),
            reason: "its body is not base64",
        }
    }
}

fn sections(part: Part, pem: &[u8]) -> Result<Vec<Section<'_>>, BundleError> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(BundleError::TooLarge {
            part,
            bytes: pem.len(),
        });
    }
    // Editors on Windows put a byte order mark before the first line.
    let pem = pem.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(pem);
    if pem.trim_ascii().is_empty() {
        return Err(BundleError::Empty { part });
    }
    let bad = |label: &[u8], reason| BundleError::BadSection {
        part,
        label: shown(label),
        reason,
    };
    let truncated = |label: &[u8]| BundleError::Truncated {
        part,
        label: shown(label),
    };

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
        None if sections.is_empty() => Err(BundleError::NotPem {
            part,
            found: guess(pem),
        }),
        None => Ok(sections),
    }
}

fn labels(sections: &[Section<'_>]) -> Found {
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
        .filter(|letter| !letter.is_control())
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
