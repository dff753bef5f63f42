//! R18: the wall clock is set, far and often.

use std::time::Duration;

use rand::Rng;

use super::checker::{Rule, check};
use super::seeded;
use super::simulation::*;
use crate::error::IssueFault;

const FAR: i64 = 40 * 86_400;

fn orders(log: &[Happened], from: Duration, to: Duration) -> usize {
    log.iter()
        .filter(|one| (BEGIN + from..BEGIN + to).contains(&one.at))
        .filter(|one| matches!(one.what, LogEntry::Ordered { .. }))
        .count()
}

fn assert_clean(setup: &LifeSetup, log: &[Happened]) {
    let breaches = check(setup, log);
    assert!(breaches.is_empty(), "{setup:?}\n{breaches:#?}");
}

#[test]
fn a_clock_that_is_set_costs_one_renewal_at_most() {
    let mut random = seeded("set");
    for life in [90 * DAY, 45 * DAY] {
        for says in [AdviceOfCa::Nothing, AdviceOfCa::Sense] {
            for off in [FAR, -FAR] {
                for _ in 0..10 {
                    // While no renewal is due by itself, for ten days; then the clock is put right.
                    let at = Duration::from_secs(random.random_range(3600..(life / 3).as_secs()));
                    let mut setup = LifeSetup::new(life, says, 2 * life, random.random());
                    setup.clock = vec![(at, off), (at + 10 * DAY, 0)];
                    let log = play(&setup);
                    assert!(orders(&log, at, at + 10 * DAY) <= 1, "{setup:?}\n{log:#?}");
                    assert!(
                        orders(&log, at + 10 * DAY, at + 12 * DAY) <= 1,
                        "{setup:?}\n{log:#?}"
                    );
                    assert_clean(&setup, &log);
                }
            }
        }
    }
}

#[test]
fn a_clock_that_stays_wrong_lets_nothing_expire_and_orders_seldom() {
    let mut random = seeded("stays wrong");
    for (life, off) in [
        (90 * DAY, FAR),
        (90 * DAY, -FAR),
        (45 * DAY, FAR),
        (45 * DAY, -FAR),
        (6 * DAY, -FAR),
    ] {
        let mut setup = LifeSetup::new(life, AdviceOfCa::Sense, 4 * life, random.random());
        setup.clock = vec![(DAY, off)];
        let log = play(&setup);
        assert_clean(&setup, &log);
        let count = orders(&log, Duration::ZERO, 4 * life);
        assert!(
            count <= 20,
            "{count} orders in four lives of {life:?} with a clock off by {off} s"
        );
    }
}

#[test]
fn a_short_life_is_not_lost_to_a_clock_that_is_wrong_for_a_day() {
    let mut random = seeded("short");
    for off in [FAR, -FAR] {
        let mut setup = LifeSetup::new(6 * DAY, AdviceOfCa::Sense, 20 * DAY, random.random());
        setup.clock = vec![(DAY, off), (2 * DAY, 0)];
        let log = play(&setup);
        assert_clean(&setup, &log);
        // The new certificate is expired by that clock, so it is tried again: hourly at first, then daily.
        let count = orders(&log, DAY, 2 * DAY);
        assert!(count <= 4, "{count} orders in a day");
    }
}

#[test]
fn a_jumping_clock_costs_no_renewal_for_each_jump() {
    let mut random = seeded("jumping");
    for life in [90 * DAY, 45 * DAY] {
        for _ in 0..5 {
            let mut setup = LifeSetup::new(life, AdviceOfCa::Sense, 25 * DAY, random.random());
            let mut at = DAY;
            while at < 20 * DAY {
                setup.clock.push((at, random.random_range(-FAR..FAR)));
                at += Duration::from_secs(random.random_range(600..12 * 3600));
            }
            setup.clock.push((at, 0));
            let log = play(&setup);
            assert_clean(&setup, &log);
            let count = orders(&log, Duration::ZERO, 25 * DAY);
            assert!(
                count <= 3,
                "{count} orders in 25 days, {} jumps",
                setup.clock.len()
            );
        }
    }
}

#[test]
fn a_restart_under_a_clock_that_was_set_back_waits_no_longer_than_after_a_fresh_failure() {
    let mut setup = LifeSetup::new(90 * DAY, AdviceOfCa::Nothing, 8 * DAY, 1).down(Duration::ZERO, 5 * DAY);
    setup.begins_served = false;
    setup.clock = vec![(2 * DAY, -FAR)];
    setup.restarts = vec![2 * DAY + HOUR];
    let log = play(&setup);
    assert!(
        check(&setup, &log).iter().all(|(rule, _)| *rule == Rule::Probes),
        "{log:#?}"
    );
    let served = log.iter().find(|one| matches!(one.what, LogEntry::Served { .. }));
    assert!(served.is_some_and(|served| served.at < BEGIN + 5 * DAY + HOUR));
}

#[test]
fn control_waits_by_the_wall_clock_are_caught() {
    let mut ahead = LifeSetup::new(90 * DAY, AdviceOfCa::Nothing, 80 * DAY, 1).down(59 * DAY, 5 * DAY);
    ahead.cas[0].retry_after = Some(2 * DAY);
    ahead.cas[0].answers = Some(IssueFault::RateLimited);
    ahead.clock = vec![(61 * DAY, FAR)];
    let mut behind = LifeSetup::new(90 * DAY, AdviceOfCa::Nothing, 95 * DAY, 1).down(59 * DAY, 20 * DAY);
    behind.clock = vec![(61 * DAY, -FAR)];
    for (mut setup, rule) in [(ahead, Rule::Hold), (behind, Rule::Unserved)] {
        assert!(
            !check(&setup, &play(&setup))
                .iter()
                .any(|(broken, _)| *broken == rule)
        );
        setup.mutant = Mutant::WaitsByWallClock;
        let breaches = check(&setup, &play(&setup));
        assert!(
            breaches.iter().any(|(broken, _)| *broken == rule),
            "{rule:?} not seen: {breaches:#?}"
        );
    }
}

#[test]
fn control_renewals_without_a_floor_under_a_clock_that_is_ahead_are_seen() {
    let ahead = |mutant| {
        let mut setup = LifeSetup::new(45 * DAY, AdviceOfCa::Nothing, DAY + HOUR, 1);
        setup.clock = vec![(DAY, FAR)];
        setup.mutant = mutant;
        orders(&play(&setup), DAY, DAY + HOUR)
    };
    assert!(ahead(Mutant::None) <= 1);
    let count = ahead(Mutant::NoFloor);
    assert!(count > 1, "{count} orders");
}
