//! The versions kept on disk: read at the start, written at each promotion.

use std::sync::Arc;

use certstore::{CertBundle, Fingerprint, Proved, Requirements, prove};
use tokio::time::Instant;

use super::Core;
use super::orders::Orders;
use crate::blocking;
use crate::error::Reason;
use crate::event::EventKind;
use crate::kept::{Coverage, KeptVersion, load};
use crate::pair::Pair;
use crate::store::{CERTIFICATES, Document, LoadError, STATE_DEADLINE, Stamp, Store, StoreError};

/// State of the document on disk, compared with [`Core::kept`].
#[derive(Debug)]
pub(super) struct KeptState {
    /// The disk lacks something of it.
    pub(super) behind: bool,
    /// The document could not be read, and may be whole: until it has been read, nothing is written over it, and
    /// nothing is ordered in its place.
    pub(super) unread: bool,
    /// A version in it does not serve, for another process was asking its CA to revoke it.
    pub(super) passed_over: bool,
    is_reported: bool,
    /// Stamp of the document at the last look.
    pub(super) seen: Option<Stamp>,
    pub(super) looked_at: Instant,
    /// Another process has put another version first, and it has not been dealt with.
    pub(super) other_is_first: bool,
    /// It was reported that this version cannot be applied.
    pub(super) not_applied_reported: bool,
}

impl Default for KeptState {
    fn default() -> Self {
        Self {
            behind: false,
            unread: false,
            passed_over: false,
            is_reported: false,
            seen: None,
            looked_at: Instant::now(),
            other_is_first: false,
            not_applied_reported: false,
        }
    }
}

impl Core {
    /// Reads the document, and serves its newest version that still can and has the configured names, also when it has
    /// expired. Unless a version serves already: then this task replaces another one.
    pub(super) async fn restore(&mut self) {
        if let Some(revocations) = &self.revocations {
            revocations.loaded().await;
        }
        self.read_kept().await;
        if let Some(serving) = self.serving() {
            // A version that lacks a domain is compared with the source again, which reports it.
            let known = self.kept.version(serving.fingerprint());
            let known = known.filter(|version| version.coverage(&self.config.domains) == Coverage::Whole);
            self.content = self.content.or(known.map(KeptVersion::content));
            let newer = |first: &KeptVersion| first.facts.not_before > serving.bundle().not_before();
            self.keeping.other_is_first = self.kept.versions.first().is_some_and(newer);
            return;
        }
        self.restore_newest().await;
    }

    pub(super) async fn restore_newest(&mut self) {
        let (mut restored, mut passed_over) = (None, false);
        let domains = &self.config.domains;
        for version in self.kept.fitting(domains) {
            if self.is_revoked(version.fingerprint()) {
                continue;
            }
            match self.prove_kept(&version.pair).await {
                Ok(proved) => {
                    let Some(permit) = self.right_to_serve(version).await else {
                        passed_over = true;
                        continue;
                    };
                    // `None`: a reload has replaced this task already.
                    let Some(installed) = self.publisher.install(proved) else {
                        return;
                    };
                    self.serves_now(version.fingerprint(), permit);
                    let is_whole = version.coverage(domains) == Coverage::Whole;
                    let content = is_whole.then(|| version.content());
                    restored = Some((installed.fingerprint, version.facts.not_after, content));
                    break;
                }
                Err(reason) => self.report_broken(format!(
                    "certificate {} is kept and cannot serve: {reason}; the one before it is tried, and the next good \
                     pair takes its place",
                    version.fingerprint()
                )),
            }
        }
        self.keeping.passed_over = passed_over;
        self.report_other_names(restored.map(|(fingerprint, ..)| fingerprint));
        if let Some((.., content)) = restored {
            self.content = content;
        }
        self.show_state();
        if let Some((fingerprint, not_after, _)) = restored {
            self.publisher.report(EventKind::Restored {
                fingerprint,
                not_after: Some(not_after),
            });
        }
    }

    /// Reports if the version that served last lacks names that are configured now.
    fn report_other_names(&self, restored: Option<Fingerprint>) {
        let Some(last) = self.kept.versions.first() else {
            return;
        };
        let what = match last.coverage(&self.config.domains) {
            Coverage::Whole => return,
            Coverage::Part if restored == Some(last.fingerprint()) => {
                "lacks some of `domains`; it serves until one that has all of them comes"
            }
            Coverage::Part => "lacks some of `domains`; an earlier one that has all of them serves",
            Coverage::Nothing => "has none of `domains`, and does not serve",
        };
        let fingerprint = last.fingerprint();
        self.publisher
            .report(EventKind::NamesLacking { fingerprint, what });
    }

    /// Calls [`restore`](Self::restore), if the document could not be read before.
    pub(super) async fn restore_if_unread(&mut self) {
        if self.keeping.unread {
            self.restore().await;
        }
    }

