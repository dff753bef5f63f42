//! Panics of a worker: where each was, and how long the worker rests after one that it cannot get over.

use std::cell::{Cell, RefCell};
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;
use std::time::Duration;

/// Longer texts are cut: a message may hold what a peer sent.
const MAX_MESSAGE: usize = 256;
/// The time for which a worker rests after its first panic; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// A worker that has run for so long begins again with [`FIRST_REST`].
const QUIET: Duration = Duration::from_secs(60);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// The place and the message of a panic.
#[derive(Debug, Clone)]
pub(crate) struct Panic {
    /// File and line.
    pub(crate) place: String,
    pub(crate) message: String,
}

/// From now on panics of this thread are not printed but kept for [`last`].
pub(crate) fn keep_on_this_thread() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_WORKER.get() {
                return before(info);
            }
            let panic = Panic::of(info);
            // A panic while another one is being kept would end the process.
            LAST.with(|last| {
                if let Ok(mut last) = last.try_borrow_mut() {
                    *last = Some(panic);
                }
            });
        }));
    });
    IS_WORKER.set(true);
}

/// The last panic of this thread.
pub(crate) fn last() -> Panic {
    let last = LAST.with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()));
    last.unwrap_or_else(|| Panic {
        place: "?".into(),
        message: String::new(),
    })
}

impl Panic {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let message = info.payload_as_str().unwrap_or_default();
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        Self {
            place: place.unwrap_or_else(|| "?".into()),
            message: message.chars().take(MAX_MESSAGE).collect(),
        }
    }
}

/// The time for which a worker rests before it starts again.
#[derive(Debug, Default)]
pub(crate) struct Rests(Option<Duration>);

impl Rests {
    /// The rest after a worker has run for so long.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        let rest = match self.0 {
            Some(last) if ran < QUIET => (2 * last).min(LONGEST_REST),
            _ => FIRST_REST,
        };
        self.0 = Some(rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_until_a_worker_has_run_for_a_minute() {
        let mut rests = Rests::default();
        let short = Duration::from_secs(1);
        let grown: Vec<_> = (0..9).map(|_| rests.after(short).as_millis()).collect();
        assert_eq!(grown, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(rests.after(QUIET), FIRST_REST);
        assert_eq!(rests.after(short), 2 * FIRST_REST);
    }

    #[test]
    fn the_place_of_a_panic_is_kept() {
        let kept = std::thread::spawn(|| {
            keep_on_this_thread();
            let long = "x".repeat(2 * MAX_MESSAGE);
            let caught = std::panic::catch_unwind(|| std::panic::panic_any(long));
            assert!(caught.is_err());
            last()
        });
        let kept = kept.join().unwrap();
        assert!(kept.place.contains("panics.rs:"), "{kept:?}");
        assert_eq!(kept.message.len(), MAX_MESSAGE);
    }
}
