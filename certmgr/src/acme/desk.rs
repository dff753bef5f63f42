//! Queues for renewal information: one queue and one directory for each CA, however many certificates ask.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::session::Session;
use crate::config::Ca;
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};

/// Time between two requests to one CA. Let's Encrypt allows 40 a second for each address.
const APART: Duration = Duration::from_millis(200);

/// Time after which a directory is read again.
const DIRECTORY_LIFE: Duration = Duration::from_secs(10 * 60);

/// Time for which a directory that could not be read is not read again: a request in this time gets the same error.
const FAILURE_LIFE: Duration = Duration::from_secs(60);

/// Longest wait for a turn: the task of the certificate stands still meanwhile.
const MAX_QUEUE: Duration = Duration::from_secs(5 * 60);

/// The queues of all CAs. There is one in a process.
#[derive(Default)]
pub(super) struct Desk {
    queues: Mutex<HashMap<Ca, Arc<Queue>>>,
}

/// The queue of one CA.
#[derive(Default)]
struct Queue {
    session: tokio::sync::Mutex<Option<(Instant, Opened)>>,
    turns: Mutex<Turns>,
}

type Opened = Result<Arc<Session>, IssueError>;

#[derive(Debug, Default)]
struct Turns {
    /// Earliest instant for the next request.
    free_at: Option<Instant>,
    /// End of the time in which the CA accepts no request.
    limited_until: Option<Instant>,
}

/// A turn: one request may be sent to the CA now.
pub(super) struct Asked {
    pub(super) session: Arc<Session>,
    queue: Arc<Queue>,
}

impl Desk {
    /// Waits for a turn at this CA. If the wait would be longer than [`MAX_QUEUE`], it is an error at once. Dropping
    /// the future loses the turn.
    pub(super) async fn ask(&self, ca: &Ca) -> Result<Asked, IssueError> {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(ca.clone()).or_default())
        };
        let turn = queue.turns().next(Instant::now());
        let turn = turn.map_err(|wait| IssueError {
            class: IssueFault::RateLimited,
            ca: ca.name.clone(),
            text: format!("it may be asked when to renew in {} s", wait.as_secs()),
            remedy: "nothing is to be done: it is asked again".to_owned(),
            retry_after: Some(RetryAfter::new(wait, SaidOf::Account)),
        })?;
        sleep_until(turn).await;
        let session = queue.session(ca).await?;
        Ok(Asked { session, queue })
    }
}

impl Asked {
    /// Reports that the CA has not answered as it should. The next turn reads its directory again; with a `limit`,
    /// there is no turn before that time has passed.
    pub(super) async fn failed(&self, limit: Option<Duration>) {
        *self.queue.session.lock().await = None;
        if let Some(limit) = limit {
            self.queue.turns().limited_until = Some(Instant::now() + limit);
        }
    }
}

impl Queue {
    fn turns(&self) -> std::sync::MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session with the CA. Calls that come while the directory is being read wait for it.
    async fn session(&self, ca: &Ca) -> Opened {
        let mut kept = self.session.lock().await;
        if let Some((since, opened)) = &*kept {
            let life = if opened.is_ok() {
                DIRECTORY_LIFE
            } else {
                FAILURE_LIFE
            };
            if since.elapsed() < life {
                return opened.clone();
            }
        }
        let opened = Session::open(ca)
            .await
            .map(Arc::new)
            .map_err(|trouble| trouble.into_error(ca, "read the CA's directory"));
        *kept = Some((Instant::now(), opened.clone()));
        opened
    }
}

impl Turns {
    /// Takes the next turn and returns its instant; else the time for which there is none.
    fn next(&mut self, now: Instant) -> Result<Instant, Duration> {
        let limited = self.limited_until.filter(|until| *until > now);
        if let Some(until) = limited {
            return Err(until - now);
        }
        let turn = self.free_at.map_or(now, |free_at| free_at.max(now));
        if turn - now > MAX_QUEUE {
            return Err(turn - now);
        }
        self.free_at = Some(turn + APART);
        Ok(turn)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_who_ask_at_once_ask_one_after_the_other() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let all: Vec<Instant> = (0..300).map(|_| turns.next(now).unwrap()).collect();
        assert_eq!(all[0], now);
        assert!(all.windows(2).all(|two| two[1] - two[0] >= APART));
        let later = now + Duration::from_secs(90);
        assert_eq!(turns.next(later), Ok(later));
    }

    #[test]
    fn nobody_waits_for_long_whatever_the_ca_says_and_however_many_ask() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let waits = (0..10_000).map(|_| turns.next(now));
        let longest = waits.filter_map(Result::ok).map(|turn| turn - now).max();
        assert!(longest.is_some_and(|wait| wait <= MAX_QUEUE));
        let day = Duration::from_secs(86_400);
        turns.limited_until = Some(now + day);
        assert_eq!(turns.next(now), Err(day));
        turns.next(now + day).unwrap();
    }
}
