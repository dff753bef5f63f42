//! A certificate that an operator wants revoked is revoked in the end, whatever else is wanted, removed or broken.

mod blind;

use std::sync::atomic::Ordering::SeqCst;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certstore::Name;

use super::doubles::{AcmeDouble, CaAnswer, Crash, TestStore, acme_config, failure, lock};
use super::orders::{DAY, OrderingTest, days_since};
use super::*;
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};
use crate::{CommandError, Progress, Revocation, RevocationReason, State};

impl OrderingTest {
    /// A process that serves its certificate.
    async fn serving(&self) -> TestManager {
        let mut manager = self.start();
        manager.told_in_time("promoted").await;
        manager
    }

    /// The certificate is to be revoked and has been replaced, and the CA could not be reached. With its leaf.
    async fn with_a_wish(&self) -> (TestManager, Vec<u8>) {
        let mut manager = self.serving().await;
        let leaf = manager.leaf();
        self.revokes_not(Some(IssueFault::Unreachable));
        manager.revoke().await.unwrap();
        manager.told_in_time("revocation_failed").await;
        (manager, leaf)
    }

    /// [`serving`](Self::serving), with a wish to revoke it, for which no replacement comes.
    async fn with_a_wish_in_vain(&self) -> TestManager {
        let manager = self.serving().await;
        self.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
        manager.revoke().await.unwrap();
        manager
    }

    /// A process without a certificate in the configuration.
    fn start_empty(&self) -> TestManager {
        let state = State::open(self.directory.path()).unwrap();
        let issuers = self.ca.issuers(&state);
        TestManager::start_with(Vec::new(), self.options(&state), Some(issuers))
    }

    /// A process that cannot reach its CA.
    fn start_out_of_reach(&self) -> TestManager {
        let state = State::open(self.directory.path()).unwrap();
        let ca = AcmeDouble::new(&self.clock);
        ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
        let issuers = ca.issuers(&state);
        TestManager::start_with(vec![acme_config()], self.options(&state), Some(issuers))
    }

    fn revokes_not(&self, class: Option<IssueFault>) {
        *lock(&self.ca.revokes_not) = class.map(|class| failure(class, "no"));
    }

    fn revoked(&self) -> Vec<Vec<u8>> {
        lock(&self.ca.revoked).clone()
    }
}

impl TestManager {
    fn leaf(&self) -> Vec<u8> {
        let serving = self.reader.current("api").unwrap();
        serving.bundle().certified_key().cert[0].to_vec()
    }

    async fn revoke(&self) -> Result<(), CommandError> {
        let control = self.handle.control();
        control.revoke("api", RevocationReason::KeyCompromise).await
    }

    fn revocations(&self) -> Vec<Revocation> {
        self.handle.control().revocations()
    }

