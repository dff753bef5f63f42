//! Whose turn it is. No clock and no tasks: crowds are tried out in virtual time.
//!
//! Whoever becomes ready goes at once, as long as those who did so since the sockets were asked have used little
//! together. The others, and whoever has more to do than his slice, wait: backends first, then clients by what they
//! have used lately. After each look at the sockets some of them are called, and between two looks all together use
//! a few milliseconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that one connection may use of a turn while few want one, above a read and its last event.
pub(super) const SHARE: Duration = Duration::from_micros(500);
/// The time that those who have just become ready may use together before the others of them wait.
const READY: Duration = Duration::from_millis(3);
/// The time that clients that wait may use together between two looks at the sockets, and backends that wait.
const ROUND: Duration = Duration::from_millis(4);
/// The number that may wait before slices become short: what they use between two looks is a [`ROUND`].
const FEW: usize = 8;
/// The shortest slices: of clients that have used little lately, and of others.
const FIRST: Duration = Duration::from_micros(25);
const LATER: Duration = Duration::from_micros(100);
/// Clients that used less than the first of these lately go before those that used less than the second, and so on.
const LEVELS: [Duration; 4] = [
    Duration::from_micros(50),
    Duration::from_micros(200),
    Duration::from_millis(1),
    Duration::from_millis(5),
];
/// A connection that last brought so much work at once waits behind those who have used little.
const MUCH: Duration = Duration::from_micros(100);
/// The least turn of those whose next octet may be dear: it may end a large header block.
const DEAR: usize = 3;
/// Used time is forgotten at this part of the time that passes: a hundredth of a core is everybody's.
const FORGOTTEN: u32 = 100;
/// Time used beyond this is forgotten at once.
const MOST: Duration = Duration::from_millis(10);
/// The most that little work costs where nothing disturbs it: about an RPC.
const LITTLE_TIME: Duration = Duration::from_micros(12);
/// For so long others are written to before one who brought much.
const REMEMBERED: Duration = Duration::from_secs(1);
/// The cost of a turn beside its work: a read, and a write for it.
const TURN: Duration = Duration::from_micros(5);

/// The time that one connection has used lately, and whether it waits.
#[derive(Debug)]
pub(crate) struct Account {
    is_backend: bool,
    /// Counted while many want a turn, or where a slice was used up.
    used: Duration,
    used_at: Option<Instant>,
    /// Time used for what it brought last, and whether that was much when it last had no more: it may come again.
    brought: Duration,
    brings_much: bool,
    is_dear: bool,
    ticket: Option<QueuePosition>,
}

impl Account {
    /// Of a client's connection.
    pub(crate) fn client() -> Self {
        Self {
            is_backend: false,
            used: Duration::ZERO,
            used_at: None,
            brought: Duration::ZERO,
            brings_much: false,
            is_dear: false,
            ticket: None,
        }
    }

    /// Of a backend's: what it says is for many clients, so it waits for none of them.
    pub(crate) fn backend() -> Self {
        Self {
            is_backend: true,
            ..Self::client()
        }
    }

    /// Notes if the next input may cost much more than its octets say.
    pub(crate) fn set_dear(&mut self, is_dear: bool) {
        self.is_dear = is_dear;
    }

    /// Nothing more is to be read of it for now.
    pub(crate) fn has_read_all(&mut self) {
        if self.brought > Duration::ZERO {
            self.brings_much = std::mem::take(&mut self.brought) > MUCH;
        }
    }

    fn forget(&mut self, now: Instant) {
        if let Some(at) = self.used_at {
            self.used = self
                .used
                .saturating_sub(now.saturating_duration_since(at) / FORGOTTEN);
        }
        self.used_at = Some(now);
    }

    /// For how long others are written to first.
    pub(crate) fn gives_way_for(&self) -> Duration {
        if self.is_backend {
            Duration::ZERO
        } else if self.brings_much {
            REMEMBERED
        } else {
            FORGOTTEN * self.used.saturating_sub(LEVELS[0])
        }
    }

    fn level(&self) -> usize {
        let level = LEVELS.iter().filter(|most| self.used > **most).count();
        let least = if self.is_dear {
            DEAR
        } else {
            usize::from(self.brings_much)
        };
        level.max(least)
    }
}

/// The work that was done in a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(super) began: Instant,
    /// The part of it that was not for this connection.
    pub(super) for_others: Duration,
    /// No more than a request with its message needs: if it took long, the thread was not on a CPU, or nothing in its
    /// cache. Not so where the last octet of a header block may have come.
    pub(super) is_little: bool,
}

/// A place in a queue.
#[derive(Debug, Clone, Copy)]
struct QueuePosition {
    queue: usize,
    number: u64,
}

/// The time that a connection may use of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(super) time: Duration,
    /// The connection has just become ready, and was not called.
    is_ready: bool,
    queue: usize,
}

impl Slice {
    /// Many want a turn: each has little, and it is measured.
    pub(crate) fn is_short(self) -> bool {
        self.time < SHARE
    }

    #[cfg(test)]
    pub(super) fn shortened(self, queue: usize) -> Self {
        Self {
            time: FIRST,
            queue,
            ..self
        }
    }

    /// Of a client that has used little lately.
    pub(super) fn is_first(self) -> bool {
        self.queue == 1
    }
}

