//! Two processes with one state, their clock, and the CAs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use certstore::{Fingerprint, Name};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::super::simulation::{BEGIN, DAY, HOUR, MINUTE, RULES, fingerprint, unix};
use crate::config::{AcmeSource, Ca, Challenge, KeyType};
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};
use crate::ledger::{History, Noted, Order, OrderKind, Stamps};
use crate::plan::{Candidate, look_ahead};
use crate::schedule::RenewalInfo;
use crate::schedule::*;
use crate::tests::lets_encrypt::{LetsEncrypt, Limited};

/// Time in which a CA refuses an order.
pub(super) const REFUSED_WITHIN: Duration = Duration::from_millis(300);

/// Time by which CAs date certificates back.
const BACKDATED: Duration = HOUR;

/// Position of the living CA in the list of a certificate; the dead CA has the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alive {
    First,
    Second,
}

/// The events of a year.
pub(super) struct YearSetup {
    pub(super) fleet: Vec<SimulatedCertificate>,
    pub(super) horizon: Duration,
    /// Times at which the state is lost.
    pub(super) losses: Vec<Duration>,
    /// Time in which the living CA is down.
    pub(super) outage: std::ops::Range<Duration>,
}

#[derive(Clone)]
pub(super) struct SimulatedCertificate {
    pub(super) name: String,
    pub(super) alive: Alive,
    pub(super) life: Duration,
    /// The CA can never validate a challenge for it.
    pub(super) dead: bool,
    /// Time in which the certificate is configured.
    pub(super) wanted: std::ops::Range<Duration>,
}

/// Data of a certificate on the disk that the processes share, beside the ledger.
#[derive(Default, Clone)]
pub(super) struct SimulatedDisk {
    serving: Option<Life>,
    /// A process has the lease of the certificate.
    ordering: bool,
}

pub(super) struct SimulatedProcess {
    stamps: Stamps,
    /// Number of the last change of the ledger that the process has seen.
    learnt: u64,
    advice: Vec<Option<Advice>>,
    probes: Vec<Option<Probe>>,
    /// Number of the newest turn of each certificate: only that one counts.
    turns: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum YearEvent {
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

pub(super) struct YearSimulation<'a> {
    pub(super) setup: &'a YearSetup,
    pub(super) rng: StdRng,
    pub(super) time: Duration,
    pub(super) ca: LetsEncrypt,
    pub(super) account: u32,
    pub(super) losses: usize,
    pub(super) history: History,
    pub(super) changes: u64,
    pub(super) kept: Vec<SimulatedDisk>,
    pub(super) processes: [SimulatedProcess; 2],
    pub(super) events: BinaryHeap<Reverse<(Duration, u64, YearEvent)>>,
    pub(super) answers: BTreeMap<u64, (Noted, Result<Vec<Limited>, IssueError>)>,
    pub(super) numbers: u64,
    pub(super) cas: Vec<[Ca; 2]>,
    pub(super) domains: Vec<[Name; 1]>,
    /// For each certificate, the instants at which one was issued.
    pub(super) came: Vec<Vec<Duration>>,
    /// Number of orders placed at the living CA.
    pub(super) orders: usize,
}

impl<'a> YearSimulation<'a> {
    pub(super) fn new(setup: &'a YearSetup, rng: StdRng) -> Self {
        let size = setup.fleet.len();
        let process = || SimulatedProcess {
            stamps: Stamps::default(),
            learnt: u64::MAX,
            advice: vec![None; size],
            probes: vec![None; size],
            turns: vec![0; size],
        };
        let ca = |directory: &str| Ca {
            name: directory.to_owned(),
            directory: directory.to_owned(),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        let living = || ca("https://acme-v02.api.letsencrypt.org/directory");
        let gone = || ca("https://dead.test/directory");
        let mut world = Self {
            setup,
            rng,
            time: BEGIN,
            ca: LetsEncrypt::default(),
            account: 0,
            losses: 0,
            history: History::default(),
            changes: 0,
            kept: vec![SimulatedDisk::default(); size],
            processes: [process(), process()],
            events: BinaryHeap::new(),
            answers: BTreeMap::new(),
            numbers: 0,
            cas: setup
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
            world.push(*at, YearEvent::Lose);
        }
        for (certificate, one) in setup.fleet.iter().enumerate() {
            world.wake(certificate, one.wanted.start);
        }
        world
    }

    pub(super) fn push(&mut self, after_begin: Duration, event: YearEvent) {
        self.numbers += 1;
        self.events
            .push(Reverse((BEGIN + after_begin, self.numbers, event)));
    }

    /// Both processes look at the certificate again.
    pub(super) fn wake(&mut self, certificate: usize, after_begin: Duration) {
        for process in 0..2 {
            self.look_again(process, certificate, after_begin);
        }
    }

    pub(super) fn look_again(&mut self, process: usize, certificate: usize, after_begin: Duration) {
        self.processes[process].turns[certificate] += 1;
        let turn = self.processes[process].turns[certificate];
        self.push(
            after_begin,
            YearEvent::Turn {
                process,
                certificate,
                turn,
            },
        );
    }

    pub(super) fn play_until(&mut self, after_begin: Duration) {
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= BEGIN + after_begin
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                return;
            };
            self.time = at;
            match event {
                YearEvent::Turn {
                    process,
                    certificate,
                    turn,
                } => {
                    if self.processes[process].turns[certificate] == turn {
                        self.turn(process, certificate);
                    }
                }
                YearEvent::Answer {
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
                YearEvent::Lose => self.lose(),
            }
        }
        self.time = BEGIN + after_begin;
    }

