//! The same for trust bundles.

use std::collections::BTreeMap;
use std::sync::Arc;

use certstore::{Installed, ProvedTrust, Refusal, Writer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Desk, Handle, Stage};
use crate::config::TrustConfig;
use crate::event::TrustEvent;
use crate::source;
use crate::trust::{Trust, keep};

pub(super) struct RunningTrust {
    config: TrustConfig,
    task: JoinHandle<()>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Handle {
    /// Makes these the trust bundles. Equal ones are left alone; changed ones are read anew while the old bundle
    /// stays in force; those no longer named are removed from the store. May be called from anywhere.
    ///
    /// Certificates that must lead to a bundle's anchors wait for it, and are proved again when it changes.
    pub fn reload_trust(&self, configs: Vec<TrustConfig>) {
        let mut tasks = self.tasks.state();
        let mut wanted: BTreeMap<String, TrustConfig> = configs
            .into_iter()
            .map(|config| (config.name.clone(), config))
            .collect();
        let desk = &self.desk;
        tasks.trust.retain(|name, running| {
            let same = wanted.get(name) == Some(&running.config);
            if same {
                wanted.remove(name);
            } else {
                running.task.abort();
                desk.dismiss_trust(name, !wanted.contains_key(name));
            }
            same
        });
        for (name, config) in wanted {
            tasks.last_id = tasks.last_id.saturating_add(1);
            if let Some(running) = self.run_trust(config, tasks.last_id) {
                tasks.trust.insert(name, running);
            }
        }
    }

    /// `None` for what can have no source: CA certificates are not ordered from a CA.
    fn run_trust(&self, config: TrustConfig, id: u64) -> Option<RunningTrust> {
        let source = source::Reader::of_trust(&config.source, self.options.poll, self.watcher.as_ref())?;
        self.desk.appoint_trust(&config.name, id);
        let post = TrustPost {
            desk: Arc::clone(&self.desk),
            id,
            name: config.name.as_str().into(),
        };
        let (stage_sender, stage) = watch::channel(Stage::Started);
        let trust = Trust::new(
            config.clone(),
            post,
            self.reader.clone(),
            Arc::clone(&self.options),
            stage_sender,
        );
        Some(RunningTrust {
            config,
            task: self.runtime.spawn(keep(trust, source)),
            stage,
        })
    }

    pub(super) fn stop_trust(&self) {
        for (name, running) in std::mem::take(&mut self.tasks.state().trust) {
            running.task.abort();
            self.desk.dismiss_trust(&name, false);
        }
    }
}

impl Desk {
    fn appoint_trust(&self, name: &str, id: u64) {
        let mut state = self.state();
        state.trust_owners.insert(name.to_owned(), id);
        state.writer.declare_trust(name);
    }

    fn dismiss_trust(&self, name: &str, remove: bool) {
        let mut state = self.state();
        state.trust_owners.remove(name);
        if remove {
            state.writer.remove_trust(name);
        }
    }
}

/// One task's way to the writer, for its own bundle alone.
#[derive(Debug)]
pub(crate) struct TrustPost {
    desk: Arc<Desk>,
    id: u64,
    name: Arc<str>,
}

impl TrustPost {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `None` if the task has been replaced.
    pub(crate) fn install(&self, proved: ProvedTrust) -> Option<Installed> {
        let installed = self.with_writer(|writer| writer.install_trust(&self.name, proved))?;
        if installed.changed {
            self.desk.trust_changes.send_replace(());
        }
        Some(installed)
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.with_writer(|writer| writer.refuse_trust(&self.name, refusal));
    }

    pub(crate) fn clear_refusal(&self) {
        self.with_writer(|writer| writer.clear_trust_refusal(&self.name));
    }

    /// Logs the event and hands it to who listens.
    pub(crate) fn tell(&self, event: &TrustEvent) {
        event.log();
        if let Some(observer) = &self.desk.trust_observer {
            observer(event);
        }
    }

    fn with_writer<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        let mut state = self.desk.state();
        let owns = state.trust_owners.get(&*self.name) == Some(&self.id);
        owns.then(|| act(&mut state.writer))
    }
}

#[cfg(test)]
mod tests {
    use certstore::{Reader, TrustBundle, store};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::Options;
    use crate::supervisor::start;

    fn handle() -> (Handle, Reader) {
        let (writer, reader) = store();
        (start(Vec::new(), writer, Options::default()), reader)
    }

    #[tokio::test]
    async fn a_replaced_task_cannot_bring_back_a_bundle_that_was_removed() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let proved = || TrustBundle::restore(pem.as_bytes(), b"", false).unwrap();
        let (handle, reader) = handle();
        let desk = &handle.desk;
        let post = |id| TrustPost {
            desk: Arc::clone(desk),
            id,
            name: "clients".into(),
        };
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
