//! Crowds in virtual time: a run queue as Tokio's, work that costs, and sockets that are asked after all have run.

use std::collections::{HashMap, VecDeque};

use super::*;

const MICRO: Duration = Duration::from_micros(1);

/// A connection that has events to handle, and what each of them costs.
struct Member {
    account: Account,
    events: VecDeque<Duration>,
    became_ready: Option<Instant>,
}

/// A worker without sockets.
struct Crowd {
    now: Instant,
    turns: Turns<usize>,
    work: HashMap<usize, Member>,
    run_queue: VecDeque<usize>,
    /// From becoming ready to the end of all that came with it.
    waited: HashMap<usize, Duration>,
    turns_taken: usize,
}

impl Crowd {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            turns: Turns::default(),
            work: HashMap::new(),
            run_queue: VecDeque::new(),
            waited: HashMap::new(),
            turns_taken: 0,
        }
    }

    fn connect(&mut self, who: usize, account: Account) {
        let (events, became_ready) = (VecDeque::new(), None);
        self.work.insert(
            who,
            Member {
                account,
                events,
                became_ready,
            },
        );
    }

    /// Octets come for `who`.
    fn ready(&mut self, who: usize, events: usize, cost: Duration) {
        let work = self.work.get_mut(&who).unwrap();
        work.events.extend(std::iter::repeat_n(cost, events));
        work.became_ready = Some(self.now);
        self.run_queue.push_back(who);
    }

    /// All who are ready run, then some who wait are called: what lies between two looks at the sockets. Says whether
    /// somebody still has to run.
    fn round(&mut self) -> bool {
        while let Some(who) = self.run_queue.pop_front() {
            self.run(who);
        }
        let run_queue = &mut self.run_queue;
        self.turns.call(|who| run_queue.push_back(who));
        !self.run_queue.is_empty()
    }

    fn run(&mut self, who: usize) {
        let work = self.work.get_mut(&who).unwrap();
        let slice = match self.turns.ask(&mut work.account, self.now) {
            Admission::Granted(slice) => slice,
            Admission::AlreadyQueued => return,
            Admission::MustQueue => {
                self.now += MICRO / 2;
                return self.turns.wait(&mut work.account, self.now, who);
            }
        };
        self.turns_taken += 1;
        self.now += 3 * MICRO;
        let began = self.now;
        let mut is_used_up = false;
        while !is_used_up && let Some(cost) = work.events.pop_front() {
            self.now += cost;
            is_used_up = self.now - began >= slice.time;
        }
        let ended = (is_used_up || slice.is_short()).then_some(self.now);
        let done = Work {
            began,
            for_others: Duration::ZERO,
            is_little: false,
        };
        self.turns.took(&mut work.account, slice, done, ended);
        if is_used_up {
            self.turns.wait(&mut work.account, self.now, who);
        } else {
            work.account.has_read_all();
        }
        if work.events.is_empty()
            && let Some(at) = work.became_ready.take()
        {
            self.waited.insert(who, self.now - at);
        }
    }

    /// Goes on until `who` has done all its work.
    fn until_done(&mut self, who: usize) -> Duration {
        self.waited.remove(&who);
        while !self.waited.contains_key(&who) {
            assert!(self.round() || self.waited.contains_key(&who), "it is forgotten");
        }
        self.waited[&who]
    }
}

const QUIET: usize = 1_000_000;

/// Makes as many connections ready as one machine can open, each with a second of requests.
fn wave(crowd: &mut Crowd) {
    for who in 0..2_500 {
        crowd.ready(who, 200, 5 * MICRO);
    }
}

fn crowd_and_quiet() -> Crowd {
    let mut crowd = Crowd::new();
    crowd.connect(QUIET, Account::client());
    for who in 0..2_500 {
        crowd.connect(who, Account::client());
    }
    wave(&mut crowd);
    crowd
}

#[test]
fn a_quiet_client_does_not_wait_for_thousands_that_became_ready_at_once() {
    let mut crowd = crowd_and_quiet();
    crowd.round();
    for _ in 0..40 {
        crowd.ready(QUIET, 1, 15 * MICRO);
        let waited = crowd.until_done(QUIET);
        assert!(waited < Duration::from_millis(20), "{waited:?}");
        let next = crowd.now + Duration::from_millis(20);
        while crowd.now < next && crowd.round() {}
    }
}

#[test]
fn a_quiet_client_among_thousands_that_become_ready_waits_for_a_short_slice_of_each_and_only_once() {
    let mut crowd = crowd_and_quiet();
    crowd.ready(QUIET, 1, 15 * MICRO);
    let waited = crowd.until_done(QUIET);
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    for _ in 0..3 {
        while crowd.round() {}
        crowd.now += Duration::from_secs(5);
        wave(&mut crowd);
        crowd.ready(QUIET, 1, 15 * MICRO);
        let waited = crowd.until_done(QUIET);
        assert!(waited < Duration::from_millis(20), "{waited:?}");
    }
}

