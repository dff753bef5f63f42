//! Publishing by tasks: bundles through the one writer, and events.

mod trust;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use certstore::{CertBundle, Installed, Proved, Refusal, Writer};
use tokio::sync::watch;

use crate::event::{EventKind, Reporter, Subject};

pub(crate) use trust::TrustPost;

/// The one writer, shared by the tasks, and the task that may use it for each name.
///
/// An aborted task may still be in the middle of its last step; since it owns its name no longer, that step
/// cannot bring back what a reload has removed.
pub(crate) struct Desk {
    state: Mutex<DeskState>,
    reporter: Reporter,
    /// Marked whenever another trust bundle comes into force.
    trust_changes: watch::Sender<()>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct DeskState {
    writer: Writer,
    owners: HashMap<String, u64>,
    trust_owners: HashMap<String, u64>,
}

impl Desk {
    pub(crate) fn new(writer: Writer, reporter: Reporter) -> Self {
        Self {
            state: Mutex::new(DeskState {
                writer,
                owners: HashMap::new(),
                trust_owners: HashMap::new(),
            }),
            reporter,
            trust_changes: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn appoint(&self, name: &str, id: u64) {
        let mut state = self.state();
        state.owners.insert(name.to_owned(), id);
        state.writer.declare::<CertBundle>(name);
    }

    pub(crate) fn dismiss(&self, name: &str, remove: bool) {
        let mut state = self.state();
        state.owners.remove(name);
        if remove {
            state.writer.remove::<CertBundle>(name);
        }
    }
}

/// One task's access to the writer, for its own name alone.
#[derive(Debug)]
pub(crate) struct Post {
    desk: Arc<Desk>,
    id: u64,
    name: Arc<str>,
}

impl Post {
    pub(crate) fn new(desk: Arc<Desk>, id: u64, name: Arc<str>) -> Self {
        Self { desk, id, name }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `None` if the task has been replaced.
    pub(crate) fn install(&self, proved: Proved) -> Option<Installed> {
        self.with_writer(|writer| writer.install(&self.name, proved))
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.with_writer(|writer| writer.refuse::<CertBundle>(&self.name, refusal));
    }

    pub(crate) fn clear_refusal(&self) {
        self.with_writer(|writer| writer.clear_refusal::<CertBundle>(&self.name));
    }

    /// Reports an event of the certificate.
    pub(crate) fn report(&self, kind: EventKind) {
        let subject = Subject::Certificate(Arc::clone(&self.name));
        self.desk.reporter.report(subject, kind);
    }

    /// Marked whenever another trust bundle comes into force.
    pub(crate) fn trust_changes(&self) -> watch::Receiver<()> {
        self.desk.trust_changes.subscribe()
    }

    fn with_writer<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        let mut state = self.desk.state();
        let owns = state.owners.get(&*self.name) == Some(&self.id);
        owns.then(|| act(&mut state.writer))
    }
}

#[cfg(test)]
mod tests {
    use certstore::{Requirements, UnixTime, prove, store};
    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn a_replaced_task_cannot_bring_back_what_was_removed() {
        let pair = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let proved = || {
            let bundle = CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
            prove(bundle, &Requirements::default(), UnixTime::now()).unwrap()
        };
        let (writer, reader) = store();
        let desk = Arc::new(Desk::new(writer, Reporter::new(None)));
        let post = |id| Post::new(Arc::clone(&desk), id, "api".into());
        desk.appoint("api", 1);
        assert!(post(1).install(proved()).is_some());
        desk.dismiss("api", true);
        assert!(post(1).install(proved()).is_none());
        assert!(reader.current("api").is_none() && reader.list().is_empty());
        desk.appoint("api", 2);
        assert!(post(1).install(proved()).is_none());
        assert!(post(2).install(proved()).is_some());
    }
}
