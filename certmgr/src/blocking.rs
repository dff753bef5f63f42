//! Blocking work runs on the runtime's blocking pool, a few pieces of each kind at once.
//!
//! A thousand certificates start in the same moment, and each thread costs memory of its own: unbounded, the pool
//! grows to hundreds of threads, which wait for the same disk and the same cores. So work waits in a [`Lane`], and a
//! thread that has done one piece takes the next one. A semaphore would not do: it lets the next piece begin before
//! the thread of the last one is free, and the pool starts another thread for it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Pairs and documents that are parsed and proved at once: each keeps a core busy, and the data path has them too.
const MAX_PROOFS: usize = 2;

/// Containers of PKCS#12 that are opened at once. The cost of one is known only after decryption, so proofs do not wait
/// for them.
const MAX_CONTAINERS: usize = 1;

/// Calls to the state directory at once. Over a network each takes tens of milliseconds, and the last of a thousand
/// must be done before the disk counts as hanging.
const MAX_STATE_CALLS: usize = 8;

/// Pairs that are read from files at once.
const MAX_READINGS: usize = 4;

/// Hanging readings that do not delay others. Each keeps a thread.
const MAX_HANGING: usize = 256;

/// Time between two polls of files, over all tasks: each costs some tenths of a millisecond.
const POLLS_APART: Duration = Duration::from_millis(30);

/// The pools by runtime, for each runtime has its own threads.
static POOLS: LazyLock<Mutex<HashMap<runtime::Id, Arc<Pool>>>> = LazyLock::new(Mutex::default);

/// Runs work that parses or proves. Cancelled, it continues if it has begun.
pub(crate) async fn prove<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    Pool::of_this_runtime().proofs.begin(work).ended().await
}

/// Runs work that opens a container. Cancelled, it continues if it has begun, and other containers wait for it.
pub(crate) async fn open<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    Pool::of_this_runtime().containers.begin(work).ended().await
}

/// Runs a call to the state directory. Cancelled, it continues if it has begun, and others wait for it.
pub(crate) async fn call_state<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    Pool::of_this_runtime().state_calls.begin(work).ended().await
}

/// The outcome of work that may hang, for callers without a runtime; `None` if there is none within `limit`. Work that
/// hangs keeps a thread until the process ends.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, outcome) = mpsc::channel();
    let work = move || {
        // The caller may be gone.
        let _ = sender.send(work());
    };
    thread::Builder::new().spawn(work).ok()?;
    outcome.recv_timeout(limit).ok()
}

/// Reason why work gave no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// The work panicked, which no input may cause. The log names the place.
    #[error("it panicked")]
    Panicked,
    /// The runtime is shutting down.
    #[error("the process is ending")]
    Gone,
}

/// The lanes of one runtime's blocking pool.
struct Pool {
    proofs: Arc<Lane>,
    containers: Arc<Lane>,
    state_calls: Arc<Lane>,
    readings: Arc<Lane>,
    /// Number of tasks that poll files.
    readers: AtomicU32,
}

impl Pool {
    fn of_this_runtime() -> Arc<Self> {
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pools.entry(runtime::Handle::current().id()).or_default())
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            proofs: Lane::new(MAX_PROOFS),
            containers: Lane::new(MAX_CONTAINERS),
            state_calls: Lane::new(MAX_STATE_CALLS),
            readings: Lane::new(MAX_READINGS),
            readers: AtomicU32::new(0),
        }
    }
}

/// Work of one kind: some of it running, the rest in the order in which it came.
struct Lane {
    max_threads: usize,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    last_id: u64,
    waiting: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
    under_way: HashSet<u64>,
    /// Work that ran for too long. Its threads do not count.
    hanging: HashSet<u64>,
    threads: usize,
}

impl Lane {
    fn new(max_threads: usize) -> Arc<Self> {
        Arc::new(Self {
            max_threads,
            state: Mutex::default(),
        })
    }

    fn begin<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
        let (sender, outcome) = oneshot::channel();
        let work = move || {
            // The caller may be gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        };
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.insert(id, Box::new(work));
        self.hire(&mut state);
        Work {
            lane: Arc::clone(self),
            id,
            outcome,
        }
    }

    /// Starts one more thread, if there is work and room for it.
    fn hire(self: &Arc<Self>, state: &mut LaneState) {
        if state.threads < self.max_threads && !state.waiting.is_empty() {
            state.threads += 1;
            let lane = Arc::clone(self);
            spawn_blocking(move || lane.work_off());
        }
    }

    /// The body of a thread in this lane.
    fn work_off(&self) {
        while let Some((id, work)) = self.next() {
            work();
            let mut state = self.state();
            state.under_way.remove(&id);
            if state.hanging.remove(&id) {
                // Another thread has taken this one's place.
                return;
            }
        }
    }

