//! Two processes that share one state directory: a command to one of them is not lost by the other.

use super::doubles::{CaAnswer, acme_config};
use super::orders::OrderingTest;
use super::*;
use crate::RevocationReason;
use crate::error::IssueFault;

/// Both serve the same version, and have served another one before.
async fn two_with_a_past(world: &OrderingTest) -> [TestManager; 2] {
    let (mut one, mut other) = (world.start(), world.start());
    one.told_in_time("promoted").await;
    other.told_in_time("promoted").await;
    one.handle.control().renew("api").await.unwrap();
    one.told_in_time("promoted").await;
    other.told_in_time("promoted").await;
    assert_eq!(one.serving(), other.serving());
    [one, other]
}

#[tokio::test(start_paused = true)]
async fn what_one_holds_back_stays_excluded_when_the_other_renews() {
    let world = OrderingTest::new();
    let [one, mut other] = two_with_a_past(&world).await;
    let bad = one.serving().unwrap();
    let good = one.handle.control().rollback("api", None).await.unwrap();
    drop(one);
    other.handle.control().renew("api").await.unwrap();
    other.told_in_time("promoted").await;
    let newest = other.serving();
    drop(other);
    let mut next = world.start();
    next.told_in_time("restored").await;
    assert_eq!(next.serving(), newest);
    let view = next.handle.control().view("api").unwrap();
    let previous: Vec<_> = view
        .previous
        .iter()
        .map(|one| (one.fingerprint, one.excluded))
        .collect();
    assert!(previous.contains(&(bad, true)), "{previous:?}");
    assert!(previous.contains(&(good, false)), "{previous:?}");
    // Going back to it ends its exclusion, and the exclusion does not return from the disk either.
    next.handle
        .control()
        .rollback("api", Some(&bad.to_string()))
        .await
        .unwrap();
    drop(next);
    let mut last = world.start();
    last.told_in_time("restored").await;
    assert_eq!(last.serving(), Some(bad));
    assert!(
        !last
            .handle
            .control()
            .view("api")
            .unwrap()
            .serving
            .unwrap()
            .excluded
    );
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_revoke_that_one_has_noted_is_gone_on_with_by_the_other() {
    let world = OrderingTest::new();
    let [mut one, mut other] = two_with_a_past(&world).await;
    let bad = one.serving().unwrap();
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    one.handle
        .control()
        .revoke("api", RevocationReason::KeyCompromise)
        .await
        .unwrap();
    one.told_in_time("failing").await;
    drop(one);
    world.ca.answers(CaAnswer::Issue);
    other.handle.control().renew("api").await.unwrap();
    match other.told_in_time("revoked").await.kind {
        EventKind::Revoked { fingerprint, .. } => assert_eq!(fingerprint, bad),
        other => panic!("{other:?}"),
    }
    assert_ne!(other.serving(), Some(bad));
}

/// Starts a process that serves the first of two versions, and asks it for a new one. Meanwhile another process has
/// put the second one first again, `promoted_after` seconds after the wish. Number of orders in the hours after it.
async fn orders_after_a_wish(promoted_after: i64) -> u64 {
    let world = OrderingTest::new();
    let path = world.directory.path().join("certificates/api.json");
    let read = || serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
    let write = |document: &serde_json::Value| fs::write(&path, document.to_string()).unwrap();
    let mut one = world.start();
    one.told_in_time("promoted").await;
    one.handle.control().renew("api").await.unwrap();
    one.told_in_time("promoted").await;
    one.handle.control().rollback("api", None).await.unwrap();
    drop(one);
    let mut document = read();
    let mut taken = document["versions"].as_array_mut().unwrap().remove(1);
    write(&document);
    let mut one = world.start();
    one.told_in_time("restored").await;
    // Between two of its looks, so that none is in progress.
    tokio::time::sleep(Duration::from_secs(3 * 3600 + 25)).await;
    taken["promoted_at"] = world.clock.now().saturating_add_signed(promoted_after).into();
    document["excluded"] = serde_json::json!([]);
    document["versions"].as_array_mut().unwrap().insert(0, taken);
    write(&document);
    let placed = world.ca.placed();
    one.handle.control().renew("api").await.unwrap();
    one.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    world.ca.placed() - placed
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_fulfilled_by_what_another_process_has_renewed_since_and_by_nothing_older() {
    assert_eq!(orders_after_a_wish(60).await, 0);
    assert_eq!(orders_after_a_wish(-60).await, 1);
}

/// Time within which a process must have seen the changes of another one.
const MINUTE: Duration = Duration::from_secs(61);

#[tokio::test(start_paused = true)]
async fn what_one_renews_serves_in_the_other_within_a_minute() {
    let world = OrderingTest::new();
    let [one, other] = two_with_a_past(&world).await;
    let placed = world.ca.placed();
    one.handle.control().renew("api").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.ca.placed(), placed + 1);
    assert_eq!(one.serving(), other.serving());
}

#[tokio::test(start_paused = true)]
async fn what_one_rolls_back_from_serves_in_no_other() {
    let world = OrderingTest::new();
    let [one, mut other] = two_with_a_past(&world).await;
    let bad = one.serving();
    let good = one.handle.control().rollback("api", None).await.unwrap();
    match other.told_in_time("rolled_back").await.kind {
        EventKind::RolledBack { from, to, .. } => assert_eq!((from, to), (bad, good)),
        other => panic!("{other:?}"),
    }
    assert_eq!(other.serving(), Some(good));
    // And forth again, by name.
    let control = other.handle.control();
    control
        .rollback("api", Some(&bad.unwrap().to_string()))
        .await
        .unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!((one.serving(), other.serving()), (bad, bad));
}

#[tokio::test(start_paused = true)]
async fn what_one_revokes_goes_from_the_other_and_returns_in_none() {
    let world = OrderingTest::new();
    let [mut one, other] = two_with_a_past(&world).await;
    let bad = one.serving().unwrap();
    let control = one.handle.control();
    control
        .revoke("api", RevocationReason::KeyCompromise)
        .await
        .unwrap();
    one.told_in_time("revoked").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(one.serving(), other.serving());
    assert_ne!(other.serving(), Some(bad));
    let back = other
        .handle
        .control()
        .rollback("api", Some(&bad.to_string()))
        .await;
    assert!(back.is_err(), "{back:?}");
    // A write of the other process does not bring it back either.
    other.handle.control().renew("api").await.unwrap();
    tokio::time::sleep(MINUTE).await;
    drop((one, other));
    let document = fs::read_to_string(world.directory.path().join("certificates/api.json")).unwrap();
    assert!(!document.contains(&format!("{bad:x}")));
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_revoked_gives_way_to_what_has_all_its_names() {
    let world = OrderingTest::new();
    let [mut one, other] = two_with_a_past(&world).await;
    let bad = other.serving();
    let config = CertificateConfig {
        domains: vec![certstore::Name::parse("b.test").unwrap()],
        ..acme_config()
    };
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    other.handle.reload(vec![config]);
    // Its next attempt is minutes away.
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(other.serving(), bad);
    world.ca.answers(CaAnswer::Issue);
    let control = one.handle.control();
    control
        .revoke("api", RevocationReason::KeyCompromise)
        .await
        .unwrap();
    one.told_in_time("promoted").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(other.serving(), one.serving());
}

#[tokio::test(start_paused = true)]
async fn two_that_are_configured_otherwise_each_serve_their_own() {
    let world = OrderingTest::new();
    let mut one = world.start();
    one.told_in_time("promoted").await;
    let serving = one.serving();
    let config = CertificateConfig {
        domains: vec![certstore::Name::parse("b.test").unwrap()],
        ..acme_config()
    };
    let mut other = world.start_with(config);
    other.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert_eq!(one.serving(), serving);
    assert_eq!(world.ca.placed(), 2);
    assert_eq!(other.told_since(), [""; 0]);
    assert_eq!(one.told_since(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn of_files_a_rollback_is_followed_and_each_reads_the_others_for_itself() {
    let (directory, ca) = (TempDir::new().unwrap(), TestCa::new());
    let files = [TestFiles::new(), TestFiles::new()];
    let start = |files: &TestFiles| {
        let options = Options {
            poll: Duration::from_secs(5),
            state: Some(crate::State::open(directory.path()).unwrap()),
            ..polling()
        };
        TestManager::start(vec![files.config()], options)
    };
    let (good, bad) = (ca.pair_of("a.test", -20, 60), ca.pair_of("a.test", -10, 60));
    files.iter().for_each(|files| files.write(&good));
    let (mut one, mut other) = (start(&files[0]), start(&files[1]));
    one.promoted(&good).await;
    other.told_in_time("promoted").await;
    // If each has its own files, the later one is not hurried.
    files[0].rename(&bad);
    one.promoted(&bad).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(other.serving(), Some(good.fingerprint()));
    files[1].rename(&bad);
    other.told_in_time("promoted").await;
    one.handle.control().rollback("api", None).await.unwrap();
    other.told_in_time("rolled_back").await;
    assert_eq!(other.serving(), Some(good.fingerprint()));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(other.serving(), Some(good.fingerprint()));
}