    fn progress(&self) -> Vec<Progress> {
        self.revocations().iter().map(|one| one.progress).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_wish_leaves_the_first_alone() {
    let world = OrderingTest::new();
    let (mut manager, first) = world.with_a_wish().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = manager.leaf();
    manager.revoke().await.unwrap();
    assert_eq!(manager.progress(), [Progress::Asking, Progress::Serving]);
    manager.told_in_time("promoted").await;
    manager.told_in_time("revocation_failed").await;
    // A crash loses neither.
    drop(manager);
    world.revokes_not(None);
    let mut manager = world.start();
    manager.told_in_time("revoked").await;
    manager.told_in_time("revoked").await;
    let mut revoked = world.revoked();
    revoked.sort();
    let mut wanted = [first, second];
    wanted.sort();
    assert_eq!(revoked, wanted);
    assert_eq!(manager.progress(), [Progress::Revoked; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_first_order_fails_waits_for_the_back_off_alone() {
    let world = OrderingTest::new();
    let mut manager = world.with_a_wish_in_vain().await;
    let asked = tokio::time::Instant::now();
    manager.told_in_time("failing").await;
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("revoked").await;
    // `min_interval` is an hour.
    assert!(
        asked.elapsed() < Duration::from_secs(1_800),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(world.ca.placed(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_right_after_the_wish_is_revoked_by_whoever_runs() {
    for restarts in [false, true] {
        let world = OrderingTest::new();
        let mut manager = world.with_a_wish_in_vain().await;
        let leaf = manager.leaf();
        if restarts {
            drop(manager);
            manager = world.start_empty();
        } else {
            manager.handle.reload(Vec::new());
        }
        let event = manager.told_in_time("revoked").await;
        assert_eq!(event.subject.name(), "api");
        assert!(
            matches!(&event.kind, EventKind::Revoked { ca, .. } if ca == "test"),
            "{event}"
        );
        assert_eq!(world.revoked(), [leaf]);
        // The name comes back: the revoked version does not.
        let mut manager = world.start();
        manager.told_in_time("failing").await;
        assert_eq!(manager.serving(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_wish_is_shown_at_each_step() {
    let world = OrderingTest::new();
    world.ca.days.store(2, SeqCst);
    let mut manager = world.serving().await;
    assert_eq!(manager.revocations(), []);
    let first = manager.serving().unwrap();
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    manager.revoke().await.unwrap();
    let shown = manager.handle.control().view("api").unwrap().revocations;
    assert_eq!(shown, manager.revocations());
    assert_eq!(
        (shown[0].fingerprint, shown[0].progress),
        (first, Progress::Serving)
    );
    assert_eq!(
        (shown[0].reason, &*shown[0].ca),
        (RevocationReason::KeyCompromise, "test")
    );
    manager.told_in_time("failing").await;
    assert!(world.revoked().is_empty(), "nothing else serves yet");
    world.revokes_not(Some(IssueFault::Unreachable));
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    manager.told_in_time("revocation_failed").await;
    let shown = manager.revocations();
    assert_eq!(shown[0].progress, Progress::Asking);
    assert_eq!(shown[0].message.as_deref(), Some("no (wait)"));
    assert_eq!(shown[0].next_at.unwrap().as_secs(), world.clock.now() + 60);
    world.revokes_not(None);
    manager.told_in_time("revoked").await;
    let shown = manager.revocations();
    assert_eq!((shown[0].progress, &shown[0].message), (Progress::Revoked, &None));
    assert_eq!(shown[0].next_at, None);
    // It is listed for as long as it would be valid, and a day.
    tokio::time::sleep(Duration::from_secs(4 * DAY)).await;
    assert_eq!(manager.revocations(), []);
    assert!(!manager.told_since().contains(&"revocation_over"));
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_is_shown_and_asked_for_again_daily_until_the_end_of_its_life() {
    let world = OrderingTest::new();
    world.ca.days.store(8, SeqCst);
    let mut manager = world.serving().await;
    let start = world.clock.now();
    world.revokes_not(Some(IssueFault::Refused));
    manager.revoke().await.unwrap();
    manager.told_in_time("revocation_failed").await;
    let asked = || world.ca.revocations.load(SeqCst);
    assert_eq!((asked(), manager.progress()), (1, vec![Progress::Refused]));
    assert_eq!(manager.revocations()[0].message.as_deref(), Some("no (wait)"));
    // Nor is it asked more often by starts.
    for _ in 0..3 {
        drop(manager);
        manager = world.start();
        manager.told_in_time("restored").await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!((asked(), manager.progress()), (1, vec![Progress::Refused]));
    }
    tokio::time::sleep(Duration::from_secs(5 * DAY)).await;
    assert!((5..=7).contains(&asked()), "{} times in five days", asked());
    manager.told_in_time("revocation_over").await;
    let life = days_since(start, &world.clock);
    assert!((8.9..9.1).contains(&life), "after {life} days");
    assert_eq!(manager.revocations(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_revoked_never_serves_again_once_its_replacement_does() {
    let world = OrderingTest::new();
    let (manager, _) = world.with_a_wish().await;
    let refused = manager.handle.control().rollback("api", None).await;
    assert!(
        matches!(refused, Err(CommandError::NoSuchVersion { .. })),
        "{refused:?}"
    );
    let path = world.directory.path().join("certificates/api.json");
    let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(document["versions"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_does_not_serve_from_a_backup_nor_under_another_name() {
    let world = OrderingTest::new();
    let path = world.directory.path().join("certificates/api.json");
    let mut manager = world.serving().await;
    let backup = fs::read(&path).unwrap();
    manager.revoke().await.unwrap();
    manager.told_in_time("revoked").await;
    drop(manager);
    fs::write(&path, backup).unwrap();
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    let mut manager = world.start();
    manager.told_in_time("failing").await;
    assert_eq!(manager.serving(), None);
    drop(manager);
    let renamed = CertificateConfig {
        name: "other".to_owned(),
        ..acme_config()
    };
    let mut manager = world.start_with(renamed);
    manager.told_in_time("failing").await;
    assert!(manager.reader.current("other").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_cannot_be_noted_is_refused() {
    let world = OrderingTest::new();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    let mut manager = world.start_on(&state, acme_config());
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.fails.store(true, SeqCst);
    let refused = manager.revoke().await.unwrap_err();
    assert!(
        refused.to_string().contains("No space left on device"),
        "{refused}"
    );
    assert_eq!(manager.revocations(), []);
    store.fails.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert!(world.revoked().is_empty());
}

impl OrderingTest {
    fn document_of(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("revocations/{name}.json"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_read_keeps_no_other_wish_from_being_carried_out() {
    let world = OrderingTest::new();
    let (manager, leaf) = world.with_a_wish().await;
    drop(manager);
    // A document above the limit, and the first to be read; and one that is nobody's.
    let large = fs::File::create(world.document_of(&"00".repeat(32))).unwrap();
    large.set_len(17 << 20).unwrap();
    fs::write(world.document_of("ffff"), "{").unwrap();
    world.revokes_not(None);
    let manager = world.start();
    let revoked = timeout(Duration::from_secs(DAY), async {
        while world.revoked().is_empty() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    });
    assert!(revoked.await.is_ok(), "it is not revoked");
    assert_eq!(world.revoked(), [leaf]);
    assert_eq!(manager.revocations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_document_is_about_stays_listed_and_is_replaced_after_a_restart() {
    let world = OrderingTest::new();
    let manager = world.with_a_wish_in_vain().await;
    let first = manager.serving().unwrap();
    let known = manager.revocations();
    fs::write(world.document_of(&format!("{first:x}")), "{").unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(manager.revocations(), known);
    drop(manager);
    world.ca.answers(CaAnswer::Issue);
    let mut manager = world.start();
    let replaced = timeout(Duration::from_secs(DAY), manager.told_in_time("promoted"));
    assert!(replaced.await.is_ok(), "it is not replaced");
    assert_ne!(manager.serving(), Some(first));
    assert!(world.revoked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_for_a_while_costs_no_wish() {
    let world = OrderingTest::new();
    let (mut manager, leaf) = world.with_a_wish().await;
    world.clock.set_by_days(1_000);
    tokio::time::sleep(Duration::from_secs(DAY / 2)).await;
    world.clock.set_by_days(-1_000);
    world.revokes_not(None);
    let revoked = timeout(Duration::from_secs(DAY), manager.told_in_time("revoked"));
    assert!(revoked.await.is_ok(), "it is not revoked");
    assert_eq!(world.revoked(), [leaf]);
    assert!(!manager.told_since().contains(&"revocation_over"));
}

#[tokio::test(start_paused = true)]
async fn a_document_under_another_name_is_no_wish() {
    let world = OrderingTest::new();
    let (manager, _) = world.with_a_wish().await;
    let wanted = manager.revocations()[0].fingerprint;
    drop(manager);
    let own = world.document_of(&format!("{wanted:x}"));
    fs::rename(own, world.document_of(&"00".repeat(32))).unwrap();
    world.revokes_not(None);
    let manager = world.start();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((manager.revocations(), world.revoked()), (Vec::new(), Vec::new()));
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_another_process_serves_is_revoked_once_its_replacement_has_come() {
    let world = OrderingTest::new();
    let other = world.start_empty();
    let mut manager = world.with_a_wish_in_vain().await;
    let leaf = manager.leaf();
    tokio::time::sleep(6 * HOUR).await;
    assert!(world.revoked().is_empty(), "it serves");
    let shown = other.revocations();
    assert_eq!(shown[0].progress, Progress::Serving);
    assert!(shown[0].message.as_ref().unwrap().starts_with("another process"));
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("revoked").await;
    assert_eq!(world.revoked(), [leaf]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(other.progress(), [Progress::Revoked]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_has_ended_holds_no_revocation_up() {
    let world = OrderingTest::new();
    let mut other = world.start_empty();
    let manager = world.with_a_wish_in_vain().await;
    let leaf = manager.leaf();
    tokio::time::sleep(HOUR).await;
    drop(manager);
    timeout(Duration::from_secs(130), other.told_in_time("revoked"))
        .await
        .unwrap();
    assert_eq!(world.revoked(), [leaf]);
}

#[tokio::test(start_paused = true)]
async fn who_serves_it_too_has_time_to_see_the_wish() {
    let world = OrderingTest::new();
    let mut manager = world.serving().await;
    let mut other = world.start();
    other.told_in_time("restored").await;
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    manager.revoke().await.unwrap();
    manager.handle.reload(Vec::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = manager.revocations();
    assert_eq!(shown[0].progress, Progress::Asking);
    assert!(shown[0].message.as_ref().unwrap().contains("two minutes"));
    tokio::time::sleep(HOUR).await;
    assert!(world.revoked().is_empty(), "it serves");
    assert_eq!(manager.progress(), [Progress::Serving]);
    drop(other);
    timeout(Duration::from_secs(130), manager.told_in_time("revoked"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_revoked_once_its_replacement_is_on_disk() {
    let world = OrderingTest::new();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    let mut manager = world.start_on(&state, acme_config());
    manager.told_in_time("promoted").await;
    let (first, leaf) = (manager.serving(), manager.leaf());
    store.unwritable.store(true, SeqCst);
    manager.revoke().await.unwrap();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(HOUR).await;
    assert!(world.revoked().is_empty(), "a restart would bring it back");
    let shown = manager.revocations();
    assert!(
        shown[0]
            .message
            .as_ref()
            .unwrap()
            .contains("not in `state_dir` yet")
    );
    drop(manager);
    let mut manager = world.start_on(&state, acme_config());
    match manager.told_in_time("restored").await.kind {
        EventKind::Restored { fingerprint, .. } => assert_eq!(Some(fingerprint), first),
        other => panic!("{other:?}"),
    }
    store.unwritable.store(false, SeqCst);
    manager.told_in_time("revoked").await;
    assert_eq!(world.revoked(), [leaf]);
}

#[tokio::test(start_paused = true)]
async fn what_replaces_it_here_alone_is_no_replacement_where_it_still_serves() {
    let world = OrderingTest::new();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    let mut manager = world.start_on(&state, acme_config());
    manager.told_in_time("promoted").await;
    let leaf = manager.leaf();
    let mut other = world.start_out_of_reach();
    other.told_in_time("restored").await;
    store.unwritable.store(true, SeqCst);
    manager.revoke().await.unwrap();
    manager.told_in_time("promoted").await;
    // Under these names this process would not serve it again.
    let config = CertificateConfig {
        domains: vec![Name::parse("b.test").unwrap()],
        ..acme_config()
    };
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    manager.handle.reload(vec![config]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(other.leaf(), leaf, "nothing else is there to be followed");
    assert!(world.revoked().is_empty(), "it serves");
    assert!(!other.told_since().contains(&"revoked"));
    drop(other);
    manager.told_in_time("revoked").await;
    assert_eq!(world.revoked(), [leaf]);
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_gives_way_in_all_although_its_replacement_is_to_be_revoked_too() {
    let world = OrderingTest::new();
    let mut manager = world.with_a_wish_in_vain().await;
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    let mut other = world.start_on(&state, acme_config());
    other.told_in_time("restored").await;
    store.unreadable.store(true, SeqCst);
    world.ca.answers(CaAnswer::Issue);
    manager.handle.control().renew("api").await.unwrap();
    manager.told_in_time("promoted").await;
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    manager.revoke().await.unwrap();
    assert_ne!(other.serving(), manager.serving(), "it cannot follow yet");
    store.unreadable.store(false, SeqCst);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(other.serving(), manager.serving());
    tokio::time::sleep(2 * MINUTE).await;
    for shown in [manager.progress(), other.progress()] {
        assert_eq!(shown.len(), 2);
        assert!(shown.contains(&Progress::Revoked) && shown.contains(&Progress::Serving));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_ca_is_being_told_of_serves_in_no_process_that_starts_meanwhile() {
    for is_revoked in [true, false] {
        let world = OrderingTest::new();
        let manager = world.with_a_wish_in_vain().await;
        let fingerprint = manager.serving().unwrap();
        drop(manager);
        world.revokes_not(Some(IssueFault::Unreachable));
        // Another process asks the CA.
        let state = State::open(world.directory.path()).unwrap();
        let lease = format!("/serves/{fingerprint:x}");
        let told = loop {
            // A share of the previous process ends with its tasks.
            match state.lease.try_acquire(&lease).await.unwrap() {
                Some(told) => break told,
                None => tokio::task::yield_now().await,
            }
        };
        let manager = world.start();
        tokio::time::sleep(5 * MINUTE).await;
        assert_eq!(manager.serving(), None);
        let path = world
            .directory
            .path()
            .join(format!("revocations/{fingerprint:x}.json"));
        if is_revoked {
            let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            noted["revoked_at"] = noted["asked_at"].clone();
            fs::write(&path, noted.to_string()).unwrap();
        }
        drop(told);
        tokio::time::sleep(5 * MINUTE).await;
        // A certificate that the CA has not revoked after all is better than none.
        assert_eq!(manager.serving(), Some(fingerprint).filter(|_| !is_revoked));
        world.revokes_not(None);
        tokio::time::sleep(5 * MINUTE).await;
        assert!(world.revoked().is_empty(), "it serves");
    }
}

#[tokio::test(start_paused = true)]
async fn the_ca_is_not_told_what_cannot_be_noted() {
    let world = OrderingTest::new();
    let (manager, leaf) = world.with_a_wish().await;
    drop(manager);
    let asked = world.ca.revocations.load(SeqCst);
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    store.fails.store(true, SeqCst);
    world.revokes_not(None);
    let mut manager = world.start_on(&state, acme_config());
    manager.told_in_time("revocation_failed").await;
    tokio::time::sleep(6 * HOUR).await;
    assert_eq!(world.ca.revocations.load(SeqCst), asked);
    store.fails.store(false, SeqCst);
    manager.told_in_time("revoked").await;
    assert_eq!(world.revoked(), [leaf]);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_revoked_does_not_stay_on_disk_because_it_was_put_first_again() {
    let world = OrderingTest::new();
    let path = world.directory.path().join("certificates/api.json");
    let read = || serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
    let mut manager = world.serving().await;
    let before = read()["versions"][0].clone();
    world.revokes_not(Some(IssueFault::Unreachable));
    manager.revoke().await.unwrap();
    manager.told_in_time("revocation_failed").await;
    let serving = manager.serving();
    tokio::time::sleep(HOUR).await;
    let mut document = read();
    document["versions"]
        .as_array_mut()
        .unwrap()
        .insert(0, before.clone());
    fs::write(&path, document.to_string()).unwrap();
    tokio::time::sleep(Duration::from_secs(130)).await;
    let kept = read()["versions"].as_array().unwrap().clone();
    assert!(
        !kept.iter().any(|one| one["fingerprint"] == before["fingerprint"]),
        "a restart would serve it"
    );
    assert_eq!((manager.serving(), kept.len()), (serving, 1));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_ca_outlives_a_restart() {
    let world = OrderingTest::new();
    let mut manager = world.serving().await;
    let error = IssueError {
        retry_after: Some(RetryAfter::new(72 * HOUR, SaidOf::Account)),
        ..failure(IssueFault::RateLimited, "too many")
    };
    *lock(&world.ca.revokes_not) = Some(error);
    manager.revoke().await.unwrap();
    manager.told_in_time("revocation_failed").await;
    let next_at = manager.revocations()[0].next_at;
    let (asked, since) = (|| world.ca.revocations.load(SeqCst), world.clock.now());
    assert_eq!(asked(), 1);
    world.revokes_not(None);
    drop(manager);
    let mut manager = world.start();
    tokio::time::sleep(HOUR).await;
    let shown = manager.revocations();
    assert_eq!((shown[0].progress, shown[0].next_at), (Progress::Asking, next_at));
    assert_eq!(shown[0].message.as_deref(), Some("too many (wait)"));
    manager.told_in_time("revoked").await;
    assert_eq!(asked(), 2);
    assert!(world.clock.now() >= since + 72 * 3600);
}

#[tokio::test(start_paused = true)]
async fn the_newest_trouble_is_shown_whichever_process_met_it() {
    let world = OrderingTest::new();
    let mut manager = world.serving().await;
    world.revokes_not(Some(IssueFault::Refused));
    manager.revoke().await.unwrap();
    manager.told_in_time("revocation_failed").await;
    let other = world.start_empty();
    *lock(&world.ca.revokes_not) = Some(failure(IssueFault::Unreachable, "no answer"));
    manager.told_in_time("revocation_failed").await;
    assert_eq!(
        manager.revocations()[0].message.as_deref(),
        Some("no answer (wait)")
    );
    assert_eq!(other.progress(), [Progress::Refused]);
    // Both have asked by now, in vain; the CA's answer to one of them holds for both.
    *lock(&world.ca.revokes_not) = Some(failure(IssueFault::Refused, "never"));
    tokio::time::sleep(2 * HOUR).await;
    let asked = world.ca.revocations.load(SeqCst);
    tokio::time::sleep(20 * HOUR).await;
    assert_eq!(world.ca.revocations.load(SeqCst), asked);
    for manager in [&manager, &other] {
        assert_eq!(manager.revocations()[0].message.as_deref(), Some("never (wait)"));
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_hold_what_is_to_be_revoked_do_not_serve_and_are_told_of() {
    let world = OrderingTest::new();
    let path = world.directory.path().join("certificates/api.json");
    let mut manager = world.serving().await;
    let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let part = |name| {
        STANDARD
            .decode(document["versions"][0][name].as_str().unwrap())
            .unwrap()
    };
    let files = TestFiles::new();
    files.write_bytes(part("chain"), part("key"));
    let config = CertificateConfig {
        name: "other".to_owned(),
        ..files.config()
    };
    let checked = || {
        let state_dir = Some(world.directory.path());
        crate::check(&config, &[], state_dir, (world.clock.clock())()).unwrap()
    };
    assert!(!checked().to_be_revoked);
    world.revokes_not(Some(IssueFault::Unreachable));
    manager.revoke().await.unwrap();
    manager.told_in_time("revocation_failed").await;
    assert!(checked().to_be_revoked);
    let mut other = world.start_with(config.clone());
    let told = other.told_in_time("excluded").await.to_string();
    assert!(told.contains("is to be revoked"), "{told}");
    assert!(other.reader.current("other").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_check_knows_that_what_is_revoked_does_not_serve_again() {
    let (world, ca) = (OrderingTest::new(), TestCa::new());
    let path = world.directory.path().join("certificates/api.json");
    let mut manager = world.serving().await;
    let backup = fs::read(&path).unwrap();
    let files = TestFiles::new();
    files.write(&ca.pair_of("a.test", -30, 60));
    let checked = || {
        let state_dir = Some(world.directory.path());
        crate::check(&files.config(), &[], state_dir, (world.clock.clock())())
    };
    assert!(checked().unwrap_err().to_string().contains("older"));
    manager.revoke().await.unwrap();
    manager.told_in_time("revoked").await;
    drop(manager);
    fs::write(path, backup).unwrap();
    assert!(checked().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bug_ends_no_revocation() {
    let world = OrderingTest::new();
    let mut manager = world.serving().await;
    let leaf = manager.leaf();
    world.ca.revokes_with_a_bug.store(true, SeqCst);
    manager.revoke().await.unwrap();
    let revoked = timeout(Duration::from_secs(DAY), manager.told_in_time("revoked"));
    assert!(revoked.await.is_ok(), "it is not revoked");
    assert_eq!(world.revoked(), [leaf]);
}
