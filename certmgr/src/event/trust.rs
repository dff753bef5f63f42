//! Events of trust bundles; each fact is reported once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, UnixTime, rfc3339};

use crate::error::Error;

/// An event in a trust bundle's life.
#[derive(Debug, Clone)]
pub enum TrustEvent {
    /// Peers are verified against another bundle from now on.
    Promoted {
        /// The bundle.
        name: Arc<str>,
        /// The bundle in force now.
        fingerprint: Fingerprint,
        /// Number of its CAs.
        cas: usize,
        /// Number of its revocation lists.
        revocation_lists: usize,
        /// Number of certificates that they revoke, all together.
        revoked: usize,
        /// Time at which the last of its CAs expires.
        not_after: Option<UnixTime>,
        /// Time at which the first of its revocation lists is due for a newer one.
        next_update: Option<UnixTime>,
        /// Time from seeing the change to having it in force.
        took: Duration,
    },
    /// The source's content makes no bundle, or none that is in date. Reported once for each content and reason.
    Refused {
        /// The bundle.
        name: Arc<str>,
        /// Place, reason and remedy.
        error: Error,
        /// The bundle that stays in force; `None` if nothing is.
        serving: Option<Fingerprint>,
    },
    /// The source cannot be read. Reported once for each reason.
    Unreadable {
        /// The bundle.
        name: Arc<str>,
        /// Place, reason and remedy.
        error: Error,
        /// The bundle that stays in force; `None` if nothing is.
        serving: Option<Fingerprint>,
    },
    /// The source works again after a refusal or after it could not be read.
    Recovered {
        /// The bundle.
        name: Arc<str>,
        /// The bundle in force.
        fingerprint: Fingerprint,
    },
    /// The bundle that was in force before the start is in force again, from the state directory.
    Restored {
        /// The bundle.
        name: Arc<str>,
        /// The bundle in force now.
        fingerprint: Fingerprint,
    },
    /// The kept document is broken and not used. Reported once for each start.
    KeptBroken {
        /// The bundle.
        name: Arc<str>,
        /// The error, with the place.
        text: String,
    },
    /// The bundle in force could not be kept on disk: the next start will not have it. Reported once until it is kept
    /// after all.
    KeepFailed {
        /// The bundle.
        name: Arc<str>,
        /// The bundle that is in force and is not kept.
        fingerprint: Fingerprint,
        /// The error, with the place and the remedy.
        text: String,
    },
    /// A bundle that could not be kept is kept now.
    Kept {
        /// The bundle.
        name: Arc<str>,
        /// The kept bundle.
        fingerprint: Fingerprint,
    },
    /// A revocation list in force has less than a twentieth of its life left. Reported once for each list.
    ListDue {
        /// The bundle.
        name: Arc<str>,
        /// The CA that signed it.
        issuer: String,
        /// Time by which there should be a newer one.
        next_update: UnixTime,
    },
    /// A revocation list in force is past its nextUpdate. It goes on being used. Reported once for each list.
    ListOverdue {
        /// The bundle.
        name: Arc<str>,
        /// The CA that signed it.
        issuer: String,
        /// Time by which there should have been a newer one.
        next_update: UnixTime,
    },
    /// The CA that expires last has less than a twentieth of its life left. Reported once.
    ExpiresSoon {
        /// The bundle.
        name: Arc<str>,
        /// The CA that expires last.
        subject: String,
        /// End of its validity.
        not_after: UnixTime,
    },
    /// Every CA has expired. They go on being trusted. Reported once.
    Expired {
        /// The bundle.
        name: Arc<str>,
        /// The CA that expired last.
        subject: String,
        /// End of its validity.
        not_after: UnixTime,
    },
}

impl TrustEvent {
    /// All kinds, for series that begin at zero.
    pub const KINDS: [&'static str; 12] = [
        "trust_promoted",
        "trust_refused",
        "trust_unreadable",
        "trust_recovered",
        "trust_restored",
        "trust_kept_broken",
        "trust_keep_failed",
        "trust_kept",
        "trust_list_due",
        "trust_list_overdue",
        "trust_expires_soon",
        "trust_expired",
    ];

