//! The errors of `TrustBundle::parse`: a closed list, each with its remedy.

use rustls_pki_types::UnixTime;

use super::MAX_CAS;
use crate::bundle::Part;
use crate::pem::{Found, PemError};
use crate::rfc3339;

/// The reason for which CA certificates and revocation lists make no bundle. Positions count from 1, in the order of
/// the text.
///
/// All of these are for the operator, or the CA, to correct; trying the same bytes again cannot help, unless
/// the clock decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The text of the CA certificates cannot be read.
    #[error("the CA certificates cannot be read: {0}")]
    Cas(PemError),
    /// The text of the revocation lists cannot be read.
    #[error("the revocation lists cannot be read: {0}")]
    RevocationLists(PemError),
    /// PEM, but no certificate.
    #[error("the bundle holds no CA certificate, only {found}")]
    NoCa {
        /// The content that is there instead.
        found: Found,
    },
    /// More than any valid bundle has.
    #[error("the bundle holds {count} {what}; at most {MAX_CAS} are read")]
    TooMany {
        /// CA certificates or revocation lists.
        what: &'static str,
        /// Their number.
        count: usize,
    },
    /// A certificate that cannot be parsed, or not be a trust anchor.
    #[error("CA certificate {position} cannot be used: {reason}")]
    BadCa {
        /// Position of the certificate or list.
        position: usize,
        /// The defect.
        reason: String,
    },
    /// A certificate that may not issue others.
    #[error("certificate {position} ({subject}) is not a CA's: it may not issue certificates")]
    NotAnCa {
        /// Position of the certificate or list.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// No CA of the bundle is valid any more.
    #[error(
        "every CA certificate has expired, the last one ({subject}) on {}; it is {} now",
        rfc3339(*.not_after),
        rfc3339(*.now)
    )]
    Expired {
        /// The CA that expired last.
        subject: String,
        /// The time at which it expired.
        not_after: UnixTime,
        /// The time by our clock.
        now: UnixTime,
    },
    /// A revocation list that cannot be parsed, or is of a kind that cannot be used.
    #[error("revocation list {position} cannot be used: {reason}")]
    BadRevocationList {
        /// Position of the certificate or list.
        position: usize,
        /// The defect.
        reason: String,
    },
    /// A revocation list that no CA of the bundle signed.
    #[error("revocation list {position} ({issuer}) is not signed by a CA of the bundle")]
    StrangeRevocationList {
        /// Position of the certificate or list.
        position: usize,
        /// The issuer that the list names.
        issuer: String,
    },
    /// A revocation list of a CA of the bundle, signed by an algorithm that is not supported.
    #[error("revocation list {position} ({issuer}) is signed with {algorithm}, which is not supported")]
    UnsupportedRevocationList {
        /// Position of the certificate or list.
        position: usize,
        /// The CA.
        issuer: String,
        /// The signature algorithm.
        algorithm: &'static str,
    },
    /// Two revocation lists of one CA.
    #[error("revocation lists {first} and {position} are of one CA ({issuer})")]
    SecondRevocationList {
        /// The later one.
        position: usize,
        /// The earlier one.
        first: usize,
        /// The CA.
        issuer: String,
    },
    /// A revocation list that is no longer current.
    #[error(
        "the revocation list of {issuer} was to be replaced by {}; it is {} now",
        rfc3339(*.next_update),
        rfc3339(*.now)
    )]
    RevocationListExpired {
        /// The CA.
        issuer: String,
        /// The time by which it should have been replaced.
        next_update: UnixTime,
        /// The time by our clock.
        now: UnixTime,
    },
    /// A newer revocation list of the CA is in force.
    #[error(
        "the revocation list of {issuer} is older (made {}) than the one in force (made {})",
        rfc3339(*.this_update),
        rfc3339(*.known)
    )]
    OlderRevocationList {
        /// The CA.
        issuer: String,
        /// The time at which the list was made.
        this_update: UnixTime,
        /// The time at which the list in force was made.
        known: UnixTime,
    },
    /// Revocation lists are demanded, and a CA has none.
    #[error("revocation is demanded, but there is no revocation list of {subject}")]
    NoRevocationList {
        /// The CA.
        subject: String,
    },
}

impl TrustError {
    /// The input that must be corrected: the CA certificates stand in the place of a chain, the revocation lists in
    /// that of a key.
    pub fn part(&self) -> Part {
        match self {
            Self::Cas(_)
            | Self::NoCa { .. }
            | Self::BadCa { .. }
            | Self::NotAnCa { .. }
            | Self::Expired { .. } => Part::Chain,
            Self::RevocationLists(_)
            | Self::BadRevocationList { .. }
            | Self::UnsupportedRevocationList { .. }
            | Self::SecondRevocationList { .. }
            | Self::RevocationListExpired { .. }
            | Self::OlderRevocationList { .. }
            | Self::NoRevocationList { .. } => Part::Key,
            Self::StrangeRevocationList { .. } | Self::TooMany { .. } => Part::Both,
        }
    }

    /// The operator's remedy, in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Cas(error) => pem_remedy(
                error,
                "convert it: `openssl x509 -inform der`",
                "check the path: it must hold `-----BEGIN CERTIFICATE-----`",
            ),
            Self::RevocationLists(error) => pem_remedy(
                error,
                "convert it: `openssl crl -inform der`",
                "check the path: it must hold `-----BEGIN X509 CRL-----`",
            ),
            Self::NoCa { .. } => {
                "check that the paths of CA certificates and revocation lists are not exchanged"
            }
            Self::TooMany { .. } => "name the CAs of your clients alone, not a whole trust store",
            Self::BadCa { .. } => "export the CA certificate again from where it was issued",
            Self::NotAnCa { .. } => {
                "put the certificate of the CA there (CA:TRUE, key usage keyCertSign), not one that it issued"
            }
            Self::Expired { .. } => {
                "add the CA's new certificate; if it is not expired, set this host's clock"
            }
            Self::BadRevocationList { .. } => {
                "publish a full list of version 2 with a nextUpdate (RFC 5280 §5); delta lists are not used"
            }
            Self::StrangeRevocationList { .. } => {
                "add the certificate of the CA that signed the list, or remove the list"
            }
            Self::UnsupportedRevocationList { .. } => {
                "let the CA sign its lists with ECDSA on P-256, P-384 or P-521, RSA or Ed25519, and SHA-256, SHA-384 or \
                 SHA-512"
            }
            Self::SecondRevocationList { .. } => "leave only the newer one",
            Self::RevocationListExpired { .. } => {
                "publish the CA's newest list; if it is current, set this host's clock"
            }
            Self::OlderRevocationList { .. } => {
                "publish the CA's newest list; if one has to go back, let the CA make a new one"
            }
            Self::NoRevocationList { .. } => "add the CA's list, or do not demand revocation",
        }
    }
}

fn pem_remedy(error: &PemError, der: &'static str, other: &'static str) -> &'static str {
    let large = "name the CAs of your clients alone, not a whole trust store";
    error.remedy(large, |found| if *found == Found::Der { der } else { other })
}
