//! Events of certificates; each fact is reported once. Logs are one rendering; the program's counters another.

mod text;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, KeyKind, Name, UnixTime, Warning};

use crate::error::Error;
use crate::schedule::Why;

pub(crate) use text::words;
pub use trust::TrustEvent;

/// An event in a certificate's life.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new bundle serves from now on.
    Promoted {
        /// The certificate.
        name: Arc<str>,
        /// The bundle that serves now.
        fingerprint: Fingerprint,
        /// The number of its install.
        install: u64,
        /// The names that it is valid for.
        names: Vec<Name>,
        /// The kind of its key.
        key_kind: KeyKind,
        /// End of its validity.
        not_after: UnixTime,
        /// Facts that are valid but worth knowing.
        warnings: Vec<Warning>,
        /// Time from seeing the complete pair to serving it.
        took: Duration,
    },
    /// The source holds a pair that may not serve. Reported once for each content and reason.
    Refused {
        /// The certificate.
        name: Arc<str>,
        /// Files, reason and remedy.
        error: Error,
        /// The bundle that serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// The source cannot be read. Reported once for each reason.
    Unreadable {
        /// The certificate.
        name: Arc<str>,
        /// Files, reason and remedy.
        error: Error,
        /// The bundle that serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// The source works again after a refusal or after it could not be read.
    Recovered {
        /// The certificate.
        name: Arc<str>,
        /// The serving bundle.
        fingerprint: Fingerprint,
    },
    /// An operator asked for a new certificate by name, and the source still holds the serving one.
    Unchanged {
        /// The certificate.
        name: Arc<str>,
        /// The serving bundle.
        fingerprint: Fingerprint,
    },
    /// The version that served last before the start serves again, from the state directory.
    Restored {
        /// The certificate.
        name: Arc<str>,
        /// The version that serves now.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
    },
    /// The kept document, or a part of it, is broken and not used. Reported once for each start.
    KeptBroken {
        /// The certificate.
        name: Arc<str>,
        /// The error, with the place.
        text: String,
    },
    /// A bundle that serves could not be kept on disk: the next start will not have it. Reported once until it is
    /// kept after all.
    KeepFailed {
        /// The certificate.
        name: Arc<str>,
        /// The bundle that serves and is not kept.
        fingerprint: Fingerprint,
        /// The error, with the place and the remedy.
        text: String,
    },
    /// A bundle that could not be kept is kept now.
    Kept {
        /// The certificate.
        name: Arc<str>,
        /// The kept bundle.
        fingerprint: Fingerprint,
    },
    /// An order begins at a CA.
    Ordering {
        /// The certificate.
        name: Arc<str>,
        /// The reason.
        why: Why,
    },
    /// A CA has issued a certificate. It does not serve yet.
    Issued {
        /// The certificate.
        name: Arc<str>,
        /// The CA's name.
        ca: String,
        /// URL of the order.
        order: String,
        /// Time from the beginning of the attempt.
        took: Duration,
    },
    /// A CA before the one that has issued did not issue. Reported for each order and each such CA.
    FellBack {
        /// The certificate.
        name: Arc<str>,
        /// The CA that did not issue.
        ca: String,
        /// The reason.
        text: String,
        /// The remedy.
        remedy: String,
        /// The CA that has issued.
        issued_by: String,
    },
    /// An issued certificate waits: it is not valid yet by our clock, or the trust bundle that it is proved against
    /// has not been read yet. Reported once for each.
    Holding {
        /// The certificate.
        name: Arc<str>,
        /// The reason of the wait.
        error: Error,
    },
    /// An attempt to get a certificate from all its CAs has failed. Reported for each attempt.
    Failing {
        /// The certificate.
        name: Arc<str>,
        /// CA, reason and remedy.
        error: Error,
        /// Time at which the first of these attempts failed.
        since: UnixTime,
        /// Number of failures since then.
        attempts: u32,
        /// Time at which the next one is due, by the present state.
        next: UnixTime,
        /// The bundle that serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// An order is due, and a limit of the CA does not allow it yet. Reported once for each limit.
    Limited {
        /// The certificate.
        name: Arc<str>,
        /// The limit, with its CA.
        limit: String,
        /// Time at which the order will be allowed.
        until: UnixTime,
    },
    /// Another process that shares the state is ordering, or another certificate for the same names. Reported once.
    Waiting {
        /// The certificate.
        name: Arc<str>,
    },
    /// The CA advises a time to renew the serving certificate (RFC 9773). Reported once for each window.
    RenewalAdvised {
        /// The certificate.
        name: Arc<str>,
        /// Time of the renewal.
        at: UnixTime,
        /// The CA's explanation.
        explanation: Option<String>,
    },
    /// An operator returned to an earlier version.
    RolledBack {
        /// The certificate.
        name: Arc<str>,
        /// The version that served.
        from: Option<Fingerprint>,
        /// The version that serves now.
        to: Fingerprint,
    },
    /// The source holds a version that an operator rolled back from, or wants revoked; it is left there. Reported once
    /// for each version.
    Excluded {
        /// The certificate.
        name: Arc<str>,
        /// The version in the source.
        fingerprint: Fingerprint,
        /// The version is to be revoked.
        to_be_revoked: bool,
    },
    /// The CA has revoked a certificate at an operator's wish.
    Revoked {
        /// The certificate.
        name: Arc<str>,
        /// The revoked certificate.
        fingerprint: Fingerprint,
        /// The CA's name.
        ca: String,
    },
    /// The CA has not revoked it. If it refuses, it is asked again daily; else after a minute, then after twice as long
    /// each time, up to an hour, and not before its `Retry-After`. Reported once for each class of error.
    RevocationFailed {
        /// The certificate.
        name: Arc<str>,
        /// The certificate that should be revoked.
        fingerprint: Fingerprint,
        /// CA, reason and remedy.
        error: Error,
    },
    /// A certificate that should be revoked has expired before its CA did it. The wish is given up.
    RevocationOver {
        /// The certificate.
        name: Arc<str>,
        /// The certificate that should have been revoked.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
    },
    /// The serving bundle has less than a fifth of its life left (one that is renewed here, and does not fail: an
    /// eighth), and no successor has come. Reported once for each version.
    ExpiresSoon {
        /// The certificate.
        name: Arc<str>,
        /// The serving bundle.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
        /// The remedy.
        remedy: &'static str,
    },
    /// The serving bundle has expired. It serves on, for nothing better is there. Reported once for each version.
    Expired {
        /// The certificate.
        name: Arc<str>,
        /// The serving bundle.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
        /// The remedy.
        remedy: &'static str,
    },
}

impl Event {
    /// All kinds, for series that begin at zero.
    pub const KINDS: [&'static str; 24] = [
        "promoted",
        "refused",
        "unreadable",
        "recovered",
        "unchanged",
        "restored",
        "kept_broken",
        "keep_failed",
        "kept",
        "ordering",
        "issued",
        "fell_back",
        "holding",
        "failing",
        "limited",
        "waiting",
        "renewal_advised",
        "rolled_back",
        "excluded",
        "revoked",
        "revocation_failed",
        "revocation_over",
        "expires_soon",
        "expired",
    ];

    /// The name of the certificate that the event is about.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Promoted { name, .. }
            | Self::Refused { name, .. }
            | Self::Unreadable { name, .. }
            | Self::Recovered { name, .. }
            | Self::Unchanged { name, .. }
            | Self::Restored { name, .. }
            | Self::KeptBroken { name, .. }
            | Self::KeepFailed { name, .. }
            | Self::Kept { name, .. }
            | Self::Ordering { name, .. }
            | Self::Issued { name, .. }
            | Self::FellBack { name, .. }
            | Self::Holding { name, .. }
            | Self::Failing { name, .. }
            | Self::Limited { name, .. }
            | Self::Waiting { name, .. }
            | Self::RenewalAdvised { name, .. }
            | Self::RolledBack { name, .. }
            | Self::Excluded { name, .. }
            | Self::Revoked { name, .. }
            | Self::RevocationFailed { name, .. }
            | Self::RevocationOver { name, .. }
            | Self::ExpiresSoon { name, .. }
            | Self::Expired { name, .. } => name,
        }
    }

    /// A label for metrics, one of [`Event::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "promoted",
            Self::Refused { .. } => "refused",
            Self::Unreadable { .. } => "unreadable",
            Self::Recovered { .. } => "recovered",
            Self::Unchanged { .. } => "unchanged",
            Self::Restored { .. } => "restored",
            Self::KeptBroken { .. } => "kept_broken",
            Self::KeepFailed { .. } => "keep_failed",
            Self::Kept { .. } => "kept",
            Self::Ordering { .. } => "ordering",
            Self::Issued { .. } => "issued",
            Self::FellBack { .. } => "fell_back",
            Self::Holding { .. } => "holding",
            Self::Failing { .. } => "failing",
            Self::Limited { .. } => "limited",
            Self::Waiting { .. } => "waiting",
            Self::RenewalAdvised { .. } => "renewal_advised",
            Self::RolledBack { .. } => "rolled_back",
            Self::Excluded { .. } => "excluded",
            Self::Revoked { .. } => "revoked",
            Self::RevocationFailed { .. } => "revocation_failed",
            Self::RevocationOver { .. } => "revocation_over",
            Self::ExpiresSoon { .. } => "expires_soon",
            Self::Expired { .. } => "expired",
        }
    }

    /// Writes the event to the log. ERROR where somebody must act.
    pub(crate) fn log(&self) {
        let certificate = &**self.name();
        let event = self.kind();
        match self.level() {
            Level::Info => tracing::info!(certificate, event, "{self}"),
            Level::Warn => tracing::warn!(certificate, event, "{self}"),
            Level::Error => tracing::error!(certificate, event, "{self}"),
        }
        if let Self::Promoted { warnings, .. } = self {
            for warning in warnings {
                tracing::warn!(certificate, event, "{warning}");
            }
        }
    }

    /// True if somebody must act.
    pub fn is_error(&self) -> bool {
        matches!(self.level(), Level::Error)
    }

    fn level(&self) -> Level {
        match self {
            Self::Promoted { .. }
            | Self::Recovered { .. }
            | Self::Unchanged { .. }
            | Self::Restored { .. }
            | Self::Kept { .. }
            | Self::Ordering { .. }
            | Self::Issued { .. }
            | Self::Waiting { .. }
            | Self::RenewalAdvised { .. }
            | Self::RolledBack { .. }
            | Self::Excluded { .. }
            | Self::Revoked { .. } => Level::Info,
            Self::RevocationOver { .. }
            | Self::FellBack { .. }
            | Self::Holding { .. }
            | Self::Limited { .. }
            | Self::ExpiresSoon { .. } => Level::Warn,
            // One failure of a CA may pass, and something serves.
            Self::Failing {
                attempts: 1,
                serving: Some(_),
                error,
                ..
            } if error.may_pass() => Level::Warn,
            Self::Failing { .. }
            | Self::Refused { .. }
            | Self::Unreadable { .. }
            | Self::KeptBroken { .. }
            | Self::KeepFailed { .. }
            | Self::RevocationFailed { .. }
            | Self::Expired { .. } => Level::Error,
        }
    }
}

enum Level {
    Info,
    Warn,
    Error,
}
