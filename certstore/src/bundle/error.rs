//! The errors of `CertBundle::parse`: a closed list, each with its remedy.

use std::fmt;

use super::{MAX_CERTIFICATES, MIN_RSA_BITS};
use crate::pem::{Found, PemError};

/// The input that an error is about, so that a source can add the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The certificate chain.
    Chain,
    /// The private key.
    Key,
    /// The two do not fit each other.
    Both,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "certificate chain",
            Self::Key => "private key",
            Self::Both => "pair",
        })
    }
}

/// The reason for which a chain and a key make no bundle. Positions count certificates from 1, in the order of the
/// input, each once.
///
/// All of these are for the operator (or a half-finished writer) to correct; trying the same bytes again
/// cannot help. The text holds no byte of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The text cannot be read.
    #[error("{}", .error.about(Some(&.part.to_string())))]
    Pem {
        /// The input.
        part: Part,
        /// The defect.
        error: PemError,
    },
    /// PEM, but no certificate.
    #[error("the chain holds no certificate, only {found}")]
    NoCertificate {
        /// The content that is there instead.
        found: Found,
    },
    /// PEM, but no private key.
    #[error("the key file holds no private key of a usable format, only {found}")]
    NoKey {
        /// The content that is there instead.
        found: Found,
    },
    /// More than one private key: which one is meant is not to be guessed.
    #[error("the key file holds {count} private keys; one is wanted")]
    ManyKeys {
        /// Their number.
        count: usize,
    },
    /// A key protected by a passphrase.
    #[error("the private key is encrypted with a passphrase")]
    EncryptedKey,
    /// More certificates than a chain can sensibly have.
    #[error("the chain has {count} certificates; at most {MAX_CERTIFICATES} are accepted")]
    ManyCertificates {
        /// Their number.
        count: usize,
    },
    /// Not a DER certificate.
    #[error("certificate {position} of the chain cannot be parsed: {reason}")]
    BadCertificate {
        /// Position of the certificate.
        position: usize,
        /// The parser's message.
        reason: String,
    },
    /// X.509 version 1 or 2: TLS libraries of today refuse them.
    #[error("certificate {position} of the chain is X.509 version {version}; version 3 is needed")]
    OldVersion {
        /// Position of the certificate.
        position: usize,
        /// Its version.
        version: u32,
    },
    /// The key's bytes are no usable private key.
    #[error("the private key cannot be read: it is broken or of an unsupported kind")]
    BadKey,
    /// An RSA key that is too short.
    #[error(
        "certificate {position} of the chain has an RSA key of {bits} bits; at least {MIN_RSA_BITS} are needed"
    )]
    WeakKey {
        /// Position of the certificate.
        position: usize,
        /// Its length.
        bits: usize,
    },
    /// A key kind that TLS clients cannot use.
    #[error(
        "certificate {position} of the chain has a key of an unsupported kind; RSA 2048 to 8192, ECDSA P-256, \
         P-384, P-521 and Ed25519 are supported"
    )]
    UnsupportedKey {
        /// Position of the certificate.
        position: usize,
    },
    /// Signed with SHA-1 or MD5.
    #[error("certificate {position} of the chain is signed with {algorithm}, which clients refuse")]
    WeakSignature {
        /// Position of the certificate.
        position: usize,
        /// The algorithm.
        algorithm: &'static str,
    },
    /// Key and leaf are of different pairs.
    #[error("the private key does not belong to the certificate (its first one, {subject})")]
    KeyMismatch {
        /// The leaf's subject.
        subject: String,
    },
    /// The issuer of the leaf is not among the CA certificates that are there.
    #[error(
        "the chain breaks after certificate {position}: its issuer is {wanted}, which is not there, but {found} is"
    )]
    ChainBroken {
        /// The leaf.
        position: usize,
        /// The issuer it names.
        wanted: String,
        /// The subject of a CA certificate that is there instead.
        found: String,
    },
    /// The name fits, the signature does not: an older or newer key of the same CA.
    #[error(
        "the signature of certificate {position} was not made by certificate {issuer_position} ({issuer})"
    )]
    BadSignature {
        /// The certificate with the signature.
        position: usize,
        /// The one that has the issuer's name.
        issuer_position: usize,
        /// The subject of that certificate.
        issuer: String,
    },
    /// An issuer that may not issue.
    #[error("certificate {position} of the chain signs others but is not a CA certificate")]
    IssuerNotCa {
        /// Position of the certificate.
        position: usize,
    },
    /// An issuer may not issue for one of the leaf's names.
    #[error("certificate {position} of the chain ({subject}) does not allow certificates for {name}")]
    NameConstraint {
        /// The issuer.
        position: usize,
        /// Its subject.
        subject: String,
        /// The first name that it does not allow.
        name: String,
    },
    /// More issuers below one than it allows.
    #[error("certificate {position} of the chain allows {limit} issuers below it (pathLen), and has {below}")]
    PathLength {
        /// The issuer.
        position: usize,
        /// The number of issuers that it allows below it.
        limit: u32,
        /// The number of issuers that are below it.
        below: u32,
    },
    /// Key usage without digitalSignature.
    #[error("the certificate's key usage lacks digitalSignature, which every TLS handshake here needs")]
    KeyUsage,
    /// Extended key usage without serverAuth.
    #[error("the certificate's extended key usage lacks serverAuth: it was issued for another purpose")]
    ExtendedKeyUsage,
    /// No subject alternative name in a certificate that a CA issued.
    #[error("the certificate has no subject alternative name; clients of today ignore the common name")]
    NoNames,
}

