//! Who goes on when: each takes a short turn, and between the turns of those who have more the sockets are asked.
//!
//! A task that wakes itself comes before the reactor has run, again and again. So connections that have more to do
//! than their share, and handshakes, go on by a queue: whoever has just become ready goes first, then some of the
//! queue, in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What one connection may use of a turn, above a read and its last event.
const SHARE: Duration = Duration::from_micros(500);
/// Work after which the clock is read: octets, and for each event [`EVENT`].
const UNTIMED: usize = 4096;
const EVENT: usize = 256;
/// Connections that go on between two looks at the sockets.
const GOING_ON: usize = 8;
/// What handshakes may use between two looks at the sockets, above the last one: about one signature of an RSA key
/// of 4096 bits.
const HANDSHAKES: Duration = Duration::from_millis(2);

/// What one connection has used of its turn.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Set by the first work.
    until: Option<Instant>,
    untimed: usize,
    used_up: bool,
}

impl Share {
    /// The turn's work begins, if it has not begun.
    pub(super) fn begin(&mut self, now: Instant) {
        self.until.get_or_insert(now + SHARE);
    }

    /// An event that took so many octets was handled.
    pub(super) fn count(&mut self, octets: usize) {
        self.untimed += octets + EVENT;
        if self.untimed >= UNTIMED {
            self.untimed = 0;
            self.used_up |= self.until.is_some_and(|until| Instant::now() >= until);
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used_up
    }
}

/// Those who wait for their next turn.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    going_on: RefCell<VecDeque<Waker>>,
    handshakes: RefCell<Handshakes>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Handshakes {
    /// Since the sockets were asked.
    used: Duration,
    waiting: VecDeque<Rc<Ticket>>,
}

/// A handshake that waits for its turn. It has gone if nobody else holds its ticket.
#[derive(Debug, Default)]
struct Ticket {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pace {
    /// Wakes a connection that has more to do after those that have become ready meanwhile.
    pub(crate) fn go_on_later(&self, waker: &Waker) {
        self.going_on.borrow_mut().push_back(waker.clone());
        self.wanted.notify_one();
    }

    /// Resolves when a handshake may do its work; what it took is to be told to [`Self::handshake_took`]. First come,
    /// first served.
    pub(crate) async fn handshake(&self) {
        let ticket = {
            let mut handshakes = self.handshakes.borrow_mut();
            if handshakes.waiting.is_empty() && handshakes.used < HANDSHAKES {
                return;
            }
            let ticket = Rc::<Ticket>::default();
            handshakes.waiting.push_back(Rc::clone(&ticket));
            ticket
        };
        self.wanted.notify_one();
        poll_fn(|context| {
            if ticket.called.get() {
                return Poll::Ready(());
            }
            ticket.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// A handshake has done some of its work.
    pub(crate) fn handshake_took(&self, took: Duration) {
        let mut handshakes = self.handshakes.borrow_mut();
        handshakes.used += took;
        if handshakes.used < HANDSHAKES {
            handshakes.call_next();
        } else {
            self.wanted.notify_one();
        }
    }

    /// Calls up those who wait, some after each look at the sockets. Never resolves.
    pub(super) async fn call_up(&self) {
        loop {
            self.wanted.notified().await;
            let mut more = true;
            while more {
                // Resolves when the reactor has run, and what became ready by that comes before us.
                tokio::task::yield_now().await;
                more = self.call_some();
            }
        }
    }

    /// Says whether others still wait.
    fn call_some(&self) -> bool {
        let mut handshakes = self.handshakes.borrow_mut();
        handshakes.used = Duration::ZERO;
        handshakes.call_next();
        let mut going_on = self.going_on.borrow_mut();
        let some = going_on.len().min(GOING_ON);
        going_on.drain(..some).for_each(Waker::wake);
        !going_on.is_empty() || !handshakes.waiting.is_empty()
    }
}

impl Handshakes {
    fn call_next(&mut self) {
        while let Some(ticket) = self.waiting.pop_front() {
            if Rc::strong_count(&ticket) > 1 {
                ticket.called.set(true);
                if let Some(waker) = ticket.waker.take() {
                    waker.wake();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_called(waiting: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn few_connections_go_on_between_two_looks_at_the_sockets() {
        let (pace, woken) = (Pace::default(), Arc::<Woken>::default());
        let waker = Waker::from(woken.clone());
        for _ in 0..2 * GOING_ON + 1 {
            pace.go_on_later(&waker);
        }
        let rounds: Vec<_> = (0..3)
            .map(|_| (pace.call_some(), woken.0.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(
            rounds,
            [(true, GOING_ON), (true, 2 * GOING_ON), (false, 2 * GOING_ON + 1)]
        );
    }

    #[test]
    fn handshakes_have_a_share_of_a_turn_and_go_in_order() {
        let pace = Pace::default();
        // Nobody waits, and time is left.
        assert!(is_called(&mut pin!(pace.handshake())));
        pace.handshake_took(HANDSHAKES / 2);
        assert!(is_called(&mut pin!(pace.handshake())));
        pace.handshake_took(HANDSHAKES / 2);
        let mut first = pin!(pace.handshake());
        let mut second = pin!(pace.handshake());
        assert!(!is_called(&mut first) && !is_called(&mut second));
        assert!(pace.call_some());
        assert!(is_called(&mut first) && !is_called(&mut second));
        // A short one leaves time for the next.
        pace.handshake_took(HANDSHAKES / 4);
        assert!(is_called(&mut second));
        assert!(!pace.call_some());
    }

    #[test]
    fn a_handshake_that_has_gone_keeps_nobody_waiting() {
        let pace = Pace::default();
        pace.handshake_took(HANDSHAKES);
        {
            let mut gone = pin!(pace.handshake());
            assert!(!is_called(&mut gone));
        }
        let mut gone = Box::pin(pace.handshake());
        assert!(!is_called(&mut gone.as_mut()));
        drop(gone);
        let mut next = pin!(pace.handshake());
        assert!(!is_called(&mut next));
        assert!(!pace.call_some());
        assert!(is_called(&mut next));
    }

    #[test]
    fn work_is_timed_by_events_and_octets() {
        let mut share = Share::default();
        share.begin(Instant::now().checked_sub(SHARE).unwrap());
        share.count(UNTIMED - EVENT - 1);
        assert!(!share.is_used_up(), "the clock is not read for each event");
        share.count(1);
        assert!(share.is_used_up());
        let mut share = Share::default();
        share.begin(Instant::now() + SHARE);
        for _ in 0..100 {
            share.count(16 << 10);
        }
        assert!(!share.is_used_up());
    }
}
