//! What happens to certificates, each fact told once. Logs are one rendering; the program's counters another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Generation, KeyKind, Name, UnixTime, Warning, rfc3339};

use crate::error::Error;
use crate::schedule::Why;

/// A turn in a certificate's life.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new bundle serves from now on.
    Promoted {
        /// The certificate.
        name: Arc<str>,
        /// What serves now.
        generation: Generation,
        /// Its serial number in the store.
        serial: u64,
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
        serving: Option<Generation>,
    },
    /// The source cannot be read. Told once for each reason.
    Unreadable {
        /// The certificate.
        name: Arc<str>,
        /// Files, reason and remedy.
        error: Error,
        /// What serves on; `None` if nothing does.
        serving: Option<Generation>,
    },
    /// The source is well again after a refusal or after it could not be read.
    Recovered {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        generation: Generation,
    },
    /// Somebody asked for a new one by name, and the source still holds what serves.
    Unchanged {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        generation: Generation,
    },
    /// What served last before the start serves again, from the state directory.
    Restored {
        /// The certificate.
        name: Arc<str>,
        /// What serves now.
        generation: Generation,
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
        generation: Generation,
        /// What is wrong, with the place and the remedy.
        text: String,
    },
    /// It is kept after all.
    Kept {
        /// The certificate.
        name: Arc<str>,
        /// What is kept.
        generation: Generation,
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
        authority: String,
        /// URL of the order.
        order: String,
        /// From the beginning of the attempt.
        took: Duration,
    },
    /// An issued certificate is not valid yet by our clock, and waits. Told once for each.
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
        serving: Option<Generation>,
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
    /// Another process that shares the state is ordering. Told once.
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
        from: Option<Generation>,
        /// What serves now.
        to: Generation,
    },
    /// The source holds what an operator rolled back from; it is left there. Told once for each generation.
    HeldBack {
        /// The certificate.
        name: Arc<str>,
        /// What the source holds.
        generation: Generation,
    },
    /// The CA has revoked a certificate at an operator's wish.
    Revoked {
        /// The certificate.
        name: Arc<str>,
        /// What is revoked.
        generation: Generation,
        /// The CA's name.
        authority: String,
    },
    /// The CA has not revoked it. Tried again at each turn; told once for each reason.
    RevocationFailed {
        /// The certificate.
        name: Arc<str>,
        /// What should be revoked.
        generation: Generation,
        /// CA, reason and remedy.
        error: Error,
    },
    /// What serves has less than a fifth of its life left, and no successor has come. Told once for each
    /// generation.
    ExpiresSoon {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        generation: Generation,
        /// Until when it is valid.
        not_after: UnixTime,
    },
    /// What serves has expired. It serves on, for nothing better is there. Told once for each generation.
    Expired {
        /// The certificate.
        name: Arc<str>,
        /// What serves.
        generation: Generation,
        /// Until when it was valid.
        not_after: UnixTime,
    },
}

