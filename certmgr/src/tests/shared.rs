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
