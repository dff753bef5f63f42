//! What to fetch, from where, and how.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Name, UnixTime};

use crate::event::Event;

/// One certificate of the configuration. Two equal ones are the same certificate: a reload leaves it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// Its name in the configuration and in the store.
    pub name: String,
    /// What it must cover. Empty: whatever it names.
    pub domains: Vec<Name>,
    /// Where it comes from.
    pub source: Source,
    /// Whether a pair that is older than what serves may replace it.
    pub allow_rollback: bool,
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
        }
    }
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A pair of PEM files.
    Files(FileSource),
}

/// A chain and a key on disk. One combined file may be named twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The PEM chain, leaf first.
    pub chain: PathBuf,
    /// The PEM key.
    pub key: PathBuf,
}

/// Called with each event, in order for each certificate, from the certificate's task. Must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

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
