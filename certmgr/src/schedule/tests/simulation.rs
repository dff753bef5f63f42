//! The life of a certificate without I/O: a virtual clock, CAs that fail on command, and a log of the actions.

use std::ops::Range;
use std::time::Duration;

use certstore::{Fingerprint, Name, UnixTime};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;
use crate::config::{Ca, KeyType};
use crate::error::{IssueError, RetryAfter, SaidOf};
use crate::ledger::{History, Order, OrderKind, Stamps};
use crate::schedule::RenewalInfo;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Beginning of true time.
pub(super) const BEGIN: Duration = Duration::from_secs(1_800_000_000);

/// Time by which CAs date certificates back.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Advice of a CA on renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdviceOfCa {
    /// The CA has no such service.
    Nothing,
    /// A window of two days where a third of the life is left, or of a twentieth in the middle of a short one.
    Sense,
    /// A window that is over.
    Now,
    /// An end before the start.
    Nonsense,
    /// A window after the certificate's end.
    TooLate,
}

/// Behaviour of a CA.
#[derive(Debug, Clone)]
pub(super) struct CaSetup {
    pub(super) says: AdviceOfCa,
    pub(super) life: Duration,
    /// Outages, counted from [`BEGIN`].
    pub(super) down: Vec<Range<Duration>>,
    /// The `Retry-After` of each failure while the CA is down.
    pub(super) retry_after: Option<Duration>,
    /// The answer while the CA is down: for example 429, instead of none.
    pub(super) answers: Option<IssueFault>,
}

/// A deliberate mistake: a fact that the schedule does not get, or an action that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    NoHolds,
    NoBackOff,
    NoProbes,
    NoHaste,
    NoFloor,
    LateShare,
    AnyAdvice,
    WaitsByWallClock,
    NothingNotedBeforeOrders,
}

/// A life to simulate.
#[derive(Debug, Clone)]
pub(super) struct LifeSetup {
    pub(super) cas: Vec<CaSetup>,
    pub(super) directory: &'static str,
    pub(super) horizon: Duration,
    /// Times from [`BEGIN`] at which the wall clock is set, and the seconds by which it is then off.
    pub(super) clock: Vec<(Duration, i64)>,
    /// The process dies in each order until the second of these times, and is started again after the first.
    pub(super) dies_in_orders: Option<(Duration, Duration)>,
    /// Times at which the process is restarted.
    pub(super) restarts: Vec<Duration>,
    pub(super) begins_served: bool,
    pub(super) mutant: Mutant,
    pub(super) seed: u64,
}

impl LifeSetup {
    pub(super) fn new(life: Duration, says: AdviceOfCa, horizon: Duration, seed: u64) -> Self {
        Self {
            cas: vec![CaSetup {
                says,
                life,
                down: Vec::new(),
                retry_after: None,
                answers: None,
            }],
            directory: "https://ca.example/directory",
            horizon,
            clock: Vec::new(),
            dies_in_orders: None,
            restarts: Vec::new(),
            begins_served: true,
            mutant: Mutant::None,
            seed,
        }
    }

    pub(super) fn down(mut self, from: Duration, length: Duration) -> Self {
        self.cas[0].down.push(from..from + length);
        self
    }
}

pub(super) const RULES: Rules = Rules {
    min_interval: HOUR,
    first_retry: MINUTE,
};

/// An event, and its instant in true time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Happened {
    pub(super) at: Duration,
    pub(super) what: LogEntry,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LogEntry {
    /// A certificate serves from now on.
    Served {
        not_after: Duration,
    },
    Ordered {
        ca: usize,
        why: Why,
    },
    Failed {
        ca: usize,
        class: Option<IssueFault>,
        retry_after: Option<Duration>,
    },
    Probed {
        ca: usize,
        reachable: bool,
    },
    Asked,
    Waits,
}

/// Plays the life and returns the log.
pub(super) fn play(setup: &LifeSetup) -> Vec<Happened> {
    let mut world = Simulation::new(setup);
    while world.time < BEGIN + setup.horizon {
        world.turn();
    }
    world.log
}

