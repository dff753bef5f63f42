//! Ordering from a CA by ACME (RFC 8555): the contract that the story of a certificate knows, and the parts
//! that keep it.

mod account;
mod chain;
mod claims;
mod client;
mod control;
mod desk;
mod home;
mod http;
mod jws;
mod kept;
mod keys;
mod note;
mod order;
mod problem;
mod renewal;
mod session;

use std::fmt;
use std::sync::Arc;

use certstore::Name;
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use client::{Client, Shared, max_attempt};

use crate::config::{AcmeSource, Ca, KeyType};
use crate::error::IssueError;
use crate::pair::Pair;
use crate::schedule::RenewalInfo;
use crate::store::BoxFuture;

/// Orders certificates for one [`AcmeSource`].
///
/// Cas are named by position in its list. No call outlives its own timeouts: each ends.
pub(crate) trait Issuer: Send + Sync {
    /// Waits until one more order may be under way. Dropped, it lets the next one begin.
    fn turn(&self) -> BoxFuture<'_, Turn>;

    /// Goes on with the order that is noted for this name, or places a new one, until the chain is there.
    ///
    /// Everything that a crash could lose is on disk before the CA is told: the key before the order is
    /// finalized, the order's URL as soon as it is known, each DNS record before it is made. Challenges are
    /// taken back on every way out; after a crash by [`Issuer::clean_up`].
    fn issue<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>>;

    /// The caller has kept the issued pair for good: the note of its order may go. An error of the DNS says that TXT
    /// records are left, which stay noted for [`Issuer::clean_up`].
    fn done<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Takes back what an order left behind that a crash ended: TXT records.
    fn clean_up<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>>;

    /// RFC 9773. `None` if the CA has no such service.
    fn renewal_info<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>>;

    /// Reads the CA's directory, to see whether it is there: costs it nothing.
    fn probe(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>>;

    /// Whether nothing speaks against ordering this: the self-check alone, which costs the CA no more than a probe.
    fn check_names<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>>;

    /// Revokes a certificate (RFC 8555 §7.6). One that is revoked already is no error.
    fn revoke<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
        reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Whether such an order, at the same CA, is noted on disk. To go on with it is no new order.
    fn has_unfinished<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>>;

    /// Replaces the key of our account there (RFC 8555 §7.3.5). A crash in between loses neither key: the next
    /// call of any kind finds out which one the CA knows.
    fn roll_account_key(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>>;
}

/// Makes the issuer of an ACME certificate.
pub(crate) type Issuers = Arc<dyn Fn(&AcmeSource) -> Arc<dyn Issuer> + Send + Sync>;

/// One of the orders that may be under way at once.
#[derive(Debug, Default)]
#[must_use = "it ends when it is dropped"]
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Some(permit),
        }
    }
}

/// What is ordered.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The certificate's name in the configuration.
    pub(crate) certificate: String,
    /// DNS names, wildcards and addresses; never empty.
    pub(crate) domains: Vec<Name>,
    pub(crate) key: KeyType,
    /// Position in the list of CAs.
    pub(crate) ca: usize,
    /// DER of the certificate that this one replaces, if it came from the same CA (RFC 9773 §5).
    pub(crate) replaces: Option<Vec<u8>>,
    /// Asked right before a new order is placed. `None`: nobody counts.
    pub(crate) leave: Option<Arc<dyn Leave>>,
}

/// Counts orders. What was meant to go on with an order, or to replace a certificate, may turn out otherwise.
pub(crate) trait Leave: fmt::Debug + Send + Sync {
    /// Whether a new order may be placed, which does or does not name what it replaces.
    fn to_place(&self, replacing: bool) -> BoxFuture<'_, Result<(), IssueError>>;

    /// What was to be gone on with has failed at the CA while nobody looked, and counts.
    fn has_failed<'a>(&'a self, error: &'a IssueError) -> BoxFuture<'a, ()>;
}

/// Counts the accounts that are made at CAs.
pub(crate) trait Registrar: Send + Sync {
    /// Whether one more may be made, which is noted. One that the CA turns out to have already counts all the same.
    fn may_register<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, Result<(), IssueError>>;

    /// The CA gave none, so none counts. If it made one all the same, the next time gives that one to the same key (RFC
    /// 8555 §7.3.1), and it counts then.
    fn not_registered<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, ()>;
}

/// A chain and its key, fresh from the CA. Not proved yet.
pub(crate) struct Issued {
    pub(crate) pair: Pair,
    /// URL of the order.
    pub(crate) order: String,
}

/// RFC 5280 §5.3.1, those that a subscriber may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// The key is in other hands.
    KeyCompromise,
    /// It names what is not ours any more.
    AffiliationChanged,
    /// Another one has taken its place.
    Superseded,
    /// The service is gone.
    CessationOfOperation,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// Its name, for people and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

#[cfg(test)]
mod tests;
