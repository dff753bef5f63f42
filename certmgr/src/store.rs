//! Storage of documents that must outlive the process: a contract, and the local disk behind it.
//!
//! Every document is replaced as a whole: a reader sees the old one or the new one, also after a crash or a
//! full disk in the middle of a write. `document.rs` has the form of their contents.

pub(crate) mod disk;
mod document;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use zeroize::Zeroizing;

pub(crate) use document::{DocumentError, LoadError, decode, decode_base64, encode, encode_base64};

/// Limit for the wait at each call of the store.
pub(crate) const STATE_DEADLINE: Duration = Duration::from_secs(10);

/// The folders whose documents are listed.
pub(crate) const CERTIFICATES: &str = "certificates";
pub(crate) const ORDERS: &str = "orders";
pub(crate) const REVOCATIONS: &str = "revocations";

/// A future behind a trait object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A guard that is dropped once a write has ended, however late.
pub(crate) type Held = Option<Box<dyn Any + Send + Sync>>;

/// Keeps documents.
///
/// Each document is read and replaced as a whole. A reader sees the old content or the new one, also after a crash.
/// Each call ends within [`STATE_DEADLINE`]. A call that was given up or cancelled may still take effect, and the
/// next call for the same document waits for it: of two writes of this process, the later one stays. A caller whose
/// write depends on its read holds a [`Lease`](crate::lease::Lease) meanwhile if other processes may write, too.
/// Errors name the place, never the content.
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
    fn write<'a>(&'a self, document: &'a Document, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write_holding(document, bytes, None)
    }

    /// Replaces the document as [`write`](Self::write) does. A write that goes on after it was given up keeps `held`.
    fn write_holding<'a>(
        &'a self,
        document: &'a Document,
        bytes: &'a [u8],
        held: Held,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The names of the documents in a folder. One whose name is too long for a file may be left out.
    fn names(&self, _folder: &'static str) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
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
