//! The view of operators on a certificate, and on wishes to revoke.

use std::sync::Arc;

use certstore::{CertBundle, Fingerprint, KeyKind, Name, UnixTime, Warning};

use crate::acme::RevocationReason;
use crate::error::ErrorClass;
use crate::schedule::Why;

/// All that is known about one certificate. No secret in it.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The kind of its source: `files`, `s3`, `secrets_manager`, `acme`.
    pub source: &'static str,
    /// The places of its source: paths, `s3://bucket/key`, a secret's name, the directories of the CAs in order.
    pub places: Vec<String>,
    /// Names that it must cover. Empty: any.
    pub domains: Vec<Name>,
    /// The serving version. `None` until one serves.
    pub serving: Option<Version>,
    /// The versions that served before and can serve again, newest first.
    pub previous: Vec<Version>,
    /// The next step and its time.
    pub next: NextStep,
    /// The lasting failure; `None` when all is well.
    pub trouble: Option<LastError>,
    /// Time of the last successful read of the source; for ACME, of the last issuance by its CA to this process or to
    /// another one that shares the state. `None`: not since this process began. Seconds of the wall clock.
    pub last_success_at: Option<UnixTime>,
    /// More about a certificate that comes from a CA.
    pub acme: Option<AcmeView>,
    /// Its versions that are to be revoked, and revoked ones that would still be valid.
    pub revocations: Vec<Revocation>,
}

/// A pair that serves or served.
#[derive(Debug, Clone)]
pub struct Version {
    /// Fingerprint of the pair.
    pub fingerprint: Fingerprint,
    /// The names that it is valid for.
    pub names: Vec<Name>,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// Its issuer, for people.
    pub issuer: String,
    /// Facts that are valid but worth knowing.
    pub warnings: Vec<Warning>,
    /// Time of its last promotion. `None` if that is not known any more.
    pub promoted_at: Option<UnixTime>,
    /// URL of the directory of the CA that it was ordered from.
    pub ca: Option<String>,
    /// URL of its order.
    pub order: Option<String>,
    /// An operator rolled back from it.
    pub excluded: bool,
}

impl Version {
    /// The facts of a bundle, without those of its promotion.
    pub(crate) fn of(bundle: &CertBundle) -> Self {
        Self {
            fingerprint: bundle.fingerprint(),
            names: bundle.names().to_vec(),
            key_kind: bundle.key_kind(),
            not_before: bundle.not_before(),
            not_after: bundle.not_after(),
            issuer: bundle.issuer().to_owned(),
            warnings: bundle.warnings().to_vec(),
            promoted_at: None,
            ca: None,
            order: None,
            excluded: false,
        }
    }
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// The kind of step.
    pub action: Action,
    /// Its time, at the earliest.
    pub at: UnixTime,
    /// The reason for that time, for a person: `the CA asks for it (ARI)`, `a third of its life is left`.
    pub why: String,
}

/// Kinds of steps; a metric label each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The source is read again.
    Read,
    /// An order at the CA, the first one or a renewal.
    Order,
    /// An order is in progress.
    Ordering,
    /// An order is tried again after a failure.
    Retry,
    /// An issued certificate waits until it is valid by our clock, or until its trust bundle has been read.
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

/// A lasting failure.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Its class, for a label.
    pub class: ErrorClass,
    /// Place and cause, for a person.
    pub message: String,
    /// The remedy.
    pub remedy: String,
    /// Time of the first failed attempt.
    pub since: UnixTime,
    /// Number of failed attempts since then.
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
    /// The CA's explanation of its advice to renew the serving certificate (RFC 9773).
    pub explanation: Option<String>,
    /// Time of the next order by the present state, and its reason. `None` until that has been decided.
    pub next_order: Option<(UnixTime, Why)>,
}

/// A wish to revoke, and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate's name in the configuration at the time of the wish.
    pub certificate: String,
    /// The certificate to be revoked.
    pub fingerprint: Fingerprint,
    /// The CA's name.
    pub ca: String,
    /// The reason.
    pub reason: RevocationReason,
    /// Time of the wish.
    pub asked_at: UnixTime,
    /// Progress of the wish.
    pub progress: Progress,
    /// The reason why it has not been done so far, in words for a person, with the remedy.
    pub message: Option<String>,
    /// Time at which the CA is asked again, if it has refused or could not be asked.
    pub next_at: Option<UnixTime>,
}

/// Progress of a wish to revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// The certificate serves, here or in another process, for its replacement has not come.
    Serving,
    /// The CA is asked.
    Asking,
    /// The CA has refused; it is asked again daily.
    Refused,
    /// The CA has revoked it, and it is not served again.
    Revoked,
}
