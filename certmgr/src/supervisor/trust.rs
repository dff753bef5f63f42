//! The supervisor's part for trust bundles.

use std::sync::Arc;

use certstore::TrustBundle;
use certstore::trust::MAX_TRUST_BYTES;
use tokio::sync::watch;

use super::{Handle, Running, stop_changed};
use crate::config::TrustConfig;
use crate::fetched::run_fetched;
use crate::source;
use crate::stage::Stage;
use crate::trust::Trust;

impl Handle {
    /// Makes these the trust bundles. Equal ones are left alone; changed ones are read anew while the old bundle
    /// stays in force; those no longer named are removed from the store. May be called from any thread.
    ///
    /// Certificates that must lead to a bundle's anchors wait for it, and are proved again when it changes.
    pub fn reload_trust(&self, configs: Vec<TrustConfig>) {
        let mut tasks = self.tasks.state();
        let configs = configs.into_iter().map(|config| (config.name.clone(), config));
        let changed = stop_changed(&mut tasks.trust, configs.collect(), |name, (), config| {
            self.registry.unregister::<TrustBundle>(name, config.is_none());
        });
        for (name, config) in changed {
            tasks.last_id = tasks.last_id.saturating_add(1);
            if let Some(running) = self.run_trust(config, tasks.last_id) {
                tasks.trust.insert(name, running);
            }
        }
    }

    /// `None` for a source that cannot have one: CA certificates are not ordered from a CA.
    fn run_trust(&self, config: TrustConfig, id: u64) -> Option<Running<TrustConfig>> {
        let source = source::SourceReader::new(
            &config.source,
            MAX_TRUST_BYTES,
            self.options.poll,
            self.watcher.as_ref(),
        )?;
        let publisher = self.registry.register(&config.name, id);
        let (stage_sender, stage) = watch::channel(Stage::Started);
        let trust = Trust::new(
            config.clone(),
            publisher,
            self.reader.clone(),
            Arc::clone(&self.options),
            stage_sender,
        );
        let random = Arc::clone(&self.options.random);
        Some(Running {
            config,
            task: self.runtime.spawn(run_fetched(trust, source, random)),
            stage,
            handles: (),
        })
    }
}
