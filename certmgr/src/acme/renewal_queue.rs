//! Queues for renewal information: one queue and one directory for each CA, however many certificates ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::renewal;
use super::session::Session;
use crate::config::Ca;
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};
use crate::schedule::RenewalInfo;

/// Time between two requests to one CA. Let's Encrypt allows 40 a second for each address.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

/// Time after which a directory is read again.
const DIRECTORY_TTL: Duration = Duration::from_secs(10 * 60);

/// Time for which a directory that could not be read is not read again: a request in this time gets the same error.
const FAILURE_TTL: Duration = Duration::from_secs(60);

/// Longest wait for a slot: the task of the certificate stands still meanwhile.
const MAX_SLOT_WAIT: Duration = Duration::from_secs(5 * 60);

/// The queues of all CAs. There is one in a process.
#[derive(Default)]
pub(super) struct RenewalQueues {
    queues: Mutex<HashMap<Ca, Arc<CaQueue>>>,
}

/// The queue of one CA.
#[derive(Default)]
struct CaQueue {
    session: tokio::sync::Mutex<Option<(Instant, SharedSession)>>,
    slots: Mutex<SlotSchedule>,
}

type SharedSession = Result<Arc<Session>, IssueError>;

#[derive(Debug, Default)]
struct SlotSchedule {
    /// Earliest instant for the next request.
    free_at: Option<Instant>,
    /// End of the time in which the CA accepts no request.
    limited_until: Option<Instant>,
}

impl RenewalQueues {
    /// Waits for a slot at this CA and asks it for the renewal information of the certificate `leaf`. If the wait would
    /// be longer than [`MAX_SLOT_WAIT`], it is an error at once. Dropping the future loses the slot.
    pub(super) async fn ask(&self, ca: &Ca, leaf: &[u8]) -> Result<Option<RenewalInfo>, IssueError> {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(ca.clone()).or_default())
        };
        let slot = queue.slots().reserve(Instant::now());
        let slot = slot.map_err(|wait| {
            let text = format!("it may be asked when to renew in {} s", wait.as_secs());
            let remedy = "nothing is to be done: it is asked again";
            IssueError {
                retry_after: Some(RetryAfter::new(wait, SaidOf::Account)),
                ..IssueError::new(IssueFault::RateLimited, text, remedy).at(ca)
            }
        })?;
        sleep_until(slot).await;
        let info = renewal::info(&*queue.session(ca).await?, leaf).await;
        let info = info.map_err(|error| error.into_error(ca, "ask when to renew"));
        if let Err(error) = &info {
            // The next slot reads the directory again.
            *queue.session.lock().await = None;
            if let Some(limit) = error.limit() {
                queue.slots().limited_until = Some(Instant::now() + limit);
            }
        }
        info
    }
}

impl CaQueue {
    fn slots(&self) -> std::sync::MutexGuard<'_, SlotSchedule> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session with the CA. Calls that come while the directory is being read wait for it.
    async fn session(&self, ca: &Ca) -> SharedSession {
        let mut kept = self.session.lock().await;
        if let Some((since, opened)) = &*kept {
            let life = match opened {
                Ok(_) => DIRECTORY_TTL,
                Err(_) => FAILURE_TTL,
            };
            if since.elapsed() < life {
                return opened.clone();
            }
        }
        let opened = Session::open(ca)
            .await
            .map(Arc::new)
            .map_err(|error| error.into_error(ca, "read the CA's directory"));
        *kept = Some((Instant::now(), opened.clone()));
        opened
    }
}

impl SlotSchedule {
    /// Takes the next slot and returns its instant; else the time for which there is none.
    fn reserve(&mut self, now: Instant) -> Result<Instant, Duration> {
        let limited = self.limited_until.filter(|until| *until > now);
        if let Some(until) = limited {
            return Err(until - now);
        }
        let slot = self.free_at.map_or(now, |free_at| free_at.max(now));
        if slot - now > MAX_SLOT_WAIT {
            return Err(slot - now);
        }
        self.free_at = Some(slot + REQUEST_INTERVAL);
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_who_ask_at_once_ask_one_after_the_other() {
        let (mut slots, now) = (SlotSchedule::default(), Instant::now());
        let all: Vec<Instant> = (0..300).map(|_| slots.reserve(now).unwrap()).collect();
        assert_eq!(all[0], now);
        assert!(all.windows(2).all(|two| two[1] - two[0] >= REQUEST_INTERVAL));
        let later = now + Duration::from_secs(90);
        assert_eq!(slots.reserve(later), Ok(later));
    }

    #[test]
    fn nobody_waits_for_long_whatever_the_ca_says_and_however_many_ask() {
        let (mut slots, now) = (SlotSchedule::default(), Instant::now());
        let waits = (0..10_000).map(|_| slots.reserve(now));
        let longest = waits.filter_map(Result::ok).map(|slot| slot - now).max();
        assert!(longest.is_some_and(|wait| wait <= MAX_SLOT_WAIT));
        let day = Duration::from_secs(86_400);
        slots.limited_until = Some(now + day);
        assert_eq!(slots.reserve(now), Err(day));
        slots.reserve(now + day).unwrap();
    }
}
