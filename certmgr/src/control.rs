//! What an operator sees and asks for while the program runs.

use std::sync::Arc;
use std::time::Duration;

use certstore::{Generation, KeyKind, Name, UnixTime, Warning};
use tokio::sync::{broadcast, oneshot};

use crate::acme::RevocationReason;
use crate::error::{Error, ErrorClass, IssueError};
use crate::event::Event;
use crate::plan::Plan;
use crate::revocations::Revocation;
use crate::schedule::Why;
use crate::store::StoreError;
use crate::supervisor::Tasks;

/// Events that a slow watcher may be behind; the oldest are dropped for it, and it is told so.
pub(crate) const MAX_WATCHED_EVENTS: usize = 256;

/// Commands that wait for one certificate's task. More are refused as busy.
pub(crate) const MAX_COMMANDS: usize = 8;

/// Sees and steers the running certificates. Cheap to clone; outlives the [`Handle`](crate::Handle), and finds
/// nothing then.
#[derive(Clone)]
pub struct Control {
    tasks: Arc<Tasks>,
}

impl Control {
    pub(crate) fn new(tasks: Arc<Tasks>) -> Self {
        Self { tasks }
    }

    /// All certificates, by name.
    pub fn list(&self) -> Vec<View> {
        self.tasks.views()
    }

    /// One of them.
    pub fn view(&self, name: &str) -> Result<View, CommandError> {
        self.tasks.view(name)
    }

    /// What will be ordered from CAs within `horizon` from now, and whether that stays inside their limits. Asks
    /// nobody, and orders nothing.
    pub async fn plan(&self, horizon: Duration) -> Result<Plan, PlanError> {
        self.tasks.plan(horizon).await
    }

    /// What is to be revoked, and what has been and would be valid still; also of certificates that are not configured
    /// any more.
    pub fn revocations(&self) -> Vec<Revocation> {
        self.tasks.revocations()
    }

    /// Every event from now on. A receiver that falls behind gets `RecvError::Lagged`; it looks at
    /// [`Control::list`] again then.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.tasks.watch()
    }

    /// Reads the source at once, or orders from the CA now, whatever the schedule says. The CA's own limits
    /// hold all the same. `Ok` once that has begun: how it ends is told by events ([`Event::Promoted`],
    /// [`Event::Unchanged`], [`Event::Failing`], [`Event::Refused`], [`Event::Unreadable`]).
    pub async fn renew(&self, name: &str) -> Result<(), CommandError> {
        self.tasks.ask(name, Command::Renew).await
    }

    /// Serves a kept version again: the one whose generation begins with `to`, or else the one that served
    /// before. It is proved first. What served until now is held back: the source will not bring back exactly
    /// that, but anything else. `Ok` once it serves.
    pub async fn rollback(&self, name: &str, to: Option<&str>) -> Result<Generation, CommandError> {
        let to = to.map(str::to_owned);
        self.tasks
            .ask(name, |reply| Command::Rollback { to, reply })
            .await
    }

    /// Replaces the certificate that serves, then revokes it at its CA. `Ok` once that has begun and is noted on
    /// disk: it is gone on with after a crash, after the certificate's removal, and beside further wishes;
    /// [`Event::Revoked`] tells the end. Certificates from ACME alone.
    pub async fn revoke(&self, name: &str, reason: RevocationReason) -> Result<(), CommandError> {
        self.tasks
            .ask(name, |reply| Command::Revoke { reason, reply })
            .await
    }

    /// Replaces the key of the account at the CA that is asked first for this certificate (RFC 8555 §7.3.5).
    /// `Ok` once the CA knows the new one. Certificates from ACME alone.
    pub async fn roll_account_key(&self, name: &str) -> Result<(), CommandError> {
        self.tasks.ask(name, Command::RollAccountKey).await
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Everything that is known about one certificate. No secret in it.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The kind of its source: `files`, `s3`, `secrets_manager`, `acme`.
    pub source: &'static str,
    /// Where it comes from: paths, `s3://bucket/key`, a secret's name, the directories of the CAs in order.
    pub places: Vec<String>,
    /// What it must cover. Empty: whatever it names.
    pub domains: Vec<Name>,
    /// What serves. `None` until something does.
    pub serving: Option<Version>,
    /// What served before and can serve again, newest first.
    pub previous: Vec<Version>,
    /// What happens next, and when.
    pub next: NextStep,
    /// The trouble that lasts; `None` when all is well.
    pub trouble: Option<LastError>,
    /// When the source was last read with success; for ACME, when its CA last issued, or another process that shares
    /// the state had it issued. `None`: not since this process began. Seconds of the wall clock.
    pub last_success_at: Option<UnixTime>,
    /// More about one that comes from a CA.
    pub acme: Option<AcmeView>,
    /// What of it is to be revoked, and what has been and would be valid still.
    pub revocations: Vec<Revocation>,
}

