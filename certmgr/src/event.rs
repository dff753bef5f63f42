//! What happens to certificates, each fact told once. Logs are one rendering; the program's counters another.

mod text;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, KeyKind, Name, UnixTime, Warning};

use crate::error::Error;
use crate::schedule::Why;

pub(crate) use text::words;
pub use trust::TrustEvent;

/// A turn in a certificate's life.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new bundle serves from now on.
    Promoted {
        /// The certificate.
        name: Arc<str>,
        /// What serves now.
        fingerprint: Fingerprint,
        /// The number of its install.
        install: u64,
        /// What it is good for.
        names: Vec<Name>,
        /// The kind of its key.
        key_kind: KeyKind,
        /// Until when it is valid.
        not_after: UnixTime,
        /// What is lawful in it but worth knowing.
        warnings: Vec<Warning>,
        /// From seeing the complete pair to serving it.
        took: Duration,
    },
    /// The source holds something that may not serve. Told once for each content and reason.
    Refused {
        /// The certificate.
        name: Arc<str>,
        /// Files, reason and remedy.
        error: Error,
        /// What serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// The source cannot be read. Told once for each reason.
    Unreadable {
        /// The certificate.
        name: Arc<str>,
        /// Files, reason and remedy.
        error: Error,
        /// What serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// The source is well again after a refusal or after it could not be read.
    Recovered {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        fingerprint: Fingerprint,
    },
    /// Somebody asked for a new one by name, and the source still holds what serves.
    Unchanged {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        fingerprint: Fingerprint,
    },
    /// What served last before the start serves again, from the state directory.
    Restored {
        /// The certificate.
        name: Arc<str>,
        /// What serves now.
        fingerprint: Fingerprint,
        /// Until when it is valid.
        not_after: UnixTime,
    },
    /// What is kept of it, or a part of it, is broken and not used. Told once for each start.
    KeptBroken {
        /// The certificate.
        name: Arc<str>,
        /// What is wrong, with the place.
        text: String,
    },
    /// A bundle that serves could not be kept on disk: the next start will not have it. Told once until it is
    /// kept after all.
    KeepFailed {
        /// The certificate.
        name: Arc<str>,
        /// What serves and is not kept.
        fingerprint: Fingerprint,
        /// What is wrong, with the place and the remedy.
        text: String,
    },
    /// It is kept after all.
    Kept {
        /// The certificate.
        name: Arc<str>,
        /// What is kept.
        fingerprint: Fingerprint,
    },
    /// An order begins at a CA.
    Ordering {
        /// The certificate.
        name: Arc<str>,
        /// Why now.
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
        /// From the beginning of the attempt.
        took: Duration,
    },
    /// A CA before the one that has issued gave none. Told for each order and each such CA.
    FellBack {
        /// The certificate.
        name: Arc<str>,
        /// The CA that gave none.
        ca: String,
        /// Why.
        text: String,
        /// What to do about it.
        remedy: String,
        /// The CA that has issued.
        issued_by: String,
    },
    /// An issued certificate waits: it is not valid yet by our clock, or the trust bundle that it is proved against
    /// has not been read yet. Told once for each.
    Holding {
        /// The certificate.
        name: Arc<str>,
        /// What is wrong with it now.
        error: Error,
    },
    /// An attempt to get a certificate from all its CAs has failed. Told for each attempt.
    Failing {
        /// The certificate.
        name: Arc<str>,
        /// CA, reason and remedy.
        error: Error,
        /// When the first of these attempts failed.
        since: UnixTime,
        /// How many have failed since then.
        attempts: u32,
        /// When the next one is due, as things stand.
        next: UnixTime,
        /// What serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    },
    /// An order is due, and a limit of the CA does not allow it yet. Told once for each limit.
    Limited {
        /// The certificate.
        name: Arc<str>,
        /// Which limit, of which CA.
        limit: String,
        /// When it will be allowed.
        until: UnixTime,
    },
    /// Another process that shares the state is ordering, or another certificate for the same names. Told once.
    Waiting {
        /// The certificate.
        name: Arc<str>,
    },
    /// The CA has said when it wants what serves renewed (RFC 9773). Told once for each window.
    RenewalAdvised {
        /// The certificate.
        name: Arc<str>,
        /// When it will be.
        at: UnixTime,
        /// The CA's explanation.
        explanation: Option<String>,
    },
    /// An operator went back to an earlier version.
    RolledBack {
        /// The certificate.
        name: Arc<str>,
        /// What served.
        from: Option<Fingerprint>,
        /// What serves now.
        to: Fingerprint,
    },
    /// The source holds what an operator rolled back from, or wants revoked; it is left there. Told once for each
    /// version.
    Excluded {
        /// The certificate.
        name: Arc<str>,
        /// What the source holds.
        fingerprint: Fingerprint,
        /// The latter.
        to_be_revoked: bool,
    },
    /// The CA has revoked a certificate at an operator's wish.
    Revoked {
        /// The certificate.
        name: Arc<str>,
        /// What is revoked.
        fingerprint: Fingerprint,
        /// The CA's name.
        ca: String,
    },
    /// The CA has not revoked it. If it refuses, it is asked again daily; else after a minute, then after twice as long
    /// each time, up to an hour, and not before its `Retry-After`. Told once for each class of error.
    RevocationFailed {
        /// The certificate.
        name: Arc<str>,
        /// What should be revoked.
        fingerprint: Fingerprint,
        /// CA, reason and remedy.
        error: Error,
    },
    /// What should be revoked has expired before its CA did it. It is given up.
    RevocationOver {
        /// The certificate.
        name: Arc<str>,
        /// What should have been revoked.
        fingerprint: Fingerprint,
        /// Until when it was valid.
        not_after: UnixTime,
    },
    /// What serves has less than a fifth of its life left (what is renewed here, and does not fail: an eighth), and no
    /// successor has come. Told once for each version.
    ExpiresSoon {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        fingerprint: Fingerprint,
        /// Until when it is valid.
        not_after: UnixTime,
        /// What to do about it.
        remedy: &'static str,
    },
    /// What serves has expired. It serves on, for nothing better is there. Told once for each version.
    Expired {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        fingerprint: Fingerprint,
        /// Until when it was valid.
        not_after: UnixTime,
        /// What to do about it.
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

    /// The certificate that it is about.
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

    /// Renders the event as a log line. ERROR where somebody must act.
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

    /// Whether somebody must act.
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
