//! Errors of a source: the places, the reason, and the remedy.

mod issue;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use certstore::{BundleError, Found, Part, PemError, ProveError, TrustError};

use crate::config::{FileSource, Source};

pub(crate) use issue::SaidOf;
pub use issue::{IssueError, IssueFault, RetryAfter};

/// A failed attempt to get a pair from its source. Trying again is always valid, and the task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The places that the error is about, never empty: paths of files, `s3://bucket/key`, the name of a secret, the
    /// name of a CA.
    pub places: Vec<String>,
    /// The reason.
    pub reason: Reason,
}

/// The reason of an error: a pair that is not usable, or a failure to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A file could not be read.
    #[error("cannot be read: {text}")]
    Io {
        /// The kind of error.
        kind: io::ErrorKind,
        /// The text of the operating system.
        text: String,
    },
    /// The file system did not answer.
    #[error("cannot be read: the file system gave no answer within {} s", .0.as_secs())]
    Hanging(Duration),
    /// The files were replaced each time while they were being read.
    #[error("cannot be read: the files keep changing")]
    Moving,
    /// A remote store did not give the content.
    #[error("{text}")]
    Remote {
        /// The kind of failure.
        fault: RemoteFault,
        /// A text that says what happened, with the words of the service. It has no remedy.
        text: String,
    },
    /// No certificate came from the CA.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// An error of h2gate itself; the content is not to blame.
    #[error("an internal error ended the attempt: {0}")]
    Internal(String),
    /// The content is no usable pair.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The content of a remote store is no usable pair: as [`Reason::Bundle`], but the remedy must not speak of
    /// files.
    #[error(transparent)]
    Stored(BundleError),
    /// The pair may not serve, here and now.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The content is no usable trust bundle, here and now.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The content of a remote store is no usable trust bundle: as [`Reason::Trust`], but the remedy must not speak
    /// of files.
    #[error(transparent)]
    StoredTrust(TrustError),
    /// The chain must lead to the anchors of a trust bundle that has not been read yet.
    #[error("cannot be proved: the trust bundle {trust} has not been read yet")]
    NoAnchors {
        /// The bundle's name in the configuration.
        trust: String,
    },
}

/// Kinds of failure of a remote store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteFault {
    /// No connection, or no answer in time, or an answer that broke off.
    Unreachable,
    /// The store asks us to wait, or has an error of its own (5xx).
    Unavailable,
    /// We may not read the object or secret (403).
    Denied,
    /// We have no credentials for the store.
    NoCredentials,
    /// We may not use the key that the object or secret is encrypted with.
    Kms,
    /// There is no such object or secret.
    NotFound,
    /// The object or secret is larger than a pair can be.
    TooLarge,
    /// The object or secret is not in the configured format.
    Malformed,
    /// The configuration cannot work: no region, a passphrase that is not there.
    Configuration,
}

/// A class of errors. Each is a metric label; two may have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A file could not be read.
    Io,
    /// The file system did not answer.
    Hanging,
    /// The files keep changing.
    Moving,
    /// An error of h2gate itself.
    Internal,
    /// The content is no usable pair.
    Bundle,
    /// The content may not serve, here and now.
    Prove,
    /// A remote store did not give the content.
    Remote(RemoteFault),
    /// No certificate came from the CA.
    Issue(IssueFault),
}

