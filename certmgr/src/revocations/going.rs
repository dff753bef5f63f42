//! Carrying out the wishes of the list.

use std::pin::pin;
use std::time::Duration;

use certstore::UnixTime;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::holding::Configured;
use super::wish::{RevocationAnswer, Wish};
use super::{LOOK, Listed, Revocations, document, name_of};
use crate::config::AcmeSource;
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::EventKind;
use crate::schedule::later;
use crate::store::StoreError;

/// Number of CAs that are asked at once.
const MAX_AT_ONCE: usize = 4;

/// Wait between two attempts to revoke, if the CA could not be asked; doubled up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Wait after the CA has refused; and the time after a certificate's end before its wish is forgotten, for the clock
/// may be wrong.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Listed {
    /// Forgets our own wait: the CA has answered another process since this one asked it.
    pub(super) fn said_since(&mut self) {
        (self.not_before, self.next_at, self.message, self.obstacle) = (None, None, None, None);
    }

    pub(super) fn rest_for(&mut self, rest: Duration, now: UnixTime) {
        self.not_before = Some(Instant::now() + rest);
        self.next_at = Some(later(now, rest));
    }
}

impl Revocations {
    /// Carries out the wishes until dropped, once `restored` says which bundles serve at the start. Reports each event.
    pub(crate) async fn work(&self, restored: impl Future<Output = ()> + Send, configured: &impl Configured) {
        let mut told = false;
        self.look(&mut told).await;
        self.loaded.send_replace(true);
        restored.await;
        loop {
            self.hold(configured).await;
            let open: Vec<Wish> = self.listed().values().map(|one| one.wish.clone()).collect();
            let mut round = pin!(
                stream::iter(open).for_each_concurrent(MAX_AT_ONCE, |wish| self.go_on(wish, configured))
            );
            // Other processes rely on their wishes being seen in time, however long a CA takes.
            while timeout(LOOK, &mut round).await.is_err() {
                self.look(&mut told).await;
                self.hold(configured).await;
            }
            tokio::select! {
                () = sleep(self.rest()) => {}
                () = self.wake.notified() => {}
            }
            self.look(&mut told).await;
        }
    }

    async fn look(&self, told: &mut bool) {
        self.be_counted().await;
        self.ready_sight().await;
        let seen = self.refresh().await;
        self.saw(seen.as_ref().err().cloned()).await;
        match seen {
            Ok(()) => *told = false,
            Err(error) if !std::mem::replace(told, true) => {
                let error = error.to_string();
                self.reporter.of_manager(EventKind::WishesUnreadable { error });
            }
            Err(_) => {}
        }
    }

    /// Time until the next look, or until the next attempt if that comes first.
    fn rest(&self) -> Duration {
        let now = Instant::now();
        let listed = self.listed();
        let waits = listed.values().filter_map(|one| one.not_before);
        waits
            .map(|at| at.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero())
            .fold(LOOK, Duration::min)
    }

    async fn go_on(&self, mut wish: Wish, configured: &impl Configured) {
        let now = (self.now)();
        let is_over = now > wish.not_after;
        if self.is_long_over(&wish, is_over) {
            return self.end(&wish).await;
        }
        let is_settled = is_over || wish.revoked_at.is_some();
        if is_settled || self.is_in_use(wish.fingerprint) || !self.is_due(&wish, now) {
            return;
        }
        // Held until the end is noted, also a bad one: another process that asks meanwhile would be overwritten.
        let right = match self.right(wish.fingerprint).await {
            Ok(Some(right)) => right,
            Ok(None) => return,
            Err(error) => return self.failed(wish, fault(error)).await,
        };
        if let Err(error) = self.revoke(&mut wish, configured).await {
            self.failed(wish, error).await;
        }
        drop(right);
    }

    /// Asks the CA. To be called with the right to: no other process asks, and none may serve the certificate.
    async fn revoke(&self, wish: &mut Wish, configured: &impl Configured) -> Result<(), IssueError> {
        // Acquire, look again, then act.
        match self.read(&name_of(wish.fingerprint)).await.map_err(fault)? {
            Some(read) if read.revoked_at.is_none() => *wish = read,
            _ => return Ok(()),
        }
        // If this fails, the CA's answer could not be noted either.
        self.write(wish).await.map_err(fault)?;
        let configured = configured.ca(&|one| wish.is_at(one));
        let ca = configured.unwrap_or_else(|| wish.ca.clone());
        let issuer = (self.issuers)(&AcmeSource::of(vec![ca]));
        issuer.revoke(0, &wish.leaf, wish.reason).await?;
        // Until the revocation is noted, the CA is asked again, which it accepts.
        let revoked = Wish {
            revoked_at: Some((self.now)()),
            said: None,
            ..wish.clone()
        };
        self.note(&revoked).await.map_err(fault)?;
        let event = EventKind::Revoked {
            fingerprint: revoked.fingerprint,
            ca: revoked.ca.name,
        };
        // Reported last: a client that reacts to the event finds the new state.
        self.reporter.of_certificate(&revoked.certificate, event);
        Ok(())
    }

