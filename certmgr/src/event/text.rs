//! Events in words.

use std::fmt;

use certstore::{Generation, rfc3339};

use super::Event;
use crate::schedule::Why;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match self {
            Self::Promoted { .. }
            | Self::Restored { .. }
            | Self::RolledBack { .. }
            | Self::KeptBroken { .. }
            | Self::KeepFailed { .. }
            | Self::Kept { .. } => self.serving(f),
            Self::Refused { .. }
            | Self::Unreadable { .. }
            | Self::Recovered { .. }
            | Self::Unchanged { .. }
            | Self::HeldBack { .. } => self.source(f),
            Self::Ordering { .. }
            | Self::Issued { .. }
            | Self::FellBack { .. }
            | Self::Holding { .. }
            | Self::Failing { .. }
            | Self::Limited { .. }
            | Self::Waiting { .. } => self.order(f),
            Self::RenewalAdvised { .. }
            | Self::Revoked { .. }
            | Self::RevocationFailed { .. }
            | Self::RevocationOver { .. }
            | Self::ExpiresSoon { .. }
            | Self::Expired { .. } => self.end(f),
        }
    }
}

/// The words after the name, a function for each group of events. Each says nothing of the other groups.
impl Event {
    /// What serves from now on, and what is kept of it.
    fn serving(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted {
                generation,
                names,
                key_kind,
                not_after,
                took,
                ..
            } => {
                write!(f, "generation {generation} ({key_kind}) serves ")?;
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
            Self::Restored {
                generation,
                not_after,
                ..
            } => write!(
                f,
                "generation {generation} serves as before the start, until {}",
                rfc3339(*not_after)
            ),
            Self::RolledBack { from, to, .. } => {
                write!(f, "generation {to} serves again, an operator went back to it")?;
                from.iter()
                    .try_for_each(|from| write!(f, "; {from} is held back"))
            }
            Self::KeptBroken { text, .. } => write!(f, "{text}"),
            Self::KeepFailed { generation, text, .. } => write!(
                f,
                "generation {generation} serves, but the next start will not have it: {text}"
            ),
            Self::Kept { generation, .. } => write!(f, "generation {generation} is kept now"),
            _ => Ok(()),
        }
    }

    /// What the source holds, or why it gives nothing.
    fn source(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { error, serving, .. } => {
                write!(f, "refused: {error}{}", Still(*serving))
            }
            Self::Unreadable { error, serving, .. } => write!(f, "{error}{}", Still(*serving)),
            Self::Recovered { generation, .. } => {
                write!(f, "the source is well again; generation {generation} serves")
            }
            Self::Unchanged { generation, .. } => {
                write!(f, "the source still holds generation {generation}, which serves")
            }
            Self::HeldBack {
                generation,
                to_be_revoked: true,
                ..
            } => write!(
                f,
                "the source holds generation {generation}, which is to be revoked, or is; put another pair there"
            ),
            Self::HeldBack { generation, .. } => write!(
                f,
                "the source holds generation {generation}, which an operator rolled back from; put another \
                 pair there, or ask for {generation} by a rollback"
            ),
            _ => Ok(()),
        }
    }

    /// An order on its way.
    fn order(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordering { why, .. } => write!(f, "a certificate is ordered: {}", words(*why)),
            Self::FellBack {
                authority,
                text,
                remedy,
                issued_by,
                ..
            } => write!(f, "{authority} gave none, {issued_by} did: {text} ({remedy})"),
            Self::Issued {
                authority,
                order,
                took,
                ..
            } => write!(
                f,
                "issued by {authority} after {} s, order {order}",
                took.as_secs()
            ),
            Self::Holding { error, .. } => write!(f, "the issued certificate waits: {error}"),
            Self::Failing {
                error,
                since,
                attempts,
                next,
                serving,
                ..
            } => {
                let what = serving.map_or("no certificate", |_| "not renewed");
                write!(f, "{what}: {error}; ")?;
                if *attempts > 1 {
                    write!(f, "failing since {}, {attempts} attempts; ", rfc3339(*since))?;
                }
                write!(f, "next attempt at {}{}", rfc3339(*next), Still(*serving))
            }
            Self::Limited { limit, until, .. } => {
                write!(f, "the order waits until {}: {limit}", rfc3339(*until))
            }
            Self::Waiting { .. } => {
                write!(
                    f,
                    "waits for another process that shares the state, or for another certificate for the same names, \
                     to end its order"
                )
            }
            _ => Ok(()),
        }
    }

    /// What comes of what serves in the end.
    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RenewalAdvised { at, explanation, .. } => {
                write!(f, "will be renewed at {}, as its CA suggests", rfc3339(*at))?;
                explanation.iter().try_for_each(|why| write!(f, " ({why})"))
            }
            Self::Revoked {
                generation,
                authority,
                ..
            } => write!(f, "generation {generation} is revoked at {authority}"),
            Self::RevocationFailed {
                generation, error, ..
            } => {
                write!(f, "generation {generation} is not revoked yet: {error}")
            }
            Self::RevocationOver {
                generation,
                not_after,
                ..
            } => write!(
                f,
                "generation {generation} expired at {} before its CA revoked it; it is not asked for any more",
                rfc3339(*not_after)
            ),
            Self::ExpiresSoon {
                generation,
                not_after,
                remedy,
                ..
            } => {
                write!(
                    f,
                    "generation {generation} expires at {}; {remedy}",
                    rfc3339(*not_after)
                )
            }
            Self::Expired {
                generation,
                not_after,
                remedy,
                ..
            } => write!(
                f,
                "generation {generation} expired at {} and serves on for want of a better one; {remedy}",
                rfc3339(*not_after)
            ),
            _ => Ok(()),
        }
    }
}

/// Why an order is placed, for people.
pub(crate) fn words(why: Why) -> &'static str {
    match why {
        Why::First => "nothing serves yet",
        Why::NamesChanged => "its domains, key type or CA are configured otherwise than what serves has them",
        Why::Requested => "somebody asks for it",
        Why::Retried => "it was wanted before and has not come yet",
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
