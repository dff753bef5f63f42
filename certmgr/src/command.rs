//! Commands for a certificate's task, and the reasons to refuse them.

use certstore::Fingerprint;
use tokio::sync::oneshot;

use crate::acme::RevocationReason;
use crate::error::{Error, IssueError};

/// Commands that wait for one certificate's task. More are refused as busy.
pub(crate) const MAX_COMMANDS: usize = 8;

/// Reason why a command cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No certificate has this name.
    #[error("no certificate is named {name}; there {}", list(.known))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// Only a certificate from ACME can be revoked by us, and has an account.
    #[error(
        "{name} comes from {source_kind}, not by ACME: it has no account here; revoke it where it was issued, and \
         put its successor there"
    )]
    NotOrdered {
        /// The certificate.
        name: String,
        /// The kind of its source.
        source_kind: &'static str,
    },
    /// Nothing serves under this name.
    #[error("nothing serves under {name} yet")]
    NothingServes {
        /// The certificate.
        name: String,
    },
    /// The serving version did not come from one of the configured CAs.
    #[error(
        "certificate {fingerprint} of {name} did not come from a configured CA: revoke it where it was issued"
    )]
    ForeignCa {
        /// The certificate.
        name: String,
        /// The serving version.
        fingerprint: Fingerprint,
    },
    /// No kept version fits.
    #[error("{}", no_such_version(.name, .wanted, .known))]
    NoSuchVersion {
        /// The certificate.
        name: String,
        /// The wanted version: the beginning of a fingerprint, or nothing.
        wanted: String,
        /// The kept versions, without the serving one.
        known: Vec<String>,
    },
    /// Several kept versions fit.
    #[error("several versions of {name} begin with {wanted}: {}", .known.join(", "))]
    Ambiguous {
        /// The certificate.
        name: String,
        /// The wanted version: the beginning of a fingerprint, or nothing.
        wanted: String,
        /// The versions that fit.
        known: Vec<String>,
    },
    /// The version may not serve.
    #[error("{name}: certificate {fingerprint} may not serve: {error}")]
    Refused {
        /// The certificate.
        name: String,
        /// The version.
        fingerprint: Fingerprint,
        /// The reason.
        error: Box<Error>,
    },
    /// The CA did not carry it out.
    #[error("{name}: {error} ({})", .error.remedy)]
    Issue {
        /// The certificate.
        name: String,
        /// The reason.
        error: Box<IssueError>,
    },
    /// The note that must be written before the command begins cannot be written.
    #[error("{name}: {text}")]
    State {
        /// The certificate.
        name: String,
        /// The error, with the remedy.
        text: String,
    },
    /// The task has too many commands in progress.
    #[error("{name} is busy with earlier commands; try again in a minute")]
    Busy {
        /// The certificate.
        name: String,
    },
    /// A reload has replaced the task, or the program is stopping.
    #[error("{name} has just been configured anew, or the program is stopping; try again")]
    Gone {
        /// The certificate.
        name: String,
    },
}

fn no_such_version(name: &str, wanted: &str, known: &[String]) -> String {
    match (wanted, known) {
        (_, []) => format!("{name} has nothing to go back to: beside what serves, no version is kept"),
        ("", [one, ..]) => format!("{name} cannot go back to {one}"),
        (wanted, known) => format!(
            "{name} has no earlier version that begins with {wanted}; there {}",
            list(known)
        ),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "are none".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

/// The channel of an answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// A command for a certificate's task.
#[derive(Debug)]
pub(crate) enum Command {
    Renew(Reply<()>),
    Rollback {
        to: Option<String>,
        reply: Reply<Fingerprint>,
    },
    Revoke {
        reason: RevocationReason,
        reply: Reply<()>,
    },
    RollAccountKey(Reply<()>),
}
