//! Single decisions, each in one sentence.

use std::time::Duration;

use super::super::*;
use super::simulation::{BEGIN, DAY, HOUR, MINUTE, RULES, fingerprint, unix};
use crate::schedule::RenewalInfo;

fn now_at(at: Duration) -> Now {
    Now {
        wall: unix(BEGIN + at),
        monotonic: MonotonicTime(BEGIN + at),
    }
}

fn life(span: Duration) -> Life {
    Life {
        fingerprint: fingerprint(1),
        not_before: unix(BEGIN),
        not_after: unix(BEGIN + span),
        ca: None,
    }
}

fn serving(span: Duration) -> Facts {
    Facts {
        serving: Some(life(span)),
        advice: None,
        record: OrderRecord::default(),
        probe: None,
        requested: false,
        wanted: false,
        names_changed: false,
    }
}

fn failing(attempts: u32, class: IssueFault, last: Duration) -> FailureStreak {
    FailureStreak {
        attempts,
        since: MonotonicTime(BEGIN),
        last: MonotonicTime(BEGIN + last),
        class: Some(class),
        unreachable: (class == IssueFault::Unreachable).then_some(0),
        hint: Duration::ZERO,
        jitter: Jitter(500),
    }
}

fn advice(from: Duration, to: Duration, jitter: f64) -> Advice {
    advice_of(1, from, to, None, jitter)
}

fn advice_of(number: u64, from: Duration, to: Duration, before: Option<&Advice>, jitter: f64) -> Advice {
    let info = RenewalInfo {
        window: (unix(BEGIN + from), unix(BEGIN + to)),
        explanation: None,
        retry_after: None,
    };
    Advice::new(
        fingerprint(number),
        Some(&info),
        before,
        now_at(Duration::ZERO),
        &mut || jitter,
    )
}

fn order_after(known: &Facts, at: Duration) -> (Duration, Why) {
    let next = next(known, &RULES, now_at(at));
    (Duration::from_secs(next.order_at.as_secs()) - BEGIN, next.why)
}

#[test]
fn without_advice_a_third_of_a_long_life_and_half_of_a_short_one_is_left_for_the_renewal() {
    for (span, due) in [(90, 60), (45, 30), (10, 6), (6, 3), (2, 1)] {
        let (at, why) = order_after(&serving(span * DAY), Duration::ZERO);
        assert!(
            at >= due * DAY && at < due * DAY + 16 * HOUR + 1 * MINUTE,
            "{span}: {at:?}"
        );
        assert_eq!(why, Why::LifeSpent);
    }
    assert_eq!(order_after(&serving(90 * DAY), Duration::ZERO).0, 60 * DAY);
    assert_eq!(order_after(&serving(6 * DAY), Duration::ZERO).0, 3 * DAY);
}

#[test]
fn nothing_that_serves_is_due_at_once() {
    let mut known = serving(90 * DAY);
    known.serving = None;
    let next = next(&known, &RULES, now_at(DAY));
    assert_eq!(
        (next.wait, next.action, next.why),
        (Duration::ZERO, ScheduledAction::Issue, Why::First)
    );
}

#[test]
fn other_names_are_due_at_once() {
    let mut known = serving(90 * DAY);
    known.names_changed = true;
    assert_eq!(order_after(&known, DAY), (DAY, Why::NamesChanged));
}

#[test]
fn the_moment_lies_in_the_window_where_it_was_drawn_and_stays_there() {
    let mut known = serving(90 * DAY);
    let first = advice(30 * DAY, 40 * DAY, 0.25);
    known.advice = Some(first.clone());
    let drawn = order_after(&known, Duration::ZERO);
    assert_eq!(drawn, (32 * DAY + 12 * HOUR, Why::Advised));
    known.advice = Some(advice_of(1, 30 * DAY, 40 * DAY, Some(&first), 0.75));
    assert_eq!(order_after(&known, Duration::ZERO), drawn, "the same window");
    known.advice = Some(advice_of(1, 30 * DAY, 50 * DAY, Some(&first), 0.75));
    assert_eq!(order_after(&known, Duration::ZERO).0, 45 * DAY, "another window");
}

#[test]
fn advice_that_could_not_be_had_again_still_counts() {
    let mut known = serving(90 * DAY);
    let before = advice(30 * DAY, 40 * DAY, 0.25);
    let unknown = Advice::unknown(fingerprint(1), None, Some(&before), now_at(DAY), &mut || 0.5);
    known.advice = Some(unknown);
    assert_eq!(order_after(&known, DAY), (32 * DAY + 12 * HOUR, Why::Advised));
}

