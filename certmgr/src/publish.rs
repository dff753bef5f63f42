//! Publishing by tasks: bundles through the one writer, and events.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use certstore::{Bundle, CertBundle, Installed, Proved, Rejection, TrustBundle, Writer};
use tokio::sync::watch;

use crate::event::{EventKind, Reporter, Subject};

/// A kind of bundle with a task for each name.
pub(crate) trait Publishable: Bundle {
    /// The subject of its events.
    fn subject(name: Arc<str>) -> Subject;
}

impl Publishable for CertBundle {
    fn subject(name: Arc<str>) -> Subject {
        Subject::Certificate(name)
    }
}

impl Publishable for TrustBundle {
    fn subject(name: Arc<str>) -> Subject {
        Subject::TrustBundle(name)
    }
}

/// The one writer, shared by the tasks, and the task that may use it for each subject.
///
/// An aborted task may still be in the middle of its last step; since it owns its name no longer, that step
/// cannot bring back what a reload has removed.
pub(crate) struct Registry {
    state: Mutex<RegistryState>,
    reporter: Reporter,
    /// Marked whenever another trust bundle comes into force.
    trust_changes: watch::Sender<()>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct RegistryState {
    writer: Writer,
    owners: BTreeMap<Subject, u64>,
}

impl Registry {
    pub(crate) fn new(writer: Writer, reporter: Reporter) -> Self {
        Self {
            state: Mutex::new(RegistryState {
                writer,
                owners: BTreeMap::new(),
            }),
            reporter,
            trust_changes: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares the name, and makes this task its owner.
    pub(crate) fn register<B: Publishable>(self: &Arc<Self>, name: &str, task: u64) -> Publisher<B> {
        let subject = B::subject(name.into());
        let mut state = self.state();
        state.owners.insert(subject.clone(), task);
        state.writer.declare::<B>(name);
        Publisher {
            registry: Arc::clone(self),
            task,
            subject,
            kind: PhantomData,
        }
    }

    /// Takes the name from its owner. `remove`: the configuration no longer has it.
    pub(crate) fn unregister<B: Publishable>(&self, name: &str, remove: bool) {
        let mut state = self.state();
        state.owners.remove(&B::subject(name.into()));
        if remove {
            state.writer.remove::<B>(name);
        }
    }
}

/// One task's access to the writer, for its own name alone.
#[derive(Debug)]
pub(crate) struct Publisher<B> {
    registry: Arc<Registry>,
    task: u64,
    subject: Subject,
    kind: PhantomData<fn() -> B>,
}

impl<B: Publishable> Publisher<B> {
    pub(crate) fn name(&self) -> &str {
        self.subject.name()
    }

    /// `None` if the task has been replaced.
    pub(crate) fn install(&self, proved: Proved<B>) -> Option<Installed> {
        let installed = self.with_writer(|writer| writer.install(self.name(), proved))?;
        if installed.changed && matches!(self.subject, Subject::TrustBundle(_)) {
            self.registry.trust_changes.send_replace(());
        }
        Some(installed)
    }

    pub(crate) fn refuse(&self, refusal: Rejection) {
        self.with_writer(|writer| writer.refuse::<B>(self.name(), refusal));
    }

    pub(crate) fn clear_refusal(&self) {
        self.with_writer(|writer| writer.clear_refusal::<B>(self.name()));
    }

    /// Reports an event of the subject.
    pub(crate) fn report(&self, kind: EventKind) {
        self.registry.reporter.report(self.subject.clone(), kind);
    }

    /// Marked whenever another trust bundle comes into force.
    pub(crate) fn trust_changes(&self) -> watch::Receiver<()> {
        self.registry.trust_changes.subscribe()
    }

    fn with_writer<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        let mut state = self.registry.state();
        let owns = state.owners.get(&self.subject) == Some(&self.task);
        owns.then(|| act(&mut state.writer))
    }
}

#[cfg(test)]
mod tests {
    use certstore::{Reader, Requirements, UnixTime, prove, store};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, generate_simple_self_signed};

    use super::*;

    fn cannot_bring_back<B: Publishable>(proved: impl Fn() -> Proved<B>, is_gone: impl Fn(&Reader) -> bool) {
        let (writer, reader) = store();
        let registry = Arc::new(Registry::new(writer, Reporter::new(None)));
        let first = registry.register::<B>("api", 1);
        assert!(first.install(proved()).is_some());
        registry.unregister::<B>("api", true);
        assert!(first.install(proved()).is_none());
        assert!(reader.serving::<B>("api").is_none() && is_gone(&reader));
        let second = registry.register::<B>("api", 2);
        assert!(first.install(proved()).is_none());
        assert!(second.install(proved()).is_some());
    }

    #[test]
    fn a_replaced_task_cannot_bring_back_what_was_removed() {
        let pair = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let proved = || {
            let bundle = CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
            prove(bundle, &Requirements::default(), UnixTime::now()).unwrap()
        };
        cannot_bring_back(proved, |reader| reader.list().is_empty());
    }

    #[test]
    fn a_replaced_task_cannot_bring_back_a_bundle_that_was_removed() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let proved = || TrustBundle::restore(pem.as_bytes(), b"", false).unwrap();
        cannot_bring_back(proved, |reader| reader.trust_list().is_empty());
    }
}
