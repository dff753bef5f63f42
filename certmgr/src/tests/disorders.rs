//! Two processes on one state, and everything that can come between a wish to revoke and its end, in any order.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::SeqCst;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::doubles::{Answer, acme_config, lock};
use super::orders::World;
use super::*;
use crate::acme::IssueFault;
use crate::{Progress, RevocationReason, State};

/// In which each process must have seen what the other did.
const MINUTE: u64 = 61;

/// What happens before all is well again.
const STEPS: usize = 25;

struct Disorder {
    world: World,
    random: StdRng,
    processes: [Process; 2],
    leaves: HashMap<Generation, Vec<u8>>,
    /// What was asked for with success.
    wanted: HashSet<Generation>,
    /// When something else came to serve in place of it, in a process that had served it.
    replaced_at: HashMap<Generation, u64>,
}

#[derive(Default)]
struct Process {
    manager: Option<TestManager>,
    is_configured: bool,
    served: Option<Generation>,
}

impl Disorder {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(),
            random: StdRng::seed_from_u64(seed),
            processes: Default::default(),
            leaves: HashMap::new(),
            wanted: HashSet::new(),
            replaced_at: HashMap::new(),
        }
    }

    fn configs(is_configured: bool) -> Vec<CertificateConfig> {
        is_configured.then(acme_config).into_iter().collect()
    }

    fn start(&mut self, index: usize) {
        let state = State::open(self.world.directory.path()).unwrap();
        let (options, issuers) = (self.world.options(&state), self.world.authority.issuers(&state));
        let process = &mut self.processes[index];
        let configs = Self::configs(process.is_configured);
        // What the one before served is gone with it.
        process.served = None;
        process.manager = Some(TestManager::start_with(configs, options, Some(issuers)));
    }

    async fn act(&mut self) {
        let index = self.random.random_range(0..2);
        let act = self.random.random_range(0..10);
        println!("{} {index} act {act}", self.world.clock.now() % 100_000);
        match act {
            0 | 1 => self.revoke(index).await,
            2 => drop(self.manager(index).handle.control().renew("api").await),
            3 => drop(self.manager(index).handle.control().rollback("api", None).await),
            4 => self.configure(index),
            // As by a signal: whatever it was at ends where it is.
            5 | 6 => {
                self.processes[index].manager = None;
                self.start(index);
            }
            7 => {
                let fails = self.random.random_bool(0.5);
                let answer = match fails {
                    true => Answer::Fail(IssueFault::Unreachable),
                    false => Answer::Issue,
                };
                self.world.authority.answers(answer);
            }
            _ => {
                let classes = [None, Some(IssueFault::Unreachable), Some(IssueFault::RateLimited)];
                let class = classes[self.random.random_range(0..classes.len())];
                *lock(&self.world.authority.revokes_not) = class;
            }
        }
    }

    fn manager(&self, index: usize) -> &TestManager {
        self.processes[index].manager.as_ref().unwrap()
    }

    async fn revoke(&mut self, index: usize) {
        let manager = self.manager(index);
        let listed = |manager: &TestManager| -> HashSet<Generation> {
            let all = manager.handle.control().revocations();
            all.iter().map(|one| one.generation).collect()
        };
        let before = listed(manager);
        let control = manager.handle.control();
        if control
            .revoke("api", RevocationReason::KeyCompromise)
            .await
            .is_ok()
        {
            let new: Vec<_> = listed(self.manager(index)).difference(&before).copied().collect();
            self.wanted.extend(new);
        }
    }

    fn configure(&mut self, index: usize) {
        let process = &mut self.processes[index];
        process.is_configured = !process.is_configured;
        let configs = Self::configs(process.is_configured);
        process.manager.as_ref().unwrap().handle.reload(configs);
    }

    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(5) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.world.clock.now();
        let revoked: HashSet<Vec<u8>> = lock(&self.world.authority.revoked).iter().cloned().collect();
        for (index, process) in self.processes.iter_mut().enumerate() {
            let manager = process.manager.as_mut().unwrap();
            while let Ok(event) = manager.events.try_recv() {
                println!("{} {index} {event}", now % 100_000);
            }
            let serving = manager.reader.current("api");
            let generation = serving.as_ref().map(|serving| serving.generation());
            if let Some(serving) = serving {
                let leaf = serving.bundle().certified_key().cert[0].to_vec();
                self.leaves.insert(serving.generation(), leaf);
            }
            if let (Some(before), Some(now_serves)) = (process.served, generation)
                && before != now_serves
                && self.wanted.contains(&before)
            {
                self.replaced_at.entry(before).or_insert(now);
            }
            process.served = generation;
            let late = generation.and_then(|generation| self.replaced_at.get(&generation));
            assert!(
                late.is_none_or(|at| now <= at + MINUTE),
                "{generation:?} serves again"
            );
            for one in manager.handle.control().revocations() {
                let is_done = self
                    .leaves
                    .get(&one.generation)
                    .is_some_and(|leaf| revoked.contains(leaf));
                assert!(one.progress != Progress::Revoked || is_done, "{one:?}");
                let serves = generation == Some(one.generation);
                assert!(one.progress != Progress::Serving || serves, "{one:?}");
                assert!(one.progress != Progress::Asking || !serves, "{one:?}");
            }
        }
    }

    /// Everything works again, and both have the certificate.
    async fn end(&mut self) {
        self.world.authority.answers(Answer::Issue);
        *lock(&self.world.authority.revokes_not) = None;
        for index in 0..2 {
            if !self.processes[index].is_configured {
                self.configure(index);
            }
        }
        self.pass(120).await;
        // Whatever back-off is under way.
        let _ = self.manager(0).handle.control().renew("api").await;
        self.pass(2 * 3600).await;
        let revoked: HashSet<Vec<u8>> = lock(&self.world.authority.revoked).iter().cloned().collect();
        for generation in &self.wanted {
            assert!(
                revoked.contains(&self.leaves[generation]),
                "{generation} is not revoked"
            );
        }
        let serving = self.manager(0).serving().expect("nothing serves");
        assert_eq!(self.manager(1).serving(), Some(serving));
        assert!(!self.wanted.contains(&serving));
    }
}

async fn run(seed: u64) -> usize {
    println!("H2GATE_SEED={seed}");
    let mut disorder = Disorder::new(seed);
    for index in 0..2 {
        disorder.processes[index].is_configured = true;
        disorder.start(index);
    }
    disorder.pass(70).await;
    for _ in 0..STEPS {
        disorder.act().await;
        let pause = disorder.random.random_range(0..90);
        disorder.pass(pause).await;
    }
    disorder.end().await;
    assert!(disorder.world.authority.placed.load(SeqCst) > 0);
    disorder.wanted.len()
}

/// The given seed alone, or so many that chance draws.
async fn runs(count: u64) {
    let given = std::env::var("H2GATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = match given {
        Some(seed) => vec![seed],
        None => (0..count).map(|_| rand::rng().random()).collect(),
    };
    let mut wanted = 0;
    for seed in seeds {
        wanted += run(seed).await;
    }
    println!("{wanted} wishes");
}

#[tokio::test(start_paused = true)]
async fn whatever_comes_between_what_is_asked_for_is_revoked_and_never_returns() {
    runs(4).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "a hundred disorders take minutes"]
async fn a_hundred_disorders_lose_no_wish_and_bring_nothing_back() {
    runs(100).await;
}
