//! The supervisor's part for trust bundles.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Handle;
use crate::config::TrustConfig;
use crate::fetched::run_fetched;
use crate::publish::TrustPost;
use crate::source;
use crate::stage::Stage;
use crate::trust::Trust;

pub(super) struct RunningTrust {
    config: TrustConfig,
    task: JoinHandle<()>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Handle {
    /// Makes these the trust bundles. Equal ones are left alone; changed ones are read anew while the old bundle
    /// stays in force; those no longer named are removed from the store. May be called from any thread.
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

    /// `None` for a source that cannot have one: CA certificates are not ordered from a CA.
    fn run_trust(&self, config: TrustConfig, id: u64) -> Option<RunningTrust> {
        let source =
            source::SourceReader::of_trust(&config.source, self.options.poll, self.watcher.as_ref())?;
        self.desk.appoint_trust(&config.name, id);
        let post = TrustPost::new(Arc::clone(&self.desk), id, config.name.as_str().into());
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
            task: self.runtime.spawn(run_fetched(trust, source)),
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