#[test]
fn advice_about_another_certificate_does_not_count() {
    let mut known = serving(90 * DAY);
    known.advice = Some(advice_of(2, DAY, 2 * DAY, None, 0.0));
    assert_eq!(order_after(&known, 3 * DAY), (60 * DAY, Why::LifeSpent));
    let before = advice_of(2, DAY, 2 * DAY, None, 0.0);
    let unknown = Advice::unknown(fingerprint(1), None, Some(&before), now_at(DAY), &mut || 0.5);
    known.advice = Some(unknown);
    assert_eq!(order_after(&known, 3 * DAY), (60 * DAY, Why::LifeSpent));
}

#[test]
fn the_whole_window_is_drawn_from_but_for_the_last_of_the_life() {
    let mut known = serving(90 * DAY);
    let last = 90 * DAY - 90 * DAY / 50;
    for (from, to, jitter, due) in [
        (59 * DAY, 61 * DAY, 0.5, 60 * DAY),
        (59 * DAY, 63 * DAY, 0.75, 62 * DAY),
        (70 * DAY, 90 * DAY, 0.5, 80 * DAY),
        (76 * DAY, 78 * DAY, 0.5, 77 * DAY),
        // The window is shorter than a second.
        (40 * DAY, 40 * DAY, 0.5, 40 * DAY),
        (80 * DAY, 100 * DAY, 0.9, last),
        (90 * DAY - HOUR, 90 * DAY - MINUTE, 0.5, 90 * DAY - HOUR),
    ] {
        known.advice = Some(advice(from, to, jitter));
        assert_eq!(
            order_after(&known, Duration::ZERO),
            (due, Why::Advised),
            "{from:?} {to:?}"
        );
    }
    known.advice = Some(advice(91 * DAY, 95 * DAY, 0.0));
    assert_eq!(order_after(&known, Duration::ZERO), (60 * DAY, Why::LifeSpent));
}

#[test]
fn advice_is_asked_for_before_a_routine_order_and_at_once_for_a_new_certificate() {
    let mut known = serving(90 * DAY);
    known.serving = Some(Life {
        ca: Some(2),
        ..life(90 * DAY)
    });
    for at in [DAY, 70 * DAY] {
        let next = next(&known, &RULES, now_at(at));
        assert_eq!(
            (next.wait, next.action),
            (Duration::ZERO, ScheduledAction::AskRenewalInfo { ca: 2 })
        );
    }
    known.requested = true;
    assert_eq!(next(&known, &RULES, now_at(DAY)).action, ScheduledAction::Issue);
}

#[test]
fn advice_is_asked_for_twice_a_day_and_not_more_than_once_a_minute() {
    let mut known = serving(90 * DAY);
    known.serving = Some(Life {
        ca: Some(0),
        ..life(90 * DAY)
    });
    for (said, asked) in [
        (Some(DAY * 3), 12 * HOUR / 11 * 10),
        (Some(Duration::ZERO), MINUTE),
        (Some(HOUR), HOUR),
        (None, 6 * HOUR),
    ] {
        let info = RenewalInfo {
            window: (unix(BEGIN + 50 * DAY), unix(BEGIN + 51 * DAY)),
            explanation: None,
            retry_after: said,
        };
        let now = now_at(Duration::ZERO);
        known.advice = Some(Advice::new(fingerprint(1), Some(&info), None, now, &mut || 0.0));
        assert_eq!(next(&known, &RULES, now).wait, asked, "{said:?}");
        known.advice = Some(Advice::new(fingerprint(1), Some(&info), None, now, &mut || 0.999));
        let latest = next(&known, &RULES, now).wait;
        assert!(
            asked < latest && latest <= 12 * HOUR,
            "not all at once: {said:?} {latest:?}"
        );
    }
}

#[test]
fn failures_wait_1_10_100_minutes_and_then_a_day() {
    let mut known = serving(900 * DAY);
    let due = 600 * DAY;
    for (attempts, wait) in [
        (1, MINUTE),
        (2, 10 * MINUTE),
        (3, 100 * MINUTE),
        (4, DAY),
        (5, DAY),
        (4_000_000_000, DAY),
    ] {
        known.record.failing = Some(failing(attempts, IssueFault::Refused, due));
        assert_eq!(order_after(&known, due).0, due + wait, "{attempts}");
    }
}

