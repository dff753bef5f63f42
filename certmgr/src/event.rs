//! What happens to certificates, each fact told once. Logs are one rendering; the program's counters another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certstore::{Generation, KeyKind, Name, UnixTime, Warning, rfc3339};

use crate::error::Error;

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
    /// The certificate that it is about.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Promoted { name, .. }
            | Self::Refused { name, .. }
            | Self::Unreadable { name, .. }
            | Self::Recovered { name, .. }
            | Self::ExpiresSoon { name, .. }
            | Self::Expired { name, .. } => name,
        }
    }

    /// A label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "promoted",
            Self::Refused { .. } => "refused",
            Self::Unreadable { .. } => "unreadable",
            Self::Recovered { .. } => "recovered",
            Self::ExpiresSoon { .. } => "expires_soon",
            Self::Expired { .. } => "expired",
        }
    }

    /// Renders the event as a log line. ERROR where somebody must act.
    pub(crate) fn log(&self) {
        let certificate = &**self.name();
        let event = self.kind();
        match self {
            Self::Promoted { warnings, .. } => {
                tracing::info!(certificate, event, "{self}");
                for warning in warnings {
                    tracing::warn!(certificate, event, "{warning}");
                }
            }
            Self::Recovered { .. } => tracing::info!(certificate, event, "{self}"),
            Self::ExpiresSoon { .. } => tracing::warn!(certificate, event, "{self}"),
            Self::Refused { .. } | Self::Unreadable { .. } | Self::Expired { .. } => {
                tracing::error!(certificate, event, "{self}");
            }
        }
    }
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