    fn next(&self) -> Option<(u64, Box<dyn FnOnce() + Send>)> {
        let mut state = self.state();
        match state.waiting.pop_first() {
            Some((id, work)) => {
                state.under_way.insert(id);
                Some((id, work))
            }
            None => {
                state.threads -= 1;
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        // Each change is a single step, so the state is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that waits in a lane or runs. Dropped, it continues if it has begun.
pub(crate) struct Work<T> {
    lane: Arc<Lane>,
    id: u64,
    outcome: oneshot::Receiver<Result<T, Box<dyn Any + Send>>>,
}

impl<T> Work<T> {
    /// Waits for the outcome. Not to be called again after that. Cancelling the wait loses nothing.
    pub(crate) async fn ended(&mut self) -> Result<T, WorkError> {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome.map_err(|_| WorkError::Panicked),
            Err(_) => Err(WorkError::Gone),
        }
    }

    /// True if [`ended`](Self::ended) would return at once.
    pub(crate) fn has_ended(&self) -> bool {
        !self.outcome.is_empty()
    }

    /// Marks running work hanging: other work runs in its place, unless [`MAX_HANGING`] pieces hang.
    pub(crate) fn hangs(&self) {
        let mut state = self.lane.state();
        if state.hanging.len() < MAX_HANGING && state.under_way.remove(&self.id) {
            state.hanging.insert(self.id);
            state.threads -= 1;
            self.lane.hire(&mut state);
        }
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        let waited = self.lane.state().waiting.remove(&self.id);
        // Its drop may take a lock.
        drop(waited);
    }
}

impl<T> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A place among the tasks that poll files.
pub(crate) struct Seat(Arc<Pool>);

impl Seat {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn take() -> Self {
        let pool = Pool::of_this_runtime();
        pool.readers.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }

    /// The wait between two polls: `poll`, or longer where many tasks poll.
    pub(crate) fn poll(&self, poll: Duration) -> Duration {
        poll.max(POLLS_APART.saturating_mul(self.0.readers.load(Ordering::Relaxed)))
    }

    /// Starts a reading, once it is its turn.
    pub(crate) fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
        self.0.readings.begin(work)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[test]
    fn what_hangs_is_not_waited_for_and_what_ends_is() {
        let (release, hanging) = mpsc::channel::<()>();
        let hangs = move || hanging.recv().is_ok();
        assert_eq!(within(Duration::from_millis(1), hangs), None);
        drop(release);
        assert_eq!(within(Duration::MAX, || 1), Some(1));
    }

    /// Largest number of a hundred calls that run at once; they end in groups of `bound`, which need each other.
    async fn most_at_once<F>(bound: usize, call: impl Fn(Box<dyn FnOnce() + Send>) -> F) -> usize
    where
        F: Future<Output = Result<(), WorkError>> + Send + 'static,
    {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let group = Arc::new(Barrier::new(bound));
        let mut calls = JoinSet::new();
        for _ in 0..100 / bound * bound {
            let (now, most, group) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&group));
            calls.spawn(call(Box::new(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                group.wait();
                now.fetch_sub(1, Ordering::SeqCst);
            })));
        }
        assert!(calls.join_all().await.iter().all(Result::is_ok));
        most.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn of_a_hundred_calls_a_few_run_at_once() {
        assert_eq!(most_at_once(MAX_PROOFS, prove).await, MAX_PROOFS);
        assert_eq!(most_at_once(MAX_STATE_CALLS, call_state).await, MAX_STATE_CALLS);
    }

    /// Work that has begun and ends once the sender is dropped.
    fn stuck(lane: &Arc<Lane>) -> (Work<()>, mpsc::Sender<()>) {
        let ((begun, has_begun), (end, may_end)) = (mpsc::channel(), mpsc::channel::<()>());
        let work = lane.begin(move || {
            begun.send(()).unwrap();
            let _ = may_end.recv();
        });
        has_begun.recv().unwrap();
        (work, end)
    }

    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn cancelled_work_keeps_its_place_once_it_has_begun_and_leaves_it_before() {
        let lane = Lane::new(1);
        let (work, end) = stuck(&lane);
        drop(work);
        let mut next = lane.begin(|| 1);
        drop(lane.begin(|| panic!("it was never wanted")));
        settle().await;
        assert!(!next.has_ended());
        assert_eq!(lane.state().waiting.len(), 1);
        drop(end);
        assert_eq!(next.ended().await, Ok(1));
        assert_eq!(lane.begin(|| 2).ended().await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_panics_ends_no_lane() {
        let lane = Lane::new(1);
        let panics = lane.begin(|| panic!("as it must not")).ended().await;
        assert_eq!(panics, Err::<(), _>(WorkError::Panicked));
        assert_eq!(lane.begin(|| 1).ended().await, Ok(1));
    }

    #[tokio::test]
    async fn what_hangs_holds_up_nobody_until_far_too_much_does() {
        let lane = Lane::new(2);
        let mut all = Vec::new();
        for _ in 0..MAX_HANGING {
            let (work, end) = stuck(&lane);
            work.hangs();
            // Marked again, it takes no second place.
            work.hangs();
            all.push((work, end));
        }
        for _ in 0..2 {
            let (work, end) = stuck(&lane);
            work.hangs();
            all.push((work, end));
        }
        let mut next = lane.begin(|| 1);
        next.hangs();
        settle().await;
        assert!(!next.has_ended());
        let (mut first, end) = all.swap_remove(0);
        drop(end);
        first.ended().await.unwrap();
        while lane.state().hanging.len() == MAX_HANGING {
            yield_now().await;
        }
        let (last, _) = &all[MAX_HANGING];
        last.hangs();
        assert_eq!(next.ended().await, Ok(1));
    }

    #[tokio::test]
    async fn many_poll_as_often_together_as_a_few_dozen() {
        let two_seconds = Duration::from_secs(2);
        let mut seats: Vec<_> = (0..66).map(|_| Seat::take()).collect();
        assert_eq!(seats[0].poll(two_seconds), two_seconds);
        seats.extend((66..1_000).map(|_| Seat::take()));
        assert_eq!(seats[0].poll(two_seconds), Duration::from_secs(30));
        seats.truncate(1);
        assert_eq!(seats[0].poll(two_seconds), two_seconds);
    }
}