    pub(super) fn since_begin(&self) -> Duration {
        self.time - BEGIN
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: unix(self.time),
            monotonic: MonotonicTime(self.time),
        }
    }

    pub(super) fn lose(&mut self) {
        self.losses += 1;
        self.account += 1;
        self.history = History::default();
        self.changes += 1;
        self.answers.clear();
        for process in &mut self.processes {
            process.stamps = Stamps::default();
            process.advice.fill(None);
            process.probes.fill(None);
        }
        for certificate in 0..self.kept.len() {
            self.kept[certificate] = SimulatedDisk::default();
            self.wake(certificate, self.since_begin());
        }
    }

    pub(super) fn turn(&mut self, process: usize, certificate: usize) {
        let one = &self.setup.fleet[certificate];
        if !one.wanted.contains(&self.since_begin()) {
            if self.since_begin() < one.wanted.start {
                self.look_again(process, certificate, one.wanted.start);
            }
            return;
        }
        self.learn(process);
        let now = self.now();
        let known = Facts {
            serving: self.kept[certificate].serving,
            advice: self.processes[process].advice[certificate].clone(),
            record: self.history.record(
                &self.domains[certificate],
                KeyType::EcdsaP256,
                &self.cas[certificate],
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
            ScheduledAction::Issue if self.kept[certificate].ordering => {
                self.look_again(process, certificate, self.since_begin() + MINUTE);
                return;
            }
            ScheduledAction::Issue => {
                self.kept[certificate].ordering = true;
                self.attempt(process, certificate, 0, None);
                return;
            }
            ScheduledAction::AskRenewalInfo { ca } => self.ask(process, certificate, ca),
            ScheduledAction::Probe { ca } => {
                let good = self.is_up(certificate, ca);
                self.looked(process, certificate, good);
            }
            // The self-check of names cannot see the mistake here.
            ScheduledAction::CheckNames => self.looked(process, certificate, true),
        }
        self.look_again(process, certificate, self.since_begin());
    }

    pub(super) fn learn(&mut self, process: usize) {
        let now = self.now();
        let process = &mut self.processes[process];
        if process.learnt != self.changes {
            process.stamps.learn(&self.history, now);
            process.learnt = self.changes;
        }
    }

    pub(super) fn looked(&mut self, process: usize, certificate: usize, good: bool) {
        let rng = &mut self.rng;
        let probe = Probe {
            at: MonotonicTime(self.time),
            good,
            was_bad: false,
            jitter: Jitter::new(&mut || rng.random()),
        };
        self.processes[process].probes[certificate] = Some(probe);
    }

    pub(super) fn is_living(&self, certificate: usize, position: usize) -> bool {
        (self.setup.fleet[certificate].alive == Alive::First) == (position == 0)
    }

    pub(super) fn is_up(&self, certificate: usize, position: usize) -> bool {
        self.is_living(certificate, position) && !self.setup.outage.contains(&self.since_begin())
    }

    pub(super) fn ask(&mut self, process: usize, certificate: usize, position: usize) {
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
            Advice::new(life.fingerprint, Some(&info), before.as_ref(), now, &mut random)
        } else {
            Advice::unknown(life.fingerprint, None, before.as_ref(), now, &mut random)
        };
        self.processes[process].advice[certificate] = Some(advice);
    }

