//! Events of certificates, trust bundles and accounts; each fact is reported once. Logs are one rendering of an event, the
//! program's counters and the stream of the admin interface are others.

mod kinds;

use std::fmt;
use std::sync::Arc;

use certstore::Fingerprint;
use tokio::sync::broadcast;
use tracing::Level;

use crate::schedule::Why;

pub use kinds::EventKind;

/// Called with each event, in order for each subject, from the subject's task. Must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Events that a slow watcher may be behind; the oldest are dropped for it, and it gets an error that says so.
pub(crate) const MAX_WATCHED_EVENTS: usize = 256;

/// A fact and its subject.
#[derive(Debug, Clone)]
pub struct Event {
    /// The subject.
    pub subject: Subject,
    /// The fact.
    pub kind: EventKind,
}

/// The subject of an event. Certificates, trust bundles and CAs have names of their own: one of each may be called
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A certificate, by its name in the configuration.
    Certificate(Arc<str>),
    /// A trust bundle, by its name in the configuration.
    TrustBundle(Arc<str>),
    /// An account at a CA, by the CA's name.
    Ca(Arc<str>),
    /// The common parts: documents, queues, wishes to revoke.
    Manager,
}

/// The kinds of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// See [`Subject::Certificate`].
    Certificate,
    /// See [`Subject::TrustBundle`].
    TrustBundle,
    /// See [`Subject::Ca`].
    Ca,
    /// See [`Subject::Manager`].
    Manager,
}

impl Subject {
    /// The name in the configuration; empty for the manager.
    pub fn name(&self) -> &str {
        match self {
            Self::Certificate(name) | Self::TrustBundle(name) | Self::Ca(name) => name,
            Self::Manager => "",
        }
    }

    /// The name, if the subject is of this kind.
    fn name_of(&self, kind: SubjectKind) -> Option<&str> {
        (self.kind() == kind).then(|| self.name())
    }

    /// The kind.
    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Certificate(_) => SubjectKind::Certificate,
            Self::TrustBundle(_) => SubjectKind::TrustBundle,
            Self::Ca(_) => SubjectKind::Ca,
            Self::Manager => SubjectKind::Manager,
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::TrustBundle(_) => "trust bundle",
            _ => "certificate",
        }
    }

    /// The verb for a bundle in use.
    fn serves(&self) -> &'static str {
        match self {
            Self::TrustBundle(_) => "is trusted",
            _ => "serves",
        }
    }

    /// The end of a sentence on a failure: the bundle that stays in use.
    fn in_use(&self, serving: Option<Fingerprint>) -> String {
        match (self, serving) {
            (Self::TrustBundle(_), Some(fingerprint)) => {
                format!("; trust bundle {fingerprint} stays trusted")
            }
            (Self::TrustBundle(_), None) => "; nobody is trusted under this name yet".to_owned(),
            (_, Some(fingerprint)) => format!("; certificate {fingerprint} serves on"),
            (_, None) => "; nothing serves under this name yet".to_owned(),
        }
    }
}

impl Event {
    /// True if somebody must act.
    pub fn is_error(&self) -> bool {
        self.kind.level() == Level::ERROR
    }

    /// Writes the event to the log. ERROR where somebody must act.
    fn log(&self) {
        let certificate = self.subject.name_of(SubjectKind::Certificate);
        let trust_bundle = self.subject.name_of(SubjectKind::TrustBundle);
        let ca = self.subject.name_of(SubjectKind::Ca);
        let event = self.kind.label();
        match self.kind.level() {
            Level::ERROR => tracing::error!(certificate, trust_bundle, ca, event, "{self}"),
            Level::WARN => tracing::warn!(certificate, trust_bundle, ca, event, "{self}"),
            Level::INFO => tracing::info!(certificate, trust_bundle, ca, event, "{self}"),
            _ => tracing::debug!(certificate, trust_bundle, ca, event, "{self}"),
        }
        if let EventKind::Promoted { warnings, .. } = &self.kind {
            for warning in warnings {
                tracing::warn!(certificate, event, "{warning}");
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject != Subject::Manager {
            write!(f, "{}: ", self.subject.name())?;
        }
        self.kind.write(&self.subject, f)
    }
}

/// The door of all events: the log, the observer, and the watchers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    observer: Option<Observer>,
    watchers: broadcast::Sender<Event>,
}

impl Reporter {
    pub(crate) fn new(observer: Option<Observer>) -> Self {
        Self {
            observer,
            watchers: broadcast::Sender::new(MAX_WATCHED_EVENTS),
        }
    }

    /// Logs the event and passes it to the observer; one of a certificate to the watchers, too.
    pub(crate) fn report(&self, subject: Subject, kind: EventKind) {
        let event = Event { subject, kind };
        event.log();
        if let Some(observer) = &self.observer {
            observer(&event);
        }
        if event.subject.kind() == SubjectKind::Certificate {
            // An error means that nobody watches, which is valid.
            let _ = self.watchers.send(event);
        }
    }

    /// Reports an event of the certificate of this name.
    pub(crate) fn of_certificate(&self, name: &str, kind: EventKind) {
        self.report(Subject::Certificate(name.into()), kind);
    }

    /// Reports an event of the account at the CA of this name.
    pub(crate) fn of_ca(&self, name: &str, kind: EventKind) {
        self.report(Subject::Ca(name.into()), kind);
    }

    /// Reports an event of the common parts.
    pub(crate) fn of_manager(&self, kind: EventKind) {
        self.report(Subject::Manager, kind);
    }

    /// Every event of a certificate from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Event> {
        self.watchers.subscribe()
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

/// The reason of an order, for people.
pub(crate) fn order_reason(why: Why) -> &'static str {
    match why {
        Why::First => "nothing serves yet",
        Why::NamesChanged => "its domains, key type or CA are configured otherwise than what serves has them",
        Why::Requested => "somebody asks for it",
        Why::Retried => "it was wanted before and has not come yet",
        Why::Advised => "its CA suggests it (ARI)",
        Why::LifeSpent => "little of its life is left",
    }
}
