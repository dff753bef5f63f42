//! Processes that serve certificates to be revoked. Each process has a share in such a certificate while it serves it;
//! the CA is asked by a process that has seen its replacement serve, or else by one that could acquire the whole right.
//! A crash returns shares.

use std::time::Duration;

use certstore::{Fingerprint, Name};
use tokio::time::{Instant, sleep};

use super::wish::Wish;
use super::{LOOK, Listed, Revocations, name_of};
use crate::config::Ca;
use crate::kept::{comes_first, is_replaced};
use crate::lease::{Guard, RETRY_PERIOD};
use crate::store::{STATE_DEADLINE, StoreError};

/// Time after which every process has seen a wish, and has its share in its serving certificate.
const NOTICE: Duration = LOOK.saturating_mul(2);

/// Name of the right in which each process that works on the list has a share.
const PROCESSES: &str = "/revoke/processes";

/// Name of the right that is held while a process finds out if it is the only one: two at once could each miss the
/// other.
const COUNTING: &str = "/revoke/counting";

/// Access to the present configuration.
pub(crate) trait Configured: Send + Sync {
    /// The CA of which this is true.
    fn ca(&self, is_it: &dyn Fn(&Ca) -> bool) -> Option<Ca>;

    /// The domains of the certificate of this name.
    fn domains(&self, certificate: &str) -> Option<Vec<Name>>;
}

/// A share in a certificate that serves here.
#[derive(Debug)]
pub(super) struct Share {
    _lease: Guard,
    names: Vec<Name>,
}

/// Reason why the CA was not asked at the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Another process serves it, or would after a restart.
    Elsewhere,
    /// Another process may serve it without having seen the wish.
    Unseen,
    /// Another process may serve it without being able to see the wish, or to say so.
    Blind,
}

/// The permit for a certificate to serve again: while it is held, no process has the certificate revoked.
#[must_use = "it counts until what it is about serves"]
#[derive(Default)]
pub(crate) struct ServePermit {
    /// `None`: nobody wants it revoked, or no lock can be had, by other processes either.
    share: Option<Share>,
}

/// The right to ask the CA.
#[must_use = "dropping it gives the leases back"]
pub(super) struct Right {
    _to_tell: Guard,
    /// Not needed for a certificate that was replaced here: other processes apply that within a minute.
    _whole: Option<Guard>,
}

impl Listed {
    fn is_now(&mut self, share: Option<Share>, is_replaced: bool) {
        (self.share, self.is_replaced, self.obstacle) = (share, is_replaced, None);
    }

    /// The reason why the CA is not asked yet, in words for a person.
    pub(super) fn waits(&self) -> Option<&'static str> {
        match (&self.share, self.obstacle) {
            (Some(_), _) => {
                Some("its replacement is not in `state_dir` yet: after a restart it would serve again")
            }
            (None, Some(Obstacle::Elsewhere)) => {
                Some("another process on this `state_dir` serves it, or would after a restart")
            }
            (None, Some(Obstacle::Unseen)) => {
                Some("other processes on this `state_dir` have two minutes to say that they serve it")
            }
            (None, Some(Obstacle::Blind)) => Some(
                "a process on this `state_dir` cannot see what is to be revoked, and may serve it: its log says why",
            ),
            (None, None) => None,
        }
    }
}

impl Revocations {
    /// Takes shares in the listed certificates that serve here, or would after a restart, and releases the others.
    pub(super) async fn hold(&self, configured: &impl Configured) {
        let names_of = |share: &Share| share.names.clone();
        let known: Vec<(Wish, Option<Vec<Name>>)> = self
            .listed()
            .values()
            .map(|one| (one.wish.clone(), one.share.as_ref().map(names_of)))
            .collect();
        let mut untaken = None;
        for (wish, held) in known {
            let fingerprint = wish.fingerprint;
            let is_in_use = wish.revoked_at.is_none()
                && (self.serves(fingerprint) || held.is_some() && self.would_serve(&wish, configured).await);
            let (share, is_replaced) = match held {
                None if is_in_use => match self.share_of(fingerprint).await {
                    Ok(share) => (share, false),
                    Err(error) => {
                        untaken = Some(error);
                        continue;
                    }
                },
                Some(names) if !is_in_use => (None, self.has_replaced(&wish, &names).await),
                _ => continue,
            };
            // It may have begun to serve again meanwhile.
            let is_let_go = share.is_none() && (wish.revoked_at.is_some() || !self.serves(fingerprint));
            if share.is_some() || is_let_go {
                self.with(fingerprint, |known| known.is_now(share, is_replaced));
            }
        }
        self.show_sight(untaken).await;
    }

    /// To be called before a kept version serves again. `None`: another process is asking its CA, or one has.
    pub(crate) async fn right_to_serve(
        &self,
        fingerprint: Fingerprint,
        names: &[Name],
    ) -> Option<ServePermit> {
        if !self.is_wanted(fingerprint) {
            return Some(ServePermit::default());
        }
        let share = match self.state.lease.try_share(&whole(fingerprint)).await {
            Ok(Some(lease)) => Some(Share {
                _lease: lease,
                names: names.to_vec(),
            }),
            Ok(None) => return None,
            Err(_) => {
                self.sees_nothing().await;
                None
            }
        };
        // Acquire, look again, then act. If the read fails, the known wishes hold.
        let _ = self.refresh().await;
        (!self.is_revoked(fingerprint)).then_some(ServePermit { share })
    }