/// A pair that serves, or did.
#[derive(Debug, Clone)]
pub struct Version {
    /// The hash of what is served.
    pub generation: Generation,
    /// What it is good for.
    pub names: Vec<Name>,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// Its issuer, for people.
    pub issuer: String,
    /// What is lawful in it but worth knowing.
    pub warnings: Vec<Warning>,
    /// When it was last made to serve. `None` if that is not known any more.
    pub promoted_at: Option<UnixTime>,
    /// URL of the directory of the CA that it was ordered from.
    pub authority: Option<String>,
    /// URL of its order.
    pub order: Option<String>,
    /// Whether an operator rolled back from it.
    pub held_back: bool,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// What.
    pub action: Action,
    /// When, at the earliest.
    pub at: UnixTime,
    /// Why then, for a person: `the CA asks for it (ARI)`, `a third of its life is left`.
    pub why: String,
}

/// Kinds of steps; a metric label each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The source is read again.
    Read,
    /// An order at the CA, the first one or a renewal.
    Order,
    /// An order is under way.
    Ordering,
    /// An order is tried again after a failure.
    Retry,
    /// An issued certificate waits until it is valid by our clock.
    Hold,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Order, Self::Ordering, Self::Retry, Self::Hold];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Order => "order",
            Self::Ordering => "ordering",
            Self::Retry => "retry",
            Self::Hold => "hold",
        }
    }
}

/// Trouble that lasts.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Its class, for a label.
    pub class: ErrorClass,
    /// Place and cause, for a person.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when.
    pub since: UnixTime,
    /// How often it was tried since then without success.
    pub attempts: u32,
}

/// More about a certificate that comes from a CA.
#[derive(Debug, Clone)]
pub struct AcmeView {
    /// The CAs by name, in the order in which they are asked.
    pub authorities: Vec<String>,
    /// `tls-alpn-01`, `http-01` or `dns-01`.
    pub challenge: &'static str,
    /// The key's kind in the configuration: `ecdsa-p256`.
    pub key: &'static str,
    /// The CA's words on when it wants what serves renewed (RFC 9773).
    pub explanation: Option<String>,
    /// When the next order is due as things stand, and why. `None` until that has been decided.
    pub next_order: Option<(UnixTime, Why)>,
}

/// What was ordered lately cannot be read, so nothing can be said of what is to come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    message: String,
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

/// A command cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No certificate has this name.
    #[error("no certificate is named {name}; there {}", list(.known))]
    Unknown {
        /// The name that was given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Only what comes from ACME can be revoked by us, and has an account.
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
    /// What serves did not come from one of the configured CAs.
    #[error(
        "generation {generation} of {name} did not come from a configured CA: revoke it where it was issued"
    )]
    ForeignAuthority {
        /// The certificate.
        name: String,
        /// What serves.
        generation: Generation,
    },
    /// No kept version fits.
    #[error("{}", no_such_version(.name, .wanted, .known))]
    NoSuchVersion {
        /// The certificate.
        name: String,
        /// What was asked for: the beginning of a generation, or nothing.
        wanted: String,
        /// Those that are kept, beside what serves.
        known: Vec<String>,
    },
    /// Several kept versions fit.
    #[error("several generations of {name} begin with {wanted}: {}", .known.join(", "))]
    Ambiguous {
        /// The certificate.
        name: String,
        /// What was asked for.
        wanted: String,
        /// Those that fit.
        known: Vec<String>,
    },
    /// The version may not serve.
    #[error("{name}: generation {generation} may not serve: {error}")]
    Refused {
        /// The certificate.
        name: String,
        /// Which version.
        generation: Generation,
        /// Why.
        error: Box<Error>,
    },
    /// The CA did not do it.
    #[error("{name}: {error} ({})", .error.remedy)]
    Issue {
        /// The certificate.
        name: String,
        /// Why.
        error: Box<IssueError>,
    },
    /// What must be noted before the command begins cannot be written.
    #[error("{name}: {text}")]
    State {
        /// The certificate.
        name: String,
        /// What is wrong, with the remedy.
        text: String,
    },
    /// The task has its hands full.
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
            "{name} has no earlier generation that begins with {wanted}; there {}",
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

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// What a certificate's task is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Renew(Reply<()>),
    Rollback {
        to: Option<String>,
        reply: Reply<Generation>,
    },
    Revoke {
        reason: RevocationReason,
        reply: Reply<()>,
    },
    RollAccountKey(Reply<()>),
}
