//! Ordering from a CA by ACME (RFC 8555): the contract [`Issuer`], which is all that the code of a certificate knows,
//! and the parts that fulfil it.

mod account;
mod authorization;
mod chain;
mod claims;
mod client;
mod home;
mod http;
mod jws;
mod kept;
mod keys;
mod order;
mod pending_order;
mod problem;
mod renewal;
mod renewal_queue;
mod resources;
mod session;

use std::fmt;
use std::sync::Arc;

use certstore::Name;
use tokio::sync::OwnedSemaphorePermit;

#[cfg(any(test, fuzzing))]
pub(crate) use account::fuzz_document as fuzz_account;
pub(crate) use client::{Client, Shared, max_attempt};
#[cfg(any(test, fuzzing))]
pub(crate) use pending_order::fuzz_document as fuzz_note;

use crate::config::{AcmeSource, Ca, KeyType};
use crate::error::IssueError;
use crate::pair::Pair;
use crate::schedule::RenewalInfo;
use crate::store::BoxFuture;

/// Orders certificates for one [`AcmeSource`].
///
/// A CA is named by its position in the list of the source. Each call but [`Issuer::order_permit`] ends within its own
/// timeouts.
///
/// The caller issues for one certificate name at a time, in all processes of a state directory: there is one note of
/// an order for each name. The caller also holds an [`OrderPermit`] meanwhile. A call that is dropped leaves the note on
/// disk, so that the next [`Issuer::issue`] goes on with the order; TXT records stay in the note until
/// [`Issuer::clean_up`].
pub(crate) trait Issuer: Send + Sync {
    /// Waits until one more order may be in progress. Dropping the permit lets the next order begin.
    fn order_permit(&self) -> BoxFuture<'_, OrderPermit>;

    /// Goes on with the order that is noted for this certificate, or places a new one, until the chain is there.
    ///
    /// Everything that a crash could lose is on disk before the CA gets the request: the key before the order is
    /// finalized, the order's URL as soon as it is known, each DNS record before it is made. Answers to challenges
    /// are removed on every way out; after a crash by [`Issuer::clean_up`].
    fn issue<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Issued, IssueError>>;

    /// Removes the note of an order; the caller has stored the issued pair before. An error of the DNS says that TXT
    /// records are left, which stay noted for [`Issuer::clean_up`].
    fn done<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Removes the TXT records that an order left behind when a crash ended it.
    fn clean_up<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Renewal information about the certificate `leaf` (RFC 9773). `None` if the CA has no such service.
    fn renewal_info<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, IssueError>>;

    /// Reads the directory of the CA, to see whether the CA answers: no rate limit counts it.
    fn probe(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>>;

    /// True if the self-check finds nothing that would make this order fail. It costs the CA no more than
    /// [`Issuer::probe`].
    fn check_names<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>>;

    /// Revokes a certificate (RFC 8555 §7.6). One that is revoked already is no error.
    fn revoke<'a>(
        &'a self,
        ca: usize,
        leaf: &'a [u8],
        reason: RevocationReason,
    ) -> BoxFuture<'a, Result<(), IssueError>>;

    /// True if an order for the same request, at the same CA, is noted on disk. Going on with it is no new order.
    fn has_unfinished<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<bool, IssueError>>;

    /// Replaces the key of our account at the CA (RFC 8555 §7.3.5). A crash in between loses neither key: the next
    /// call of any kind finds out which one the CA knows.
    fn roll_account_key(&self, ca: usize) -> BoxFuture<'_, Result<(), IssueError>>;
}

/// Makes the issuer of an ACME certificate.
pub(crate) type Issuers = Arc<dyn Fn(&AcmeSource) -> Arc<dyn Issuer> + Send + Sync>;

/// Permit for one of the orders that may be in progress at once. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub(crate) struct OrderPermit {
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// A certificate to be ordered.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The certificate's name in the configuration.
    pub(crate) certificate: String,
    /// DNS names, wildcards and addresses; never empty.
    pub(crate) domains: Vec<Name>,
    pub(crate) key: KeyType,
    /// Position in the list of CAs.
    pub(crate) ca: usize,
    /// DER of the certificate that the new one replaces, if it came from the same CA (RFC 9773 §5).
    pub(crate) replaces: Option<Vec<u8>>,
    /// Asked right before a new order is placed. `None`: orders are not counted.
    pub(crate) limiter: Option<Arc<dyn OrderLimiter>>,
}

/// Counts orders and permits each, at the last moment: a call that was to go on with an order, or to replace a
/// certificate, may have to place another kind of order.
pub(crate) trait OrderLimiter: fmt::Debug + Send + Sync {
    /// Permits a new order; the error says why it may not be placed. `replacing`: the order names the certificate
    /// that it replaces.
    fn permit(&self, replacing: bool) -> BoxFuture<'_, Result<(), IssueError>>;

    /// Counts a failure: the order that was to be gone on with has failed at the CA since it was last read.
    fn count_failure<'a>(&'a self, error: &'a IssueError) -> BoxFuture<'a, ()>;
}

/// Counts the accounts that are made at CAs.
pub(crate) trait Registrar: Send + Sync {
    /// Permits one more account and notes it; the error says why none may be made. An account that the CA turns out
    /// to have already counts all the same.
    fn may_register<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Removes what [`Registrar::may_register`] noted: the CA gave no account. If it made one all the same, the next
    /// attempt gets that one for the same key (RFC 8555 §7.3.1), and it counts then.
    fn not_registered<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, ()>;
}

/// A chain and its key, as the CA issued them. Not proved yet.
pub(crate) struct Issued {
    pub(crate) pair: Pair,
    /// URL of the order.
    pub(crate) order: String,
}

/// Reasons of a revocation: those of RFC 5280 §5.3.1 that a subscriber may give, with their codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified = 0,
    /// Somebody else has the key.
    KeyCompromise = 1,
    /// The certificate has a name that is not ours any more.
    AffiliationChanged = 3,
    /// Another certificate has taken its place.
    Superseded = 4,
    /// The service is gone.
    CessationOfOperation = 5,
}

impl RevocationReason {
    /// All reasons, with their names for people and on disk.
    const ALL: [(&'static str, Self); 5] = [
        ("unspecified", Self::Unspecified),
        ("key-compromise", Self::KeyCompromise),
        ("affiliation-changed", Self::AffiliationChanged),
        ("superseded", Self::Superseded),
        ("cessation-of-operation", Self::CessationOfOperation),
    ];

    /// Its name, for people and on disk.
    pub fn as_str(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, reason)| *reason == self)
            .map_or("", |(name, _)| name)
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(known, _)| *known == name).map(|(_, reason)| reason)
    }
}

#[cfg(test)]
mod tests;
