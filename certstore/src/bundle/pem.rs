//! From PEM text to the DER of a chain and of its key.

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::MAX_PEM_BYTES;
use super::error::{BundleError, Part};
use crate::pem::{Found, PemError, is_pkcs7, labels, sections};

/// The ASN.1 tags by which kinds of private keys differ.
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// With this begins what OpenSSH writes.
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// All certificates of the input, in its order. Other sections are skipped.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let bad = |error| BundleError::pem(Part::Chain, error);
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
    let bad = |error| BundleError::pem(Part::Key, error);
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
    let tags = element(der).and_then(|(outer, content, _)| {
        let (first, _, rest) = element(content)?;
        let (second, _, _) = element(rest)?;
        Some((outer, first, second))
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

/// The tag and the content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        // X.690 §8.1.3.5: this many bytes of length follow.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            let length = length.iter().try_fold(0_usize, |sum, byte| {
                sum.checked_mul(256)?.checked_add((*byte).into())
            })?;
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

impl BundleError {
    fn pem(part: Part, error: PemError) -> Self {
        match error {
            PemError::Empty => Self::Empty { part },
            PemError::TooLarge { bytes, .. } => Self::TooLarge { part, bytes },
            PemError::NotPem { found } => Self::NotPem { part, found },
            PemError::Truncated { label } => Self::Truncated { part, label },
            PemError::NoLineBreaks { label } => Self::NoLineBreaks { part, label },
            PemError::Joined { label } => Self::Joined { part, label },
            PemError::BadSection { label, reason } => Self::BadSection { part, label, reason },
        }
    }
}
