//! Certificates that are renewed here, against a CA of the test and in tokio's own time.

use certstore::Name;

use super::doubles::{AcmeDouble, CaAnswer, Crash, RunningClock, TestStore, acme_config, failure, lock};
use super::*;
use crate::config::Source;
use crate::error::IssueFault;
use crate::{Action, ErrorClass, RevocationReason, State};

pub(super) const DAY: u64 = 86_400;

/// Waits in these tests are of tokio's paused time: so many days pass in no time.
const MONTHS: Duration = Duration::from_secs(400 * DAY);

pub(super) struct OrderingTest {
    pub(super) directory: TempDir,
    pub(super) clock: RunningClock,
    pub(super) ca: Arc<AcmeDouble>,
}

impl OrderingTest {
    pub(super) fn new() -> Self {
        let clock = RunningClock::new();
        Self {
            directory: TempDir::new().unwrap(),
            ca: AcmeDouble::new(&clock),
            clock,
        }
    }

    pub(super) fn options(&self, state: &State) -> Options {
        Options {
            state: Some(state.clone()),
            watch: false,
            now: self.clock.clock(),
            random: Arc::new(|| 0.5),
            ..Options::default()
        }
    }

    pub(super) fn start(&self) -> TestManager {
        self.start_with(acme_config())
    }

    pub(super) fn start_with(&self, config: CertificateConfig) -> TestManager {
        let state = State::open(self.directory.path()).unwrap();
        self.start_on(&state, config)
    }

    pub(super) fn start_on(&self, state: &State, config: CertificateConfig) -> TestManager {
        let issuers = self.ca.issuers(state);
        TestManager::start_with(vec![config], self.options(state), Some(issuers))
    }
}

impl TestManager {
    /// [`TestManager::told`], through months of paused time.
    pub(super) async fn told_in_time(&mut self, kind: &str) -> Event {
        let told = timeout(MONTHS, async {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.kind.label() == kind {
                    return event;
                }
            }
        });
        told.await.unwrap_or_else(|_| panic!("{kind} is not told"))
    }
}

pub(super) fn days_since(start: u64, clock: &RunningClock) -> f64 {
    (clock.now() - start) as f64 / DAY as f64
}

