//! Events in words.

use std::fmt;

use certstore::{Fingerprint, rfc3339};

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
            | Self::Excluded { .. } => self.source(f),
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
    /// Words for events of the serving and the kept bundle.
    fn serving(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted {
                fingerprint,
                names,
                key_kind,
                not_after,
                took,
                ..
            } => {
                write!(f, "certificate {fingerprint} ({key_kind}) serves ")?;
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
                fingerprint,
                not_after,
                ..
            } => write!(
                f,
                "certificate {fingerprint} serves as before the start, until {}",
                rfc3339(*not_after)
            ),
            Self::RolledBack { from, to, .. } => {
                write!(f, "certificate {to} serves again, an operator went back to it")?;
                from.iter().try_for_each(|from| write!(f, "; {from} is excluded"))
            }
            Self::KeptBroken { text, .. } => write!(f, "{text}"),
            Self::KeepFailed {
                fingerprint, text, ..
            } => write!(
                f,
                "certificate {fingerprint} serves, but the next start will not have it: {text}"
            ),
            Self::Kept { fingerprint, .. } => write!(f, "certificate {fingerprint} is kept now"),
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
                write!(f, "the source is well again; certificate {fingerprint} serves")
            }
            Self::Unchanged { fingerprint, .. } => {
                write!(
                    f,
                    "the source still holds certificate {fingerprint}, which serves"
                )
            }
            Self::Excluded {
                fingerprint,
                to_be_revoked: true,
                ..
            } => write!(
                f,
                "the source holds certificate {fingerprint}, which is to be revoked, or is; put another pair there"
            ),
            Self::Excluded { fingerprint, .. } => write!(
                f,
                "the source holds certificate {fingerprint}, which an operator rolled back from; put another \
                 pair there, or ask for {fingerprint} by a rollback"
            ),
            _ => Ok(()),
        }
    }

    /// Words for events of an order in progress.
    fn order(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordering { why, .. } => write!(f, "a certificate is ordered: {}", words(*why)),
            Self::FellBack {
                ca,
                text,
                remedy,
                issued_by,
                ..
            } => write!(f, "{ca} gave none, {issued_by} did: {text} ({remedy})"),
            Self::Issued { ca, order, took, .. } => {
                write!(f, "issued by {ca} after {} s, order {order}", took.as_secs())
            }
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

    /// Words for events of advice, revocation and expiry.
    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RenewalAdvised { at, explanation, .. } => {
                write!(f, "will be renewed at {}, as its CA suggests", rfc3339(*at))?;
                explanation.iter().try_for_each(|why| write!(f, " ({why})"))
            }
            Self::Revoked { fingerprint, ca, .. } => {
                write!(f, "certificate {fingerprint} is revoked at {ca}")
            }
            Self::RevocationFailed {
                fingerprint, error, ..
            } => {
                write!(f, "certificate {fingerprint} is not revoked yet: {error}")
            }
            Self::RevocationOver {
                fingerprint,
                not_after,
                ..
            } => write!(
                f,
                "certificate {fingerprint} expired at {} before its CA revoked it; it is not asked for any more",
                rfc3339(*not_after)
            ),
            Self::ExpiresSoon {
                fingerprint,
                not_after,
                remedy,
                ..
            } => {
                write!(
                    f,
                    "certificate {fingerprint} expires at {}; {remedy}",
                    rfc3339(*not_after)
                )
            }
            Self::Expired {
                fingerprint,
                not_after,
                remedy,
                ..
            } => write!(
                f,
                "certificate {fingerprint} expired at {} and serves on for want of a better one; {remedy}",
                rfc3339(*not_after)
            ),
            _ => Ok(()),
        }
    }
}

/// The reason of an order, for people.
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

/// The bundle that goes on serving while the source fails.
struct Still(Option<Fingerprint>);

impl fmt::Display for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(fingerprint) => write!(f, "; certificate {fingerprint} serves on"),
            None => f.write_str("; nothing serves under this name yet"),
        }
    }
}
