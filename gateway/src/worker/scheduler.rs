//! The order in which work goes on: each takes a short turn, and between the turns of those who have more the sockets
//! are asked.
//!
//! A task that wakes itself comes before the reactor has run, again and again, and thousands that become ready at once
//! run before it does. So connections that have more to do than their slice, those that become ready when others have
//! used enough ([`turns`]), and strangers ([`Stranger`]) go on by queues.

pub(crate) mod turns;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(crate) use self::turns::{Account, Slice, Work};
use self::turns::{Admission, SHARE, Turns};

/// Work after which the clock is read: octets, and for each event [`EVENT`].
const UNTIMED: usize = 4096;
const EVENT: usize = 256;
/// Work after which the clock is read in a short slice.
const UNTIMED_SHORT: usize = 2 * EVENT;
/// Work that is little, whatever the clock says: a request with its message, and what comes with it. Who has used little
/// lately is not stopped in it.
const LITTLE_WORK: usize = 6 * EVENT;
/// Little work as it comes by the socket: records without payload are work, too.
const LITTLE_WIRE: usize = 2048;
/// The time that handshakes may use between two looks at the sockets, above the last one: about one signature of an RSA
/// key of 4096 bits.
const HANDSHAKES: Duration = Duration::from_millis(2);
/// The time that connections of HTTP/1.1 may use between two looks at the sockets: about six requests.
const HTTP1: Duration = Duration::from_micros(500);

/// The time that one connection has used of its turn.
#[derive(Debug)]
pub(super) struct Share {
    time: Duration,
    /// Work after which the clock is read.
    untimed_most: usize,
    /// Set by the first work.
    began: Option<Instant>,
    for_others: Duration,
    /// Octets, and for each event [`EVENT`].
    done: usize,
    /// Octets that were read.
    wire: usize,
    /// The work that was done since the clock was read.
    untimed: usize,
    used_up: bool,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            time: SHARE,
            untimed_most: UNTIMED,
            began: None,
            for_others: Duration::ZERO,
            done: 0,
            wire: 0,
            untimed: 0,
            used_up: false,
        }
    }
}

impl Share {
    /// So much of a turn.
    pub(super) fn of(slice: Slice) -> Self {
        Self {
            time: slice.time,
            untimed_most: match slice.is_short() {
                true if slice.is_first() => LITTLE_WORK,
                true => UNTIMED_SHORT,
                false => UNTIMED,
            },
            ..Self::default()
        }
    }

    /// The turn's work begins, if it has not begun.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// So many octets were read from the socket.
    pub(super) fn read(&mut self, octets: usize) {
        self.wire += octets;
    }

    /// So much of the turn was used for others.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.for_others += time;
    }

    /// The work that was done, if any was.
    pub(super) fn work(&self) -> Option<Work> {
        let began = self.began?;
        Some(Work {
            began,
            for_others: self.for_others,
            is_little: self.done <= LITTLE_WORK && self.wire <= LITTLE_WIRE,
        })
    }

    /// An event that took so many octets was handled.
    pub(super) fn count(&mut self, octets: usize) {
        self.done += octets + EVENT;
        self.untimed += octets + EVENT;
        if self.untimed >= self.untimed_most {
            self.untimed = 0;
            let time = self.time + self.for_others;
            self.used_up |= self.began.is_some_and(|began| began.elapsed() >= time);
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used_up
    }
}

/// The order in which connections and strangers have their turns on one worker.
#[derive(Debug, Default)]
pub(crate) struct TurnScheduler {
    turns: RefCell<Turns<Waker>>,
    handshakes: RefCell<StrangerQueue>,
    http1: RefCell<StrangerQueue>,
    wanted: Notify,
}

/// A kind of stranger, which costs work before anything is known of it. Each kind has a queue and a share of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stranger {
    Handshake,
    Http1,
}

impl Stranger {
    fn share(self) -> Duration {
        match self {
            Self::Handshake => HANDSHAKES,
            Self::Http1 => HTTP1,
        }
    }
}

/// Strangers of one kind.
#[derive(Debug, Default)]
struct StrangerQueue {
    /// Since the sockets were asked.
    used: Duration,
    waiting: VecDeque<Rc<QueuedStranger>>,
}