impl ErrorClass {
    /// All classes.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Io,
            Self::Hanging,
            Self::Moving,
            Self::Internal,
            Self::Bundle,
            Self::Prove,
        ]
        .into_iter()
        .chain(RemoteFault::ALL.map(Self::Remote))
        .chain(IssueFault::ALL.map(Self::Issue))
    }

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Hanging => "hanging",
            Self::Moving => "moving",
            Self::Internal => "internal",
            Self::Bundle => "bundle",
            Self::Prove => "prove",
            Self::Remote(fault) => fault.as_str(),
            Self::Issue(fault) => fault.as_str(),
        }
    }
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> ErrorClass {
        match &self.reason {
            Reason::Io { .. } => ErrorClass::Io,
            Reason::Hanging(_) => ErrorClass::Hanging,
            Reason::Moving => ErrorClass::Moving,
            Reason::Internal(_) => ErrorClass::Internal,
            Reason::Bundle(_) | Reason::Stored(_) => ErrorClass::Bundle,
            Reason::Prove(_) | Reason::Trust(_) | Reason::StoredTrust(_) | Reason::NoAnchors { .. } => {
                ErrorClass::Prove
            }
            Reason::Remote { fault, .. } => ErrorClass::Remote(*fault),
            Reason::Issue(error) => ErrorClass::Issue(error.class),
        }
    }

    pub(crate) fn io(file: &Path, error: &io::Error) -> Self {
        Self {
            places: vec![file.display().to_string()],
            reason: Reason::Io {
                kind: error.kind(),
                text: error.to_string(),
            },
        }
    }

    pub(crate) fn bundle(source: &FileSource, error: BundleError) -> Self {
        let places = match error.part() {
            Part::Chain => vec![source.chain.display().to_string()],
            Part::Key => vec![source.key.display().to_string()],
            Part::Both => source.both(),
        };
        Self {
            places,
            reason: Reason::Bundle(error),
        }
    }

    pub(crate) fn prove(source: &FileSource, error: ProveError) -> Self {
        Self {
            places: vec![source.chain.display().to_string()],
            reason: Reason::Prove(error),
        }
    }

    /// True if the content could not be read; false if it was read and refused.
    pub fn is_unreadable(&self) -> bool {
        match self.reason {
            Reason::Io { .. }
            | Reason::Hanging(_)
            | Reason::Moving
            | Reason::Remote { .. }
            | Reason::Issue(_)
            | Reason::Internal(_) => true,
            Reason::Bundle(_)
            | Reason::Stored(_)
            | Reason::Prove(_)
            | Reason::Trust(_)
            | Reason::StoredTrust(_)
            | Reason::NoAnchors { .. } => false,
        }
    }

    /// True if the error may be gone at the next attempt without anybody doing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match &self.reason {
            Reason::Remote { fault, .. } => {
                matches!(fault, RemoteFault::Unreachable | RemoteFault::Unavailable)
            }
            Reason::Issue(error) => {
                matches!(error.class, IssueFault::Unreachable | IssueFault::RateLimited)
            }
            Reason::Moving | Reason::NoAnchors { .. } => true,
            Reason::Io { .. }
            | Reason::Hanging(_)
            | Reason::Internal(_)
            | Reason::Bundle(_)
            | Reason::Stored(_)
            | Reason::Prove(_)
            | Reason::Trust(_)
            | Reason::StoredTrust(_) => false,
        }
    }

    /// The remedy for the operator, in one sentence.
    pub fn remedy(&self) -> &str {
        match &self.reason {
            Reason::Io {
                kind: io::ErrorKind::NotFound,
                ..
            } => "check the path, or put the file there",
            Reason::Io {
                kind: io::ErrorKind::PermissionDenied,
                ..
            } => "let the user that h2gate runs as read the file and search its directories",
            Reason::Io {
                kind: io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput,
                ..
            } => "give the path of the PEM file itself",
            Reason::Io { .. } | Reason::Hanging(_) => "check the file system that the path is on",
            Reason::Remote { fault, .. } => fault.remedy(),
            Reason::Issue(error) => &error.remedy,
            Reason::Moving => "replace the pair less often, or by renaming whole files",
            Reason::Internal(_) => "please report it, with the log",
            Reason::Bundle(BundleError::NoCertificate { found })
            | Reason::Stored(BundleError::NoCertificate { found })
                if is_signing_request(found) =>
            {
                "this is a certificate signing request, not a certificate: give the chain that the CA sent back for it"
            }
            Reason::Bundle(error) => error.remedy(),
            Reason::Stored(error) => stored_remedy(error),
            Reason::Prove(error) => error.remedy(),
            Reason::Trust(error) => error.remedy(),
            Reason::StoredTrust(error) => stored_trust_remedy(error),
            Reason::NoAnchors { .. } => "see what is told of the trust bundle",
        }
    }
}

