//! Two processes on one state, and all that can come between a wish to revoke and its end, in any order.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering::SeqCst;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certstore::Name;
use futures_util::FutureExt as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::doubles::{CaAnswer, Crash, TestStore, acme_config, failure, lock};
use super::orders::OrderingTest;
use super::*;
use crate::error::IssueFault;
use crate::{CommandError, Progress, Revocation, RevocationReason};

/// Seconds within which each process must have seen the changes of the other.
const MINUTE: u64 = 61;

/// Seconds between two looks.
const LOOK: u64 = 5;

/// Number of steps before all is well again.
const STEPS: usize = 30;

/// Number of further steps of the process before it crashes, at most.
const MAX_STEPS_TO_CRASH: i64 = 12;

struct Disorder {
    world: OrderingTest,
    random: StdRng,
    processes: [TestProcess; 2],
    wanted: HashMap<Fingerprint, RequestedRevocation>,
    /// Time at which a version last served anywhere, or would have after a restart, and its names.
    there_at: HashMap<Fingerprint, u64>,
    names: HashMap<Fingerprint, Vec<Name>>,
    /// Versions that a process has [`left`](TestProcess::left) and the disk no longer has.
    replaced: HashSet<Fingerprint>,
    /// Time since which the first version on disk has all its names.
    to_follow_since: HashMap<Fingerprint, u64>,
    /// Versions that the CA has revoked.
    revoked: HashSet<Fingerprint>,
}

/// A wish that was made with success.
struct RequestedRevocation {
    at: u64,
    leaf: Vec<u8>,
}

struct TestProcess {
    manager: Option<TestManager>,
    store: Option<Arc<TestStore>>,
    crash: Arc<Crash>,
    /// `None`: the certificate is not configured.
    domains: Option<&'static [&'static str]>,
    started_at: u64,
    served: Option<Fingerprint>,
    /// The version served at the last look, if it is still the same process.
    served_before: Option<Fingerprint>,
    /// Versions in whose place another one serves that has all their names.
    left: HashSet<Fingerprint>,
}

impl TestProcess {
    fn new() -> Self {
        Self {
            manager: None,
            store: None,
            crash: Crash::never(),
            domains: Some(&["a.test"]),
            started_at: 0,
            served: None,
            served_before: None,
            left: HashSet::new(),
        }
    }

    fn configs(&self) -> Vec<CertificateConfig> {
        let config = |domains: &[&str]| CertificateConfig {
            domains: domains.iter().map(|name| Name::parse(name).unwrap()).collect(),
            ..acme_config()
        };
        self.domains.map(config).into_iter().collect()
    }

    fn manager(&self) -> &TestManager {
        self.manager.as_ref().unwrap()
    }

    fn disk_is_full(&self, fails: bool, unwritable: bool) {
        let store = self.store.as_ref().unwrap();
        store.fails.store(fails, SeqCst);
        store.unwritable.store(unwritable, SeqCst);
    }
}

impl Disorder {
    fn new(seed: u64) -> Self {
        Self {
            world: OrderingTest::new(),
            random: StdRng::seed_from_u64(seed),
            processes: [TestProcess::new(), TestProcess::new()],
            wanted: HashMap::new(),
            there_at: HashMap::new(),
            names: HashMap::new(),
            replaced: HashSet::new(),
            to_follow_since: HashMap::new(),
            revoked: HashSet::new(),
        }
    }

    /// Starts a process, after a signal ended the one before in the middle of its work.
    fn start(&mut self, index: usize) {
        let process = &mut self.processes[index];
        process.manager = None;
        process.crash.is_over();
        process.crash = Crash::never();
        let (state, store) = TestStore::open(self.world.directory.path(), &process.crash);
        let options = self.world.options(&state);
        let issuers = self.world.ca.issuers_of(&state, Some(&process.crash));
        // The versions that the previous process served are gone with it.
        process.served = None;
        process.left.clear();
        process.started_at = self.world.clock.now();
        process.store = Some(store);
        process.manager = Some(TestManager::start_with(process.configs(), options, Some(issuers)));
    }

