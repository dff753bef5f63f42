//! Changes to a certificate by another process that shares the state: looked for, and applied.

use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, Proved, Serving};
use tokio::time::Instant;

use super::Core;
use crate::error::{Error, Reason};
use crate::event::EventKind;
use crate::kept::{Coverage, KeptVersion, load};
use crate::store::LoadError;

/// Longest time between two looks at the kept document.
pub(super) const LOOK: Duration = Duration::from_secs(60);

impl Core {
    /// Instant of the next look.
    pub(super) fn next_look(&self) -> Instant {
        self.keeping.looked_at + LOOK
    }

    /// Takes in the writes of other processes, and serves the version that they have put first: a renewal, the target
    /// of a rollback, or the replacement of a version that is to be revoked.
    pub(super) async fn look_again(&mut self) {
        self.keeping.looked_at = Instant::now();
        self.read_changes().await;
        if self.keeping.other_is_first {
            self.apply_first().await;
        }
        if self.keeping.passed_over && self.serving().is_none() {
            // The CA may not have revoked it after all.
            self.restore_newest().await;
        }
    }

    async fn read_changes(&mut self) {
        let Some(store) = self.store().filter(|_| !self.keeping.unread) else {
            return;
        };
        let Ok(stamp) = store.stamp(&self.document()).await else {
            return;
        };
        if stamp == self.keeping.seen {
            return;
        }
        // A write during this read is seen at the next look.
        match load(&*store, &self.config.name).await {
            Ok(Some((disk, _))) => {
                self.keeping.seen = stamp;
                self.keeping.other_is_first |= self.kept.merge(disk);
                // The reason of the change may be there.
                self.refresh_revocations().await;
                self.remove_revoked();
                self.show_state();
            }
            // A broken document was reported at the start, or the next write reports it.
            Ok(None) | Err(LoadError::Broken(_)) => self.keeping.seen = stamp,
            Err(LoadError::Unread { .. }) => {}
        }
    }

    /// Removes versions that are to be revoked and do not serve: another process may have put one first again.
    pub(super) fn remove_revoked(&mut self) {
        let serving = self.serving().map(|serving| serving.fingerprint());
        if let Some(revocations) = &self.revocations
            && self
                .kept
                .forget(serving, |fingerprint| revocations.is_wanted(fingerprint))
        {
            self.keeping.behind = true;
        }
    }

    /// Serves the first version. Where each process reads the source itself, only in place of one that must not serve.
    async fn apply_first(&mut self) {
        let serving = self.serving().map(|serving| serving.fingerprint());
        let first = self.kept.versions.first();
        let Some(first) = first.filter(|first| Some(first.fingerprint()) != serving) else {
            self.note_applied();
            return;
        };
        let must_not_serve = serving.is_none_or(|serving| self.must_not_serve(serving));
        let is_wanted =
            |version: &KeptVersion| self.orders.as_ref().is_some_and(|orders| orders.wants(version));
        if !self.may_serve(first.fingerprint(), serving) || !(must_not_serve || is_wanted(first)) {
            self.note_applied();
            return;
        }
        let (fingerprint, content) = (first.fingerprint(), first.content());
        match self.prove_first(first).await {
            Ok(proved) => {
                // Otherwise the next look tries again.
                let Some(permit) = self.right_to_serve(first).await else {
                    return;
                };
                self.seen_at = Instant::now();
                let Some(installed) = self.publisher.install(proved) else {
                    return;
                };
                self.serves_now(fingerprint, permit);
                self.content = Some(content);
                self.excluded_content = None;
                self.note_applied();
                self.end_renewal_request(fingerprint);
                self.show_state();
                self.wake_revocations();
                self.report_applied(serving, fingerprint, installed.install);
            }
            Err(reason) => self.report_not_applied(reason),
        }
    }

    fn note_applied(&mut self) {
        (self.keeping.other_is_first, self.keeping.not_applied_reported) = (false, false);
    }

    /// True if the first version may serve. One that is to be revoked but serves elsewhere, for its replacement has not
    /// come, is better than one that has been replaced there.
    fn may_serve(&self, first: Fingerprint, serving: Option<Fingerprint>) -> bool {
        let to_be_revoked = |fingerprint| self.is_to_be_revoked(fingerprint);
        !self.kept.is_excluded(first)
            && !self.is_revoked(first)
            && (!to_be_revoked(first) || serving.is_some_and(to_be_revoked))
    }

    /// True if an operator rolled back from it, or it is to be revoked.
    fn must_not_serve(&self, fingerprint: Fingerprint) -> bool {
        self.kept.is_excluded(fingerprint) || self.is_to_be_revoked(fingerprint)
    }

    /// Proves the first version like any candidate. In place of one that is to be revoked it is enough that it serves
    /// elsewhere and has all its names.
    async fn prove_first(&self, first: &KeptVersion) -> Result<Proved, Reason> {
        let proved = self.prove_again(first).await;
        let serving = self.serving();
        let serving = serving.filter(|serving| self.is_to_be_revoked(serving.fingerprint()));
        let replaces = |serving: Arc<Serving>| first.coverage(serving.bundle().names()) == Coverage::Whole;
        match proved {
            Err(_) if serving.is_some_and(replaces) => self.prove_kept(&first.pair).await,
            proved => proved,
        }
    }

    /// Ends the wish for a new certificate, if the version came after it.
    fn end_renewal_request(&mut self, fingerprint: Fingerprint) {
        if self.orders.is_none() {
            return;
        }
        let is_later = self
            .kept
            .version(fingerprint)
            .is_some_and(|version| self.came_after_request(version));
        if is_later || !(self.renewal_requested || self.renewal_pending) {
            self.renewal_requested = false;
            self.note_success();
        }
    }

    /// True if a version came after the last wish for a new one. One of the same second does not count: it may
    /// have come before.
    fn came_after_request(&self, version: &KeptVersion) -> bool {
        self.renewal_requested_at
            .zip(version.facts.promoted_at)
            .is_some_and(|(asked_at, promoted_at)| promoted_at > asked_at)
    }

    fn report_applied(&self, from: Option<Fingerprint>, to: Fingerprint, install: u64) {
        if from.is_some_and(|from| self.kept.is_excluded(from)) {
            return self.publisher.report(EventKind::RolledBack { from, to });
        }
        let Some(serving) = self.serving() else { return };
        self.report_promoted(install, serving.bundle());
    }

    fn report_not_applied(&mut self, reason: Reason) {
        if std::mem::replace(&mut self.keeping.not_applied_reported, true) {
            return;
        }
        let error = Error {
            places: vec![format!("{}, kept by another process", self.config.name)],
            reason,
        };
        self.note_failing(&error, (self.options.now)());
        self.show_refusal(&error);
        self.publisher.report(EventKind::Refused {
            error,
            serving: self.serving().map(|serving| serving.fingerprint()),
        });
    }
}
