//! Where the manager keeps what must outlive the process: a contract, and the local disk behind it.
//!
//! Every document is replaced as a whole: a reader sees the old one or the new one, also after a crash or a
//! full disk in the middle of a write.

pub(crate) mod disk;
mod writing;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use zeroize::Zeroizing;

pub(crate) use writing::Writing;

/// The store is waited for so long, at each call.
pub(crate) const STATE_DEADLINE: Duration = Duration::from_secs(10);

/// A future behind a trait object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps documents. Whoever calls holds no lock; two writers of one document at once: the last one wins whole.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// The document, or `None` if it was never written or has been removed.
    fn read<'a>(
        &'a self,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>>;

    /// Something that is another one after each write, for one look; `None`: there is no document, or it cannot be said.
    /// Much cheaper than [`read`](Self::read).
    fn stamp<'a>(&'a self, _document: &'a Document) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Replaces the document. Once this is `Ok`, it survives a crash of the machine. After an error the old
    /// one is there, byte for byte; or the new one, if only the last step failed, which makes it survive a crash.
    /// Cancelled, it may still happen.
    fn write<'a>(&'a self, document: &'a Document, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The names of the certificates that are kept. One whose name is too long for a file may be left out.
    fn certificates(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The names of the certificates of which an order is noted. One whose name is too long for a file may be left
    /// out.
    fn orders(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The fingerprints that are to be revoked, or have been, in hex.
    fn revocations(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Removes the document; one that is not there is no error.
    fn remove<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// What can be kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Document {
    /// What serves under a certificate's name, and what served before it. Holds keys.
    Certificate(String),
    /// The account at a CA, by the URL of its directory (and the external account it is bound to). Holds its key.
    Account(String),
    /// The order that is under way for a certificate's name, with its key and what must be cleaned up after it.
    Order(String),
    /// The wish to revoke a fingerprint, by its whole hash in hex.
    Revocation(String),
    /// What was ordered when: the issuance budget.
    Ledger,
    /// What is trusted under a trust bundle's name.
    Trust(String),
}

/// What tells one writing of a document from another: of a file its number, time and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) file: u64,
    pub(crate) time: (i64, i64),
    pub(crate) size: u64,
}

/// A document could not be kept or had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub(crate) struct StoreError {
    /// The file.
    pub(crate) place: String,
    /// The system's words, and what to do.
    pub(crate) text: String,
}

impl StoreError {
    pub(crate) fn new(place: impl Into<String>, text: impl fmt::Display) -> Self {
        Self {
            place: place.into(),
            text: text.to_string(),
        }
    }

    /// No answer within [`STATE_DEADLINE`].
    pub(crate) fn hanging(place: &str) -> Self {
        Self::new(
            place,
            format!("the disk gave no answer within {} s", STATE_DEADLINE.as_secs()),
        )
    }
}

impl Document {
    /// Its kind, for the names of failpoints.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Account(_) => "account",
            Self::Order(_) => "order",
            Self::Revocation(_) => "revocation",
            Self::Ledger => "ledger",
            Self::Trust(_) => "trust",
        }
    }
}
