//! R8 in small: the process ends at each step of an order, and the next process completes the rest.

use super::doubles::{AcmeDouble, Crash, RunningClock, TestStore, acme_config};
use super::*;
use crate::State;

struct CrashedRun {
    step: &'static str,
    placed: u64,
    fingerprint: Fingerprint,
}

/// Ends the process at the given step, starts another one, and returns the result. `None` if there is no such
/// step any more.
async fn crash_at(step: i64) -> Option<CrashedRun> {
    let (directory, clock) = (TempDir::new().unwrap(), RunningClock::new());
    let ca = AcmeDouble::new(&clock);
    let crash = Crash::at(step);
    ca.crashes_with(&crash);
    let options = |state: &State| Options {
        state: Some(state.clone()),
        watch: false,
        now: clock.clock(),
        ..Options::default()
    };
    let (state, _) = TestStore::open(directory.path(), &crash);
    let manager = TestManager::start_with(vec![acme_config()], options(&state), Some(ca.issuers(&state)));
    // Well after the last step of an order that nothing ends.
    let happened = timeout(Duration::from_secs(600), crash.happened()).await;
    drop(manager);
    let step = happened.ok()?;
    crash.is_over();

    ca.crashes_with(&Crash::never());
    let (state, _) = TestStore::open(directory.path(), &Crash::never());
    let manager = TestManager::start_with(vec![acme_config()], options(&state), Some(ca.issuers(&state)));
    let served = timeout(Duration::from_secs(3600), async {
        while manager.serving().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    served
        .await
        .unwrap_or_else(|_| panic!("nothing serves after a crash {step}"));
    // All other work that was due has been done by then.
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let fingerprint = manager.serving().unwrap();
    drop(manager);

    // The served version is the one that a third process would serve.
    let state = State::open(directory.path()).unwrap();
    let third = TestManager::start_with(vec![acme_config()], options(&state), Some(ca.issuers(&state)));
    timeout(DEADLINE, third.handle.first_load_done()).await.unwrap();
    assert_eq!(third.serving(), Some(fingerprint), "kept after a crash {step}");
    Some(CrashedRun {
        step,
        placed: ca.placed(),
        fingerprint,
    })
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_costs_no_pair_and_at_most_one_order() {
    let mut steps = Vec::new();
    for step in 0.. {
        let Some(ended) = crash_at(step).await else { break };
        assert!(
            ended.placed <= 2,
            "{} orders after a crash {}",
            ended.placed,
            ended.step
        );
        if ended.step == "after it is finalized" {
            assert_eq!(ended.placed, 1, "the noted order is gone on with");
        }
        steps.push((ended.step, ended.placed, ended.fingerprint));
    }
    assert!(steps.len() >= 12, "{steps:?}");
    let again = steps.iter().filter(|(_, placed, _)| *placed == 2).count();
    assert!(
        again <= 2,
        "only what the CA had not told us yet is ordered again: {steps:?}"
    );
}
