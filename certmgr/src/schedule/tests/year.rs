//! A year of a fleet: two processes that share one state, a CA that counts as Let's Encrypt does, and one that is dead.
//!
//! The CA's books are its own ([`LetsEncrypt`]): it refills its allowances little by little, and remembers what the
//! fleet forgets. Each order is noted before it is placed and answered some seconds later, and others come in between.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use certstore::{Generation, Name};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::seeded;
use super::simulation::{BEGIN, DAY, HOUR, MINUTE, RULES, generation, unix};
use crate::acme::{IssueError, IssueFault, RenewalInfo, RetryAfter, SaidOf};
use crate::config::{AcmeSource, Authority, Challenge, KeyType};
use crate::ledger::{Book, Noted, Order, OrderKind, Stamps};
use crate::plan::{Candidate, look_ahead};
use crate::schedule::*;

/// A CA says so soon that it takes no order.
const REFUSED_WITHIN: Duration = Duration::from_millis(300);

/// CAs date certificates back by so much.
const BACKDATED: Duration = HOUR;

/// The CA that lives is at this position of each certificate's list; the dead one is the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alive {
    First,
    Second,
}

/// Tokens that come back one by one, as Let's Encrypt describes its limits.
struct Bucket {
    max: f64,
    refill: Duration,
    left: f64,
    at: Duration,
}

impl Bucket {
    fn new(max: u32, window: Duration) -> Self {
        Self {
            max: f64::from(max),
            refill: window / max,
            left: f64::from(max),
            at: BEGIN,
        }
    }

    fn refilled(&mut self, at: Duration) {
        let came = at.saturating_sub(self.at).as_secs_f64() / self.refill.as_secs_f64();
        self.left = (self.left + came).min(self.max);
        self.at = at;
    }

    /// How long until there is one.
    fn short(&mut self, at: Duration) -> Option<Duration> {
        self.refilled(at);
        (self.left < 1.0).then(|| self.refill.mul_f64(1.0 - self.left))
    }

    fn take(&mut self, at: Duration) {
        self.refilled(at);
        self.left -= 1.0;
    }
}

/// What the CA limits, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Limited {
    Account(u32),
    Domain(String),
    Set(String),
    Failures(String),
    Paused(String),
}

/// <https://letsencrypt.org/docs/rate-limits/>
#[derive(Default)]
struct LetsEncrypt {
    buckets: BTreeMap<Limited, Bucket>,
    /// Certificates by their generation, and whether they were replaced.
    issued: BTreeMap<Generation, (String, bool)>,
    /// Failed validations that follow each other.
    in_a_row: BTreeMap<String, u32>,
    /// Who was refused, when, and until when.
    refusals: Vec<(Duration, Limited, Duration)>,
}

impl LetsEncrypt {
    /// Takes a new order, or names the limit that it breaks. What is given back counts once there is a certificate.
    fn order(
        &mut self,
        account: u32,
        name: &str,
        replaces: Option<Generation>,
        at: Duration,
    ) -> Result<Vec<Limited>, (Limited, Duration)> {
        if self.in_a_row.get(name).is_some_and(|failures| *failures >= 1152) {
            return Err(self.refuse(Limited::Paused(name.to_owned()), 366 * DAY, at));
        }
        let replacing = replaces.and_then(|one| self.issued.get_mut(&one));
        let exempt = replacing.is_some_and(|(of, replaced)| of == name && !std::mem::replace(replaced, true));
        let renewal = self.issued.values().any(|(of, _)| of == name);
        let mut of_certificates = Vec::new();
        let mut asked = vec![(Limited::Failures(name.to_owned()), Bucket::new(5, HOUR))];
        if !exempt {
            of_certificates.push((Limited::Set(name.to_owned()), Bucket::new(5, 7 * DAY)));
        }
        if !exempt && !renewal {
            asked.push((Limited::Account(account), Bucket::new(300, 3 * HOUR)));
            of_certificates.push((
                Limited::Domain(domain_of(name).to_owned()),
                Bucket::new(50, 7 * DAY),
            ));
        }
        let counted: Vec<Limited> = of_certificates
            .iter()
            .map(|(limited, _)| limited.clone())
            .collect();
        for (limited, full) in asked.into_iter().chain(of_certificates) {
            if let Some(short) = self.buckets.entry(limited.clone()).or_insert(full).short(at) {
                return Err(self.refuse(limited, short, at));
            }
        }
        if !exempt && !renewal {
            self.take(&Limited::Account(account), at);
        }
        Ok(counted)
    }

