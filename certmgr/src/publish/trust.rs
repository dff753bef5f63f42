//! Publishing by the tasks of trust bundles.

use std::sync::Arc;

use certstore::{Installed, ProvedTrust, Refusal, TrustBundle, Writer};

use super::Desk;
use crate::event::{EventKind, Subject};

impl Desk {
    pub(crate) fn appoint_trust(&self, name: &str, id: u64) {
        let mut state = self.state();
        state.trust_owners.insert(name.to_owned(), id);
        state.writer.declare::<TrustBundle>(name);
    }

    pub(crate) fn dismiss_trust(&self, name: &str, remove: bool) {
        let mut state = self.state();
        state.trust_owners.remove(name);
        if remove {
            state.writer.remove::<TrustBundle>(name);
        }
    }
}

/// One task's access to the writer, for its own bundle alone.
#[derive(Debug)]
pub(crate) struct TrustPost {
    desk: Arc<Desk>,
    id: u64,
    name: Arc<str>,
}

impl TrustPost {
    pub(crate) fn new(desk: Arc<Desk>, id: u64, name: Arc<str>) -> Self {
        Self { desk, id, name }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `None` if the task has been replaced.
    pub(crate) fn install(&self, proved: ProvedTrust) -> Option<Installed> {
        let installed = self.with_writer(|writer| writer.install(&self.name, proved))?;
        if installed.changed {
            self.desk.trust_changes.send_replace(());
        }
        Some(installed)
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.with_writer(|writer| writer.refuse::<TrustBundle>(&self.name, refusal));
    }

    pub(crate) fn clear_refusal(&self) {
        self.with_writer(|writer| writer.clear_refusal::<TrustBundle>(&self.name));
    }

    /// Reports an event of the bundle.
    pub(crate) fn report(&self, kind: EventKind) {
        let subject = Subject::TrustBundle(Arc::clone(&self.name));
        self.desk.reporter.report(subject, kind);
    }

    fn with_writer<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        let mut state = self.desk.state();
        let owns = state.trust_owners.get(&*self.name) == Some(&self.id);
        owns.then(|| act(&mut state.writer))
    }
}

#[cfg(test)]
mod tests {
    use certstore::store;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::event::Reporter;

    #[test]
    fn a_replaced_task_cannot_bring_back_a_bundle_that_was_removed() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let proved = || TrustBundle::restore(pem.as_bytes(), b"", false).unwrap();
        let (writer, reader) = store();
        let desk = Arc::new(Desk::new(writer, Reporter::new(None)));
        let post = |id| TrustPost::new(Arc::clone(&desk), id, "clients".into());
        desk.appoint_trust("clients", 1);
        assert!(post(1).install(proved()).is_some());
        desk.dismiss_trust("clients", true);
        assert!(post(1).install(proved()).is_none());
        assert!(reader.anchors("clients").is_none() && reader.trust_list().is_empty());
        desk.appoint_trust("clients", 2);
        assert!(post(1).install(proved()).is_none());
        assert!(post(2).install(proved()).is_some());
    }
}