    async fn act(&mut self) {
        let index = self.random.random_range(0..2);
        let act = self.random.random_range(0..18);
        println!("{} {index} act {act}", self.world.clock.now() % 100_000);
        let control = self.processes[index].manager().handle.control();
        match act {
            0..=2 | 15.. => self.revoke(index).await,
            3 => drop(answered(control.renew("api")).await),
            4 => drop(answered(control.rollback("api", None)).await),
            5 | 6 => self.configure(index),
            7 => self.start(index),
            8 | 9 => {
                let steps = self.random.random_range(0..MAX_STEPS_TO_CRASH);
                self.processes[index].crash.arm(steps);
            }
            10 | 11 => {
                let answer = match self.random.random_bool(0.5) {
                    true => CaAnswer::Fail(IssueFault::Unreachable),
                    false => CaAnswer::Issue,
                };
                self.world.ca.answers(answer);
            }
            12 | 13 => {
                let classes = [
                    None,
                    Some(IssueFault::Unreachable),
                    Some(IssueFault::RateLimited),
                    Some(IssueFault::Refused),
                ];
                let class = classes[self.random.random_range(0..classes.len())];
                *lock(&self.world.ca.revokes_not) = class.map(|class| failure(class, "no"));
            }
            _ => {
                let [fails, unwritable] = [(); 2].map(|()| self.random.random_bool(0.4));
                self.processes[index].disk_is_full(fails, unwritable);
            }
        }
    }

    async fn revoke(&mut self, index: usize) {
        let listed = |process: &TestProcess| -> HashSet<Fingerprint> {
            let all = process.manager().handle.control().revocations();
            all.iter().map(|one| one.fingerprint).collect()
        };
        let before = listed(&self.processes[index]);
        let control = self.processes[index].manager().handle.control();
        let reason = RevocationReason::KeyCompromise;
        if answered(control.revoke("api", reason)).await.is_some() {
            let at = self.world.clock.now();
            let now = listed(&self.processes[index]);
            for fingerprint in now.difference(&before) {
                let path = format!("revocations/{fingerprint:x}.json");
                let noted = read_json(&self.world.directory.path().join(path)).expect("it is not noted");
                let leaf = STANDARD.decode(noted["leaf"].as_str().unwrap()).unwrap();
                self.wanted
                    .entry(*fingerprint)
                    .or_insert(RequestedRevocation { at, leaf });
            }
        }
    }

    fn configure(&mut self, index: usize) {
        let all: [Option<&[&str]>; 5] = [
            None,
            Some(&["a.test"]),
            Some(&["a.test"]),
            Some(&["b.test"]),
            Some(&["a.test", "b.test"]),
        ];
        let domains = all[self.random.random_range(0..all.len())];
        self.configure_as(index, domains);
    }