#[tokio::test(start_paused = true)]
async fn it_is_ordered_at_once_and_renewed_when_a_third_of_its_life_is_left() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    let start = world.clock.now();
    manager.told_in_time("issued").await;
    manager.told_in_time("promoted").await;
    let first = manager.serving().unwrap();
    assert!(days_since(start, &world.clock) < 0.01);
    manager.told_in_time("promoted").await;
    let after = days_since(start, &world.clock);
    assert!((59.0..61.5).contains(&after), "{after} days");
    assert_ne!(manager.serving(), Some(first));
    assert_eq!(world.ca.placed(), 2);
    assert_eq!(
        world.ca.replaced.load(Ordering::SeqCst),
        1,
        "the renewal says what it replaces"
    );
    let questions = world.ca.questions.load(Ordering::SeqCst);
    assert!(
        questions >= 119,
        "asked for advice twice a day: {questions} in 60 days"
    );
    let view = manager.handle.control().view("api").unwrap();
    assert_eq!(
        view.serving.unwrap().ca.as_deref(),
        Some("https://ca.test/directory")
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_ca_advises_moves_the_renewal_and_is_told_once() {
    let world = OrderingTest::new();
    let start = world.clock.now();
    *lock(&world.ca.window) = Some((start + 10 * DAY, start + 12 * DAY));
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let advised = manager.told_in_time("renewal_advised").await;
    assert!(advised.to_string().contains("https://ca.test/why"), "{advised}");
    let next = timeout(MONTHS, manager.events.recv()).await.unwrap().unwrap();
    assert_eq!(next.kind.label(), "ordering");
    let after = days_since(start, &world.clock);
    assert!(
        (10.9..11.1).contains(&after),
        "{after} days: the middle of the window, as drawn"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_serves_what_is_kept_and_orders_nothing() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let serving = manager.serving();
    drop(manager);
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    let mut manager = world.start();
    timeout(DEADLINE, manager.handle.first_load_done()).await.unwrap();
    assert_eq!(manager.next().await.kind.label(), "restored");
    assert_eq!(manager.serving(), serving);
    tokio::time::sleep(Duration::from_secs(20 * DAY)).await;
    assert_eq!(world.ca.placed(), 1);
    assert_eq!(manager.told_since(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn readiness_does_not_wait_for_the_ca() {
    let world = OrderingTest::new();
    world.ca.crashes_with(&Crash::at(0));
    let manager = world.start();
    timeout(DEADLINE, manager.handle.first_load_done())
        .await
        .expect("the CA's challenge could never reach us");
    assert_eq!(manager.serving(), None);
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_state_place_one_order() {
    let world = OrderingTest::new();
    let (mut one, mut other) = (world.start(), world.start());
    one.told_in_time("promoted").await;
    other.told_in_time("promoted").await;
    assert_eq!(one.serving(), other.serving());
    assert_eq!(world.ca.placed(), 1);
    tokio::time::sleep(Duration::from_secs(70 * DAY)).await;
    assert_eq!(world.ca.placed(), 2, "and one renewal");
    assert_eq!(one.serving(), other.serving());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ordered_while_its_key_could_not_be_kept() {
    let world = OrderingTest::new();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    store.fails.store(true, Ordering::SeqCst);
    let mut manager = world.start_on(&state, acme_config());
    let event = manager.told_in_time("failing").await;
    assert!(event.to_string().contains("No space left on device"), "{event}");
    assert!(event.to_string().contains("state_dir"), "{event}");
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(world.ca.placed(), 0);
    store.fails.store(false, Ordering::SeqCst);
    manager.told_in_time("promoted").await;
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_state_nothing_is_ordered_and_the_reason_is_told() {
    let world = OrderingTest::new();
    let mut manager = TestManager::start(vec![acme_config()], Options::default());
    let event = manager.told_in_time("failing").await;
    assert!(event.to_string().contains("set `state_dir`"), "{event}");
    assert_eq!(world.ca.placed(), 0);
    let refused = manager.handle.control().rollback("api", None).await;
    assert!(refused.is_err(), "commands are answered all the same");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_behind_an_order_loses_nothing() {
    let world = OrderingTest::new();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    let mut manager = world.start_on(&state, acme_config());
    manager.told_in_time("issued").await;
    // Between the order and the write of its certificate.
    store.fails.store(true, Ordering::SeqCst);
    manager.told_in_time("promoted").await;
    let serving = manager.serving();
    drop(manager);
    store.fails.store(false, Ordering::SeqCst);
    let mut manager = world.start();
    loop {
        // A write that had begun may have succeeded after all.
        let event = timeout(MONTHS, manager.events.recv()).await.unwrap().unwrap();
        if ["promoted", "restored"].contains(&event.kind.label()) {
            break;
        }
    }
    assert_eq!(
        manager.serving(),
        serving,
        "the same order brought the same chain"
    );
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_valid_yet_waits_and_is_never_ordered_again() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::IssueFor(3 * 3600));
    let mut manager = world.start();
    let event = manager.told_in_time("holding").await;
    assert!(event.to_string().contains("not valid"), "{event}");
    let view = manager.handle.control().view("api").unwrap();
    assert_eq!(view.next.action, Action::Hold);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(manager.told_since(), [""; 0]);
    drop(manager);
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_serve_is_refused_and_a_new_one_ordered_by_the_back_off() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::IssueElsewhere);
    let start = world.clock.now();
    let mut manager = world.start();
    let EventKind::Failing {
        error, attempts: 1, ..
    } = manager.told_in_time("failing").await.kind
    else {
        panic!("not the first failure");
    };
    assert_eq!(error.class().as_str(), "certificate");
    assert!(error.to_string().contains("a.test"), "{error}");
    assert!(error.remedy().contains("tell the CA"), "{error}");
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    assert!(world.clock.now() - start >= 54, "not before the first retry");
    assert_eq!(world.ca.placed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_is_down_is_told_of_and_asked_by_the_back_off() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    let mut manager = world.start();
    let start = world.clock.now();
    let mut at = Vec::new();
    for expected in 1..=4 {
        let EventKind::Failing { attempts, .. } = manager.told_in_time("failing").await.kind else {
            panic!("told as something else");
        };
        assert_eq!(attempts, expected);
        at.push((world.clock.now() - start) / 60);
    }
    assert_eq!((at[0], at[1]), (0, 1), "minutes: {at:?}");
    assert!(
        (9..=13).contains(&at[2]) && at[3] >= at[2] + 89,
        "minutes: {at:?}"
    );
    let view = manager.handle.control().view("api").unwrap();
    let trouble = view.trouble.unwrap();
    assert_eq!((trouble.class.as_str(), trouble.attempts), ("challenge", 4));
    assert!(ErrorClass::all().any(|class| class == trouble.class));
    // An operator who has corrected it need not wait.
    world.ca.answers(CaAnswer::Issue);
    let mended = world.clock.now();
    manager.handle.control().renew("api").await.unwrap();
    manager.told_in_time("promoted").await;
    let took = world.clock.now() - mended;
    assert!(took < 60, "{took} s");
    assert!(manager.handle.control().view("api").unwrap().trouble.is_none());
}

#[tokio::test(start_paused = true)]
async fn changed_domains_are_ordered_while_the_old_ones_serve() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.serving();
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let mut config = acme_config();
    config.domains.push(Name::parse("b.test").unwrap());
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    manager.handle.reload(vec![config.clone()]);
    manager.told_in_time("failing").await;
    assert_eq!(manager.serving(), old);
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    let names = manager.reader.current("api").unwrap().bundle().names().len();
    assert_eq!(names, 2);
    // A restart with these names serves at once, and so does one with some of them; one with others alone does not.
    let serving = manager.serving();
    drop(manager);
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    config.domains.push(Name::parse("c.test").unwrap());
    let mut manager = world.start_with(config.clone());
    manager.told_in_time("restored").await;
    assert_eq!(manager.serving(), serving);
    drop(manager);
    config.domains = vec![Name::parse("c.test").unwrap()];
    let mut manager = world.start_with(config);
    manager.told_in_time("failing").await;
    assert_eq!(manager.serving(), None);
}

#[tokio::test(start_paused = true)]
async fn what_an_order_left_behind_is_removed_when_a_reload_ends_it_for_good() {
    let elsewhere = CertificateConfig::from_files("api", "/nonexistent/chain.pem", "/nonexistent/key.pem");
    for configs in [Vec::new(), vec![elsewhere]] {
        let world = OrderingTest::new();
        let crash = Crash::at(1);
        world.ca.crashes_with(&crash);
        let manager = world.start();
        crash.happened().await;
        let at_the_start = std::mem::take(&mut *lock(&world.ca.cleaned_up));
        assert_eq!(at_the_start, ["api"]);
        manager.handle.reload(configs);
        let removed = timeout(DEADLINE, async {
            while lock(&world.ca.cleaned_up).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        removed.await.expect("nothing is removed");
        assert_eq!(*lock(&world.ca.cleaned_up), ["api"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_replaces_first_and_survives_a_restart() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.reader.current("api").unwrap();
    let leaf = old.bundle().certified_key().cert[0].to_vec();
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    let control = manager.handle.control();
    control
        .revoke("api", RevocationReason::KeyCompromise)
        .await
        .unwrap();
    manager.told_in_time("failing").await;
    assert!(lock(&world.ca.revoked).is_empty(), "nothing else serves yet");
    drop(manager);
    world.ca.answers(CaAnswer::Issue);
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    manager.told_in_time("revoked").await;
    assert_eq!(*lock(&world.ca.revoked), [leaf]);
    assert_ne!(manager.serving(), Some(old.fingerprint()));
    let control = manager.handle.control();
    assert!(
        control.rollback("api", None).await.is_err(),
        "what is revoked never serves again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_drops_nothing_and_costs_one_renewal_at_most() {
    for days in [40, -40] {
        let world = OrderingTest::new();
        let mut manager = world.start();
        manager.told_in_time("promoted").await;
        let before = world.ca.placed();
        tokio::time::sleep(Duration::from_secs(5 * DAY)).await;
        world.clock.set_by_days(days);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(DAY)).await;
            assert!(manager.serving().is_some());
        }
        assert!(world.ca.placed() <= before + 1, "set by {days} days");
        world.clock.set_by_days(-days);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(DAY)).await;
            assert!(manager.serving().is_some());
        }
        assert!(world.ca.placed() <= before + 2, "set back by {days} days");
    }
}

#[test]
fn a_failure_names_the_ca_and_what_to_do() {
    let error = failure(IssueFault::Challenge, "port 443 is closed");
    assert_eq!(error.to_string(), "port 443 is closed");
    let Source::Acme(source) = acme_config().source else {
        panic!("not from a CA");
    };
    assert_eq!(source.cas[0].name, error.ca);
}