impl Reason {
    /// The same reason, with the remedy for the kind of place that the source reads.
    pub(crate) fn held_in(self, source: &Source) -> Self {
        match (self, source) {
            (Self::Bundle(error), Source::S3(_) | Source::SecretsManager(_)) => Self::Stored(error),
            (Self::Trust(error), Source::S3(_) | Source::SecretsManager(_)) => Self::StoredTrust(error),
            (reason, _) => reason,
        }
    }

    /// Remedy for a chain from a CA that may not serve. It is ordered again in any case.
    pub(crate) fn remedy_at_ca(&self) -> &'static str {
        match self {
            Self::Bundle(_) | Self::Stored(_) => {
                "nothing, if the next order brings a good one; if not, tell the CA, try without `preferred_chain`, or name \
                 another CA"
            }
            Self::Prove(error) => match error {
                ProveError::Expired { .. } | ProveError::AboutToExpire { .. } => {
                    "correct the clock if it is ahead; if it is right, tell the CA, or name another one"
                }
                ProveError::NotYetValid { .. } => {
                    "correct the clock if it is behind; if it is right, tell the CA, or name another one"
                }
                ProveError::WrongNames { .. } => {
                    "tell the CA that it leaves out what was ordered, or name another one"
                }
                ProveError::MissingIntermediate { .. } | ProveError::IntermediateNotValid { .. } => {
                    "tell the CA that its chain cannot be used, choose another `preferred_chain`, or name another CA"
                }
                ProveError::Untrusted { .. } => {
                    "name a CA that leads to the trust bundle under `trust`, or add its root to the bundle"
                }
                ProveError::Older { .. } => {
                    "correct the clock if it was set; `allow_rollback: true` takes it all the same"
                }
                ProveError::Handshake { .. } => "choose another `key` or `profile`",
            },
            Self::NoAnchors { .. } => "see what is told of the trust bundle",
            Self::Io { .. }
            | Self::Hanging(_)
            | Self::Moving
            | Self::Remote { .. }
            | Self::Issue(_)
            | Self::Internal(_)
            | Self::Trust(_)
            | Self::StoredTrust(_) => "please report it, with the log",
        }
    }

    /// The part of the pair that the reason is about.
    pub(crate) fn part(&self) -> Part {
        match self {
            Self::Bundle(error) | Self::Stored(error) => error.part(),
            Self::Prove(_) => Part::Chain,
            Self::Trust(error) | Self::StoredTrust(error) => error.part(),
            Self::Io { .. }
            | Self::Hanging(_)
            | Self::Moving
            | Self::Remote { .. }
            | Self::Issue(_)
            | Self::Internal(_)
            | Self::NoAnchors { .. } => Part::Both,
        }
    }
}

