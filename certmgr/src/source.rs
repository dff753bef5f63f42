//! Sources of pairs. Each source reads one consistent pair and can wait for a sign of change.
//!
//! Another source adds a variant to `config::Source` and a file here, with the same two answers: a [`Pair`],
//! or an `Error` that names the place.

pub(crate) mod file;
mod queue;
mod rate_limit;
mod s3;
pub(crate) mod secrets_manager;

use std::sync::Arc;
use std::time::Duration;

use certstore::Part;
use tokio::time::Instant;

use self::file::FileReader;
use self::s3::S3Reader;
use self::secrets_manager::SecretReader;
use crate::clock::Random;
use crate::config::Source;
use crate::error::Error;
use crate::event::Reporter;
use crate::pair::Pair;
use crate::watch::Watcher;

/// Least time before a remote source is read again, however incomplete it was.
const REMOTE_RETRY: Duration = Duration::from_secs(2);

/// Time by which the writes of two remote objects may be apart before that is reported.
const REMOTE_SETTLE: Duration = Duration::from_secs(5);

/// Reads one source again and again.
#[derive(Debug)]
pub(crate) enum SourceReader {
    Files(FileReader),
    S3(Box<S3Reader>),
    SecretsManager(Box<SecretReader>),
}

impl SourceReader {
    /// Touches nothing yet. Each part has at most `max_bytes`: revocation lists may be longer than a chain. Files are
    /// polled every `poll` (remote sources have their own), and watched with `watcher`. `None` for ACME: there is
    /// nothing to read.
    pub(crate) fn new(
        source: &Source,
        max_bytes: usize,
        poll: Duration,
        watcher: Option<&Arc<Watcher>>,
        reporter: &Reporter,
    ) -> Option<Self> {
        Some(match source {
            Source::Files(files) => Self::Files(FileReader::new(files.clone(), max_bytes, poll, watcher)),
            Source::S3(s3) => Self::S3(Box::new(S3Reader::new(s3.clone(), max_bytes, reporter))),
            Source::SecretsManager(secret) => {
                Self::SecretsManager(Box::new(SecretReader::new(secret.clone())))
            }
            Source::Acme(_) => return None,
        })
    }

    /// The present pair, also when it is the same as before: the caller compares contents.
    ///
    /// Ends within a minute, whatever the source does. Cancelling it loses nothing. A source that has one part
    /// only (a combined file, or CA certificates without a revocation list) gives the same bytes as chain and key.
    pub(crate) async fn read(&mut self) -> Result<Pair, Error> {
        match self {
            Self::Files(files) => files.read().await,
            Self::S3(s3) => s3.read().await,
            Self::SecretsManager(secret) => secret.read().await,
        }
    }

    /// Resolves when the source may have changed, with the instant at which that was seen. Never resolves for a
    /// source without such signs. Cancelling it loses no hint.
    pub(crate) async fn hint(&mut self) -> Instant {
        match self {
            Self::Files(files) => files.hint().await,
            Self::S3(s3) => s3.hint().await,
            Self::SecretsManager(_) => std::future::pending().await,
        }
    }

    /// The wait for the next read without a hint. Drawn anew at each call.
    pub(crate) fn poll(&self, random: &Random) -> Duration {
        match self {
            Self::Files(files) => files.poll(random),
            Self::S3(s3) => s3.poll(random),
            Self::SecretsManager(secret) => secret.poll(random),
        }
    }

    /// The places of one part of the pair, for people: paths, `s3://bucket/key`, a secret's name. Never empty.
    pub(crate) fn places_of(&self, part: Part) -> Vec<String> {
        match self {
            Self::Files(files) => files.places_of(part),
            Self::S3(s3) => s3.places_of(part),
            Self::SecretsManager(secret) => secret.places_of(part),
        }
    }
}

impl Source {
    /// Time for which the content may be incomplete before that is reported, if `settle` is right for files.
    pub(crate) fn settle(&self, settle: Duration) -> Duration {
        settle.max(self.least(REMOTE_SETTLE))
    }

    /// The wait before incomplete content is read again, if `retry` is right for files.
    pub(crate) fn retry(&self, retry: Duration) -> Duration {
        retry.max(self.least(REMOTE_RETRY))
    }

    fn least(&self, remote: Duration) -> Duration {
        match self {
            Self::Files(_) => Duration::ZERO,
            Self::S3(_) | Self::SecretsManager(_) | Self::Acme(_) => remote,
        }
    }
}

#[cfg(test)]
mod tests;
