//! The errors of `prove`: a closed list, each with its remedy.

use rustls_pki_types::UnixTime;

use crate::bundle::Name;
use crate::rfc3339;

/// The reason for which a candidate may not serve. The bundle that serves now is never touched by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// An expired candidate is never promoted.
    #[error("the certificate expired at {}; it is {} now", rfc3339(*.not_after), rfc3339(*.now))]
    Expired {
        /// Valid until.
        not_after: UnixTime,
        /// The time asked about.
        now: UnixTime,
    },
    /// So close to its end that promoting it would help nobody.
    #[error("the certificate is about to expire, at {}; it is {} now", rfc3339(*.not_after), rfc3339(*.now))]
    AboutToExpire {
        /// Valid until.
        not_after: UnixTime,
        /// The time asked about.
        now: UnixTime,
    },
    /// The candidate is not yet valid.
    #[error("the certificate is not valid before {}; it is {} now", rfc3339(*.not_before), rfc3339(*.now))]
    NotYetValid {
        /// Valid from.
        not_before: UnixTime,
        /// The time asked about.
        now: UnixTime,
    },
    /// An intermediate has expired or is not yet valid: clients would refuse the chain.
    #[error(
        "certificate {position} of the chain is valid from {} to {} only; it is {} now",
        rfc3339(*.not_before), rfc3339(*.not_after), rfc3339(*.now)
    )]
    IntermediateNotValid {
        /// Position of the certificate, counted from 1, the leaf.
        position: usize,
        /// Valid from.
        not_before: UnixTime,
        /// Valid until.
        not_after: UnixTime,
        /// The time asked about.
        now: UnixTime,
    },
    /// A wanted domain is not among its names.
    #[error("the certificate does not cover {}; it is good for {}", list(.missing), list(.names))]
    WrongNames {
        /// The wanted names that are not covered.
        missing: Vec<Name>,
        /// The names that the candidate is good for.
        names: Vec<Name>,
    },
    /// The chain ends before the issuer that clients will need.
    #[error("the chain lacks the intermediate certificate \"{issuer}\": {evidence}")]
    MissingIntermediate {
        /// The subject that is missing.
        issuer: String,
        /// The sign by which that is known.
        evidence: Evidence,
    },
    /// The chain does not lead to one of the given anchors.
    #[error("the chain does not lead to a trusted root: {reason}")]
    Untrusted {
        /// The verifier's words.
        reason: String,
    },
    /// The candidate is older than the bundle that serves.
    #[error(
        "the certificate is older (valid from {}) than the one that serves (valid from {})",
        rfc3339(*.not_before), rfc3339(*.serving_not_before)
    )]
    Older {
        /// The candidate is valid from.
        not_before: UnixTime,
        /// The bundle that serves is valid from.
        serving_not_before: UnixTime,
    },
    /// A handshake with it failed.
    #[error("a trial handshake failed ({trial}): {reason}")]
    Handshake {
        /// The handshake: ALPN, TLS version, name.
        trial: String,
        /// The TLS library's words.
        reason: String,
    },
}

/// The sign by which it is known that an intermediate is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The leaf was issued by a public CA, and those never issue from a root.
    PublicCa,
    /// The bundle that serves now was issued by the same CA and has it.
    ServedBefore,
    /// It does not lead to the given anchors, and it ends early.
    Anchors,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PublicCa => "its issuer is a public CA, which never issues from a root",
            Self::ServedBefore => "the chain that serves now has it",
            Self::Anchors => "without it no chain leads to the configured anchors",
        })
    }
}

impl ProveError {
    /// The operator's remedy, in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Expired { .. } | Self::AboutToExpire { .. } => {
                "put a renewed pair in place, or correct the clock"
            }
            Self::NotYetValid { .. } => "wait, or correct the clock",
            Self::IntermediateNotValid { .. } => "put the CA's current intermediates after the certificate",
            Self::WrongNames { .. } => "issue it for all configured domains, or correct `domains`",
            Self::MissingIntermediate { .. } => {
                "use the full chain (`fullchain.pem`): the certificate, then its CA's intermediates"
            }
            Self::Untrusted { .. } => {
                "use a certificate of a CA that is among the anchors, with its intermediates"
            }
            Self::Older { .. } => "put the newer pair back, or set `allow_rollback: true`",
            Self::Handshake { .. } => {
                "issue a new pair; this one cannot serve every configured kind of handshake"
            }
        }
    }
}

/// Names for a message; the first few, if there are many.
fn list(names: &[Name]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(Name::to_string).collect();
    match names.len().checked_sub(SHOWN) {
        _ if names.is_empty() => "no name".to_owned(),
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