/// RFC 7468 §7: two labels of a certificate signing request.
fn is_signing_request(found: &Found) -> bool {
    let is_request =
        |label: &String| matches!(label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST");
    matches!(found, Found::Sections(labels) if labels.iter().any(is_request))
}

/// Remedy for an object or a secret. It is that of [`BundleError::remedy`] where that does not speak of files.
fn stored_remedy(error: &BundleError) -> &'static str {
    match error {
        BundleError::Pem { error: pem, .. } => match pem {
            PemError::Empty | PemError::Truncated { .. } | PemError::BadSection { .. } => {
                "store it again in full"
            }
            PemError::TooLarge { .. } => "store the chain or the key, and nothing else",
            PemError::NotPem { found } => match found {
                Found::Pkcs12 => {
                    "set `format: pkcs12` for a secret, or store it as PEM: `openssl pkcs12 -in FILE -nodes`"
                }
                Found::Pkcs7
                | Found::JavaKeyStore
                | Found::OpenSshKey
                | Found::JsonString
                | Found::Base64 => error.remedy(),
                _ => {
                    "store it as PEM: `-----BEGIN CERTIFICATE-----`, `-----BEGIN PRIVATE KEY-----`; or correct which object, \
                     field or format is read"
                }
            },
            PemError::NoLineBreaks { .. } | PemError::Joined { .. } => error.remedy(),
        },
        BundleError::NoCertificate {
            found: Found::Sections(_),
        }
        | BundleError::NoKey {
            found: Found::Sections(_),
        } => "check that the objects or fields of chain and key are not exchanged",
        BundleError::ManyKeys { .. } => "leave only the key of the first certificate in it",
        BundleError::ManyCertificates { .. } | BundleError::IssuerNotCa { .. } => {
            "leave only the leaf and its CA's intermediates in it"
        }
        BundleError::EncryptedKey => {
            "store the key without a passphrase (`openssl pkey -in FILE -out FILE`): the store encrypts it"
        }
        other => other.remedy(),
    }
}

/// Remedy for an object or a secret. It is that of [`TrustError::remedy`] where that does not speak of files.
fn stored_trust_remedy(error: &TrustError) -> &'static str {
    match error {
        TrustError::Cas(pem) | TrustError::RevocationLists(pem) => match (pem, error) {
            (PemError::Empty | PemError::Truncated { .. } | PemError::BadSection { .. }, _) => {
                "store it again in full"
            }
            (
                PemError::NotPem { found: Found::Der }
                | PemError::TooLarge { .. }
                | PemError::NoLineBreaks { .. }
                | PemError::Joined { .. },
                _,
            ) => error.remedy(),
            (PemError::NotPem { .. }, TrustError::Cas(_)) => {
                "store it as PEM: `-----BEGIN CERTIFICATE-----`; or correct which object, field or format is read"
            }
            (PemError::NotPem { .. }, _) => {
                "store it as PEM: `-----BEGIN X509 CRL-----`; or correct which object, field or format is read"
            }
        },
        TrustError::NoCa { .. } => {
            "check that the objects or fields of CA certificates and revocation lists are not exchanged"
        }
        other => other.remedy(),
    }
}

impl RemoteFault {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Unavailable,
        Self::Denied,
        Self::NoCredentials,
        Self::Kms,
        Self::NotFound,
        Self::TooLarge,
        Self::Malformed,
        Self::Configuration,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::Denied | Self::NoCredentials => "denied",
            Self::Kms => "kms",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Configuration => "configuration",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "check the way to the service: network, security group, VPC endpoint, DNS",
            Self::Unavailable => "nothing, if it passes; it is asked again at the next poll",
            Self::Denied => "let the role that h2gate runs as read it, or check the credentials",
            Self::NoCredentials => {
                "give the task, pod or instance a role, or set keys; in a container on EC2 the metadata service must allow 2 \
                 hops"
            }
            Self::Kms => "let the role that h2gate runs as decrypt with the KMS key (kms:Decrypt)",
            Self::NotFound => "check its name, region and account, or put it there",
            Self::TooLarge => "store what is needed for this name, and nothing else",
            Self::Malformed => {
                "store it in the configured format, or configure the format and the passphrase that it has"
            }
            Self::Configuration => "correct the configuration",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            let between = if index == 0 { "" } else { ", " };
            write!(f, "{between}{place}")?;
        }
        write!(f, ": {} ({})", self.reason, self.remedy())
    }
}

impl std::error::Error for Error {}

impl FileSource {
    pub(crate) fn both(&self) -> Vec<String> {
        let mut files = vec![self.chain.display().to_string()];
        if self.key != self.chain {
            files.push(self.key.display().to_string());
        }
        files
    }
}

#[cfg(test)]
mod tests;