    /// Asks the CAs of the list from this one on; the lease is held until one has answered, or none may be asked.
    pub(super) fn attempt(
        &mut self,
        process: usize,
        certificate: usize,
        from: usize,
        mut shortest: Option<Duration>,
    ) {
        let replaced = self.kept[certificate].serving;
        for position in from..2 {
            self.learn(process);
            let now = self.now();
            let kind = match replaced {
                Some(life) if life.ca == Some(position) => OrderKind::Replacing,
                _ => OrderKind::New,
            };
            let order = Order {
                domains: &self.domains[certificate],
                key: KeyType::EcdsaP256,
                ca: &self.cas[certificate][position],
                kind,
                by_hand: false,
            };
            let stamps = &mut self.processes[process].stamps;
            if let Err(wait) = self.history.may_order(&order, stamps, now) {
                shortest = Some(shortest.map_or(wait.wait, |shortest| shortest.min(wait.wait)));
                continue;
            }
            let rng = &mut self.rng;
            let jitter = Jitter::new(&mut || rng.random());
            let noted = self.history.intend(&order, jitter, stamps, now);
            self.changes += 1;
            let replaces = (kind == OrderKind::Replacing)
                .then_some(replaced)
                .flatten()
                .map(|life| life.fingerprint);
            let (takes, result) = self.place(certificate, position, replaces);
            self.numbers += 1;
            let number = self.numbers;
            self.answers.insert(number, (noted, result));
            self.push(
                self.since_begin() + takes,
                YearEvent::Answer {
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

    /// Returns the answer of the CA to an order, and the time that it takes.
    pub(super) fn place(
        &mut self,
        certificate: usize,
        position: usize,
        replaces: Option<Fingerprint>,
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

    pub(super) fn answer(&mut self, process: usize, certificate: usize, position: usize, number: u64) {
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
                    fingerprint: fingerprint(self.numbers),
                    not_before: unix(not_before),
                    not_after: unix(not_before + one.life),
                    ca: Some(position),
                };
                self.ca.issued.insert(life.fingerprint, (one.name.clone(), false));
                self.ca.in_a_row.remove(&one.name);
                self.history.issued(noted, life.not_before, stamps, now);
                self.kept[certificate].serving = Some(life);
                self.kept[certificate].ordering = false;
                self.came[certificate].push(self.time - BEGIN);
                self.wake(certificate, self.since_begin() + MINUTE);
            }
            Err(error) => {
                self.history.failed(noted, &error, stamps, now);
                self.attempt(process, certificate, position + 1, Some(Duration::from_secs(1)));
            }
        }
    }

    /// Number of certificates so far, by name.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let fleet = self.setup.fleet.iter().zip(&self.came);
        fleet.map(|(one, came)| (one.name.clone(), came.len())).collect()
    }

    /// Names of the certificates that are configured and have no valid version.
    pub(super) fn unserved(&mut self) -> Vec<&'a str> {
        let now = self.now();
        let setup = self.setup;
        let fleet = setup.fleet.iter().zip(&self.kept);
        fleet
            .filter(|(one, _)| one.wanted.contains(&(self.time - BEGIN)))
            .filter(|(_, kept)| kept.serving.is_none_or(|life| life.not_after < now.wall))
            .map(|(one, _)| one.name.as_str())
            .collect()
    }

    /// Number of planned orders for each certificate, as `h2gate certs plan` gives it.
    pub(super) fn plan(&self, horizon: Duration) -> BTreeMap<String, usize> {
        let now = self.now();
        let fleet = self.setup.fleet.iter().zip(&self.kept).enumerate();
        let candidates: Vec<Candidate> = fleet
            .filter(|(_, (one, _))| one.wanted.contains(&self.since_begin()))
            .map(|(certificate, (one, kept))| Candidate {
                name: one.name.clone(),
                domains: self.domains[certificate].to_vec(),
                source: AcmeSource {
                    cas: self.cas[certificate].to_vec(),
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
        stamps.learn(&self.history, now);
        let plan = look_ahead(&candidates, self.history.clone(), stamps, now, horizon);
        let mut counts = BTreeMap::new();
        for order in plan.orders {
            *counts.entry(order.name).or_default() += 1;
        }
        counts
    }
}

pub(super) fn error(class: IssueFault, retry_after: Option<RetryAfter>) -> IssueError {
    IssueError {
        class,
        ca: "ca".to_owned(),
        text: String::new(),
        remedy: String::new(),
        retry_after,
    }
}