    fn take(&mut self, limited: &Limited, at: Duration) {
        if let Some(bucket) = self.buckets.get_mut(limited) {
            bucket.take(at);
        }
    }

    fn refuse(&mut self, limited: Limited, wait: Duration, at: Duration) -> (Limited, Duration) {
        self.refusals.push((at, limited.clone(), at + wait));
        (limited, wait)
    }

    fn validation_failed(&mut self, name: &str, at: Duration) {
        self.take(&Limited::Failures(name.to_owned()), at);
        *self.in_a_row.entry(name.to_owned()).or_default() += 1;
    }
}

/// All names of the fleet have three labels.
fn domain_of(name: &str) -> &str {
    name.split_once('.').unwrap().1
}

/// What a year has in store.
struct Setup {
    fleet: Vec<Certificate>,
    horizon: Duration,
    /// The state is lost at these times.
    losses: Vec<Duration>,
    /// The living CA is down.
    outage: std::ops::Range<Duration>,
}

#[derive(Clone)]
struct Certificate {
    name: String,
    alive: Alive,
    life: Duration,
    /// The CA never sees the answer to its challenge.
    dead: bool,
    /// Configured in this time.
    wanted: std::ops::Range<Duration>,
}

/// What is on the disk that the processes share, beside the ledger.
#[derive(Default, Clone)]
struct Kept {
    serving: Option<Life>,
    /// Who holds its lease.
    ordering: bool,
}

struct Process {
    stamps: Stamps,
    /// Which state of the ledger it has last seen.
    learnt: u64,
    advice: Vec<Option<Advice>>,
    probes: Vec<Option<Probe>>,
    /// Only the newest turn of a story counts.
    turns: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn {
        process: usize,
        certificate: usize,
        turn: u64,
    },
    Answer {
        process: usize,
        certificate: usize,
        position: usize,
        noted: u64,
        loss: usize,
    },
    Lose,
}

