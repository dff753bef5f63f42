//! Properties that hold for all combinations of facts.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::super::*;
use super::simulation::{BEGIN, DAY, fingerprint, unix};
use crate::schedule::RenewalInfo;

const YEAR: u64 = 366 * 86_400;

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(Duration::from_secs)
}

/// An instant within a year before or after the beginning.
fn instant() -> impl Strategy<Value = Duration> {
    seconds(2 * YEAR).prop_map(|offset| BEGIN + offset - Duration::from_secs(YEAR))
}

fn jitter() -> impl Strategy<Value = Jitter> {
    (0_u16..2000).prop_map(Jitter::from_thousandths)
}

fn fault() -> impl Strategy<Value = Option<IssueFault>> {
    prop_oneof![
        Just(None),
        Just(Some(IssueFault::Unreachable)),
        Just(Some(IssueFault::RateLimited)),
        Just(Some(IssueFault::Challenge)),
        Just(Some(IssueFault::SelfCheck)),
        Just(Some(IssueFault::Certificate)),
    ]
}

prop_compose! {
    fn failing()(
        attempts in 1_u32..100,
        since in instant(),
        ago in seconds(90 * 86_400),
        class in fault(),
        unreachable in option::of(0_usize..2),
        hint in seconds(YEAR),
        jitter in jitter(),
    ) -> FailureStreak {
        let last = MonotonicTime(BEGIN - ago);
        FailureStreak { attempts, since: MonotonicTime(since).min(last), last, class, unreachable, hint, jitter }
    }
}

prop_compose! {
    fn advice()(number in 1_u64..3, window in (instant(), instant()), after in option::of(seconds(YEAR)), chance in 0.0..1.0) -> Advice {
        let info = RenewalInfo {
            window: (unix(window.0), unix(window.1)),
            explanation: None,
            retry_after: after,
        };
        let now = Now { wall: unix(BEGIN), monotonic: MonotonicTime(BEGIN) };
        Advice::new(fingerprint(number), Some(&info), None, now, &mut || chance)
    }
}

prop_compose! {
    fn life()(from in instant(), span in seconds(YEAR), ca in option::of(0_usize..2)) -> Life {
        Life { fingerprint: fingerprint(1), not_before: unix(from), not_after: unix(from + span), ca }
    }
}

prop_compose! {
    fn known()(
        serving in option::of(life()),
        advice in option::of(advice()),
        issued in option::of((seconds(YEAR), option::of(instant()), 0_u32..200)),
        failing in option::of(failing()),
        holds in prop::collection::vec(option::of(instant()), 0..3),
        probe in option::of((seconds(86_400), any::<bool>(), any::<bool>(), jitter())),
        requested in any::<bool>(),
        wanted in any::<bool>(),
        names_changed in any::<bool>(),
    ) -> Facts {
        Facts {
            serving,
            advice,
            record: OrderRecord {
                last_issued: issued.map(|(ago, not_before, lately)| LastIssued {
                    at: MonotonicTime(BEGIN - ago),
                    not_before: not_before.map(unix).or(serving.map(|life| life.not_before)),
                    lately,
                }),
                failing,
                holds: holds.into_iter().map(|hold| hold.map(MonotonicTime)).collect(),
                untried: None,
            },
            probe: probe.map(|(ago, good, was_bad, jitter)| Probe { at: MonotonicTime(BEGIN - ago), good, was_bad, jitter }),
            requested,
            wanted,
            names_changed,
        }
    }
}

prop_compose! {
    fn rules()(min_interval in seconds(7 * 86_400), first_retry in seconds(86_400)) -> Rules {
        Rules { min_interval, first_retry }
    }
}

fn now(wall: Duration) -> Now {
    Now {
        wall: unix(wall),
        monotonic: MonotonicTime(BEGIN),
    }
}

proptest! {
    #[test]
    fn nobody_is_bothered_before_a_retry_after(known in known(), rules in rules(), wall in instant()) {
        let next = next(&known, &rules, now(wall));
        let at = BEGIN + next.wait;
        match next.action {
            ScheduledAction::Issue => {
                if !known.record.holds.is_empty() && known.record.holds.iter().all(Option::is_some) {
                    let first = known.record.holds.iter().flatten().min().unwrap();
                    prop_assert!(at >= first.0);
                }
            }
            ScheduledAction::CheckNames => {}
            ScheduledAction::AskRenewalInfo { ca } | ScheduledAction::Probe { ca } => {
                if let Some(Some(hold)) = known.record.holds.get(ca) {
                    prop_assert!(at >= hold.0);
                }
            }
        }
    }

    #[test]
    fn an_order_without_a_wish_keeps_the_floor(known in known(), rules in rules(), wall in instant()) {
        let next = next(&known, &rules, now(wall));
        if let (Some(issued), ScheduledAction::Issue) = (known.record.last_issued, next.action)
            && !known.requested
        {
            prop_assert!(BEGIN + next.wait >= issued.at.0 + rules.min_interval);
        }
    }

    #[test]
    fn time_that_passes_shortens_the_wait_by_itself(
        known in known(), rules in rules(), wall in instant(), part in 0.0..1.0_f64
    ) {
        let before = now(wall);
        let first = next(&known, &rules, before);
        let passed = Duration::from_secs((first.wait.as_secs_f64() * part) as u64);
        let after = Now { wall: unix(wall + passed), monotonic: MonotonicTime(BEGIN + passed) };
        let second = next(&known, &rules, after);
        prop_assert_eq!(first.wait, passed + second.wait);
        prop_assert_eq!(first.why, second.why);
        prop_assert_eq!(first.order_at, second.order_at);
    }

    #[test]
    fn nothing_that_is_due_waits_more_than_a_day_but_for_the_ca_and_the_floor(
        mut known in known(), wall in instant()
    ) {
        known.record.holds.clear();
        known.names_changed = true;
        let rules = Rules { min_interval: Duration::from_secs(3600), first_retry: Duration::from_secs(60) };
        let next = next(&known, &rules, now(wall));
        prop_assert!(next.wait <= DAY * 11 / 10, "{:?}", next);
    }
}