#[test]
fn failures_wait_less_when_little_life_is_left() {
    let mut known = serving(90 * DAY);
    for (left, wait) in [(10 * DAY, 12 * HOUR), (DAY, 72 * MINUTE), (HOUR, 15 * MINUTE)] {
        let last = 90 * DAY - left;
        known.record.failing = Some(failing(9, IssueFault::Refused, last));
        assert_eq!(order_after(&known, last).0, last + wait);
        known.record.failing = Some(failing(9, IssueFault::Certificate, last));
        assert_eq!(
            order_after(&known, last).0,
            last + DAY,
            "a useless certificate each time"
        );
    }
}

#[test]
fn who_has_nothing_to_lose_is_not_in_a_hurry() {
    let mut known = serving(90 * DAY);
    let over = 91 * DAY;
    for (class, waits) in [
        (
            IssueFault::Challenge,
            [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY],
        ),
        (
            IssueFault::RateLimited,
            [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY],
        ),
        // The CA knows nothing of a failure of our own disk.
        (
            IssueFault::State,
            [MINUTE, 10 * MINUTE, 15 * MINUTE, 15 * MINUTE, 15 * MINUTE],
        ),
    ] {
        for (attempts, wait) in (1..).zip(waits) {
            known.record.failing = Some(failing(attempts, class, over));
            assert_eq!(
                order_after(&known, over).0,
                over + wait,
                "expired: {class:?} {attempts}"
            );
            let unserved = Facts {
                serving: None,
                ..known.clone()
            };
            assert_eq!(
                order_after(&unserved, over).0,
                over + wait,
                "{class:?} {attempts}"
            );
        }
    }
}

#[test]
fn names_that_turn_from_bad_to_good_are_ordered_at_once() {
    let mut known = serving(90 * DAY);
    known.serving = None;
    let check = |good, was_bad| {
        Some(Probe {
            at: MonotonicTime(BEGIN + DAY + HOUR),
            good,
            was_bad,
            jitter: Jitter(500),
        })
    };
    let next_at = |known: &Facts, at| {
        let next = next(known, &RULES, now_at(at));
        (next.wait, next.action)
    };
    for class in [IssueFault::Challenge, IssueFault::SelfCheck] {
        known.record.failing = Some(failing(9, class, DAY));
        known.probe = None;
        assert_eq!(
            next_at(&known, DAY),
            (20 * MINUTE, ScheduledAction::CheckNames),
            "{class:?}"
        );
        known.probe = check(false, true);
        assert_eq!(
            next_at(&known, DAY + HOUR),
            (20 * MINUTE, ScheduledAction::CheckNames)
        );
        known.probe = check(true, true);
        assert_eq!(
            next_at(&known, DAY + HOUR),
            (Duration::ZERO, ScheduledAction::Issue)
        );
    }
    known.probe = check(true, false);
    assert_eq!(
        next_at(&known, DAY + HOUR).1,
        ScheduledAction::Issue,
        "the self-check blocked it"
    );
    known.record.failing = Some(failing(9, IssueFault::Challenge, DAY));
    let (wait, action) = next_at(&known, DAY + HOUR);
    assert_eq!(
        (wait, action),
        (20 * MINUTE, ScheduledAction::CheckNames),
        "they were well before"
    );
}

#[test]
fn a_wish_overrides_floor_and_back_off_but_not_the_ca() {
    let mut known = serving(90 * DAY);
    known.requested = true;
    known.record.last_issued = Some(LastIssued {
        at: MonotonicTime(BEGIN + DAY),
        not_before: Some(unix(BEGIN)),
        lately: 3,
    });
    known.record.failing = Some(failing(6, IssueFault::Refused, DAY));
    assert_eq!(order_after(&known, DAY), (DAY, Why::Requested));
    let serving = known.serving.take();
    assert_eq!(
        order_after(&known, DAY),
        (DAY, Why::Requested),
        "also where nothing serves"
    );
    known.serving = serving;
    known.record.holds = vec![Some(MonotonicTime(BEGIN + 2 * DAY))];
    assert_eq!(order_after(&known, DAY).0, 2 * DAY);
    known.record.holds.push(None);
    assert_eq!(order_after(&known, DAY).0, DAY, "the second CA may be asked");
}

