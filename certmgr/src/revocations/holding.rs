//! Who serves what is to be revoked. Each process has a share in what it serves of that; the CA is told by one that has
//! seen its replacement serve, or else by one that nobody keeps from having the whole of it. A crash gives shares back.

use std::sync::Arc;
use std::time::Duration;

use certstore::{Fingerprint, Name};
use tokio::time::{Instant, sleep, timeout};

use super::wish::Wish;
use super::{LOOK, Listed, Revocations, name_of};
use crate::config::Ca;
use crate::kept::{comes_first, is_replaced};
use crate::lease::{Guard, Standby};
use crate::store::{STATE_DEADLINE, StoreError};

/// After this long every process has seen a wish, and has its share in what it serves.
const NOTICE: Duration = LOOK.saturating_mul(2);

/// Each process that works on the list has a share in it.
const PROCESSES: &str = "/revoke/processes";

/// Held while a process finds out whether it is the only one: two at once could each miss the other.
const COUNTING: &str = "/revoke/counting";

/// How often a share is tried for that another process keeps for a moment.
pub(super) const SHARE_PERIOD: Duration = Duration::from_millis(20);

/// What is configured now.
pub(crate) trait Configured: Send + Sync {
    /// The CA of which this is true.
    fn ca(&self, is_it: &dyn Fn(&Ca) -> bool) -> Option<Ca>;

    /// The domains of the certificate of this name.
    fn domains(&self, certificate: &str) -> Option<Vec<Name>>;
}

/// What this process knows of who serves one.
#[derive(Debug)]
pub(super) struct Holding {
    known_since: Instant,
    /// It serves here, or would again after a restart.
    share: Option<Share>,
    /// It did, and what has all its names has taken its place, on disk too.
    is_replaced: bool,
    obstacle: Option<Obstacle>,
}

/// In what serves here.
#[derive(Debug)]
pub(super) struct Share {
    _lease: Guard,
    names: Vec<Name>,
}

/// What kept the CA from being told when it was last tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// Another process serves it, or would after a restart.
    Elsewhere,
    /// Another process may serve it without having seen the wish.
    Unseen,
    /// Another process may serve it without being able to see the wish, or to say so.
    Blind,
}

/// That something may serve again: from here on no process has it revoked.
#[must_use = "it counts until what it is about serves"]
#[derive(Default)]
pub(crate) struct Leave {
    /// `None`: nobody wants it revoked, or no lock is to be had, by others either.
    share: Option<Share>,
}

/// The right to tell the CA.
#[must_use = "dropping it gives the leases back"]
pub(super) struct Right {
    _to_tell: Guard,
    /// Not needed for what was replaced here: others follow within a minute.
    _whole: Option<Guard>,
}

impl Holding {
    pub(super) fn new(share: Option<Share>) -> Self {
        Self {
            known_since: Instant::now(),
            share,
            is_replaced: false,
            obstacle: None,
        }
    }

    fn is_now(&mut self, share: Option<Share>, is_replaced: bool) {
        (self.share, self.is_replaced, self.obstacle) = (share, is_replaced, None);
    }

    /// The CA has been told by another process.
    pub(super) fn is_free(&mut self) {
        self.obstacle = None;
    }

    pub(super) fn is_held(&self) -> bool {
        self.share.is_some()
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.obstacle == Some(Obstacle::Elsewhere)
    }

