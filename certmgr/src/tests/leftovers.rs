//! Orders that a reload or the end of the program cuts off, of certificates that nobody orders afterwards.

use super::doubles::{Crash, TestLease, acme_config, lock};
use super::orders::OrderingTest;
use super::*;
use crate::State;
use crate::config::{Challenge, DnsProvider, ExecHook, Source};

/// A certificate whose TXT records are written by this command.
fn by_hook(name: &str, command: &str) -> CertificateConfig {
    let mut config = acme_config();
    config.name = name.to_owned();
    if let Source::Acme(source) = &mut config.source {
        source.challenge = Challenge::Dns01(DnsProvider::Exec(ExecHook {
            command: vec![command.to_owned()],
            timeout: SOON,
            propagation: SOON,
        }));
    }
    config
}

impl OrderingTest {
    /// `api` is in the middle of an order.
    async fn in_the_middle(&self) -> TestManager {
        let crash = Crash::at(2);
        self.ca.crashes_with(&crash);
        let manager = self.start_with(by_hook("api", "hook"));
        assert_eq!(crash.happened().await, "before it is finalized");
        self.ca.crashes_with(&Crash::never());
        assert!(self.has_record() && self.has_note());
        manager
    }

    fn has_record(&self) -> bool {
        lock(&self.ca.records).iter().any(|(name, _)| name == "api")
    }

    fn has_note(&self) -> bool {
        self.directory.path().join("orders/api.json").exists()
    }

    async fn is_tidied(&self) {
        let tidied = timeout(DEADLINE, async {
            while self.has_record() || self.has_note() {
                tokio::time::sleep(SOON).await;
            }
        });
        let left = (self.has_record(), self.has_note());
        assert!(tidied.await.is_ok(), "record and note are left: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_removed_in_the_middle_of_an_order_leaves_nothing() {
    let files = CertificateConfig::from_files("api", "/nonexistent/chain.pem", "/nonexistent/key.pem");
    for configs in [Vec::new(), vec![files]] {
        let world = OrderingTest::new();
        let manager = world.in_the_middle().await;
        manager.handle.reload(configs);
        world.is_tidied().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_end_of_the_program_leaves_is_tidied_by_the_next_start() {
    let world = OrderingTest::new();
    let manager = world.in_the_middle().await;
    manager.handle.reload(Vec::new());
    drop(manager);
    tokio::time::sleep(NEVER).await;
    assert!(world.has_record() && world.has_note());
    let _manager = world.start_with(by_hook("other", "hook"));
    world.is_tidied().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dns_provider_does_not_remove_is_tried_again_and_then_left_to_the_next_start() {
    let world = OrderingTest::new();
    let manager = world.in_the_middle().await;
    world.ca.dns_down.store(true, Ordering::SeqCst);
    lock(&world.ca.cleaned_up).clear();
    manager.handle.reload(Vec::new());
    tokio::time::sleep(NEVER).await;
    assert_eq!(lock(&world.ca.cleaned_up).len(), 3);
    assert!(world.has_record() && world.has_note());
    drop(manager);
    world.ca.dns_down.store(false, Ordering::SeqCst);
    // The one that has written it is asked, too.
    let other = by_hook("other", "another hook");
    let state = State::open(world.directory.path()).unwrap();
    let issuers = Some(world.ca.issuers(&state));
    let configs = vec![other, by_hook("third", "hook")];
    let _manager = TestManager::start_with(configs, world.options(&state), issuers);
    world.is_tidied().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_another_process_is_at_is_left_to_it() {
    let world = OrderingTest::new();
    drop(world.in_the_middle().await);
    let state = State::open(world.directory.path()).unwrap();
    tokio::time::sleep(SOON).await;
    let lease = state.lease.try_acquire("api").await.unwrap().unwrap();
    let manager = world.start_with(by_hook("other", "hook"));
    tokio::time::sleep(NEVER).await;
    assert!(world.has_record() && world.has_note());
    drop((manager, lease));
    let _manager = world.start_with(by_hook("other", "hook"));
    world.is_tidied().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_certificate_that_is_still_configured_is_gone_on_with() {
    let world = OrderingTest::new();
    drop(world.in_the_middle().await);
    let mut manager = world.start_with(by_hook("api", "hook"));
    manager.told_in_time("promoted").await;
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_written_the_records_removes_them_when_another_provider_is_configured() {
    let world = OrderingTest::new();
    let mut manager = world.in_the_middle().await;
    manager.handle.reload(vec![by_hook("api", "another hook")]);
    manager.told_in_time("promoted").await;
    assert!(!world.has_record());
}

#[tokio::test(start_paused = true)]
async fn records_are_not_forgotten_while_no_lease_can_be_had() {
    let world = OrderingTest::new();
    let config = by_hook("api", "hook");
    let mut manager = world.start_with(config.clone());
    manager.told_in_time("promoted").await;
    drop(manager);
    let Source::Acme(source) = &config.source else {
        panic!("it is not ordered");
    };
    let record = ("api".to_owned(), format!("{:?}", source.challenge));
    lock(&world.ca.records).insert(record);
    let (state, lease) = TestLease::open(world.directory.path());
    let mut manager = world.start_on(&state, config);
    manager.told_in_time("restored").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(world.has_record());
    lease.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!world.has_record(), "it is forgotten");
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_while_no_lease_can_be_had_is_tidied_later() {
    let world = OrderingTest::new();
    drop(world.in_the_middle().await);
    let (state, lease) = TestLease::open(world.directory.path());
    let _manager = world.start_on(&state, by_hook("other", "hook"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.has_record() && world.has_note());
    lease.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.is_tidied().await;
}
