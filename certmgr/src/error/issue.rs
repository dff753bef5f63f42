//! Why a CA gave no certificate, and when to come back.

use std::time::Duration;

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct IssueError {
    /// Whose fault, and where.
    pub class: IssueFault,
    /// The CA, by the name of its [`Ca`](crate::config::Ca).
    pub ca: String,
    /// What happened, in words for a person, the CA's own among them. No remedy.
    pub text: String,
    /// What to do about it, in one sentence.
    pub remedy: String,
    /// When to come back, if the answer said so.
    pub retry_after: Option<RetryAfter>,
}

/// When to come back, and how much that word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter(Box<Said>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    /// Rounded up.
    seconds: u64,
    of: SaidOf,
}

/// What a wait is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SaidOf {
    /// A limit on our account, or on whoever asks from here, by the CA itself. Never undercut.
    Account,
    /// A limit on the names of one order, likewise.
    Names,
    /// A limit on this name, in lower case, likewise: on all orders below it, if it is above the names of the one that
    /// met the limit.
    Name(String),
    /// An outage, by whoever answered: obeyed within the bounds of the back-off.
    Outage,
}

impl RetryAfter {
    pub(crate) fn new(wait: Duration, said_of: SaidOf) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(Box::new(Said { seconds, of: said_of }))
    }

    fn wait(&self) -> Duration {
        Duration::from_secs(self.0.seconds)
    }
}

impl IssueError {
    /// How long the CA itself wants to be left alone.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let said = self.retry_after.as_ref();
        said.filter(|after| after.0.of != SaidOf::Outage)
            .map(RetryAfter::wait)
    }

    /// Whether [`IssueError::limit`] is about all that we might order there.
    pub(crate) fn is_of_account(&self) -> bool {
        self.retry_after
            .as_ref()
            .is_some_and(|after| after.0.of == SaidOf::Account)
    }

    /// The name that [`IssueError::limit`] is about, if the CA named one.
    pub(crate) fn limited_name(&self) -> Option<&str> {
        match &self.retry_after.as_ref()?.0.of {
            SaidOf::Name(name) => Some(name),
            SaidOf::Account | SaidOf::Names | SaidOf::Outage => None,
        }
    }

    /// How long anybody else wants us to wait.
    pub(crate) fn hint(&self) -> Option<Duration> {
        let said = self.retry_after.as_ref();
        said.filter(|after| after.0.of == SaidOf::Outage)
            .map(RetryAfter::wait)
    }
}

/// Classes of failure; a metric label each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueFault {
    /// No answer from the CA, or none that makes sense: it is down, or the way to it is.
    Unreachable,
    /// The CA has had enough of us for now.
    RateLimited,
    /// The CA takes no orders for a name until a person says so there.
    Paused,
    /// The CA could not see the challenge's answer.
    Challenge,
    /// The CA refuses: account, terms, names, policy.
    Refused,
    /// The self-check before the order found what would make it fail.
    SelfCheck,
    /// The DNS provider did not do what was asked.
    Dns,
    /// Our own disk.
    State,
    /// The configuration cannot work: a secret that is not there, a key that is none.
    Configuration,
    /// The certificate that came is none that may serve.
    Certificate,
}

impl IssueFault {
    /// Every one, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::RateLimited,
        Self::Paused,
        Self::Challenge,
        Self::Refused,
        Self::SelfCheck,
        Self::Dns,
        Self::State,
        Self::Configuration,
        Self::Certificate,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Paused => "paused",
            Self::Challenge => "challenge",
            Self::Refused => "refused",
            Self::SelfCheck => "self_check",
            Self::Dns => "dns",
            Self::State => "state",
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
        }
    }
}
