//! A process that serves a certificate to be revoked, and cannot know or say so.

use super::super::doubles::TestLease;
use super::*;

#[tokio::test(start_paused = true)]
async fn who_can_open_nothing_more_stays_counted() {
    let world = OrderingTest::new();
    let (manager, _) = world.with_a_wish().await;
    let (state, lease) = TestLease::open(world.directory.path());
    lease.fails.store(false, SeqCst);
    let issuers = world.ca.issuers(&state);
    let other = TestManager::start_with(Vec::new(), world.options(&state), Some(issuers));
    tokio::time::sleep(HOUR).await;
    drop(manager);
    lease.gives_no_shares.store(true, SeqCst);
    // It works on the list alone, and checks that.
    tokio::time::sleep(6 * HOUR).await;
    let processes = State::open(world.directory.path()).unwrap().lease;
    let all = processes.try_acquire("/revoke/processes").await.unwrap();
    assert!(all.is_none(), "it runs");
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn who_serves_it_without_being_able_to_say_so_holds_the_revocation_up() {
    // Descriptors ran out: no lock file can be opened, and in one case the list cannot be read either.
    for sees_the_list in [true, false] {
        let world = OrderingTest::new();
        let mut manager = world.serving().await;
        let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
        let (with_double, lease) = TestLease::open(world.directory.path());
        lease.fails.store(false, SeqCst);
        let state = State {
            lease: with_double.lease,
            ..state
        };
        let mut other = world.start_on(&state, acme_config());
        other.told_in_time("restored").await;
        lease.fails.store(true, SeqCst);
        store.is_blind.store(!sees_the_list, SeqCst);
        world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
        manager.revoke().await.unwrap();
        manager.handle.reload(Vec::new());
        tokio::time::sleep(6 * HOUR).await;
        assert!(world.revoked().is_empty(), "it serves");
        let shown = manager.revocations();
        assert_eq!(shown[0].progress, Progress::Asking);
        assert!(shown[0].message.as_ref().unwrap().contains("cannot see"));
        // They are there again: it has its share as others have.
        lease.fails.store(false, SeqCst);
        store.is_blind.store(false, SeqCst);
        tokio::time::sleep(6 * HOUR).await;
        assert!(world.revoked().is_empty(), "it serves");
        assert_eq!(manager.progress(), [Progress::Serving]);
        drop(other);
        let revoked = timeout(Duration::from_secs(130), manager.told_in_time("revoked"));
        revoked.await.unwrap();
    }
}
