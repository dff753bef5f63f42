//! From PEM text to the DER of a chain and of its key.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::{BundleError, Part};
use super::{MAX_CERTIFICATES, MAX_PEM_BYTES};
use crate::pem::{PemError, Section, labels, sections};

/// All certificates of the input, in its order. Other sections are skipped.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let bad = |error| BundleError::pem(Part::Chain, error);
    let sections = sections(pem, MAX_PEM_BYTES).map_err(bad)?;
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
        CertificateDer::from_pem_slice(section.text).map_err(|_| bad(section.not_base64()))
    };
    certificates.iter().map(decode).collect()
}

/// The one private key of the input. Certificates and parameters beside it are skipped.
pub(super) fn private_key(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, BundleError> {
    let bad = |error| BundleError::pem(Part::Key, error);
    let sections = sections(pem, MAX_PEM_BYTES).map_err(bad)?;
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
            .map_err(|_| bad(key.not_base64())),
        _ => Err(BundleError::NoKey {
            found: labels(&sections),
        }),
    }
}

impl BundleError {
    fn pem(part: Part, error: PemError) -> Self {
        match error {
            PemError::Empty => Self::Empty { part },
            PemError::TooLarge { bytes, .. } => Self::TooLarge { part, bytes },
            PemError::NotPem { found } => Self::NotPem { part, found },
            PemError::Truncated { label } => Self::Truncated { part, label },
            PemError::BadSection { label, reason } => Self::BadSection { part, label, reason },
        }
    }
}