impl Event {
    /// All kinds, for series that begin at zero.
    pub const KINDS: [&'static str; 22] = [
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
        "holding",
        "failing",
        "limited",
        "waiting",
        "renewal_advised",
        "rolled_back",
        "held_back",
        "revoked",
        "revocation_failed",
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
            | Self::Holding { name, .. }
            | Self::Failing { name, .. }
            | Self::Limited { name, .. }
            | Self::Waiting { name, .. }
            | Self::RenewalAdvised { name, .. }
            | Self::RolledBack { name, .. }
            | Self::HeldBack { name, .. }
            | Self::Revoked { name, .. }
            | Self::RevocationFailed { name, .. }
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
            Self::Holding { .. } => "holding",
            Self::Failing { .. } => "failing",
            Self::Limited { .. } => "limited",
            Self::Waiting { .. } => "waiting",
            Self::RenewalAdvised { .. } => "renewal_advised",
            Self::RolledBack { .. } => "rolled_back",
            Self::HeldBack { .. } => "held_back",
            Self::Revoked { .. } => "revoked",
            Self::RevocationFailed { .. } => "revocation_failed",
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
            | Self::HeldBack { .. }
            | Self::Revoked { .. } => Level::Info,
            Self::Holding { .. } | Self::Limited { .. } | Self::ExpiresSoon { .. } => Level::Warn,
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted {
                name,
                generation,
                serial,
                names,
                key_kind,
                not_after,
                took,
                ..
            } => {
                write!(
                    f,
                    "{name}: generation {generation} (serial {serial}, {key_kind}) serves "
                )?;
                for (index, name) in names.iter().enumerate() {
                    write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
                }
                let took = took.as_millis();
                write!(
                    f,
                    "{}until {}, after {took} ms",
                    if names.is_empty() { "" } else { " " },
                    rfc3339(*not_after)
                )
            }
            Self::Refused { name, error, serving } => {
                write!(f, "{name}: refused: {error}{}", Still(*serving))
            }
            Self::Unreadable { name, error, serving } => write!(f, "{name}: {error}{}", Still(*serving)),
            Self::Recovered { name, generation } => {
                write!(
                    f,
                    "{name}: the source is well again; generation {generation} serves"
                )
            }
            Self::Unchanged { name, generation } => {
                write!(
                    f,
                    "{name}: the source still holds generation {generation}, which serves"
                )
            }
            Self::Restored {
                name,
                generation,
                not_after,
            } => write!(
                f,
                "{name}: generation {generation} serves as before the start, until {}",
                rfc3339(*not_after)
            ),
            Self::KeptBroken { name, text } => {
                write!(
                    f,
                    "{name}: {text}; it is not used, and replaced by the next good pair"
                )
            }
            Self::KeepFailed {
                name,
                generation,
                text,
            } => write!(
                f,
                "{name}: generation {generation} serves, but the next start will not have it: {text}"
            ),
            Self::Kept { name, generation } => write!(f, "{name}: generation {generation} is kept now"),
            Self::Ordering { name, why } => write!(f, "{name}: a certificate is ordered: {}", words(*why)),
            Self::Issued {
                name,
                authority,
                order,
                took,
            } => write!(
                f,
                "{name}: issued by {authority} after {} s, order {order}",
                took.as_secs()
            ),
            Self::Holding { name, error } => write!(f, "{name}: the issued certificate waits: {error}"),
            Self::Failing {
                name,
                error,
                since,
                attempts,
                next,
                serving,
            } => {
                write!(f, "{name}: no certificate: {error}; ")?;
                if *attempts > 1 {
                    write!(f, "failing since {}, {attempts} attempts; ", rfc3339(*since))?;
                }
                write!(f, "next attempt at {}{}", rfc3339(*next), Still(*serving))
            }
            Self::Limited { name, limit, until } => {
                write!(f, "{name}: the order waits until {}: {limit}", rfc3339(*until))
            }
            Self::Waiting { name } => {
                write!(f, "{name}: another process that shares the state is ordering it")
            }
            Self::RenewalAdvised {
                name,
                at,
                explanation,
            } => {
                write!(
                    f,
                    "{name}: will be renewed at {}, as its CA suggests",
                    rfc3339(*at)
                )?;
                explanation.iter().try_for_each(|why| write!(f, " ({why})"))
            }
            Self::RolledBack { name, from, to } => {
                write!(
                    f,
                    "{name}: generation {to} serves again, an operator went back to it"
                )?;
                from.iter()
                    .try_for_each(|from| write!(f, "; {from} is held back"))
            }
            Self::HeldBack { name, generation } => write!(
                f,
                "{name}: the source holds generation {generation}, which an operator rolled back from; put another \
                 pair there, or ask for {generation} by a rollback"
            ),
            Self::Revoked {
                name,
                generation,
                authority,
            } => write!(f, "{name}: generation {generation} is revoked at {authority}"),
            Self::RevocationFailed {
                name,
                generation,
                error,
            } => write!(f, "{name}: generation {generation} is not revoked yet: {error}"),
            Self::ExpiresSoon {
                name,
                generation,
                not_after,
            } => {
                write!(
                    f,
                    "{name}: generation {generation} expires at {}; put a new pair in place",
                    rfc3339(*not_after)
                )
            }
            Self::Expired {
                name,
                generation,
                not_after,
            } => write!(
                f,
                "{name}: generation {generation} expired at {} and serves on for want of a better one; put a new \
                 pair in place",
                rfc3339(*not_after)
            ),
        }
    }
}

/// Why an order is placed, for people.
pub(crate) fn words(why: Why) -> &'static str {
    match why {
        Why::First => "there is none yet",
        Why::NamesChanged => "what serves does not cover the configured domains",
        Why::Requested => "somebody asks for it",
        Why::Advised => "its CA suggests it (ARI)",
        Why::LifeSpent => "little of its life is left",
    }
}

/// What goes on serving while the source is not well.
struct Still(Option<Generation>);

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(generation) => write!(f, "; generation {generation} serves on"),
            None => f.write_str("; nothing serves under this name yet"),
        }
    }
}
