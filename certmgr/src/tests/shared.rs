//! Two processes that share one state directory: what an operator asks of one of them is not lost by the other.

use super::doubles::Answer;
use super::orders::World;
use super::*;
use crate::RevocationReason;
use crate::acme::IssueFault;

/// Both serve the same, and have served something else before.
async fn two_with_a_past(world: &World) -> [TestManager; 2] {
    let (mut one, mut other) = (world.start(), world.start());
    one.told_in_time("promoted").await;
    other.told_in_time("promoted").await;
    one.told_in_time("promoted").await;
    other.told_in_time("promoted").await;
    assert_eq!(one.serving(), other.serving());
    [one, other]
}

#[tokio::test(start_paused = true)]
async fn what_one_holds_back_stays_held_back_when_the_other_renews() {
    let world = World::new();
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
        .map(|one| (one.generation, one.held_back))
        .collect();
    assert!(previous.contains(&(bad, true)), "{previous:?}");
    assert!(previous.contains(&(good, false)), "{previous:?}");
    // Going back to it is a word against holding it back, and it is not brought back from the disk either.
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
            .held_back
    );
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_revoke_that_one_has_noted_is_gone_on_with_by_the_other() {
    let world = World::new();
    let [mut one, mut other] = two_with_a_past(&world).await;
    let bad = one.serving().unwrap();
    world.authority.answers(Answer::Fail(IssueFault::Unreachable));
    let control = one.handle.control();
    control
        .revoke("api", RevocationReason::KeyCompromise)
        .await
        .unwrap();
    one.told_in_time("failing").await;
    drop(one);
    world.authority.answers(Answer::Issue);
    other.handle.control().renew("api").await.unwrap();
    match other.told_in_time("revoked").await {
        Event::Revoked { generation, .. } => assert_eq!(generation, bad),
        other => panic!("{other}"),
    }
    assert_ne!(other.serving(), Some(bad));
}

/// Starts one that knows what serves and holds back another generation, which it has forgotten, and asks it for a new
/// one. Meanwhile another process has put that generation first, `promoted_after` seconds after the wish. How many
/// orders are placed in the hours after it.
async fn orders_after_a_wish(promoted_after: i64) -> u64 {
    let world = World::new();
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
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    taken["promoted_at"] = world.clock.now().saturating_add_signed(promoted_after).into();
    document["held_back"] = serde_json::json!([]);
    document["versions"].as_array_mut().unwrap().insert(0, taken);
    write(&document);
    let placed = world.authority.placed();
    one.handle.control().renew("api").await.unwrap();
    one.told_in_time("ordering").await;
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    world.authority.placed() - placed
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_fulfilled_by_what_another_process_has_renewed_since_and_by_nothing_older() {
    assert_eq!(orders_after_a_wish(60).await, 0);
    assert_eq!(orders_after_a_wish(-60).await, 1);
}
