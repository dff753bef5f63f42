//! Storage of documents that must outlive the process: a contract, and the local disk behind it.
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

/// Limit for the wait at each call of the store.
pub(crate) const STATE_DEADLINE: Duration = Duration::from_secs(10);

/// A future behind a trait object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps documents.
///
/// Each document is read and replaced as a whole. A reader sees the old content or the new one, also after a crash;
/// of two writers at once, the last one wins whole. The store has no locks: a caller whose write depends on its read
/// holds a [`Lease`](crate::lease::Lease) meanwhile if other processes may write, too. A call may hang with the disk:
/// the caller limits its wait by [`STATE_DEADLINE`]. A call that is cancelled or given up may still take effect
/// later, so the caller begins no second write beside it ([`Writing`]). Errors name the place, never the content.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// The document, or `None` if it was never written or has been removed.
    fn read<'a>(
        &'a self,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>>;

    /// A stamp that differs after each write; `None`: there is no document, or the store has no stamps.
    /// Much cheaper than [`read`](Self::read).
    fn stamp<'a>(&'a self, _document: &'a Document) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Replaces the document. Once this is `Ok`, the document survives a crash of the machine. After an error the old
    /// one is there, byte for byte; or the new one, if only the last step failed, which makes it survive a crash.
    /// A cancelled write may still happen.
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

/// The kinds of documents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Document {
    /// The serving pair of a certificate's name, and those that served before it. Holds keys.
    Certificate(String),
    /// The account at a CA, by the URL of its directory (and the external account it is bound to). Holds its key.
    Account(String),
    /// The order in progress for a certificate's name, with its key and the records that must be removed after it.
    Order(String),
    /// The wish to revoke a fingerprint, by its whole hash in hex.
    Revocation(String),
    /// Past orders with their times: the issuance budget.
    Ledger,
    /// The CA certificates and revocation lists in force under a trust bundle's name.
    Trust(String),
}

/// Mark that differs between two writes of a document: of a file its number, time and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) file: u64,
    pub(crate) time: (i64, i64),
    pub(crate) size: u64,
}

/// Reason why a document could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub(crate) struct StoreError {
    /// The file.
    pub(crate) place: String,
    /// The system's words, and the remedy.
    pub(crate) text: String,
}

impl StoreError {
    pub(crate) fn new(place: impl Into<String>, text: impl fmt::Display) -> Self {
        Self {
            place: place.into(),
            text: text.to_string(),
        }
    }

    /// The error for no answer within [`STATE_DEADLINE`].
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
