//! Events of certificates and trust bundles; each fact is reported once. Logs are one rendering of an event, the
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
}

/// The kinds of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// See [`Subject::Certificate`].
    Certificate,
    /// See [`Subject::TrustBundle`].
    TrustBundle,
}

impl Subject {
    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Certificate(name) | Self::TrustBundle(name) => name,
        }
    }

    fn certificate(&self) -> Option<&str> {
        matches!(self, Self::Certificate(_)).then(|| &**self.name())
    }

    fn trust_bundle(&self) -> Option<&str> {
        matches!(self, Self::TrustBundle(_)).then(|| &**self.name())
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::TrustBundle(_) => "trust bundle",
        }
    }

    /// The verb for a bundle in use.
    fn serves(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "serves",
            Self::TrustBundle(_) => "is trusted",
        }
    }

    /// The end of a sentence on a failure: the bundle that stays in use.
    fn in_use(&self, serving: Option<Fingerprint>) -> String {
        match (self, serving) {
            (Self::Certificate(_), Some(fingerprint)) => format!("; certificate {fingerprint} serves on"),
            (Self::Certificate(_), None) => "; nothing serves under this name yet".to_owned(),
            (Self::TrustBundle(_), Some(fingerprint)) => {
                format!("; trust bundle {fingerprint} stays trusted")
            }
            (Self::TrustBundle(_), None) => "; nobody is trusted under this name yet".to_owned(),
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
        let (certificate, trust_bundle) = (self.subject.certificate(), self.subject.trust_bundle());
        let event = self.kind.label();
        match self.kind.level() {
            Level::ERROR => tracing::error!(certificate, trust_bundle, event, "{self}"),
            Level::WARN => tracing::warn!(certificate, trust_bundle, event, "{self}"),
            _ => tracing::info!(certificate, trust_bundle, event, "{self}"),
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
        write!(f, "{}: ", self.subject.name())?;
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
        if event.subject.certificate().is_some() {
            // An error means that nobody watches, which is valid.
            let _ = self.watchers.send(event);
        }
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
