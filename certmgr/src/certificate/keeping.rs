//! What is kept on disk: read at the start, written at each promotion.

use std::sync::Arc;
use std::time::Duration;

use certstore::{CertBundle, Profile, Proved, prove};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::kept::{Kept, Version};
use super::{Certificate, copy};
use crate::error::Reason;
use crate::event::Event;
use crate::source::Pair;
use crate::store::{Document, Store, StoreError};

/// The state directory is waited for so long, when it is read at the start and at each write.
pub(super) const STATE_DEADLINE: Duration = Duration::from_secs(10);

/// Whether the disk has what [`Certificate::kept`] holds.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// It does not.
    behind: bool,
    told: bool,
    /// A write that was given up waiting for. No second one is begun beside it.
    running: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Certificate {
    /// Reads what is kept, and serves the newest version of it that still can, also when it has expired. Unless
    /// something serves already: then this task replaces another one.
    pub(super) async fn restore(&mut self) {
        let Some(store) = self.store() else { return };
        let document = self.document();
        let (kept, broken) = match load(store, &document).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return,
            Err(text) => return self.tell_broken(text),
        };
        for text in broken {
            self.tell_broken(text);
        }
        self.kept = kept;
        if let Some(serving) = self.serving() {
            self.content = self.kept.version(serving.generation()).map(Version::content);
            return;
        }
        let mut restored = None;
        for version in std::mem::take(&mut self.kept.versions) {
            if restored.is_none() {
                match self.prove_kept(&version.pair).await {
                    Ok(proved) => {
                        // `None`: a reload has replaced this task already.
                        let Some(installed) = self.post.install(proved) else {
                            return;
                        };
                        self.content = Some(version.content());
                        restored = Some((installed.generation, version.facts.not_after));
                    }
                    Err(reason) => self.tell_broken(format!(
                        "generation {} is kept and cannot serve: {reason}",
                        version.generation()
                    )),
                }
            }
            self.kept.versions.push(version);
        }
        self.show_state();
        if let Some((generation, not_after)) = restored {
            self.post.tell(Event::Restored {
                name: Arc::clone(self.post.name()),
                generation,
                not_after,
            });
        }
    }

    /// What has served may serve again: it is held neither to today's date nor to names that have been
    /// configured since.
    async fn prove_kept(&self, pair: &Pair) -> Result<Proved, Reason> {
        let profile = Profile {
            alpn: self.options.alpn.clone(),
            ..Profile::default()
        };
        let pair = copy(pair);
        let proved = spawn_blocking(move || {
            let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
            let born = bundle.not_before();
            Ok(prove(bundle, &profile, born)?)
        });
        proved
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
    }

    /// Writes what the disk does not have yet. True if it has everything now.
    pub(super) async fn keep_again(&mut self) -> bool {
        if !self.keeping.behind {
            return true;
        }
        let kept = self.write_kept().await;
        self.note_keeping(kept)
    }

    pub(super) async fn write_kept(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store() else { return Ok(()) };
        self.keeping.behind = true;
        let document = self.document();
        let bytes = self.kept.to_json().map_err(|error| StoreError {
            place: self.config.name.clone(),
            text: error.to_string(),
        })?;
        if let Some(mut earlier) = self.keeping.running.take()
            && timeout(STATE_DEADLINE, &mut earlier).await.is_err()
        {
            self.keeping.running = Some(earlier);
            return Err(hanging(&self.config.name));
        }
        let mut running = tokio::spawn(async move { store.write(&document, &bytes).await });
        match timeout(STATE_DEADLINE, &mut running).await {
            Ok(ended) => ended.unwrap_or_else(|panicked| {
                Err(StoreError {
                    place: self.config.name.clone(),
                    text: panicked.to_string(),
                })
            })?,
            Err(_) => {
                self.keeping.running = Some(running);
                return Err(hanging(&self.config.name));
            }
        }
        self.keeping.behind = false;
        Ok(())
    }

    /// True if the disk has everything.
    pub(super) fn note_keeping(&mut self, kept: Result<(), StoreError>) -> bool {
        let Some(serving) = self.serving() else {
            return kept.is_ok();
        };
        let (name, generation) = (Arc::clone(self.post.name()), serving.generation());
        match kept {
            Ok(()) if self.keeping.told => {
                self.keeping.told = false;
                self.post.tell(Event::Kept { name, generation });
                true
            }
            Ok(()) => true,
            Err(error) => {
                if !self.keeping.told {
                    self.keeping.told = true;
                    self.post.tell(Event::KeepFailed {
                        name,
                        generation,
                        text: format!("{error} (free space in `state_dir`, or let h2gate write there)"),
                    });
                }
                false
            }
        }
    }

    fn tell_broken(&self, text: String) {
        let name = Arc::clone(self.post.name());
        self.post.tell(Event::KeptBroken { name, text });
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.options.state.as_ref().map(|state| Arc::clone(&state.store))
    }

    fn document(&self) -> Document {
        Document::Certificate(self.config.name.clone())
    }
}

/// Reads what is kept of a certificate, and the texts about what of it is broken. The text of an error says
/// where.
pub(super) async fn load(
    store: Arc<dyn Store>,
    document: &Document,
) -> Result<Option<(Kept, Vec<String>)>, String> {
    let read = timeout(STATE_DEADLINE, store.read(document)).await;
    let bytes = match read {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("what is kept of it cannot be read: the disk does not answer".to_owned()),
    };
    spawn_blocking(move || Kept::parse(&bytes))
        .await
        .unwrap_or_else(|panicked| Err(panicked.to_string()))
        .map(|(kept, broken)| {
            let told = broken
                .into_iter()
                .map(|text| format!("what is kept of it, {text}"));
            Some((kept, told.collect()))
        })
        .map_err(|text| format!("what is kept of it {text}"))
}

pub(super) fn hanging(name: &str) -> StoreError {
    StoreError {
        place: name.to_owned(),
        text: format!("the disk gave no answer within {} s", STATE_DEADLINE.as_secs()),
    }
}
