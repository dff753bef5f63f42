//! What to fetch, from where, and how.

mod acme;
mod aws;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Name, UnixTime};

pub use acme::{AcmeSource, Authority, Challenge, DnsProvider, ExecHook, ExternalAccount, KeyType, Route53};
pub use aws::{Aws, S3Object, S3Objects, S3Source, SecretFormat, SecretsManagerSource};

use crate::acme::Issuer;
use crate::event::Event;
use crate::state::State;
use crate::trust::TrustEvent;

/// One certificate of the configuration. Two equal ones are the same certificate: a reload leaves it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// Its name in the configuration and in the store.
    pub name: String,
    /// What it must cover. Empty: whatever it names.
    pub domains: Vec<Name>,
    /// Where it comes from.
    pub source: Source,
    /// Whether a pair that begins earlier than what serves, or lacks the intermediate that it needs, may replace it.
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
    /// Where it comes from. Never ACME.
    pub source: Source,
    /// Whether revocation lists are demanded: one for each CA of the bundle.
    pub revocation: bool,
}

impl CertificateConfig {
    /// A pair of files, without wishes about its names.
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

/// Where a certificate comes from.
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

/// Where a secret of the configuration is. The configuration never holds the secret itself.
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
        /// Which AWS, as whom.
        aws: Aws,
    },
}

/// Called with each event, in order for each certificate, from the certificate's task. Must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Called with each event of a trust bundle, in order for each, from the bundle's task. Must not block.
pub type TrustObserver = Arc<dyn Fn(&TrustEvent) + Send + Sync>;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Gives numbers from 0 up to but not including 1.
pub type Random = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Makes the issuer of an ACME certificate.
pub(crate) type Issuers = Arc<dyn Fn(&AcmeSource) -> Arc<dyn Issuer> + Send + Sync>;

/// How the sources are read. The defaults are right for a server.
#[derive(Clone)]
pub struct Options {
    /// How often a source is read when nothing has told of a change.
    pub poll: Duration,
    /// How long a pair may be incomplete (a new chain beside an old key) before that is told as a refusal.
    pub settle: Duration,
    /// Whether directories are watched as well. Off for file systems that tell nothing, and in tests.
    pub watch: bool,
    /// The ALPN lists of the listeners; an empty list stands for a client without ALPN.
    pub alpn: Vec<Vec<Vec<u8>>>,
    /// The clock for validity. Must not block.
    pub now: Clock,
    /// Told of each event. Logging happens anyway.
    pub observer: Option<Observer>,
    /// The same for trust bundles.
    pub trust_observer: Option<TrustObserver>,
    /// Where what serves, the accounts at CAs and the record of orders are kept. `None`: nowhere; then a cold
    /// start needs its sources, and an ACME certificate fails with an error that says so.
    pub state: Option<State>,
    /// Orders at CAs under way at once, all certificates together.
    pub max_orders: usize,
    /// Chance, for what must not happen everywhere at once.
    pub random: Random,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            settle: Duration::from_secs(1),
            watch: true,
            alpn: certstore::Profile::default().alpn,
            now: Arc::new(UnixTime::now),
            observer: None,
            trust_observer: None,
            state: None,
            max_orders: 4,
            random: Arc::new(rand::random::<f64>),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("poll", &self.poll)
            .field("settle", &self.settle)
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}