    /// Why the CA is not told yet, in words for a person.
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
    /// Takes a share in what this process serves, or would serve again after a restart, and lets go of the rest.
    pub(super) async fn hold(&self, configured: &impl Configured) {
        let names_of = |share: &Share| share.names.clone();
        let known: Vec<(Wish, Option<Vec<Name>>)> = self
            .listed()
            .values()
            .map(|one| (one.wish.clone(), one.going.holding.share.as_ref().map(names_of)))
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
            if (share.is_some() || is_let_go)
                && let Some(known) = self.listed().get_mut(&fingerprint)
            {
                known.going.holding.is_now(share, is_replaced);
            }
        }
        self.show_sight(untaken).await;
    }

    /// Asked before what is kept serves again. `None`: another process is telling its CA, or one has.
    pub(crate) async fn leave_to_serve(&self, fingerprint: Fingerprint, names: &[Name]) -> Option<Leave> {
        if !self.is_wanted(fingerprint) {
            return Some(Leave::default());
        }
        let share = match self.try_share(&whole(fingerprint)).await {
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
        // Take it, look again, then act. What cannot be read stays as it was known.
        let _ = self.refresh().await;
        (!self.is_revoked(fingerprint)).then_some(Leave { share })
    }

    /// What there was leave for serves.
    pub(crate) fn serves_now(&self, fingerprint: Fingerprint, Leave { share }: Leave) {
        if share.is_some()
            && let Some(known) = self.listed().get_mut(&fingerprint)
        {
            known.going.holding.is_now(share, false);
        }
    }

    /// Of what serves here, before anybody else knows of the wish.
    pub(super) async fn first_share(&self, fingerprint: Fingerprint) -> Holding {
        // What could not be taken is tried again as soon as the wish is listed.
        Holding::new(self.share_of(fingerprint).await.unwrap_or_default())
    }

    /// `None`: it does not serve here, or another process has the whole of it.
    async fn share_of(&self, fingerprint: Fingerprint) -> Result<Option<Share>, StoreError> {
        let serving = self.reader.list().into_iter().filter_map(|status| status.serving);
        let mut of_it = serving.filter(|serving| serving.fingerprint == fingerprint);
        let Some(names) = of_it.next().map(|serving| serving.names) else {
            return Ok(None);
        };
        let lease = self.try_share(&whole(fingerprint)).await?;
        Ok(lease.map(|lease| Share { _lease: lease, names }))
    }

    /// Whether something else that has all its names serves here in its place, and in other processes before long.
    async fn has_replaced(&self, wish: &Wish, names: &[Name]) -> bool {
        let on_disk = is_replaced(&self.state, &wish.certificate, wish.fingerprint, names);
        self.covers(&wish.certificate, names) && on_disk.await.unwrap_or(false)
    }

    /// Whether what serves under this name has all of these.
    fn covers(&self, certificate: &str, names: &[Name]) -> bool {
        let mut of_it = self
            .reader
            .list()
            .into_iter()
            .filter(|status| *status.name == *certificate);
        let serving = of_it.next().and_then(|status| status.serving);
        let has = |name: &Name| {
            serving
                .iter()
                .flat_map(|one| &one.names)
                .any(|other| other.covers(name))
        };
        names.iter().all(has)
    }

    /// Lets others know of this process. Before the list is read: who starts later sees a wish before anything serves.
    pub(super) async fn be_counted(&self) {
        let mut counted = self.counted.lock().await;
        let until = Instant::now() + STATE_DEADLINE;
        while counted.is_none() && Instant::now() < until {
            *counted = self.counted_anew().await;
            if counted.is_none() {
                // Another one is counting.
                sleep(SHARE_PERIOD).await;
            }
        }
    }

    async fn counted_anew(&self) -> Option<Arc<dyn Standby>> {
        let here = in_time(PROCESSES, self.state.lease.stand_by(PROCESSES))
            .await
            .ok()?;
        let is_held = in_time(PROCESSES, here.hold(true)).await.ok()?;
        is_held.then_some(here)
    }

    /// Whether this is the only process that works on the list.
    async fn is_alone(&self) -> Result<bool, StoreError> {
        let mut counted = self.counted.lock().await;
        let Some(here) = &*counted else {
            return Ok(false);
        };
        let Some(_counting) = self.acquire(COUNTING).await? else {
            return Ok(false);
        };
        in_time(PROCESSES, here.hold(false)).await?;
        let is_alone = self.acquire(PROCESSES).await.map(|all| all.is_some());
        if !matches!(in_time(PROCESSES, here.hold(true)).await, Ok(true)) {
            *counted = None;
        }
        is_alone
    }

    /// Whether it would serve again after a restart. What cannot be read may be it.
    async fn would_serve(&self, wish: &Wish, configured: &impl Configured) -> bool {
        let Some(domains) = configured.domains(&wish.certificate) else {
            return false;
        };
        let first = comes_first(&self.state, &wish.certificate, &domains).await;
        first.map_or(true, |first| first == Some(wish.fingerprint))
    }

    /// Whether it serves here, or would again after a restart.
    pub(super) fn is_in_use(&self, fingerprint: Fingerprint) -> bool {
        let is_held = |one: &Listed| one.going.holding.share.is_some();
        self.listed().get(&fingerprint).is_some_and(is_held) || self.serves(fingerprint)
    }

    /// The right to have it revoked. `None`: another process is at it, or serves it, or may serve it without knowing.
    pub(super) async fn right(&self, fingerprint: Fingerprint) -> Result<Option<Right>, StoreError> {
        let Some(to_tell) = self.acquire(&format!("/revoke/{}", name_of(fingerprint))).await? else {
            self.note_obstacle(fingerprint, None);
            return Ok(None);
        };
        let mut whole_of_it = None;
        let is_replaced = |one: &Listed| one.going.holding.is_replaced;
        if !self.listed().get(&fingerprint).is_some_and(is_replaced) {
            whole_of_it = self.acquire(&whole(fingerprint)).await?;
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

    /// How long others may still need to see a wish.
    fn notice(&self, fingerprint: Fingerprint) -> Duration {
        let listed = self.listed();
        let since = listed
            .get(&fingerprint)
            .map(|known| known.going.holding.known_since);
        since.map_or(NOTICE, |since| NOTICE.saturating_sub(since.elapsed()))
    }

    fn note_obstacle(&self, fingerprint: Fingerprint, obstacle: Option<Obstacle>) {
        let notice = self.notice(fingerprint);
        if let Some(known) = self.listed().get_mut(&fingerprint) {
            known.going.holding.obstacle = obstacle;
            if obstacle == Some(Obstacle::Unseen) {
                known.going.rest_for(notice, (self.now)());
            }
        }
    }

    pub(super) async fn acquire(&self, lease: &str) -> Result<Option<Guard>, StoreError> {
        in_time(lease, self.state.lease.try_acquire(lease)).await
    }

    /// `None`: another process has the whole of it.
    async fn try_share(&self, lease: &str) -> Result<Option<Guard>, StoreError> {
        in_time(lease, self.state.lease.try_share(lease)).await
    }
}

pub(super) async fn in_time<T>(
    lease: &str,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answer = timeout(STATE_DEADLINE, asked).await;
    answer.unwrap_or_else(|_| Err(StoreError::hanging(lease)))
}

fn whole(fingerprint: Fingerprint) -> String {
    format!("/serves/{}", name_of(fingerprint))
}