    /// The name of the bundle. Certificates have names of their own: one may be called the same.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Promoted { name, .. }
            | Self::Refused { name, .. }
            | Self::Unreadable { name, .. }
            | Self::Recovered { name, .. }
            | Self::Restored { name, .. }
            | Self::KeptBroken { name, .. }
            | Self::KeepFailed { name, .. }
            | Self::Kept { name, .. }
            | Self::ListDue { name, .. }
            | Self::ListOverdue { name, .. }
            | Self::ExpiresSoon { name, .. }
            | Self::Expired { name, .. } => name,
        }
    }

    /// A label for metrics, one of [`TrustEvent::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "trust_promoted",
            Self::Refused { .. } => "trust_refused",
            Self::Unreadable { .. } => "trust_unreadable",
            Self::Recovered { .. } => "trust_recovered",
            Self::Restored { .. } => "trust_restored",
            Self::KeptBroken { .. } => "trust_kept_broken",
            Self::KeepFailed { .. } => "trust_keep_failed",
            Self::Kept { .. } => "trust_kept",
            Self::ListDue { .. } => "trust_list_due",
            Self::ListOverdue { .. } => "trust_list_overdue",
            Self::ExpiresSoon { .. } => "trust_expires_soon",
            Self::Expired { .. } => "trust_expired",
        }
    }

    /// True if somebody must act.
    pub fn is_error(&self) -> bool {
        matches!(self.level(), Level::Error)
    }

    /// Writes the event to the log. ERROR where somebody must act.
    pub(crate) fn log(&self) {
        let trust_bundle = &**self.name();
        let event = self.kind();
        match self.level() {
            Level::Info => tracing::info!(trust_bundle, event, "{self}"),
            Level::Warn => tracing::warn!(trust_bundle, event, "{self}"),
            Level::Error => tracing::error!(trust_bundle, event, "{self}"),
        }
    }

    fn level(&self) -> Level {
        match self {
            Self::Promoted { .. } | Self::Recovered { .. } | Self::Restored { .. } | Self::Kept { .. } => {
                Level::Info
            }
            Self::ListDue { .. } | Self::ExpiresSoon { .. } => Level::Warn,
            Self::Refused { .. }
            | Self::Unreadable { .. }
            | Self::KeptBroken { .. }
            | Self::KeepFailed { .. }
            | Self::ListOverdue { .. }
            | Self::Expired { .. } => Level::Error,
        }
    }
}

enum Level {
    Info,
    Warn,
    Error,
}

impl fmt::Display for TrustEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match self {
            Self::Promoted { .. }
            | Self::Restored { .. }
            | Self::KeptBroken { .. }
            | Self::KeepFailed { .. }
            | Self::Kept { .. } => self.in_force(f),
            Self::Refused { .. } | Self::Unreadable { .. } | Self::Recovered { .. } => self.source(f),
            Self::ListDue { .. }
            | Self::ListOverdue { .. }
            | Self::ExpiresSoon { .. }
            | Self::Expired { .. } => self.age(f),
        }
    }
}

/// The words after the name, a function for each group of events. Each says nothing of the other groups.
impl TrustEvent {
    /// Words for events of the bundle in force and of the kept one.
    fn in_force(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted {
                fingerprint,
                cas,
                revocation_lists,
                revoked,
                not_after,
                next_update,
                took,
                ..
            } => {
                write!(f, "trust bundle {fingerprint} is trusted: {}", Count(*cas, "CA"))?;
                if let Some(not_after) = not_after {
                    write!(f, ", the last until {}", rfc3339(*not_after))?;
                }
                if let Some(next_update) = next_update {
                    write!(
                        f,
                        ", {} ({revoked} revoked), the first due by {}",
                        Count(*revocation_lists, "revocation list"),
                        rfc3339(*next_update)
                    )?;
                }
                write!(f, "; after {} ms", took.as_millis())
            }
            Self::Restored { fingerprint, .. } => {
                write!(f, "trust bundle {fingerprint} is trusted as before the start")
            }
            Self::KeptBroken { text, .. } => write!(f, "{text}"),
            Self::KeepFailed {
                fingerprint, text, ..
            } => write!(
                f,
                "trust bundle {fingerprint} is trusted, but the next start will not have it: {text}"
            ),
            Self::Kept { fingerprint, .. } => write!(f, "trust bundle {fingerprint} is kept now"),
            _ => Ok(()),
        }
    }

    /// Words for events of the source.
    fn source(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { error, serving, .. } => {
                write!(f, "refused: {error}{}", Still(*serving))
            }
            Self::Unreadable { error, serving, .. } => write!(f, "{error}{}", Still(*serving)),
            Self::Recovered { fingerprint, .. } => {
                write!(
                    f,
                    "the source is well again; trust bundle {fingerprint} is trusted"
                )
            }
            _ => Ok(()),
        }
    }

    /// Words for events of age.
    fn age(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListDue {
                issuer, next_update, ..
            } => write!(
                f,
                "the revocation list of {issuer} is to be replaced by {}; publish the CA's next list",
                rfc3339(*next_update)
            ),
            Self::ListOverdue {
                issuer, next_update, ..
            } => write!(
                f,
                "the revocation list of {issuer} was to be replaced by {} and is still used: who was revoked \
                 since then gets in; publish the CA's newest list",
                rfc3339(*next_update)
            ),
            Self::ExpiresSoon {
                subject, not_after, ..
            } => write!(
                f,
                "its last CA ({subject}) expires on {}; add its successor",
                rfc3339(*not_after)
            ),
            Self::Expired {
                subject, not_after, ..
            } => write!(
                f,
                "every CA has expired, the last one ({subject}) on {}; they stay trusted, for there is \
                 no newer one; add its successor",
                rfc3339(*not_after)
            ),
            _ => Ok(()),
        }
    }
}

/// The bundle that stays in force while the source fails.
struct Still(Option<Fingerprint>);

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(fingerprint) => write!(f, "; trust bundle {fingerprint} stays trusted"),
            None => f.write_str("; nobody is trusted under this name yet"),
        }
    }
}

/// `1 CA`, `2 CAs`.
struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{ending}", self.0, self.1)
    }
}