#[test]
fn a_wish_that_failed_is_tried_again_by_the_back_off_and_not_when_the_next_one_is_due() {
    let mut known = serving(90 * DAY);
    known.wanted = true;
    known.record.failing = Some(failing(1, IssueFault::Refused, DAY));
    assert_eq!(order_after(&known, DAY), (DAY + MINUTE, Why::Requested));
    assert_eq!(next(&known, &RULES, now_at(DAY)).block, Some(Block::BackOff));
    known.record.failing = Some(failing(3, IssueFault::Refused, DAY));
    assert_eq!(order_after(&known, DAY).0, DAY + 100 * MINUTE);
    // An order that a limit of the CA has prevented stays wanted all the same.
    known.record.failing = None;
    assert_eq!(order_after(&known, DAY), (DAY, Why::Requested));
    known.wanted = false;
    assert_eq!(order_after(&known, DAY), (60 * DAY, Why::LifeSpent));
}

#[test]
fn a_wish_overrides_the_floor_once() {
    let mut known = serving(90 * DAY);
    known.wanted = true;
    known.record.last_issued = Some(LastIssued {
        at: MonotonicTime(BEGIN + DAY),
        not_before: None,
        lately: 1,
    });
    assert_eq!(order_after(&known, DAY), (DAY + HOUR, Why::Requested));
}

#[test]
fn what_failed_before_a_restart_is_tried_again_by_the_back_off_unless_the_restart_cut_it_short() {
    let mut known = serving(90 * DAY);
    known.record.failing = Some(failing(2, IssueFault::Refused, DAY));
    assert_eq!(order_after(&known, DAY), (DAY + 10 * MINUTE, Why::Retried));
    known.record.failing = Some(FailureStreak {
        class: None,
        ..failing(2, IssueFault::Refused, DAY)
    });
    assert_eq!(order_after(&known, DAY), (60 * DAY, Why::LifeSpent));
    // An order that is due by itself keeps its reason.
    known.record.failing = Some(failing(2, IssueFault::Refused, 61 * DAY));
    assert_eq!(
        order_after(&known, 61 * DAY),
        (61 * DAY + 10 * MINUTE, Why::LifeSpent)
    );
}

#[test]
fn an_unreachable_directory_is_looked_at_and_its_answer_hastens_the_next_attempt() {
    let mut known = serving(90 * DAY);
    let last = 60 * DAY;
    known.record.failing = Some(failing(5, IssueFault::Unreachable, last));
    let next_at = |known: &Facts, at| next(known, &RULES, now_at(at));
    let look = next_at(&known, last);
    assert_eq!(
        (look.wait, look.action),
        (20 * MINUTE, ScheduledAction::Probe { ca: 0 })
    );
    let probe = |reachable| Probe {
        at: MonotonicTime(BEGIN + last + 20 * MINUTE),
        good: reachable,
        was_bad: false,
        jitter: Jitter(0),
    };
    known.probe = Some(probe(false));
    assert_eq!(next_at(&known, last + 20 * MINUTE).wait, 10 * MINUTE);
    known.probe = Some(probe(true));
    let attempt = next_at(&known, last + 20 * MINUTE);
    assert_eq!(
        (attempt.wait, attempt.action),
        (10 * MINUTE, ScheduledAction::Issue),
        "half an hour after the last one"
    );
}

#[test]
fn who_answers_in_the_cas_place_costs_a_part_of_the_life_that_is_left_and_a_day_at_most() {
    let mut known = serving(90 * DAY);
    let hinted = |hint| FailureStreak {
        hint,
        ..failing(1, IssueFault::Unreachable, Duration::ZERO)
    };
    for (left, hint, wait) in [
        (60 * DAY, 5 * MINUTE, 5 * MINUTE),
        (60 * DAY, 365 * DAY, DAY),
        (10 * DAY, 365 * DAY, 12 * HOUR),
        (HOUR, 365 * DAY, 15 * MINUTE),
    ] {
        let last = 90 * DAY - left;
        known.record.failing = Some(FailureStreak {
            last: MonotonicTime(BEGIN + last),
            ..hinted(hint)
        });
        known.names_changed = true;
        assert_eq!(order_after(&known, last).0, last + wait, "{left:?} {hint:?}");
        known.requested = true;
        assert_eq!(order_after(&known, last).0, last, "a wish is not held up");
        known.requested = false;
    }
    known.serving = None;
    known.record.failing = Some(hinted(365 * DAY));
    assert_eq!(order_after(&known, Duration::ZERO).0, 15 * MINUTE);
}

#[test]
fn an_order_is_never_closer_to_the_last_success_than_the_floor() {
    let mut known = serving(90 * DAY);
    known.serving = None;
    known.record.last_issued = Some(LastIssued {
        at: MonotonicTime(BEGIN + DAY),
        not_before: None,
        lately: 1,
    });
    assert_eq!(order_after(&known, DAY).0, DAY + HOUR);
}
