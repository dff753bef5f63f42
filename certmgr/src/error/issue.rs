//! The error of an order: the fault, and the time to come back.

use std::time::Duration;

use crate::config::Ca;

/// An order that gave no certificate, or another request to a CA that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct IssueError {
    /// The class of the failure, which says whose fault it is.
    pub class: IssueFault,
    /// The CA, by the name of its [`Ca`].
    pub ca: String,
    /// A text for people that says what happened, with the words of the CA. It has no remedy.
    pub text: String,
    /// The remedy, in one sentence.
    pub remedy: String,
    /// The time to come back, if the answer said so.
    pub retry_after: Option<RetryAfter>,
}

/// The time to come back, and the weight of that wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter(Box<Said>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    /// The wait in seconds, rounded up.
    seconds: u64,
    of: SaidOf,
}

/// The subject of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SaidOf {
    /// A limit of the CA on our account, or on all requests from here. The wait is never shortened.
    Account,
    /// A limit of the CA on the names of one order. The wait is never shortened.
    Names,
    /// A limit of the CA on this name, in lower case: on all orders below it, if it is above the names of the order
    /// that met the limit. The wait is never shortened.
    Name(String),
    /// An outage, by the word of any server that answered: the wait is kept within the bounds of the back-off.
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
    /// Makes an error that names no CA yet.
    pub(crate) fn new(class: IssueFault, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            class,
            ca: String::new(),
            text: text.into(),
            remedy: remedy.into(),
            retry_after: None,
        }
    }

    /// Names the CA, if the error names none.
    pub(crate) fn at(mut self, ca: &Ca) -> Self {
        if self.ca.is_empty() {
            self.ca.clone_from(&ca.name);
        }
        self
    }

    /// Time for which the CA itself accepts no request.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let said = self.retry_after.as_ref();
        said.filter(|after| after.0.of != SaidOf::Outage)
            .map(RetryAfter::wait)
    }

    /// True if [`IssueError::limit`] is about all orders of our account.
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

    /// Time for which a server that is not known to be the CA asks us to wait.
    pub(crate) fn hint(&self) -> Option<Duration> {
        let said = self.retry_after.as_ref();
        said.filter(|after| after.0.of == SaidOf::Outage)
            .map(RetryAfter::wait)
    }
}

/// Classes of failure. Each is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueFault {
    /// The CA gave no answer, or no usable one: the CA is down, or the connection to it.
    Unreachable,
    /// The CA accepts no more requests for now.
    RateLimited,
    /// The CA accepts no orders for a name until a person has allowed them there.
    Paused,
    /// The CA could not validate a challenge.
    Challenge,
    /// The CA refuses: account, terms, names, policy.
    Refused,
    /// The self-check before the order has found a mistake that would make it fail.
    SelfCheck,
    /// The DNS provider did not do what was asked.
    Dns,
    /// The state directory could not be read or written.
    State,
    /// The configuration cannot work: a secret that is not there, a key that is none.
    Configuration,
    /// The CA issued a certificate that may not serve.
    Certificate,
}

impl IssueFault {
    /// All classes, in the order of their declaration.
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