struct World<'a> {
    setup: &'a Setup,
    rng: StdRng,
    time: Duration,
    ca: LetsEncrypt,
    account: u32,
    losses: usize,
    book: Book,
    changes: u64,
    kept: Vec<Kept>,
    processes: [Process; 2],
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    answers: BTreeMap<u64, (Noted, Result<Vec<Limited>, IssueError>)>,
    numbers: u64,
    authorities: Vec<[Authority; 2]>,
    domains: Vec<[Name; 1]>,
    /// For each certificate, when one came.
    came: Vec<Vec<Duration>>,
    /// Orders placed at the living CA.
    orders: usize,
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup, rng: StdRng) -> Self {
        let size = setup.fleet.len();
        let process = || Process {
            stamps: Stamps::default(),
            learnt: u64::MAX,
            advice: vec![None; size],
            probes: vec![None; size],
            turns: vec![0; size],
        };
        let authority = |directory: &str| Authority {
            name: directory.to_owned(),
            directory: directory.to_owned(),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        let living = || authority("https://acme-v02.api.letsencrypt.org/directory");
        let gone = || authority("https://dead.test/directory");
        let mut world = Self {
            setup,
            rng,
            time: BEGIN,
            ca: LetsEncrypt::default(),
            account: 0,
            losses: 0,
            book: Book::default(),
            changes: 0,
            kept: vec![Kept::default(); size],
            processes: [process(), process()],
            events: BinaryHeap::new(),
            answers: BTreeMap::new(),
            numbers: 0,
            authorities: setup
                .fleet
                .iter()
                .map(|one| match one.alive {
                    Alive::First => [living(), gone()],
                    Alive::Second => [gone(), living()],
                })
                .collect(),
            domains: setup
                .fleet
                .iter()
                .map(|one| [Name::parse(&one.name).unwrap()])
                .collect(),
            came: vec![Vec::new(); size],
            orders: 0,
        };
        for at in &setup.losses {
            world.push(*at, Event::Lose);
        }
        for (certificate, one) in setup.fleet.iter().enumerate() {
            world.wake(certificate, one.wanted.start);
        }
        world
    }

    fn push(&mut self, after_begin: Duration, event: Event) {
        self.numbers += 1;
        self.events
            .push(Reverse((BEGIN + after_begin, self.numbers, event)));
    }

    /// Both stories look again.
    fn wake(&mut self, certificate: usize, after_begin: Duration) {
        for process in 0..2 {
            self.look_again(process, certificate, after_begin);
        }
    }

    fn look_again(&mut self, process: usize, certificate: usize, after_begin: Duration) {
        self.processes[process].turns[certificate] += 1;
        let turn = self.processes[process].turns[certificate];
        self.push(
            after_begin,
            Event::Turn {
                process,
                certificate,
                turn,
            },
        );
    }

    fn play_until(&mut self, after_begin: Duration) {
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= BEGIN + after_begin
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                return;
            };
            self.time = at;
            match event {
                Event::Turn {
                    process,
                    certificate,
                    turn,
                } => {
                    if self.processes[process].turns[certificate] == turn {
                        self.turn(process, certificate);
                    }
                }
                Event::Answer {
                    process,
                    certificate,
                    position,
                    noted,
                    loss,
                } => {
                    if loss == self.losses {
                        self.answer(process, certificate, position, noted);
                    }
                }
                Event::Lose => self.lose(),
            }
        }
        self.time = BEGIN + after_begin;
    }

    fn since_begin(&self) -> Duration {
        self.time - BEGIN
    }

    fn now(&self) -> Now {
        Now {
            wall: unix(self.time),
            steady: Steady(self.time),
        }
    }

    fn lose(&mut self) {
        self.losses += 1;
        self.account += 1;
        self.book = Book::default();
        self.changes += 1;
        self.answers.clear();
        for process in &mut self.processes {
            process.stamps = Stamps::default();
            process.advice.fill(None);
            process.probes.fill(None);
        }
        for certificate in 0..self.kept.len() {
            self.kept[certificate] = Kept::default();
            self.wake(certificate, self.since_begin());
        }
    }

    fn turn(&mut self, process: usize, certificate: usize) {
        let one = &self.setup.fleet[certificate];
        if !one.wanted.contains(&self.since_begin()) {
            if self.since_begin() < one.wanted.start {
                self.look_again(process, certificate, one.wanted.start);
            }
            return;
        }
        self.learn(process);
        let now = self.now();
        let known = Known {
            serving: self.kept[certificate].serving,
            advice: self.processes[process].advice[certificate].clone(),
            record: self.book.record(
                &self.domains[certificate],
                KeyType::EcdsaP256,
                &self.authorities[certificate],
                &self.processes[process].stamps,
                now,
            ),
            probe: self.processes[process].probes[certificate],
            requested: false,
            wanted: false,
            names_changed: false,
        };
        let next = next(&known, &RULES, now);
        if !next.wait.is_zero() {
            self.look_again(process, certificate, self.since_begin() + next.wait);
            return;
        }
        match next.action {
            Action::Issue if self.kept[certificate].ordering => {
                self.look_again(process, certificate, self.since_begin() + MINUTE);
                return;
            }
            Action::Issue => {
                self.kept[certificate].ordering = true;
                self.attempt(process, certificate, 0, None);
                return;
            }
            Action::AskRenewalInfo { authority } => self.ask(process, certificate, authority),
            Action::Probe { authority } => {
                let good = self.is_up(certificate, authority);
                self.looked(process, certificate, good);
            }
            // The self-check of names is blind to what is wrong here.
            Action::CheckNames => self.looked(process, certificate, true),
        }
        self.look_again(process, certificate, self.since_begin());
    }

    fn learn(&mut self, process: usize) {
        let now = self.now();
        let process = &mut self.processes[process];
        if process.learnt != self.changes {
            process.stamps.learn(&self.book, now);
            process.learnt = self.changes;
        }
    }

    fn looked(&mut self, process: usize, certificate: usize, good: bool) {
        let rng = &mut self.rng;
        let probe = Probe {
            at: Steady(self.time),
            good,
            was_bad: false,
            draw: Draw::new(&mut || rng.random()),
        };
        self.processes[process].probes[certificate] = Some(probe);
    }

    fn is_living(&self, certificate: usize, position: usize) -> bool {
        (self.setup.fleet[certificate].alive == Alive::First) == (position == 0)
    }

    fn is_up(&self, certificate: usize, position: usize) -> bool {
        self.is_living(certificate, position) && !self.setup.outage.contains(&self.since_begin())
    }

    fn ask(&mut self, process: usize, certificate: usize, position: usize) {
        let now = self.now();
        let Some(life) = self.kept[certificate].serving else {
            return;
        };
        let before = self.processes[process].advice[certificate].take();
        let up = self.is_up(certificate, position);
        let rng = &mut self.rng;
        let mut random = || rng.random();
        let advice = if up {
            let left = life.span() / if life.span() < 10 * DAY { 2 } else { 3 };
            let due = Duration::from_secs(life.not_after.as_secs()) - left;
            let half = life.span() / 90;
            let info = RenewalInfo {
                window: (unix(due - half), unix(due + half)),
                explanation: None,
                retry_after: Some(12 * HOUR),
            };
            Advice::new(life.generation, Some(&info), before.as_ref(), now, &mut random)
        } else {
            Advice::unknown(life.generation, None, before.as_ref(), now, &mut random)
        };
        self.processes[process].advice[certificate] = Some(advice);
    }

    /// Asks the CAs of the list from this one on; the lease is held until one has answered, or none may be asked.
    fn attempt(&mut self, process: usize, certificate: usize, from: usize, mut shortest: Option<Duration>) {
        let replaced = self.kept[certificate].serving;
        for position in from..2 {
            self.learn(process);
            let now = self.now();
            let kind = match replaced {
                Some(life) if life.authority == Some(position) => OrderKind::Replacing,
                _ => OrderKind::New,
            };
            let order = Order {
                domains: &self.domains[certificate],
                key: KeyType::EcdsaP256,
                authority: &self.authorities[certificate][position],
                kind,
            };
            let stamps = &mut self.processes[process].stamps;
            if let Err(wait) = self.book.may_order(&order, stamps, now) {
                shortest = Some(shortest.map_or(wait.wait, |shortest| shortest.min(wait.wait)));
                continue;
            }
            let rng = &mut self.rng;
            let draw = Draw::new(&mut || rng.random());
            let noted = self.book.intend(&order, draw, stamps, now);
            self.changes += 1;
            let replaces = (kind == OrderKind::Replacing)
                .then_some(replaced)
                .flatten()
                .map(|life| life.generation);
            let (takes, result) = self.place(certificate, position, replaces);
            self.numbers += 1;
            let number = self.numbers;
            self.answers.insert(number, (noted, result));
            self.push(
                self.since_begin() + takes,
                Event::Answer {
                    process,
                    certificate,
                    position,
                    noted: number,
                    loss: self.losses,
                },
            );
            return;
        }
        self.kept[certificate].ordering = false;
        let wait = shortest.unwrap_or_default().max(Duration::from_secs(1));
        self.look_again(process, certificate, self.since_begin() + wait);
        self.look_again(1 - process, certificate, self.since_begin() + MINUTE);
    }

    /// What the CA makes of an order, and how long that takes.
    fn place(
        &mut self,
        certificate: usize,
        position: usize,
        replaces: Option<Generation>,
    ) -> (Duration, Result<Vec<Limited>, IssueError>) {
        let one = &self.setup.fleet[certificate];
        if !self.is_up(certificate, position) {
            return (Duration::from_secs(10), Err(error(IssueFault::Unreachable, None)));
        }
        self.orders += 1;
        let counted = match self.ca.order(self.account, &one.name, replaces, self.time) {
            Ok(counted) => counted,
            Err((limited, wait)) => {
                let said_of = match limited {
                    Limited::Account(_) => SaidOf::Account,
                    Limited::Set(_) => SaidOf::Names,
                    Limited::Domain(name) | Limited::Failures(name) | Limited::Paused(name) => {
                        SaidOf::Name(name)
                    }
                };
                let refused = error(IssueFault::RateLimited, Some(RetryAfter::new(wait, said_of)));
                return (REFUSED_WITHIN, Err(refused));
            }
        };
        let takes = Duration::from_secs(self.rng.random_range(2..20));
        if one.dead {
            self.ca.validation_failed(&one.name, self.time);
            return (takes, Err(error(IssueFault::Challenge, None)));
        }
        (takes, Ok(counted))
    }

    fn answer(&mut self, process: usize, certificate: usize, position: usize, number: u64) {
        self.learn(process);
        let now = self.now();
        let Some((noted, result)) = self.answers.remove(&number) else {
            return;
        };
        self.changes += 1;
        let stamps = &mut self.processes[process].stamps;
        match result {
            Ok(counted) => {
                for limited in &counted {
                    self.ca.take(limited, self.time);
                }
                let one = &self.setup.fleet[certificate];
                self.numbers += 1;
                let not_before = self.time - BACKDATED;
                let life = Life {
                    generation: generation(self.numbers),
                    not_before: unix(not_before),
                    not_after: unix(not_before + one.life),
                    authority: Some(position),
                };
                self.ca.issued.insert(life.generation, (one.name.clone(), false));
                self.ca.in_a_row.remove(&one.name);
                self.book.issued(noted, life.not_before, stamps, now);
                self.kept[certificate].serving = Some(life);
                self.kept[certificate].ordering = false;
                self.came[certificate].push(self.time - BEGIN);
                self.wake(certificate, self.since_begin() + MINUTE);
            }
            Err(error) => {
                self.book.failed(noted, &error, stamps, now);
                self.attempt(process, certificate, position + 1, Some(Duration::from_secs(1)));
            }
        }
    }

    /// How many certificates have come so far.
    fn counts(&self) -> BTreeMap<String, usize> {
        let fleet = self.setup.fleet.iter().zip(&self.came);
        fleet.map(|(one, came)| (one.name.clone(), came.len())).collect()
    }

    /// Who is configured and has nothing that is valid.
    fn unserved(&mut self) -> Vec<&'a str> {
        let now = self.now();
        let setup = self.setup;
        let fleet = setup.fleet.iter().zip(&self.kept);
        fleet
            .filter(|(one, _)| one.wanted.contains(&(self.time - BEGIN)))
            .filter(|(_, kept)| kept.serving.is_none_or(|life| life.not_after < now.wall))
            .map(|(one, _)| one.name.as_str())
            .collect()
    }

    /// How many orders each certificate is planned to have, as `h2gate certs plan` says.
    fn plan(&self, horizon: Duration) -> BTreeMap<String, usize> {
        let now = self.now();
        let fleet = self.setup.fleet.iter().zip(&self.kept).enumerate();
        let candidates: Vec<Candidate> = fleet
            .filter(|(_, (one, _))| one.wanted.contains(&self.since_begin()))
            .map(|(certificate, (one, kept))| Candidate {
                name: one.name.clone(),
                domains: self.domains[certificate].to_vec(),
                source: AcmeSource {
                    authorities: self.authorities[certificate].to_vec(),
                    challenge: Challenge::TlsAlpn01,
                    key: KeyType::EcdsaP256,
                    preferred_chain: None,
                    resolvers: Vec::new(),
                    min_interval: RULES.min_interval,
                    first_retry: RULES.first_retry,
                },
                serving: kept.serving,
                next: None,
            })
            .collect();
        let mut stamps = Stamps::default();
        stamps.learn(&self.book, now);
        let plan = look_ahead(&candidates, self.book.clone(), stamps, now, horizon);
        let mut counts = BTreeMap::new();
        for order in plan.orders {
            *counts.entry(order.name).or_default() += 1;
        }
        counts
    }
}