/// A stranger that waits for its turn. It has gone if nobody else holds its ticket.
#[derive(Debug, Default)]
struct QueuedStranger {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl TurnScheduler {
    /// The turn of a connection that was woken, if it is its turn. If not, it is woken when it is. `now` may be the
    /// time of the last turn.
    pub(crate) fn begin(&self, account: &mut Account, now: Instant, context: &Context<'_>) -> Option<Slice> {
        let answer = self.turns.borrow().ask(account, now);
        match answer {
            Admission::Granted(slice) => Some(slice),
            Admission::AlreadyQueued => None,
            Admission::MustQueue => {
                self.go_on_later(account, now, context);
                None
            }
        }
    }

    /// A turn is over in which `work` was done; `is_measured`: its end is worth the clock.
    pub(crate) fn end(&self, account: &mut Account, slice: Slice, work: Work, is_measured: bool) {
        let ended = (is_measured || slice.is_short()).then(Instant::now);
        self.turns.borrow_mut().took(account, slice, work, ended);
    }

    /// Wakes a connection that has more to do when it is its turn again.
    pub(crate) fn go_on_later(&self, account: &mut Account, now: Instant, context: &Context<'_>) {
        let waker = context.waker().clone();
        self.turns.borrow_mut().wait(account, now, waker);
        self.wanted.notify_one();
    }

    /// All who were ready have run, and the sockets are asked next.
    pub(crate) fn turn_is_over(&self) {
        self.turns.borrow_mut().looked();
    }

    fn queue(&self, kind: Stranger) -> &RefCell<StrangerQueue> {
        match kind {
            Stranger::Handshake => &self.handshakes,
            Stranger::Http1 => &self.http1,
        }
    }