    /// Notes that a certificate serves for which there was a permit.
    pub(crate) fn serves_now(&self, fingerprint: Fingerprint, ServePermit { share }: ServePermit) {
        if share.is_some() {
            self.with(fingerprint, |known| known.is_now(share, false));
        }
    }

    /// `None`: the certificate does not serve here, or another process has the whole right.
    pub(super) async fn share_of(&self, fingerprint: Fingerprint) -> Result<Option<Share>, StoreError> {
        let serving = self.reader.list().into_iter().filter_map(|status| status.serving);
        let mut of_it = serving.filter(|serving| serving.fingerprint() == fingerprint);
        let Some(names) = of_it.next().map(|serving| serving.bundle().names().to_vec()) else {
            return Ok(None);
        };
        let lease = self.state.lease.try_share(&whole(fingerprint)).await?;
        Ok(lease.map(|lease| Share { _lease: lease, names }))
    }

    /// True if another certificate with all its names serves here in its place, and soon in other processes.
    async fn has_replaced(&self, wish: &Wish, names: &[Name]) -> bool {
        let on_disk = is_replaced(&self.state, &wish.certificate, wish.fingerprint, names);
        self.covers(&wish.certificate, names) && on_disk.await.unwrap_or(false)
    }

    /// True if the serving bundle of this name has all of these names.
    fn covers(&self, certificate: &str, names: &[Name]) -> bool {
        let serving = self.reader.current(certificate);
        let own = || serving.iter().flat_map(|one| one.bundle().names());
        let has = |name: &Name| own().any(|other| other.covers(name));
        names.iter().all(has)
    }

    /// Shows this process to others. To be called before the list is read: a process that starts later sees a wish
    /// before any of its certificates serves.
    pub(super) async fn be_counted(&self) {
        let mut counted = self.counted.lock().await;
        let give_up_at = Instant::now() + STATE_DEADLINE;
        // Errors are tried again, too: a process that serves uncounted may have its certificate revoked.
        while counted.is_none() && Instant::now() < give_up_at {
            if let Ok(here) = self.state.lease.stand_by(PROCESSES).await
                // Another process may be counting.
                && let Ok(true) = here.take_within(STATE_DEADLINE).await
            {
                *counted = Some(here);
            } else {
                sleep(RETRY_PERIOD).await;
            }
        }
    }

    /// True if this is the only process that works on the list.
    async fn is_alone(&self) -> Result<bool, StoreError> {
        let mut counted = self.counted.lock().await;
        let Some(here) = &*counted else {
            return Ok(false);
        };
        let Some(_counting) = self.state.lease.try_acquire(COUNTING).await? else {
            return Ok(false);
        };
        here.hold(false).await?;
        let all = self.state.lease.try_acquire(PROCESSES).await;
        let is_alone = all.map(|all| all.is_some());
        if here.hold(true).await != Ok(true) {
            *counted = None;
        }
        is_alone
    }

    /// True if the certificate would serve again after a restart; also if the document cannot be read.
    async fn would_serve(&self, wish: &Wish, configured: &impl Configured) -> bool {
        let Some(domains) = configured.domains(&wish.certificate) else {
            return false;
        };
        let first = comes_first(&self.state, &wish.certificate, &domains).await;
        first.map_or(true, |first| first == Some(wish.fingerprint))
    }

    /// True if the certificate serves here, or would again after a restart.
    pub(super) fn is_in_use(&self, fingerprint: Fingerprint) -> bool {
        self.with(fingerprint, |known| known.share.is_some()) == Some(true) || self.serves(fingerprint)
    }

    /// The right to have it revoked. `None`: another process is asking the CA, or serves it, or may serve it without
    /// knowing of the wish.
    pub(super) async fn right(&self, fingerprint: Fingerprint) -> Result<Option<Right>, StoreError> {
        let lease = &self.state.lease;
        let to_tell = format!("/revoke/{}", name_of(fingerprint));
        let Some(to_tell) = lease.try_acquire(&to_tell).await? else {
            self.note_obstacle(fingerprint, None);
            return Ok(None);
        };
        let mut whole_of_it = None;
        if self.with(fingerprint, |known| known.is_replaced) != Some(true) {
            whole_of_it = lease.try_acquire(&whole(fingerprint)).await?;
            let obstacle = match &whole_of_it {
                None => Some(Obstacle::Elsewhere),
                Some(_) if self.is_alone().await? => None,
                Some(_) if !self.notice(fingerprint).is_zero() => Some(Obstacle::Unseen),
                Some(_) => self.is_anybody_blind().await?.then_some(Obstacle::Blind),
            };
            self.note_obstacle(fingerprint, obstacle);
            if obstacle.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(Right {
            _to_tell: to_tell,
            _whole: whole_of_it,
        }))
    }

    /// Time that other processes may still need to see a wish.
    fn notice(&self, fingerprint: Fingerprint) -> Duration {
        let since = self.with(fingerprint, |known| known.known_since);
        since.map_or(NOTICE, |since| NOTICE.saturating_sub(since.elapsed()))
    }

    fn note_obstacle(&self, fingerprint: Fingerprint, obstacle: Option<Obstacle>) {
        let notice = self.notice(fingerprint);
        self.with(fingerprint, |known| {
            known.obstacle = obstacle;
            if obstacle == Some(Obstacle::Unseen) {
                known.rest_for(notice, (self.now)());
            }
        });
    }
}

fn whole(fingerprint: Fingerprint) -> String {
    format!("/serves/{}", name_of(fingerprint))
}