fn error(class: IssueFault, retry_after: Option<RetryAfter>) -> IssueError {
    IssueError {
        class,
        authority: "ca".to_owned(),
        text: String::new(),
        remedy: String::new(),
        retry_after,
    }
}

/// A fleet of so many: a fifth below one domain, the others below domains of ten.
fn fleet(size: usize) -> Vec<Certificate> {
    let one = |number: usize| Certificate {
        name: match number % 5 {
            0 => format!("host{number}.big.test"),
            _ => format!("host{number}.d{}.test", number / 12),
        },
        alive: if number % 10 == 3 {
            Alive::Second
        } else {
            Alive::First
        },
        life: match number % 25 {
            1 => 6 * DAY,
            2 => 45 * DAY,
            _ => 90 * DAY,
        },
        dead: number == 7,
        wanted: Duration::ZERO..2 * YEAR,
    };
    (0..size).map(one).collect()
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// All of it in a proof; enough to meet each limit otherwise, but the one on accounts.
fn size() -> usize {
    match std::env::var("H2GATE_PROOF").as_deref() {
        Ok("1") => 500,
        _ => 80,
    }
}

/// How long a first start takes at most, if a CA gives 50 below one domain a week.
fn everyone_within(size: usize) -> Duration {
    let weeks = u32::try_from(size.div_ceil(5).div_ceil(50) - 1).unwrap();
    7 * weeks * DAY + DAY
}

#[test]
fn a_fleet_lives_for_a_year_within_what_lets_encrypt_allows() {
    let size = size();
    let lost = 200 * DAY;
    let setup = Setup {
        fleet: fleet(size),
        horizon: YEAR,
        losses: vec![lost],
        outage: 60 * DAY..63 * DAY,
    };
    let mut world = World::new(&setup, seeded("a_fleet_lives_for_a_year"));
    let everyone = everyone_within(size);
    let dead = ["host7.d0.test"];

    for begin in [Duration::ZERO, lost] {
        // Those below domains of their own at once, as far as the account goes: 300 in three hours.
        world.play_until(begin + 4 * HOUR);
        let unserved = world.unserved();
        let early: Vec<_> = unserved
            .iter()
            .filter(|name| !name.ends_with("big.test"))
            .collect();
        assert_eq!(early, [&dead[0]], "after {begin:?}");
        let mut day = begin + everyone;
        let end = if begin.is_zero() {
            lost - HOUR
        } else {
            setup.horizon
        };
        let (mut planned, mut came) = (BTreeMap::new(), BTreeMap::new());
        while day < end {
            world.play_until(day);
            assert_eq!(world.unserved(), dead, "{day:?} after the beginning");
            if day == begin + everyone + 70 * DAY {
                planned = world.plan(60 * DAY);
                came = world.counts();
            }
            if day == begin + everyone + 130 * DAY {
                agree(&setup, &planned, &came, &world.counts());
            }
            day += DAY;
        }
    }
    // The dead CA is dead for a year: it costs each certificate no more than a look now and then.
    assert_eq!(world.ca.refusals, [], "no limit is met");
    let failures = world.ca.in_a_row[dead[0]];
    assert!(
        (365..1_152).contains(&failures),
        "{failures} failed validations of a dead name in a year"
    );
    println!("{} orders, {failures} failed validations", world.orders);
}

fn agree(
    setup: &Setup,
    planned: &BTreeMap<String, usize>,
    before: &BTreeMap<String, usize>,
    after: &BTreeMap<String, usize>,
) {
    for one in setup.fleet.iter().filter(|one| !one.dead) {
        let count = |counts: &BTreeMap<String, usize>| counts.get(&one.name).copied().unwrap_or(0);
        let came = count(after) - count(before);
        assert!(
            count(planned).abs_diff(came) <= 1 + came / 20,
            "{}: planned {}, came {came}",
            one.name,
            count(planned)
        );
    }
}

/// 300 orders of an account in three hours; the others fail at the dead CA meanwhile.
#[test]
fn who_waits_for_an_accounts_limit_is_served_when_it_allows() {
    let setup = Setup {
        fleet: fleet(400),
        horizon: 5 * HOUR,
        losses: Vec::new(),
        outage: YEAR..YEAR,
    };
    let mut world = World::new(&setup, seeded("who_waits_for_an_accounts_limit"));
    world.play_until(2 * HOUR);
    let of_their_own = |name: &&&str| !name.ends_with("big.test");
    assert!(world.unserved().iter().filter(of_their_own).count() > 50);
    world.play_until(setup.horizon);
    let unserved = world.unserved();
    let unserved: Vec<_> = unserved.iter().filter(of_their_own).collect();
    assert_eq!(unserved, [&"host7.d0.test"]);
    assert_eq!(world.ca.refusals, []);
}

#[test]
fn a_state_that_is_lost_each_night_meets_each_limit_once_and_obeys() {
    let nights: Vec<Duration> = (1..12).map(|night| night * DAY / 2).collect();
    let mut fleet: Vec<Certificate> = (0..12)
        .map(|number| Certificate {
            name: format!("host{number}.small.test"),
            alive: Alive::First,
            life: 90 * DAY,
            dead: false,
            wanted: Duration::ZERO..YEAR,
        })
        .collect();
    // 45 that are gone when the state is lost for the first time, and 20 others that come then, below one domain.
    fleet.extend((0..65).map(|number: u32| Certificate {
        name: format!("host{number}.grown.test"),
        alive: Alive::First,
        life: 90 * DAY,
        dead: false,
        wanted: match number.checked_sub(45) {
            None => Duration::ZERO..nights[0],
            Some(minutes) => nights[0] + minutes * MINUTE..YEAR,
        },
    }));
    let setup = Setup {
        fleet,
        horizon: 60 * DAY,
        losses: nights.clone(),
        outage: YEAR..YEAR,
    };
    let mut world = World::new(&setup, seeded("a_state_that_is_lost_each_night"));
    world.play_until(setup.horizon);
    assert_eq!(world.unserved(), [""; 0]);
    let met = |of: fn(&Limited) -> bool| world.ca.refusals.iter().any(|(_, limited, _)| of(limited));
    assert!(met(|limited| matches!(limited, Limited::Set(_))));
    assert!(met(|limited| matches!(limited, Limited::Domain(_))));
    // Nothing is left of what a CA said when the state is lost, and what is under way is under way; but whoever knows
    // of a limit obeys, and one alone asks again.
    let known = |(at, limited, until): &(Duration, Limited, Duration),
                 other: &(Duration, Limited, Duration)| {
        let lost = nights
            .iter()
            .any(|night| (*at..=other.0).contains(&(BEGIN + *night)));
        *limited == other.1 && (*at + REFUSED_WITHIN..*until).contains(&other.0) && !lost
    };
    for refusal in &world.ca.refusals {
        let again = world.ca.refusals.iter().find(|other| known(refusal, other));
        assert_eq!(again, None, "{refusal:?} was met again before its time");
    }
    let domain = world
        .ca
        .refusals
        .iter()
        .filter(|(_, limited, _)| matches!(limited, Limited::Domain(_)));
    println!(
        "{} orders, {} refusals, {} of them for a domain",
        world.orders,
        world.ca.refusals.len(),
        domain.count()
    );
}