    /// Resolves when a stranger may do its work; what it took is to be reported to [`Self::took`]. First come, first
    /// served.
    pub(crate) async fn turn(&self, kind: Stranger) {
        let ticket = {
            let mut queue = self.queue(kind).borrow_mut();
            if queue.waiting.is_empty() && queue.used < kind.share() {
                return;
            }
            let ticket = Rc::<QueuedStranger>::default();
            queue.waiting.push_back(Rc::clone(&ticket));
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

    /// A stranger has done some of its work.
    pub(crate) fn took(&self, kind: Stranger, took: Duration) {
        let mut queue = self.queue(kind).borrow_mut();
        queue.used += took;
        if queue.used < kind.share() {
            queue.call_next();
        } else {
            self.wanted.notify_one();
        }
    }

    /// Does all of a stranger's work, in each turn as much as goes without waiting.
    pub(crate) async fn by_turns<W: Future>(&self, kind: Stranger, mut work: Pin<&mut W>) -> W::Output {
        loop {
            self.turn(kind).await;
            let began = Instant::now();
            let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            self.took(kind, began.elapsed());
            if let Poll::Ready(done) = polled {
                return done;
            }
            let mut is_woken = false;
            poll_fn(|_| match std::mem::replace(&mut is_woken, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
        }
    }

    /// Calls up those who wait, some after each look at the sockets. Never resolves.
    pub(crate) async fn call_up(&self) {
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
        let mut more = self.turns.borrow_mut().call(Waker::wake);
        for queue in [&self.handshakes, &self.http1] {
            let mut queue = queue.borrow_mut();
            queue.used = Duration::ZERO;
            queue.call_next();
            more |= !queue.waiting.is_empty();
        }
        more
    }
}

impl StrangerQueue {
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
    use std::pin::pin;

    use super::*;

    fn is_called(waiting: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn few_connections_go_on_between_two_looks_at_the_sockets() {
        let scheduler = TurnScheduler::default();
        let (now, context) = (Instant::now(), Context::from_waker(Waker::noop()));
        let mut accounts: Vec<_> = (0..17).map(|_| Account::client()).collect();
        for account in &mut accounts {
            scheduler.go_on_later(account, now, &context);
        }
        let mut gone = Vec::new();
        for _ in 0..3 {
            scheduler.call_some();
            gone.push(accounts.len());
            accounts.retain_mut(|account| scheduler.begin(account, now, &context).is_none());
        }
        assert_eq!(gone, [17, 9, 1]);
    }

    #[test]
    fn handshakes_have_a_share_of_a_turn_and_go_in_order() {
        let scheduler = TurnScheduler::default();
        // Nobody waits, and time is left.
        assert!(is_called(&mut pin!(scheduler.turn(Stranger::Handshake))));
        scheduler.took(Stranger::Handshake, HANDSHAKES / 2);
        assert!(is_called(&mut pin!(scheduler.turn(Stranger::Handshake))));
        scheduler.took(Stranger::Handshake, HANDSHAKES / 2);
        let mut first = pin!(scheduler.turn(Stranger::Handshake));
        let mut second = pin!(scheduler.turn(Stranger::Handshake));
        assert!(!is_called(&mut first) && !is_called(&mut second));
        assert!(scheduler.call_some());
        assert!(is_called(&mut first) && !is_called(&mut second));
        // A short one leaves time for the next.
        scheduler.took(Stranger::Handshake, HANDSHAKES / 4);
        assert!(is_called(&mut second));
        assert!(!scheduler.call_some());
    }

    #[test]
    fn a_handshake_that_has_gone_keeps_nobody_waiting() {
        let scheduler = TurnScheduler::default();
        scheduler.took(Stranger::Handshake, HANDSHAKES);
        {
            let mut gone = pin!(scheduler.turn(Stranger::Handshake));
            assert!(!is_called(&mut gone));
        }
        let mut gone = Box::pin(scheduler.turn(Stranger::Handshake));
        assert!(!is_called(&mut gone.as_mut()));
        drop(gone);
        let mut next = pin!(scheduler.turn(Stranger::Handshake));
        assert!(!is_called(&mut next));
        assert!(!scheduler.call_some());
        assert!(is_called(&mut next));
    }

    #[test]
    fn few_strangers_do_their_work_between_two_looks_at_the_sockets() {
        let scheduler = TurnScheduler::default();
        let polls = Cell::new(0);
        let talk = || async {
            for _ in 0..2 {
                let began = Instant::now();
                while began.elapsed() < HTTP1 / 2 {}
                polls.set(polls.get() + 1);
                let mut is_first = true;
                poll_fn(|_| match std::mem::replace(&mut is_first, false) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                })
                .await;
            }
        };
        let mut talks: Vec<_> = (0..20)
            .map(|_| {
                let scheduler = &scheduler;
                Box::pin(async move { scheduler.by_turns(Stranger::Http1, pin!(talk())).await })
            })
            .collect();
        let (mut looks, mut most) = (0, 0);
        while !talks.is_empty() {
            let before = polls.get();
            // All of them are ready, again and again.
            for _ in 0..3 {
                talks.retain_mut(|talk| !is_called(&mut talk.as_mut()));
            }
            most = most.max(polls.get() - before);
            looks += 1;
            scheduler.call_some();
        }
        assert_eq!((polls.get(), most), (40, 2));
        assert!(looks >= 20, "{looks}");
        // Handshakes have a share of their own.
        scheduler.took(Stranger::Http1, HTTP1);
        assert!(is_called(&mut pin!(scheduler.turn(Stranger::Handshake))));
    }

    #[test]
    fn records_without_payload_are_work_as_well() {
        let is_little = |wire| {
            let mut share = Share::default();
            share.begin(Instant::now());
            share.count(0);
            share.read(wire);
            share.work().unwrap().is_little
        };
        assert!(is_little(LITTLE_WIRE) && !is_little(LITTLE_WIRE + 1));
    }

    #[test]
    fn who_has_used_little_is_not_stopped_within_one_request() {
        let turns = Turns::<usize>::default();
        let mut account = Account::client();
        let Admission::Granted(usual) = turns.ask(&mut account, Instant::now()) else {
            panic!("nobody waits");
        };
        let used_up_by = |slice: Slice| {
            let mut share = Share::of(slice);
            share.begin(Instant::now().checked_sub(SHARE).unwrap());
            // WINDOW_UPDATE, a head, a message.
            for octets in [13, 300, 30] {
                share.count(octets);
            }
            share.is_used_up()
        };
        assert!(!used_up_by(usual.shortened(1)));
        assert!(used_up_by(usual.shortened(2)), "a busy one is");
        assert!(!used_up_by(usual));
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
