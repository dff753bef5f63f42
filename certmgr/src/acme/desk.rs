//! Where the CAs are asked for advice: one queue and one directory for each CA, however many certificates ask.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::problem::Trouble;
use super::session::Session;
use crate::config::Authority;

/// Between two questions to one CA. Let's Encrypt allows 40 a second to each address.
const APART: Duration = Duration::from_millis(200);

/// A directory is read anew after so long.
const DIRECTORY_LIFE: Duration = Duration::from_secs(10 * 60);

/// One in a process.
#[derive(Default)]
pub(super) struct Desk {
    queues: Mutex<HashMap<Authority, Arc<Queue>>>,
}

/// Who asks one CA.
#[derive(Default)]
struct Queue {
    session: tokio::sync::Mutex<Option<(Instant, Arc<Session>)>>,
    free_at: Mutex<Option<Instant>>,
}

/// A CA that may be asked now.
pub(super) struct Asked {
    pub(super) session: Arc<Session>,
    queue: Arc<Queue>,
}

impl Desk {
    /// Waits for its turn at this CA.
    pub(super) async fn ask(&self, authority: &Authority) -> Result<Asked, Trouble> {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(authority.clone()).or_default())
        };
        let turn = queue.next_turn(Instant::now());
        sleep_until(turn).await;
        let session = queue.session(authority).await?;
        Ok(Asked { session, queue })
    }
}

impl Asked {
    /// The CA has not answered as it should: whoever comes next reads its directory anew, and not before this long.
    pub(super) async fn failed(&self, limit: Option<Duration>) {
        *self.queue.session.lock().await = None;
        let free_at = Instant::now() + limit.unwrap_or_default();
        let mut turn = self.queue.free_at();
        *turn = (*turn).max(Some(free_at));
    }
}

impl Queue {
    fn free_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.free_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_turn(&self, now: Instant) -> Instant {
        let mut free_at = self.free_at();
        let turn = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = Some(turn + APART);
        turn
    }

    /// Who comes while the directory is being read waits for it.
    async fn session(&self, authority: &Authority) -> Result<Arc<Session>, Trouble> {
        let mut kept = self.session.lock().await;
        if let Some((since, session)) = &*kept
            && since.elapsed() < DIRECTORY_LIFE
        {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::open(authority).await?);
        *kept = Some((Instant::now(), Arc::clone(&session)));
        Ok(session)
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
        let (queue, now) = (Queue::default(), Instant::now());
        let turns: Vec<Instant> = (0..300).map(|_| queue.next_turn(now)).collect();
        assert_eq!(turns[0], now);
        assert!(turns.windows(2).all(|two| two[1] - two[0] >= APART));
        assert_eq!(
            queue.next_turn(now + Duration::from_secs(90)),
            now + Duration::from_secs(90)
        );
    }
}