struct Simulation<'a> {
    setup: &'a LifeSetup,
    rng: StdRng,
    time: Duration,
    /// MonotonicTime time minus true time, in seconds: each process takes it from the wall clock at its start.
    monotonic_off: i64,
    history: History,
    stamps: Stamps,
    serving: Option<(Life, Duration)>,
    advice: Option<Advice>,
    asked_about: Option<Fingerprint>,
    probe: Option<Probe>,
    issued: u64,
    cas: Vec<Ca>,
    domains: Vec<Name>,
    restarts: Vec<Duration>,
    log: Vec<Happened>,
}

impl<'a> Simulation<'a> {
    fn new(setup: &'a LifeSetup) -> Self {
        let ca = |number: usize| Ca {
            name: format!("ca{number}"),
            directory: format!("{}{}", setup.directory, "/".repeat(number)),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        let mut world = Self {
            setup,
            rng: StdRng::seed_from_u64(setup.seed),
            time: BEGIN,
            monotonic_off: 0,
            history: History::default(),
            stamps: Stamps::default(),
            serving: None,
            advice: None,
            asked_about: None,
            probe: None,
            issued: 0,
            cas: (0..setup.cas.len()).map(ca).collect(),
            domains: vec![Name::parse("api.example.com").unwrap()],
            restarts: setup.restarts.iter().rev().map(|at| BEGIN + *at).collect(),
            log: Vec::new(),
        };
        if setup.begins_served {
            let order = Order {
                domains: &world.domains,
                key: KeyType::EcdsaP256,
                ca: &world.cas[0],
                kind: OrderKind::New,
                by_hand: false,
            };
            let now = world.now();
            let noted = world.history.intend(&order, Jitter(500), &mut world.stamps, now);
            let life = world.make(0);
            world
                .history
                .issued(noted, life.0.not_before, &mut world.stamps, now);
            world.serve(life);
        }
        world
    }

    fn turn(&mut self) {
        let now = self.now();
        if self.restarts.last().is_some_and(|at| *at <= self.time) {
            self.restarts.pop();
            return self.restart();
        }
        let next = next(&self.known(), &RULES, now);
        if !next.wait.is_zero() {
            return self.sleep(next.wait);
        }
        match next.action {
            ScheduledAction::Issue => self.go(next.why),
            ScheduledAction::AskRenewalInfo { ca } => self.ask(ca),
            ScheduledAction::Probe { ca } => self.look(ca),
            // The self-check never finds anything here.
            ScheduledAction::CheckNames => {
                self.probe = Some(Probe {
                    at: now.monotonic,
                    good: true,
                    was_bad: false,
                    jitter: Jitter::new(&mut || self.rng.random()),
                });
            }
        }
    }

    /// Sleeps for this wait, or until the wall clock is set or the process restarts.
    fn sleep(&mut self, wait: Duration) {
        let clock = self.setup.clock.iter().map(|(at, _)| BEGIN + *at);
        let wake = clock
            .chain(self.restarts.last().copied())
            .filter(|at| *at > self.time)
            .min();
        // The task asks again within a minute after the clock is set.
        let until = wake.map_or(Duration::MAX, |wake| wake.saturating_sub(self.time));
        self.time += wait.min(until).max(Duration::from_millis(1));
    }

    fn go(&mut self, why: Why) {
        let mut shortest: Option<Duration> = None;
        for ca in 0..self.cas.len() {
            let kind = match self.serving {
                Some((life, _)) if life.ca == Some(ca) => OrderKind::Replacing,
                _ => OrderKind::New,
            };
            let now = self.now();
            let (domains, config) = (self.domains.clone(), self.cas[ca].clone());
            let order = Order {
                domains: &domains,
                key: KeyType::EcdsaP256,
                ca: &config,
                kind,
                by_hand: false,
            };
            if let Err(wait) = self.history.may_order(&order, &self.stamps, now)
                && self.setup.mutant != Mutant::NoHolds
            {
                shortest = Some(shortest.map_or(wait.wait, |shortest| shortest.min(wait.wait)));
                continue;
            }
            shortest = Some(Duration::ZERO);
            let before = self.history.clone();
            let jitter = Jitter::new(&mut || self.rng.random());
            let noted = self.history.intend(&order, jitter, &mut self.stamps, now);
            self.happened(LogEntry::Ordered { ca, why });
            if let Some((pause, until)) = self.setup.dies_in_orders
                && self.time < BEGIN + until
            {
                if self.setup.mutant == Mutant::NothingNotedBeforeOrders {
                    self.history = before;
                }
                self.happened(LogEntry::Failed {
                    ca,
                    class: None,
                    retry_after: None,
                });
                self.time += pause;
                return self.restart();
            }
            self.time += Duration::from_secs(self.rng.random_range(1..20));
            let now = self.now();
            match self.fault(ca) {
                None => {
                    let life = self.make(ca);
                    let not_before = life.0.not_before;
                    // RFC 5280: validity is judged by the clock of the peer. An expired certificate is never
                    // installed.
                    if now.wall > life.0.not_after {
                        let error = self.error(IssueFault::Certificate, None);
                        self.history.failed(noted, &error, &mut self.stamps, now);
                        self.happened(LogEntry::Failed {
                            ca,
                            class: Some(IssueFault::Certificate),
                            retry_after: None,
                        });
                        return;
                    }
                    self.history.issued(noted, not_before, &mut self.stamps, now);
                    self.serve(life);
                    return;
                }
                Some(class) => {
                    let retry_after = self.setup.cas[ca].retry_after;
                    let error = self.error(class, retry_after);
                    self.history.failed(noted, &error, &mut self.stamps, now);
                    self.happened(LogEntry::Failed {
                        ca,
                        class: Some(class),
                        retry_after,
                    });
                }
            }
        }
        if let Some(wait) = shortest.filter(|wait| !wait.is_zero()) {
            self.happened(LogEntry::Waits);
            self.sleep(wait);
        }
    }

    fn ask(&mut self, ca: usize) {
        self.happened(LogEntry::Asked);
        let now = self.now();
        let Some((life, not_before)) = self.serving else {
            return;
        };
        let before = self.advice.take();
        self.asked_about = Some(life.fingerprint);
        let mut rng = self.rng.clone();
        let mut random = || rng.random();
        let down = self.fault(ca).is_some();
        self.advice = Some(if down {
            let retry_after = self.setup.cas[ca].retry_after;
            let error = self.error(self.fault(ca).unwrap(), retry_after);
            Advice::unknown(life.fingerprint, error.limit(), before.as_ref(), now, &mut random)
        } else {
            let says = self.setup.cas[ca].says;
            let info = window(says, not_before, life.span(), self.time);
            Advice::new(life.fingerprint, info.as_ref(), before.as_ref(), now, &mut random)
        });
        self.rng = rng;
    }

    fn look(&mut self, ca: usize) {
        let reachable = self.fault(ca).is_none();
        self.happened(LogEntry::Probed { ca, reachable });
        self.probe = Some(Probe {
            at: self.now().monotonic,
            good: reachable,
            was_bad: false,
            jitter: Jitter::new(&mut || self.rng.random()),
        });
    }

    fn known(&self) -> Facts {
        let now = self.now();
        let mut known = Facts {
            serving: self.serving.map(|(life, _)| life),
            advice: self.advice.clone(),
            record: self
                .history
                .record(&self.domains, KeyType::EcdsaP256, &self.cas, &self.stamps, now),
            probe: self.probe,
            requested: false,
            wanted: false,
            names_changed: false,
        };
        match self.setup.mutant {
            Mutant::NoHolds => known.record.holds.clear(),
            Mutant::NoBackOff => known.record.failing = None,
            Mutant::NoProbes => {
                if let Some(failing) = &mut known.record.failing {
                    failing.unreachable = None;
                }
            }
            Mutant::NoHaste => {
                if let Some(probe) = &mut known.probe {
                    probe.good = false;
                }
            }
            Mutant::NoFloor => known.record.last_issued = None,
            Mutant::LateShare => {
                if let Some(life) = &mut known.serving {
                    life.not_after = unix(Duration::from_secs(life.not_after.as_secs()) + life.span() / 3);
                }
            }
            Mutant::AnyAdvice => {
                if let (Some(fingerprint), Some(life)) = (self.asked_about, &mut known.serving) {
                    life.fingerprint = fingerprint;
                }
            }
            Mutant::None | Mutant::WaitsByWallClock | Mutant::NothingNotedBeforeOrders => {}
        }
        known
    }

    fn restart(&mut self) {
        self.monotonic_off = self.off();
        self.probe = None;
        self.advice = None;
        self.stamps = Stamps::default();
        let now = self.now();
        self.history = History::parse(&self.history.to_bytes()).unwrap();
        self.stamps.learn(&self.history, now);
        self.time += Duration::from_secs(1);
    }

    fn fault(&self, ca: usize) -> Option<IssueFault> {
        let ca = &self.setup.cas[ca];
        let down = ca.down.iter().any(|down| down.contains(&(self.time - BEGIN)));
        down.then(|| ca.answers.unwrap_or(IssueFault::Unreachable))
    }

    fn make(&mut self, ca: usize) -> (Life, Duration) {
        self.issued += 1;
        let not_before = self.time - BACKDATED;
        let life = Life {
            fingerprint: fingerprint(self.issued),
            not_before: unix(not_before),
            not_after: unix(not_before + self.setup.cas[ca].life),
            ca: Some(ca),
        };
        (life, not_before)
    }

    fn serve(&mut self, life: (Life, Duration)) {
        self.serving = Some(life);
        let not_after = life.1 + life.0.span();
        self.happened(LogEntry::Served { not_after });
    }

    fn off(&self) -> i64 {
        let mut set = self.setup.clock.iter().rev();
        set.find(|(at, _)| BEGIN + *at <= self.time)
            .map_or(0, |(_, off)| *off)
    }

    fn now(&self) -> Now {
        let wall = shifted(self.time, self.off());
        let monotonic = match self.setup.mutant {
            Mutant::WaitsByWallClock => wall,
            _ => shifted(self.time, self.monotonic_off),
        };
        Now {
            wall: unix(wall),
            monotonic: MonotonicTime(monotonic),
        }
    }

    fn error(&self, class: IssueFault, retry_after: Option<Duration>) -> IssueError {
        IssueError {
            class,
            ca: "ca".to_owned(),
            text: "down".to_owned(),
            remedy: "wait".to_owned(),
            retry_after: retry_after.map(|wait| {
                let said_of = match class {
                    IssueFault::RateLimited => SaidOf::Names,
                    _ => SaidOf::Outage,
                };
                RetryAfter::new(wait, said_of)
            }),
        }
    }

    fn happened(&mut self, what: LogEntry) {
        self.log.push(Happened { at: self.time, what });
    }
}

fn window(says: AdviceOfCa, not_before: Duration, life: Duration, time: Duration) -> Option<RenewalInfo> {
    let end = not_before + life;
    let (from, to) = match says {
        AdviceOfCa::Nothing => return None,
        AdviceOfCa::Sense if life > 10 * DAY => (end - life / 3 - DAY, end - life / 3 + DAY),
        AdviceOfCa::Sense => (end - life / 2 - life / 40, end - life / 2 + life / 40),
        AdviceOfCa::Now => (time - 2 * DAY, time - DAY),
        AdviceOfCa::Nonsense => (time + DAY, time - DAY),
        AdviceOfCa::TooLate => (end + DAY, end + 2 * DAY),
    };
    // RFC 9773 §4.2: the ACME part drops such an answer before.
    (from < to).then_some(RenewalInfo {
        window: (unix(from), unix(to)),
        explanation: None,
        retry_after: Some(6 * HOUR),
    })
}

pub(super) fn unix(at: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(at)
}

fn shifted(time: Duration, by: i64) -> Duration {
    let seconds = Duration::from_secs(by.unsigned_abs());
    if by < 0 { time - seconds } else { time + seconds }
}

/// Makes as many different fingerprints as there are numbers.
pub(super) fn fingerprint(number: u64) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Fingerprint::from_bytes(bytes)
}