    fn configure_as(&mut self, index: usize, domains: Option<&'static [&'static str]>) {
        println!("{index} has {domains:?}");
        let process = &mut self.processes[index];
        process.domains = domains;
        process.manager().handle.reload(process.configs());
    }

    async fn pass(&mut self, seconds: u64, look: u64) {
        for _ in 0..seconds.div_ceil(look) {
            tokio::time::sleep(Duration::from_secs(look)).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.world.clock.now();
        let served = [0, 1].map(|index| self.look_at(index, now));
        for [before, serves] in served {
            let returns = serves.filter(|serves| before != Some(*serves) && self.replaced.contains(serves));
            assert_eq!(returns, None, "it serves again");
        }
        self.look_at_disk(now);
        let leaves = lock(&self.world.ca.revoked).clone();
        let is_revoked = |wanted: &RequestedRevocation| leaves.contains(&wanted.leaf);
        let of_now: HashSet<_> = self
            .wanted
            .iter()
            .filter(|(_, one)| is_revoked(one))
            .map(|(one, _)| *one)
            .collect();
        for fingerprint in of_now.difference(&self.revoked) {
            // If a crash prevented the note of the CA's answer, a process that begins to serve it then cannot know.
            let is_noted = self.is_noted_as_revoked(*fingerprint);
            let serves = self.processes.iter().any(|process| {
                let before = process.served_before;
                process.served == Some(*fingerprint) && (is_noted || before == process.served)
            });
            let is_replaced = self.replaced.contains(fingerprint);
            assert!(!serves || is_replaced, "{fingerprint} is revoked and serves");
        }
        self.revoked = of_now;
        for [_, serves] in served {
            let since = serves.and_then(|fingerprint| self.to_follow_since.get(&fingerprint));
            // The first version may be replaced meanwhile, and the next look sees that.
            let is_late = since.is_some_and(|since| now > since + 2 * MINUTE);
            assert!(!is_late, "{serves:?} still serves");
        }
        for index in [0, 1] {
            self.judge_what_is_shown(index, now);
            if self.processes[index].crash.has_happened() {
                println!("{index} has crashed");
                self.start(index);
            }
        }
    }

    /// The version that a process served at the last look, and the one that it serves now.
    fn look_at(&mut self, index: usize, now: u64) -> [Option<Fingerprint>; 2] {
        let process = &mut self.processes[index];
        process.served_before = process.served;
        let manager = process.manager.as_mut().unwrap();
        let mut passed = Vec::new();
        while let Ok(event) = manager.events.try_recv() {
            println!("{} {index} {event}", now % 100_000);
            match event.kind {
                // It may have been replaced since.
                EventKind::Restored { fingerprint, .. } => {
                    process.served = Some(fingerprint);
                    passed.push(fingerprint);
                }
                EventKind::Promoted {
                    fingerprint, names, ..
                } => {
                    self.names.insert(fingerprint, names);
                    passed.push(fingerprint);
                }
                EventKind::RolledBack { to, .. } => passed.push(to),
                _ => {}
            }
        }
        let serving = manager.reader.current("api");
        let serves = serving.as_ref().map(|serving| serving.fingerprint());
        let before = std::mem::replace(&mut process.served, serves);
        if let Some(serving) = serving {
            let serves = serving.fingerprint();
            self.there_at.insert(serves, now);
            self.names.insert(serves, serving.bundle().names().to_vec());
            passed.push(serves);
        }
        // Some versions come and go between two looks.
        let mut last = process.served_before;
        for one in passed {
            let left = last.filter(|left| *left != one && self.wanted.contains_key(left));
            let left = left.filter(|left| self.has_names_of(one, *left));
            let process = &mut self.processes[index];
            process.left.remove(&one);
            process.left.extend(left);
            last = Some(one);
        }
        [before, serves]
    }

    fn look_at_disk(&mut self, now: u64) {
        let kept = self.kept();
        let is_kept = |fingerprint: &Fingerprint| kept.contains(&format!("{fingerprint:x}"));
        let kept_now: Vec<_> = self
            .names
            .keys()
            .copied()
            .filter(|known| is_kept(known))
            .collect();
        self.there_at.extend(kept_now.into_iter().map(|one| (one, now)));
        let left = self.processes.iter().flat_map(|process| &process.left);
        let replaced: Vec<_> = left.copied().filter(|left| !is_kept(left)).collect();
        self.replaced.extend(replaced);
        let is_first = |known: &&Fingerprint| kept.first() == Some(&format!("{known:x}"));
        let first = self.names.keys().find(is_first).copied();
        for fingerprint in &self.replaced {
            match first.is_some_and(|first| self.has_names_of(first, *fingerprint)) {
                true => {
                    self.to_follow_since.entry(*fingerprint).or_insert(now);
                }
                false => {
                    self.to_follow_since.remove(fingerprint);
                }
            }
        }
    }

    fn has_names_of(&self, one: Fingerprint, other: Fingerprint) -> bool {
        let [Some(one), Some(other)] = [one, other].map(|known| self.names.get(&known)) else {
            return false;
        };
        other.iter().all(|name| one.iter().any(|own| own.covers(name)))
    }

    /// Checks that `certs list` and `certs show` are true.
    fn judge_what_is_shown(&self, index: usize, now: u64) {
        let process = &self.processes[index];
        let control = process.manager().handle.control();
        let (listed, serves) = (control.revocations(), process.served);
        for one in &listed {
            let fingerprint = one.fingerprint;
            let is_here = serves == Some(fingerprint);
            let there_at = self.there_at.get(&fingerprint);
            // The other process sees it within a minute, and this one sees that.
            let is_anywhere = there_at.is_some_and(|at| now <= at + 2 * MINUTE + LOOK);
            let is_so = match one.progress {
                Progress::Revoked => {
                    self.revoked.contains(&fingerprint) || !self.wanted.contains_key(&fingerprint)
                }
                Progress::Serving => is_here || is_anywhere && one.message.is_some(),
                Progress::Asking => !is_here,
                Progress::Refused => !is_here && one.message.is_some(),
            };
            assert!(is_so, "{} {index}: {one:?}, there at {there_at:?}", now % 100_000);
        }
        for (fingerprint, wanted) in &self.wanted {
            let seen_by = wanted.at.max(process.started_at) + MINUTE;
            let is_listed = listed.iter().any(|one| one.fingerprint == *fingerprint);
            assert!(is_listed || now <= seen_by, "{index} does not list {fingerprint}");
        }
        let is_configured = process.domains.is_some();
        let Ok(view) = control.view("api") else {
            assert!(!is_configured && serves.is_none());
            return;
        };
        assert!(is_configured);
        assert_eq!(view.serving.map(|version| version.fingerprint), serves);
        assert_eq!(view.revocations, listed);
        let is_to_go = |version: &crate::Version| {
            let of_it = |one: &Revocation| one.fingerprint == version.fingerprint;
            listed.iter().any(of_it)
        };
        assert!(
            !view.previous.iter().any(is_to_go),
            "{index}: {:?}",
            view.previous
        );
    }

    fn is_noted_as_revoked(&self, fingerprint: Fingerprint) -> bool {
        let path = format!("revocations/{fingerprint:x}.json");
        let noted = read_json(&self.world.directory.path().join(path));
        noted.is_some_and(|noted| noted.get("revoked_at").is_some())
    }

    /// The kept versions, the first one first.
    fn kept(&self) -> Vec<String> {
        let document = read_json(&self.world.directory.path().join("certificates/api.json"));
        let versions = document
            .as_ref()
            .and_then(|document| document["versions"].as_array());
        let fingerprint = |version: &serde_json::Value| version["fingerprint"].as_str().unwrap().to_owned();
        versions.into_iter().flatten().map(fingerprint).collect()
    }

    /// True if no more steps are to come.
    fn is_over(&self) -> bool {
        let [one, other] = [0, 1].map(|index| self.processes[index].manager());
        let listed = [one, other].map(|manager| manager.handle.control().revocations());
        let is_revoked = |one: &Revocation| one.progress == Progress::Revoked;
        self.wanted.keys().all(|wanted| self.revoked.contains(wanted))
            && one.serving().is_some()
            && one.serving() == other.serving()
            && listed.iter().flatten().all(is_revoked)
    }

    /// Makes everything work again, with the certificate in both processes.
    async fn end(&mut self) {
        println!("all is well");
        self.world.ca.answers(CaAnswer::Issue);
        *lock(&self.world.ca.revokes_not) = None;
        for index in [0, 1] {
            self.processes[index].disk_is_full(false, false);
            self.processes[index].crash.arm(i64::MAX);
            self.configure_as(index, Some(&["a.test"]));
        }
        self.pass(120, LOOK).await;
        // Ends any back-off in progress.
        let control = self.processes[0].manager().handle.control();
        answered(control.renew("api")).await;
        // A refused revocation is asked for again daily.
        for _ in 0..25 * 60 {
            if self.is_over() {
                break;
            }
            self.pass(60, 60).await;
        }
        self.pass(600, 60).await;
        for fingerprint in self.wanted.keys() {
            assert!(self.revoked.contains(fingerprint), "{fingerprint} is not revoked");
        }
        let [one, other] = [0, 1].map(|index| self.processes[index].manager());
        let serving = one.serving().expect("nothing serves");
        assert_eq!(other.serving(), Some(serving));
        assert!(!self.wanted.contains_key(&serving));
        for manager in [one, other] {
            let listed = manager.handle.control().revocations();
            assert!(
                listed
                    .iter()
                    .all(|revocation| revocation.progress == Progress::Revoked)
            );
        }
    }
}