const OPENSSH_REMEDY: &str = "convert it in place: `ssh-keygen -p -m PKCS8 -N '' -f FILE`";

impl BundleError {
    /// The input that must be corrected.
    pub fn part(&self) -> Part {
        match self {
            Self::Pem { part, .. } => *part,
            Self::NoKey { .. } | Self::ManyKeys { .. } | Self::EncryptedKey | Self::BadKey => Part::Key,
            Self::KeyMismatch { .. } => Part::Both,
            Self::NoCertificate { .. }
            | Self::ManyCertificates { .. }
            | Self::BadCertificate { .. }
            | Self::OldVersion { .. }
            | Self::WeakKey { .. }
            | Self::UnsupportedKey { .. }
            | Self::WeakSignature { .. }
            | Self::ChainBroken { .. }
            | Self::BadSignature { .. }
            | Self::IssuerNotCa { .. }
            | Self::NameConstraint { .. }
            | Self::PathLength { .. }
            | Self::KeyUsage
            | Self::ExtendedKeyUsage
            | Self::NoNames => Part::Chain,
        }
    }

    /// The operator's remedy, in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Pem { error, .. } => error.remedy(
                "check that the path names a certificate chain or key, and not a trust store",
                |found| match found {
                    Found::Der => {
                        "convert it: `openssl x509 -inform der` for a certificate, `openssl pkey -inform der` for a key"
                    }
                    Found::Pkcs12 => "convert it: `openssl pkcs12 -in FILE -nodes`",
                    Found::Pkcs7 => "convert it: `openssl pkcs7 -inform der -in FILE -print_certs`",
                    Found::OpenSshKey => OPENSSH_REMEDY,
                    Found::JavaKeyStore => {
                        "export it: `keytool -importkeystore -deststoretype pkcs12`, then `openssl pkcs12`"
                    }
                    Found::Utf16 => "save it as plain ASCII or UTF-8",
                    Found::JsonString => "take the quotes away, and give the text its line breaks",
                    Found::Base64 => {
                        "decode it once: `base64 -d FILE`; if that gives no PEM, put the BEGIN and END lines around it"
                    }
                    Found::Json | Found::Markup | Found::Text | Found::Binary | Found::Sections(_) => {
                        "check the path: the file must hold `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----`"
                    }
                },
            ),
            Self::NoCertificate { found: Found::Pkcs7 } => {
                "convert it: `openssl pkcs7 -in FILE -print_certs`"
            }
            Self::NoCertificate {
                found: Found::Sections(labels),
            } if labels.iter().any(|label| label == "TRUSTED CERTIFICATE") => {
                "convert it: `openssl x509 -in FILE`, for each certificate"
            }
            Self::NoKey {
                found: Found::OpenSshKey,
            } => OPENSSH_REMEDY,
            Self::NoCertificate { .. } | Self::NoKey { .. } => {
                "check that the paths of chain and key are not exchanged"
            }
            Self::ManyKeys { .. } => "leave only the key of the first certificate in the file",
            Self::EncryptedKey => {
                "store it without a passphrase (`openssl pkey -in FILE -out FILE`), readable by h2gate only"
            }
            Self::ManyCertificates { .. } => "leave only the leaf and its intermediates in the file",
            Self::BadCertificate { .. } | Self::BadKey => "export the pair again from where it was issued",
            Self::OldVersion { .. } => {
                "make it again with extensions, for instance `openssl req -x509 -addext subjectAltName=DNS:HOST`"
            }
            Self::WeakKey { .. } | Self::UnsupportedKey { .. } => {
                "issue a new certificate with an ECDSA P-256 or an RSA key of 2048 to 4096 bits"
            }
            Self::WeakSignature { .. } => "issue it again with SHA-256",
            Self::KeyMismatch { .. } => "put the key that the certificate was requested with beside it",
            Self::ChainBroken { .. } | Self::BadSignature { .. } => {
                "put the intermediates of the CA that issued this certificate after it, and no others"
            }
            Self::IssuerNotCa { .. } => "leave only the leaf and its CA's intermediates in the file",
            Self::NameConstraint { .. } => {
                "issue it from a CA that may issue for its names: all clients refuse this chain"
            }
            Self::PathLength { .. } => "issue it from a CA that stands higher: all clients refuse this chain",
            Self::KeyUsage => "issue it with key usage digitalSignature, or without the extension",
            Self::ExtendedKeyUsage => "issue it with extended key usage serverAuth",
            Self::NoNames => "issue it with the host names as subject alternative names",
        }
    }
}
