//! From PEM text to the DER of a chain and of its key.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::MAX_PEM_BYTES;
use super::error::{BundleError, Part};
use crate::der::{Elements, INTEGER, OCTET_STRING, SEQUENCE};
use crate::pem::{Found, is_pkcs7, labels, sections};

/// With this begins what OpenSSH writes.
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// All certificates of the input, in its order. Other sections are skipped.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let part = Part::Chain;
    let bad = |error| BundleError::Pem { part, error };
    let sections = sections(pem, MAX_PEM_BYTES).map_err(bad)?;
    let mut certificates = Vec::new();
    for section in sections.iter().filter(|section| section.is_certificate()) {
        let der = section.der().map_err(bad)?;
        // Some write the whole container under this label.
        if is_pkcs7(&der) {
            return Err(BundleError::NoCertificate { found: Found::Pkcs7 });
        }
        certificates.push(CertificateDer::from(der.to_vec()));
    }
    match certificates.is_empty() {
        true => Err(BundleError::NoCertificate {
            found: labels(&sections),
        }),
        false => Ok(certificates),
    }
}

/// The one private key of the input. Certificates and parameters beside it are skipped.
pub(super) fn private_key(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, BundleError> {
    let part = Part::Key;
    let bad = |error| BundleError::Pem { part, error };
    let sections = sections(pem, MAX_PEM_BYTES).map_err(bad)?;
    let mut keys = sections.iter().filter(|section| section.is_private_key());
    let none = || BundleError::NoKey {
        found: labels(&sections),
    };
    let key = keys.next().ok_or_else(none)?;
    match keys.filter(|other| !other.has_body_of(key)).count() {
        0 => {}
        others => return Err(BundleError::ManyKeys { count: others + 1 }),
    }
    if key.is_encrypted() {
        return Err(BundleError::EncryptedKey);
    }
    if !["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]
        .iter()
        .any(|label| key.is(label))
    {
        return Err(none());
    }
    let der = key.der().map_err(bad)?;
    if der.starts_with(OPENSSH_MAGIC) {
        return Err(BundleError::NoKey {
            found: Found::OpenSshKey,
        });
    }
    by_content(&der).map(Zeroizing::new)
}

/// Many programs write one kind under the label of another, so the label does not decide.
///
/// PKCS#8 (RFC 5958 §2), PKCS#1 (RFC 8017 §A.1.2) and SEC1 (RFC 5915 §3) all begin with a version; what follows it is
/// the algorithm, the modulus, or the number itself. An encrypted PKCS#8 (RFC 5958 §3) begins with the algorithm.
fn by_content(der: &[u8]) -> Result<PrivateKeyDer<'static>, BundleError> {
    let tags = Elements(der).next().and_then(|outer| {
        let mut inner = Elements(outer.content);
        Some((outer.tag, inner.next()?.tag, inner.next()?.tag))
    });
    let der = || der.to_vec();
    match tags {
        Some((SEQUENCE, INTEGER, SEQUENCE)) => Ok(PrivateKeyDer::Pkcs8(der().into())),
        Some((SEQUENCE, INTEGER, INTEGER)) => Ok(PrivateKeyDer::Pkcs1(der().into())),
        Some((SEQUENCE, INTEGER, OCTET_STRING)) => Ok(PrivateKeyDer::Sec1(der().into())),
        Some((SEQUENCE, SEQUENCE, OCTET_STRING)) => Err(BundleError::EncryptedKey),
        _ => Err(BundleError::BadKey),
    }
}
