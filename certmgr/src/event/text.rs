//! Events in words.

use std::fmt;

use certstore::{Generation, rfc3339};

use super::Event;
use crate::schedule::Why;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted {
                name,
                generation,
                names,
                key_kind,
                not_after,
                took,
                ..
            } => {
                write!(f, "{name}: generation {generation} ({key_kind}) serves ")?;
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
            Self::KeptBroken { name, text } => write!(f, "{name}: {text}"),
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
                let what = serving.map_or("no certificate", |_| "not renewed");
                write!(f, "{name}: {what}: {error}; ")?;
                if *attempts > 1 {
                    write!(f, "failing since {}, {attempts} attempts; ", rfc3339(*since))?;
                }
                write!(f, "next attempt at {}{}", rfc3339(*next), Still(*serving))
            }
            Self::Limited { name, limit, until } => {
                write!(f, "{name}: the order waits until {}: {limit}", rfc3339(*until))
            }
            Self::Waiting { name } => {
                write!(
                    f,
                    "{name}: waits for another process that shares the state, or for another certificate for the same names, \
                     to end its order"
                )
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
                remedy,
            } => {
                write!(
                    f,
                    "{name}: generation {generation} expires at {}; {remedy}",
                    rfc3339(*not_after)
                )
            }
            Self::Expired {
                name,
                generation,
                not_after,
                remedy,
            } => write!(
                f,
                "{name}: generation {generation} expired at {} and serves on for want of a better one; {remedy}",
                rfc3339(*not_after)
            ),
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