    /// True if the certificate has been past its end for a day. One look at a wall clock that is ahead
    /// destroys nothing: the monotonic clock measures the day.
    fn is_long_over(&self, wish: &Wish, is_over: bool) -> bool {
        let is_long_over = self.with(wish.fingerprint, |known| {
            if !is_over {
                known.over_since = None;
                return false;
            }
            known.next_at = None;
            known.over_since.get_or_insert_with(Instant::now).elapsed() >= DAY
        });
        is_long_over == Some(true)
    }

    /// True if the CA may be asked. Its answer is on disk, so a restart asks no sooner; a clock that was set back does
    /// not delay it.
    fn is_due(&self, wish: &Wish, now: UnixTime) -> bool {
        let is_due = self.with(wish.fingerprint, |known| {
            if let (None, Some(said)) = (known.not_before, &wish.said) {
                let since = now.as_secs().checked_sub(said.at);
                let rest = since.map_or(0, |since| said.wait.saturating_sub(since));
                known.rest_for(Duration::from_secs(rest), now);
            }
            known.not_before.is_none_or(|at| Instant::now() >= at)
        });
        is_due == Some(true)
    }

    /// Writes the wish, and lists it: a look at the disk that began before does not bring back the old one.
    async fn note(&self, wish: &Wish) -> Result<(), StoreError> {
        let _disk = self.disk.lock().await;
        self.write(wish).await?;
        self.with(wish.fingerprint, |known| known.wish = wish.clone());
        Ok(())
    }

    async fn failed(&self, wish: Wish, error: IssueError) {
        let now = (self.now)();
        let is_refusal = error.class == IssueFault::Refused;
        let text = format!("{error} ({})", error.remedy);
        if let Some(wait) = is_refusal.then_some(DAY).or_else(|| error.limit()) {
            let said = Some(RevocationAnswer {
                at: now.as_secs(),
                text: text.clone(),
                wait: wait.as_secs(),
                is_refusal,
            });
            let wish = Wish { said, ..wish.clone() };
            // Without the note, the CA is only asked again sooner, after a restart.
            let _ = self.note(&wish).await;
            self.with(wish.fingerprint, |known| known.wish = wish);
        }
        let is_news = self.with(wish.fingerprint, |known| {
            known.rest = (known.rest * 2).clamp(FIRST_REST, LONGEST_REST);
            let hint = error.hint().unwrap_or_default().min(LONGEST_REST);
            let rest = match error.class {
                IssueFault::Refused => DAY,
                _ => known.rest.max(hint).max(error.limit().unwrap_or_default()),
            };
            known.rest_for(rest, now);
            known.message = Some(text);
            known.reported.replace(error.class) != Some(error.class)
        });
        if is_news == Some(true) {
            let failed = EventKind::RevocationFailed {
                fingerprint: wish.fingerprint,
                error: Error {
                    places: vec![wish.ca.name],
                    reason: Reason::Issue(error),
                },
            };
            self.reporter.of_certificate(&wish.certificate, failed);
        }
    }

    /// Ends a wish whose certificate has expired: no client accepts it any more, and its CA no longer lists it.
    async fn end(&self, wish: &Wish) {
        let _disk = self.disk.lock().await;
        let document = document(wish.fingerprint);
        if self.state.store.remove(&document).await.is_err() {
            // The next look tries again.
            return;
        }
        self.listed().remove(&wish.fingerprint);
        if wish.revoked_at.is_none() {
            let over = EventKind::RevocationOver {
                fingerprint: wish.fingerprint,
                not_after: wish.not_after,
            };
            self.reporter.of_certificate(&wish.certificate, over);
        }
    }
}

fn fault(error: StoreError) -> IssueError {
    let text = format!("what becomes of it cannot be noted: {error}");
    let remedy = "free space in `state_dir`, or let h2gate read and write there";
    IssueError::new(IssueFault::State, text, remedy)
}