/// The answer of the process, unless it crashes.
async fn answered<T>(asked: impl Future<Output = Result<T, CommandError>>) -> Option<T> {
    timeout(DEADLINE, asked).await.ok()?.ok()
}

fn read_json(path: &Path) -> Option<serde_json::Value> {
    fs::read(path)
        .ok()
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

async fn run(seed: u64) -> usize {
    println!("H2GATE_SEED={seed}");
    let mut disorder = Disorder::new(seed);
    for index in [0, 1] {
        disorder.start(index);
    }
    disorder.pass(70, LOOK).await;
    for _ in 0..STEPS {
        disorder.act().await;
        let pause = disorder.random.random_range(0..90);
        disorder.pass(pause, LOOK).await;
    }
    disorder.end().await;
    assert!(disorder.world.ca.placed.load(SeqCst) > 0);
    disorder.wanted.len()
}

/// Seeds that are played if neither a seed nor a proof is asked for.
const SEEDS: [u64; 6] = [
    18_280_444_969_017_186_840,
    9_434_880_058_052_532_189,
    6_882_558_654_270_089_325,
    9_160_716_364_111_030_298,
    8_913_201_655_222_324_500,
    535_449_816_238_154_494,
];

/// Plays the seed that `H2GATE_SEED` gives, or a hundred random ones if `H2GATE_PROOF` is 1, or [`SEEDS`].
#[tokio::test(start_paused = true)]
async fn whatever_comes_between_what_is_asked_for_is_revoked_and_never_returns() {
    let given = std::env::var("H2GATE_SEED").ok();
    let seeds: Vec<u64> = match given.map(|seed| seed.parse().unwrap()) {
        Some(seed) => vec![seed],
        None if is_proof() => (0..100).map(|_| rand::rng().random()).collect(),
        None => SEEDS.to_vec(),
    };
    let (mut wanted, mut failed) = (0, Vec::new());
    for seed in seeds {
        match AssertUnwindSafe(run(seed)).catch_unwind().await {
            Ok(wishes) => wanted += wishes,
            Err(_) => failed.push(seed),
        }
    }
    println!("{wanted} wishes");
    assert!(
        failed.is_empty(),
        "each is played again by H2GATE_SEED: {failed:?}"
    );
}
