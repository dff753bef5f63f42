//! The mark of a process that cannot see the list of wishes, or cannot take its share in a listed certificate that it
//! serves. While one stands, nothing is revoked. Its file is open from the start, for descriptors may run out.

use std::sync::Arc;
use std::time::Duration;

use certstore::Fingerprint;

use super::{Revocations, name_of};
use crate::event::EventKind;
use crate::lease::Standby;
use crate::store::StoreError;

/// Time for which the mark is tried while others look for one. After that the next look tries again.
const MAX_SHOWING: Duration = Duration::from_secs(1);

/// Name of the right in which each process without sight has a share.
const BLIND: &str = "/revoke/blind";

/// Sight of this process on the list.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// `None` until it could be opened.
    standby: Option<Arc<dyn Standby>>,
    is_held: bool,
    /// The error of the last look, if the list could not be read.
    unseen: Option<StoreError>,
    is_reported: bool,
}

impl Revocations {
    /// Opens the file of the mark, while descriptors are left.
    pub(super) async fn ready_sight(&self) {
        let mut sight = self.sight.lock().await;
        if sight.standby.is_none() {
            sight.standby = self.state.lease.stand_by(BLIND).await.ok();
        }
    }

    pub(super) async fn saw(&self, unseen: Option<StoreError>) {
        self.sight.lock().await.unseen = unseen;
    }

    /// Sets or clears the mark: it stands unless this process sees the list and holds its shares.
    pub(super) async fn show_sight(&self, untaken: Option<StoreError>) {
        let mut sight = self.sight.lock().await;
        let unheld = || {
            let of = self.unheld()?;
            Some(StoreError::new(name_of(of), "no share is held in what serves"))
        };
        let trouble = sight.unseen.clone().or(untaken).or_else(unheld);
        sight.show(trouble.is_some()).await;
        match trouble {
            Some(error) if !std::mem::replace(&mut sight.is_reported, true) => {
                let error = error.to_string();
                self.reporter.of_manager(EventKind::RevocationsBlocked { error });
            }
            None if std::mem::take(&mut sight.is_reported) => {
                self.reporter.of_manager(EventKind::RevocationsUnblocked);
            }
            _ => {}
        }
    }

    /// Sets the mark for a certificate that serves from here on and may not be held.
    pub(super) async fn sees_nothing(&self) {
        self.sight.lock().await.show(true).await;
    }

    /// True if a process, this one included, may serve a certificate without knowing that it is to be revoked.
    pub(super) async fn is_anybody_blind(&self) -> Result<bool, StoreError> {
        Ok(self.state.lease.try_acquire(BLIND).await?.is_none())
    }

    /// A certificate that serves here and is to be revoked, without a share in it: its document may not be readable.
    fn unheld(&self) -> Option<Fingerprint> {
        let listed = self.listed();
        let unread = self.unread();
        let is_unheld = |fingerprint: &Fingerprint| match listed.get(fingerprint) {
            Some(one) => one.wish.revoked_at.is_none() && one.share.is_none(),
            None => unread.contains(&name_of(*fingerprint)),
        };
        let serving = self.reader.list().into_iter().filter_map(|status| status.serving);
        serving.map(|one| one.fingerprint()).find(is_unheld)
    }
}

impl Sight {
    async fn show(&mut self, is_blind: bool) {
        let Some(standby) = self.standby.as_ref().filter(|_| is_blind || self.is_held) else {
            return;
        };
        let is_held = match is_blind {
            // Another process may be looking for a mark just now.
            true => standby.take_within(MAX_SHOWING).await,
            false => standby.hold(false).await,
        };
        // A call that hung may succeed later: then there is a share to return.
        self.is_held = is_held.unwrap_or(true);
    }
}
