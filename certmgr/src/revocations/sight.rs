//! The mark by which a process tells the others that it cannot see the list of wishes, or cannot take its share in what
//! it serves of it. While one stands, nothing is revoked. Its file is open from the start, for descriptors may run out.

use std::sync::Arc;
use std::time::Duration;

use certstore::Fingerprint;
use tokio::time::{Instant, sleep};

use super::holding::{SHARE_PERIOD, in_time};
use super::{Revocations, name_of};
use crate::lease::Standby;
use crate::store::StoreError;

/// How long the mark is tried for while others look for one. After that it is tried again at the next look.
const MAX_SHOWING: Duration = Duration::from_secs(1);

/// Whoever sees nothing has a share in it.
const BLIND: &str = "/revoke/blind";

/// How this process sees the list.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// `None` until it could be opened.
    standby: Option<Arc<dyn Standby>>,
    is_held: bool,
    /// Why the list could not be read at the last look.
    unseen: Option<StoreError>,
    is_told: bool,
}

impl Revocations {
    /// Opens what it takes to be seen without sight. While there is something to open it with.
    pub(super) async fn ready_sight(&self) {
        let mut sight = self.sight.lock().await;
        if sight.standby.is_none() {
            sight.standby = in_time(BLIND, self.state.lease.stand_by(BLIND)).await.ok();
        }
    }

    pub(super) async fn saw(&self, unseen: Option<StoreError>) {
        self.sight.lock().await.unseen = unseen;
    }

    /// Lets others know whether what this process serves is held, as far as it is to be revoked.
    pub(super) async fn show_sight(&self, untaken: Option<StoreError>) {
        let mut sight = self.sight.lock().await;
        let unheld = || {
            let of = self.unheld()?;
            Some(StoreError::new(name_of(of), "no share is held in what serves"))
        };
        let trouble = sight.unseen.clone().or(untaken).or_else(unheld);
        sight.show(trouble.is_some()).await;
        match trouble {
            Some(error) if !std::mem::replace(&mut sight.is_told, true) => tracing::warn!(
                "what is to be revoked cannot be seen, or what serves of it not be held ({error}): until it can, no \
                 process on this `state_dir` has anything revoked that this one may serve (see to the limit of open \
                 files, and to `state_dir`)"
            ),
            None if std::mem::take(&mut sight.is_told) => {
                tracing::info!("what is to be revoked is seen again, and held where it serves");
            }
            _ => {}
        }
    }

    /// For what serves from here on and may not be held.
    pub(super) async fn sees_nothing(&self) {
        self.sight.lock().await.show(true).await;
    }

    /// Whether a process may serve what it does not know is to be revoked; this one counts.
    pub(super) async fn is_anybody_blind(&self) -> Result<bool, StoreError> {
        Ok(self.acquire(BLIND).await?.is_none())
    }

    /// What serves here and is to be revoked, though no share is held in it: its document may not be readable.
    fn unheld(&self) -> Option<Fingerprint> {
        let listed = self.listed();
        let unread = self.unread();
        let is_unheld = |fingerprint: &Fingerprint| match listed.get(fingerprint) {
            Some(one) => one.wish.revoked_at.is_none() && !one.going.holding.is_held(),
            None => unread.contains(&name_of(*fingerprint)),
        };
        let serving = self.reader.list().into_iter().filter_map(|status| status.serving);
        serving.map(|one| one.fingerprint).find(is_unheld)
    }
}

impl Sight {
    async fn show(&mut self, is_blind: bool) {
        let Some(standby) = self.standby.as_ref().filter(|_| is_blind || self.is_held) else {
            return;
        };
        let until = Instant::now() + MAX_SHOWING;
        self.is_held = loop {
            match in_time(BLIND, standby.hold(is_blind)).await {
                // Another process looks just now whether anybody is blind.
                Ok(false) if is_blind && Instant::now() < until => sleep(SHARE_PERIOD).await,
                Ok(is_held) => break is_held,
                // What hung may be done later: then there is something to give back.
                Err(_) => break true,
            }
        };
    }
}
