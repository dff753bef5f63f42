//! The bundle kept on disk: read at the start, written whenever another bundle comes into force.

use std::sync::Arc;

use certstore::{Fingerprint, ProvedTrust, TrustBundle};
use zeroize::Zeroizing;

use super::{Trust, kept};
use crate::blocking;
use crate::event::EventKind;
use crate::pair::{Content, Pair};
use crate::store::{Document, LoadError, Store, StoreError};

/// State of the document on disk, compared with the bundle in force.
#[derive(Debug, Default)]
pub(super) struct TrustState {
    /// The document that the disk does not have yet.
    behind: Option<Zeroizing<Vec<u8>>>,
    is_reported: bool,
    /// The document could not be read, or a newer program wrote it: nothing is written over it unread.
    unread: bool,
}

impl Trust {
    /// Puts the kept bundle into force, whatever its dates: it was in force last.
    ///
    /// If a bundle is in force already, this task replaces another one. Then the only question is if that bundle is
    /// the kept one; if it is, and was read under another demand for revocation lists, the new demand counts from
    /// now on.
    pub(super) async fn restore(&mut self) {
        let Some(store) = self.store() else { return };
        let pair = match store.load(&self.document(), kept::parse).await {
            Ok(Some(pair)) => pair,
            Ok(None) => return,
            Err(LoadError::Unread { text, remedy }) => {
                self.keeping.unread = true;
                return self.report_broken(format!("{text}; it is left as it is and read again ({remedy})"));
            }
            Err(LoadError::Broken(text)) => return self.report_replaced(&text),
        };
        let (revocation, content) = (self.config.revocation, pair.content());
        let serving = self.serving();
        let restored = blocking::prove(move || {
            let restore = |revocation| TrustBundle::restore(&pair.chain, &pair.key, revocation);
            let fingerprint = |revocation| restore(revocation).ok().map(|one| one.bundle().fingerprint());
            let is_in_force =
                serving.is_none_or(|serving| [true, false].map(fingerprint).contains(&Some(serving)));
            is_in_force.then(|| restore(revocation))
        });
        match restored.await {
            Ok(Some(Ok(proved))) => self.put_back(proved, content),
            Ok(Some(Err(error))) => {
                self.report_replaced(&format!("what is kept of it cannot be used: {error}"))
            }
            Ok(None) => {}
            Err(panicked) => self.report_replaced(&panicked.to_string()),
        }
    }

    fn put_back(&mut self, proved: ProvedTrust, content: Content) {
        let Some(installed) = self.publisher.install(proved) else {
            return;
        };
        self.content = Some(content);
        if installed.changed {
            self.publisher.report(EventKind::Restored {
                fingerprint: installed.fingerprint,
                not_after: None,
            });
        }
        self.loaded();
    }

    /// Keeps the bundle that comes into force now.
    pub(super) async fn put_on_disk(
        &mut self,
        fingerprint: Fingerprint,
        pair: &Pair,
    ) -> Result<(), StoreError> {
        let document = kept::to_json(fingerprint, self.config.revocation, pair)
            .map_err(|error| StoreError::new(&self.config.name, error))?;
        self.keeping.behind = Some(document);
        self.write().await
    }

    /// Writes again if the disk is behind.
    pub(super) async fn keep_again(&mut self) {
        if self.keeping.behind.is_some() {
            let written = self.write().await;
            self.note_keeping(written);
        }
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let (Some(store), Some(bytes)) = (self.store(), self.keeping.behind.clone()) else {
            self.keeping.behind = None;
            return Ok(());
        };
        let document = self.document();
        if self.keeping.unread {
            if let Err(LoadError::Unread { text, remedy }) = store.load(&document, kept::parse).await {
                return Err(StoreError::new(
                    &self.config.name,
                    format!("{text}, and nothing is written over it unread ({remedy})"),
                ));
            }
            self.keeping.unread = false;
        }
        store.write(&document, &bytes).await?;
        self.keeping.behind = None;
        Ok(())
    }

    pub(super) fn note_keeping(&mut self, kept: Result<(), StoreError>) {
        let Some(fingerprint) = self.serving() else { return };
        match kept {
            Ok(()) if std::mem::take(&mut self.keeping.is_reported) => {
                self.publisher.report(EventKind::Kept { fingerprint });
            }
            Err(error) if !std::mem::replace(&mut self.keeping.is_reported, true) => {
                self.publisher.report(EventKind::KeepFailed {
                    fingerprint,
                    text: match self.keeping.unread {
                        true => error.to_string(),
                        false => format!("{error} (free space in `state_dir`, or let h2gate write there)"),
                    },
                });
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn report_replaced(&self, text: &str) {
        self.report_broken(format!(
            "{text}; it is not used, and replaced by the next good bundle"
        ));
    }

    fn report_broken(&self, text: String) {
        self.publisher.report(EventKind::KeptBroken { text });
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.options.state.as_ref().map(|state| Arc::clone(&state.store))
    }

    fn document(&self) -> Document {
        Document::Trust(self.config.name.clone())
    }
}
