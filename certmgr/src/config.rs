//! The configuration of certificates and trust bundles: sources, names, demands.

mod acme;
mod aws;

use std::path::PathBuf;

use certstore::Name;

pub use acme::{AcmeSource, Ca, Challenge, DnsProvider, ExecHook, ExternalAccount, KeyType, Route53};
pub use aws::{Aws, S3Object, S3Source, SecretFormat, SecretsManagerSource};

/// One certificate of the configuration. Two equal ones are the same certificate: a reload leaves it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// Its name in the configuration and in the store.
    pub name: String,
    /// Names that it must cover. Empty: any.
    pub domains: Vec<Name>,
    /// Its source.
    pub source: Source,
    /// A pair that begins earlier than the serving one, or lacks the intermediate that it needs, may replace it.
    pub allow_rollback: bool,
    /// The trust bundle (a [`TrustConfig`] of this name) whose anchors the chain must lead to. `None`: no
    /// anchors are demanded.
    pub trust: Option<String>,
}

/// CA certificates, and maybe revocation lists, against which the certificates of peers are verified. They
/// come through the same sources as pairs: where a pair has its chain, a bundle has its CA certificates, and
/// where a pair has its key, a bundle has its revocation lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustConfig {
    /// Its name in the configuration and in the store.
    pub name: String,
    /// Its source. Never ACME.
    pub source: Source,
    /// Revocation lists are demanded: one for each CA of the bundle.
    pub revocation: bool,
}

impl CertificateConfig {
    /// A pair of files, without demands on its names.
    pub fn from_files(name: impl Into<String>, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            domains: Vec::new(),
            source: Source::Files(FileSource {
                chain: chain.into(),
                key: key.into(),
            }),
            allow_rollback: false,
            trust: None,
        }
    }
}

/// The source of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A pair of PEM files.
    Files(FileSource),
    /// One or two objects in S3.
    S3(S3Source),
    /// A secret in AWS Secrets Manager.
    SecretsManager(SecretsManagerSource),
    /// Ordered from a CA.
    Acme(Box<AcmeSource>),
}

impl Source {
    /// A label for metrics and messages: the key of the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::S3(_) => "s3",
            Self::SecretsManager(_) => "secrets_manager",
            Self::Acme(_) => "acme",
        }
    }
}

/// A chain and a key on disk. One combined file may be named twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The PEM chain, leaf first.
    pub chain: PathBuf,
    /// The PEM key.
    pub key: PathBuf,
}

/// The place of a secret of the configuration. The configuration never holds the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretReference {
    /// A file; one line break at its end does not count.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A secret in AWS Secrets Manager.
    SecretsManager {
        /// Name or ARN.
        secret: String,
        /// The AWS account and identity.
        aws: Aws,
    },
}