#[test]
fn dear_events_hold_up_nobody_else() {
    let mut crowd = Crowd::new();
    crowd.connect(QUIET, Account::client());
    for who in 0..500 {
        let mut account = Account::client();
        account.set_dear(true);
        crowd.connect(who, account);
        crowd.ready(who, 1, 700 * MICRO);
    }
    crowd.round();
    let waits = (0..10).map(|_| {
        crowd.ready(QUIET, 1, 15 * MICRO);
        crowd.until_done(QUIET)
    });
    let longest = waits.max().unwrap();
    assert!(longest < Duration::from_millis(40), "{longest:?}");
}

#[test]
fn an_answer_is_read_before_those_who_wait() {
    let mut crowd = crowd_and_quiet();
    crowd.connect(QUIET, Account::backend());
    crowd.ready(QUIET, 100, 5 * MICRO);
    let waited = crowd.until_done(QUIET);
    assert!(waited < Duration::from_millis(20), "{waited:?}");
}

#[test]
fn who_has_used_much_still_gets_his_turns() {
    let mut crowd = Crowd::new();
    crowd.connect(QUIET, Account::client());
    crowd.ready(QUIET, 4_000, 5 * MICRO);
    // Beside it there are always a thousand that have just become ready, and each has used nothing lately.
    for who in 0..100_000 {
        crowd.connect(who, Account::client());
        crowd.ready(who, 4, 5 * MICRO);
        if who % 1_000 == 999 {
            crowd.round();
        }
    }
    let left = crowd.work[&QUIET].events.len();
    assert!(left < 3_000, "{left}");
}

#[test]
fn few_have_long_turns_and_are_not_measured() {
    let mut crowd = Crowd::new();
    for who in 0..10 {
        crowd.connect(who, Account::client());
    }
    for _ in 0..100 {
        for who in 0..10 {
            crowd.ready(who, 10, 5 * MICRO);
        }
        assert!(!crowd.round(), "nobody waits");
        crowd.turns.looked();
    }
    assert_eq!(crowd.turns_taken, 1_000);
    assert!(
        crowd
            .work
            .values()
            .all(|work| work.account.used == Duration::ZERO)
    );
    // Six that have much to do: each goes on with a long slice after each look.
    crowd.turns_taken = 0;
    for who in 0..6 {
        crowd.ready(who, 1_000, 5 * MICRO);
    }
    while crowd.round() {}
    assert!(crowd.turns_taken <= 6 * 11, "{}", crowd.turns_taken);
}

/// The level of one who has had one turn of 20 ms.
fn level_after(for_others: Duration, is_little: bool, was_dear: bool) -> usize {
    let (began, long) = (Instant::now(), 20_000 * MICRO);
    let slice = Slice {
        time: FIRST,
        is_ready: true,
        queue: 1,
    };
    let (mut turns, mut account) = (Turns::<usize>::default(), Account::client());
    account.set_dear(was_dear);
    let work = Work {
        began,
        for_others,
        is_little,
    };
    turns.took(&mut account, slice, work, Some(began + long));
    account.set_dear(false);
    account.has_read_all();
    account.level()
}

#[test]
fn who_was_interrupted_or_worked_for_others_is_not_put_behind() {
    assert_eq!(level_after(20_000 * MICRO, false, false), 0);
    assert_eq!(level_after(Duration::ZERO, true, false), 0);
    assert_eq!(level_after(Duration::ZERO, false, false), LEVELS.len());
    // The last octet of a header block is little, and may cost as much as thousands.
    assert_eq!(level_after(Duration::ZERO, true, true), LEVELS.len());
}

#[test]
fn who_was_busy_once_is_written_to_with_the_others_again() {
    let (mut turns, mut account) = (Turns::<usize>::default(), Account::client());
    let Admission::Granted(slice) = turns.ask(&mut account, Instant::now()) else {
        panic!("nobody waits");
    };
    let began = Instant::now();
    let much = Work {
        began,
        for_others: Duration::ZERO,
        is_little: false,
    };
    turns.took(&mut account, slice, much, Some(began + 20_000 * MICRO));
    account.has_read_all();
    assert_eq!(account.gives_way_for(), REMEMBERED);
    let little = Work {
        began: began + Duration::from_secs(2),
        is_little: true,
        ..much
    };
    turns.took(&mut account, slice, little, None);
    assert_eq!(account.gives_way_for(), Duration::ZERO);
    assert_eq!(Account::backend().gives_way_for(), Duration::ZERO);
}