/// The decision on a connection that asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The connection may work for this long.
    Granted(Slice),
    /// The connection waits in a queue already, and will be woken.
    AlreadyQueued,
    /// The connection has to take a place in a queue.
    MustQueue,
}

/// The queues of those who wait, and the time used since the sockets were asked.
#[derive(Debug)]
pub(super) struct Turns<W> {
    /// Backends, then clients by level.
    queues: [TurnQueue<W>; 2 + LEVELS.len()],
    waiting: usize,
    /// The time used by those who have just become ready.
    ready_used: Duration,
    /// The time when the last turn began, and whether it is one of those.
    last: Option<(Instant, bool)>,
}

#[derive(Debug)]
struct TurnQueue<W> {
    waiting: VecDeque<W>,
    /// The number of the first that waits.
    first: u64,
    /// The time that each may use of those who were called last.
    slice: Duration,
    /// The cost of a turn lately.
    usual: Duration,
}

impl<W> Default for TurnQueue<W> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 0,
            slice: SHARE,
            usual: SHARE,
        }
    }
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self {
            queues: Default::default(),
            waiting: 0,
            ready_used: Duration::ZERO,
            last: None,
        }
    }
}

impl<W> Turns<W> {
    /// One who has become ready, was called, or was woken for another reason. `now` may be the time of the last turn.
    pub(super) fn ask(&self, account: &mut Account, now: Instant) -> Admission {
        if let Some(ticket) = account.ticket {
            let Some(queue) = self.queues.get(ticket.queue) else {
                return Admission::AlreadyQueued;
            };
            if ticket.number >= queue.first {
                return Admission::AlreadyQueued;
            }
            account.ticket = None;
            return Admission::Granted(Slice {
                time: queue.slice,
                is_ready: false,
                queue: ticket.queue,
            });
        }
        let mut slice = Slice {
            time: SHARE,
            is_ready: true,
            queue: 0,
        };
        if self.ready_used >= READY {
            return Admission::MustQueue;
        }
        if self.waiting > FEW && !account.is_backend {
            account.forget(now);
            if account.level() > 0 {
                return Admission::MustQueue;
            }
            slice.time = FIRST;
            slice.queue = 1;
        }
        Admission::Granted(slice)
    }

    /// Behind those of the same kind who wait.
    pub(super) fn wait(&mut self, account: &mut Account, now: Instant, waker: W) {
        account.forget(now);
        let number = if account.is_backend {
            0
        } else {
            1 + account.level()
        };
        if let Some(queue) = self.queues.get_mut(number) {
            account.ticket = Some(QueuePosition {
                queue: number,
                number: queue.first + queue.waiting.len() as u64,
            });
            queue.waiting.push_back(waker);
            self.waiting += 1;
        }
    }

    /// A turn is over. Where it was measured it is known when it ended.
    pub(super) fn took(&mut self, account: &mut Account, slice: Slice, work: Work, ended: Option<Instant>) {
        let began = work.began;
        // What is not measured is what lies between two beginnings, without the time in which nobody was ready.
        if let Some((last, true)) = self.last {
            self.ready_used += began.saturating_duration_since(last).min(2 * SHARE);
        }
        self.last = Some((began, slice.is_ready));
        let Some(ended) = ended else {
            account.forget(began);
            account.brought = Duration::ZERO;
            account.brings_much &= !work.is_little;
            return;
        };
        let all = ended.saturating_duration_since(began);
        if slice.is_ready {
            self.ready_used += all;
            self.last = None;
        }
        let is_excused = work.is_little && !account.is_dear && (slice.is_ready || slice.is_first());
        let most = if is_excused { LITTLE_TIME } else { all };
        let took = all.saturating_sub(work.for_others).min(most) + TURN;
        account.forget(ended);
        account.used = (account.used + took).min(MOST);
        account.brought = (account.brought + took).min(MOST);
        if !slice.is_ready
            && let Some(queue) = self.queues.get_mut(slice.queue)
        {
            queue.usual = (7 * queue.usual + all + TURN) / 8;
        }
    }

    /// The sockets are asked before others run.
    pub(super) fn looked(&mut self) {
        self.ready_used = Duration::ZERO;
        self.last = None;
    }

    /// Calls some of those who wait, by what turns have cost lately; of each kind one at least. Says whether others
    /// still wait.
    pub(super) fn call(&mut self, mut wake: impl FnMut(W)) -> bool {
        self.looked();
        let is_few = self.waiting <= FEW;
        let mut left = ROUND;
        for (number, queue) in self.queues.iter_mut().enumerate() {
            if queue.waiting.is_empty() {
                continue;
            }
            let least = if number == 1 { FIRST } else { LATER };
            queue.slice = if is_few {
                SHARE
            } else {
                (ROUND / count(queue.waiting.len())).clamp(least, SHARE)
            };
            // Most turns end before their slice does, and one event may take longer.
            let cost = queue.usual.max(queue.slice / 2);
            let some = left.as_nanos() / cost.as_nanos().max(1);
            let some = usize::try_from(some)
                .unwrap_or(usize::MAX)
                .clamp(1, queue.waiting.len());
            if number > 0 {
                left = left.saturating_sub(cost * count(some));
            }
            queue.first += some as u64;
            self.waiting -= some;
            queue.waiting.drain(..some).for_each(&mut wake);
        }
        self.waiting > 0
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
