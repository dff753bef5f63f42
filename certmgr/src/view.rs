//! What an operator sees of a certificate, and of what is to be revoked.

use std::sync::Arc;

use certstore::{Fingerprint, KeyKind, Name, UnixTime, Warning};

use crate::acme::RevocationReason;
use crate::error::ErrorClass;
use crate::schedule::Why;

/// Everything that is known about one certificate. No secret in it.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The kind of its source: `files`, `s3`, `secrets_manager`, `acme`.
    pub source: &'static str,
    /// Where it comes from: paths, `s3://bucket/key`, a secret's name, the directories of the CAs in order.
    pub places: Vec<String>,
    /// What it must cover. Empty: whatever it names.
    pub domains: Vec<Name>,
    /// What serves. `None` until something does.
    pub serving: Option<Version>,
    /// What served before and can serve again, newest first.
    pub previous: Vec<Version>,
    /// What happens next, and when.
    pub next: NextStep,
    /// The trouble that lasts; `None` when all is well.
    pub trouble: Option<LastError>,
    /// When the source was last read with success; for ACME, when its CA last issued, or another process that shares
    /// the state had it issued. `None`: not since this process began. Seconds of the wall clock.
    pub last_success_at: Option<UnixTime>,
    /// More about one that comes from a CA.
    pub acme: Option<AcmeView>,
    /// What of it is to be revoked, and what has been and would be valid still.
    pub revocations: Vec<Revocation>,
}

/// A pair that serves, or did.
#[derive(Debug, Clone)]
pub struct Version {
    /// The hash of what is served.
    pub fingerprint: Fingerprint,
    /// What it is good for.
    pub names: Vec<Name>,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// Its issuer, for people.
    pub issuer: String,
    /// What is lawful in it but worth knowing.
    pub warnings: Vec<Warning>,
    /// When it was last made to serve. `None` if that is not known any more.
    pub promoted_at: Option<UnixTime>,
    /// URL of the directory of the CA that it was ordered from.
    pub ca: Option<String>,
    /// URL of its order.
    pub order: Option<String>,
    /// Whether an operator rolled back from it.
    pub excluded: bool,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// What.
    pub action: Action,
    /// When, at the earliest.
    pub at: UnixTime,
    /// Why then, for a person: `the CA asks for it (ARI)`, `a third of its life is left`.
    pub why: String,
}

/// Kinds of steps; a metric label each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The source is read again.
    Read,
    /// An order at the CA, the first one or a renewal.
    Order,
    /// An order is under way.
    Ordering,
    /// An order is tried again after a failure.
    Retry,
    /// An issued certificate waits until it is valid by our clock.
    Hold,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Order, Self::Ordering, Self::Retry, Self::Hold];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Order => "order",
            Self::Ordering => "ordering",
            Self::Retry => "retry",
            Self::Hold => "hold",
        }
    }
}

/// Trouble that lasts.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Its class, for a label.
    pub class: ErrorClass,
    /// Place and cause, for a person.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when.
    pub since: UnixTime,
    /// How often it was tried since then without success.
    pub attempts: u32,
}

/// More about a certificate that comes from a CA.
#[derive(Debug, Clone)]
pub struct AcmeView {
    /// The CAs by name, in the order in which they are asked.
    pub cas: Vec<String>,
    /// `tls-alpn-01`, `http-01` or `dns-01`.
    pub challenge: &'static str,
    /// The key's kind in the configuration: `ecdsa-p256`.
    pub key: &'static str,
    /// The CA's words on when it wants what serves renewed (RFC 9773).
    pub explanation: Option<String>,
    /// When the next order is due as things stand, and why. `None` until that has been decided.
    pub next_order: Option<(UnixTime, Why)>,
}

/// A wish to revoke, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate's name in the configuration, as it was when it was asked for.
    pub certificate: String,
    /// What is to be revoked.
    pub fingerprint: Fingerprint,
    /// The CA's name.
    pub ca: String,
    /// Why.
    pub reason: RevocationReason,
    /// When it was asked for.
    pub asked_at: UnixTime,
    /// Where it stands.
    pub progress: Progress,
    /// Why it has not been done so far, in words for a person, with the remedy.
    pub message: Option<String>,
    /// When the CA is asked again, if it has refused or could not be asked.
    pub next_at: Option<UnixTime>,
}

/// Where a wish to revoke stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It serves, here or in another process, for its replacement has not come.
    Serving,
    /// The CA is asked.
    Asking,
    /// The CA has refused; it is asked again daily.
    Refused,
    /// The CA has revoked it, and it is not served again.
    Revoked,
}

impl Progress {
    /// Its name, for people and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Asking => "asking",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
        }
    }
}