    /// While nothing serves: a version kept under another name for the same names and kind of key serves under this
    /// one as well. The certificate has been renamed in the configuration, or there are two of them; neither is a
    /// reason to leave clients without one until a CA has issued another.
    pub(super) async fn inherit(&mut self, orders: &Orders) {
        if self.serving().is_some() || self.keeping.unread || !self.kept.versions.is_empty() {
            return;
        }
        let Some(store) = self.store() else { return };
        let Ok(names) = store.names(CERTIFICATES).await else {
            return;
        };
        for name in names.into_iter().filter(|name| *name != self.config.name) {
            let Ok(Some((other, _))) = load(&*store, &name).await else {
                continue;
            };
            let now = (self.options.now)();
            let fits = |version: &KeptVersion| {
                orders.wants(version)
                    && now < version.facts.not_after
                    && !self.is_to_be_revoked(version.fingerprint())
            };
            // Only the first: it serves there.
            if let Some(version) = other.versions.into_iter().next().filter(fits) {
                self.kept.versions.push(version);
                self.keeping.behind = true;
                self.restore_newest().await;
                return;
            }
        }
    }

    /// Takes in the document on disk. Broken parts are reported.
    async fn read_kept(&mut self) {
        let Some(store) = self.store() else { return };
        let loaded = load(&*store, &self.config.name).await;
        let is_unread = matches!(loaded, Err(LoadError::Unread { .. }));
        let was_unread = std::mem::replace(&mut self.keeping.unread, is_unread);
        match loaded {
            Ok(Some((kept, broken))) => {
                for text in broken {
                    self.report_broken(format!(
                        "of what `state_dir` keeps of it, {text}; the one before it is tried, and the next good pair \
                         takes its place"
                    ));
                }
                self.kept.absorb(kept);
            }
            Err(LoadError::Unread { .. }) if was_unread => {}
            Err(LoadError::Unread { text, remedy }) => {
                self.report_broken(format!("{text}; it is left as it is and read again ({remedy})"));
            }
            Err(LoadError::Broken(text)) => self.report_broken(format!(
                "{text}; it is not used, and the next good pair takes its place (if there is a backup of `state_dir`, \
                 put the file back and start again)"
            )),
            Ok(None) => {}
        }
    }

    pub(super) async fn prove_kept(&self, pair: &Pair) -> Result<Proved, Reason> {
        let (pair, alpn) = (pair.clone(), self.options.alpn.clone());
        let proved = blocking::prove(move || prove_as_kept(&pair, alpn));
        proved
            .await
            .unwrap_or_else(|ended| Err(Reason::Internal(ended.to_string())))
    }

    /// Writes again if the disk is behind. True if the disk has everything now.
    pub(super) async fn keep_again(&mut self) -> bool {
        if !self.keeping.behind {
            return true;
        }
        let kept = self.write_kept().await;
        self.note_keeping(kept)
    }

    /// Writes the document, merged with the writes of other processes that share the state.
    pub(super) async fn write_kept(&mut self) -> Result<(), StoreError> {
        let Some(state) = self.options.state.clone() else {
            return Ok(());
        };
        let (store, name) = (&*state.store, self.config.name.clone());
        self.keeping.behind = true;
        if self.keeping.unread {
            self.read_kept().await;
        }
        // No host name, so no certificate's name by habit.
        let lease = format!("/kept/{name}");
        let lease = state.lease.acquire_within(&lease, STATE_DEADLINE).await?;
        let lease = lease.ok_or_else(|| StoreError::hanging(&name))?;
        match load(store, &name).await {
            Ok(Some((disk, _))) => self.keeping.other_is_first |= self.kept.merge(disk),
            // A broken document was reported at the start.
            Ok(None) | Err(LoadError::Broken(_)) => {}
            Err(LoadError::Unread { .. }) => {
                self.keeping.unread = true;
                return Err(StoreError::new(
                    name,
                    "what is kept of it cannot be read, and nothing is written over it unread",
                ));
            }
        }
        self.remove_revoked();
        let bytes = self
            .kept
            .to_json()
            .map_err(|error| StoreError::new(name, error))?;
        store
            .write_holding(&self.document(), &bytes, Some(Box::new(lease)))
            .await?;
        self.keeping.behind = false;
        self.kept.written();
        Ok(())
    }

    /// Notes the outcome of a write. True if the disk has everything.
    pub(super) fn note_keeping(&mut self, kept: Result<(), StoreError>) -> bool {
        let is_kept = kept.is_ok();
        let Some(serving) = self.serving() else {
            return is_kept;
        };
        let fingerprint = serving.fingerprint();
        match kept {
            Ok(()) if std::mem::take(&mut self.keeping.is_reported) => {
                self.show_state();
                self.publisher.report(EventKind::Kept { fingerprint });
            }
            Err(error) if !std::mem::replace(&mut self.keeping.is_reported, true) => {
                self.publisher.report(EventKind::KeepFailed {
                    fingerprint,
                    text: format!("{error} (free space in `state_dir`, or let h2gate write there)"),
                });
            }
            Ok(()) | Err(_) => {}
        }
        is_kept
    }

    fn report_broken(&self, text: String) {
        self.publisher.report(EventKind::KeptBroken { text });
    }

    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        self.options.state.as_ref().map(|state| Arc::clone(&state.store))
    }

    pub(super) fn document(&self) -> Document {
        Document::Certificate(self.config.name.clone())
    }
}

/// Proves a version that has served: it may serve again even if it has expired.
pub(super) fn prove_as_kept(pair: &Pair, alpn: Vec<Vec<Vec<u8>>>) -> Result<Proved, Reason> {
    let requirements = Requirements {
        alpn,
        ..Requirements::default()
    };
    let bundle = CertBundle::parse(&pair.chain, &pair.key)?;
    let born = bundle.not_before();
    Ok(prove(bundle, &requirements, born)?)
}
