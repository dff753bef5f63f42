//! The identity that a peer has proved: the names in its certificate, written so that they are safe in a header.

use std::fmt::Write;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The most names of each kind that are kept of one certificate.
pub const MAX_NAMES: usize = 16;
/// The longest name, and the longest subject, that is kept.
const MAX_NAME_BYTES: usize = 2048;

/// The names of a verified certificate. All of them are printable ASCII without quotes; a backslash is in a
/// subject alone, and never its last character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject as RFC 4514 writes it; empty if it has none, or one that is too long to be passed on.
    pub subject: String,
    /// Its URIs, such as SPIFFE IDs, in its order.
    pub uris: Vec<String>,
    /// Its DNS names, in its order.
    pub dns: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

impl Identity {
    /// Reads the names of a certificate that was verified. Names that are not printable ASCII, have a quote or
    /// a backslash in them (RFC 3986 §2 and RFC 1123 §2.1 know neither) or are longer than 2 KiB are left out,
    /// and so are those beyond [`MAX_NAMES`].
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut identity = Self {
            subject: String::new(),
            uris: Vec::new(),
            dns: Vec::new(),
            fingerprint: fingerprint(certificate),
        };
        let Ok((_, x509)) = X509Certificate::from_der(certificate) else {
            return identity;
        };
        let subject = distinguished_name(x509.subject());
        if subject.len() <= MAX_NAME_BYTES {
            identity.subject = subject;
        }
        let Ok(Some(names)) = x509.subject_alternative_name() else {
            return identity;
        };
        for name in &names.value.general_names {
            let (kept, name) = match name {
                GeneralName::URI(uri) => (&mut identity.uris, uri),
                GeneralName::DNSName(host) => (&mut identity.dns, host),
                _ => continue,
            };
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            let safe = name.len() <= MAX_NAME_BYTES && name.bytes().all(plain);
            if safe && !name.is_empty() && kept.len() < MAX_NAMES {
                kept.push((*name).to_owned());
            }
        }
        identity
    }

    /// One name for a log line: the first URI, or DNS name, or the subject.
    pub fn name(&self) -> &str {
        let alternative = self.uris.first().or_else(|| self.dns.first());
        alternative.map_or(self.subject.as_str(), String::as_str)
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    hexadecimal(digest.as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 4514 §2.1: the last part first.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let value = match attribute.as_str() {
        Ok(text) => escaped(text),
        // RFC 4514 §2.4: what is no string is written as its bytes.
        Err(_) => format!("#{}", hexadecimal(attribute.as_slice())),
    };
    format!("{}={value}", keyword(&oid).unwrap_or(&oid))
}

/// RFC 4514 §3, RFC 4519 §2.32, and what everybody writes for PKCS #9's.
fn keyword(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 §2.4. It allows hex pairs for any byte: for what is not printable ASCII, and for quotes and
/// backslashes, because readers of headers differ about backslashes before a quote.
fn escaped(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let at_edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b'+' | b',' | b';' | b'<' | b'>' => escaped.extend(['\\', char::from(byte)]),
            _ if at_edge => escaped.extend(['\\', char::from(byte)]),
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "\\{byte:02X}");
            }
        }
    }
    escaped
}
