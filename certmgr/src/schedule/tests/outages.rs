//! R9: a CA that is down, refuses, or gives invalid answers.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::checker::{Rule, check};
use super::seeded;
use super::simulation::*;
use crate::error::IssueFault;

/// A life, and the longest time for which its CA may be away.
const LIVES: [(Duration, Duration); 3] = [
    (Duration::from_secs(90 * 86_400), Duration::from_secs(28 * 86_400)),
    (Duration::from_secs(45 * 86_400), Duration::from_secs(13 * 86_400)),
    (Duration::from_secs(6 * 86_400), Duration::from_secs(237_600)),
];

const SAYS: [AdviceOfCa; 4] = [
    AdviceOfCa::Nothing,
    AdviceOfCa::Sense,
    AdviceOfCa::Nonsense,
    AdviceOfCa::TooLate,
];

/// Makes a life with a long outage that begins anywhere, or just when the renewal is due, and a few short ones.
fn with_outages(random: &mut StdRng, life: Duration, longest: Duration, says: AdviceOfCa) -> LifeSetup {
    let between = |random: &mut StdRng, from: Duration, to: Duration| {
        Duration::from_secs(random.random_range(from.as_secs()..to.as_secs()))
    };
    let seed = random.random();
    let due = if life < 10 * DAY { life / 2 } else { life / 3 * 2 };
    let begin = if random.random() {
        between(random, Duration::ZERO, 2 * life)
    } else {
        (due - HOUR).saturating_sub(between(random, Duration::ZERO, 3 * HOUR))
    };
    let length = between(random, longest / 10, longest);
    let mut setup = LifeSetup::new(life, says, 4 * life, seed).down(begin, length);
    let mut at = begin + length + life;
    while at < 3 * life {
        let length = between(random, MINUTE, 5 * HOUR);
        setup = setup.down(at, length);
        at += length + between(random, life / 20, life / 2);
    }
    setup
}

fn assert_clean(setup: &LifeSetup) -> Vec<Happened> {
    let log = play(setup);
    let breaches = check(setup, &log);
    assert!(breaches.is_empty(), "{setup:?}\n{breaches:#?}");
    log
}

/// Asserts that the checker finds a breach of this rule in at least one life.
fn assert_caught(rule: Rule, setups: impl IntoIterator<Item = LifeSetup>) {
    let caught = setups.into_iter().any(|setup| {
        check(&setup, &play(&setup))
            .iter()
            .any(|(broken, _)| *broken == rule)
    });
    assert!(
        caught,
        "{rule:?} was broken on purpose, and the checker did not see it"
    );
}

fn mutants(mutant: Mutant, test: &str) -> Vec<LifeSetup> {
    let mut random = seeded(test);
    let mut setups = Vec::new();
    for (life, longest) in LIVES {
        for says in SAYS {
            for _ in 0..4 {
                let mut setup = with_outages(&mut random, life, longest, says);
                setup.mutant = mutant;
                setups.push(setup);
            }
        }
    }
    setups
}

#[test]
fn nothing_goes_unserved_while_a_ca_is_down_and_it_is_renewed_within_an_hour_of_its_return() {
    let mut random = seeded("outages");
    let (mut failures, mut probes) = (0, 0);
    for (life, longest) in LIVES {
        for says in SAYS {
            for _ in 0..25 {
                let setup = with_outages(&mut random, life, longest, says);
                let log = assert_clean(&setup);
                failures += log
                    .iter()
                    .filter(|one| matches!(one.what, LogEntry::Failed { .. }))
                    .count();
                probes += log
                    .iter()
                    .filter(|one| matches!(one.what, LogEntry::Probed { .. }))
                    .count();
            }
        }
    }
    println!("{failures} failed attempts, {probes} probes");
    assert!(
        failures > 300 && probes > 300,
        "the outages did not touch the renewals"
    );
}

#[test]
fn a_limit_is_never_undercut_and_no_other_wish_to_be_left_alone_costs_a_certificate() {
    let mut random = seeded("retry_after");
    for answers in [None, Some(IssueFault::RateLimited)] {
        for (life, longest) in LIVES {
            for _ in 0..40 {
                let mut setup = with_outages(&mut random, life, longest / 2, AdviceOfCa::Sense);
                let most = (life / 12).as_secs();
                setup.cas[0].retry_after = Some(Duration::from_secs(random.random_range(1..most)));
                setup.cas[0].answers = answers;
                assert_clean(&setup);
            }
        }
    }
}

#[test]
fn a_ca_that_always_says_now_gets_one_order_a_day_at_most() {
    let mut random = seeded("now");
    for (life, _) in LIVES {
        let setup = LifeSetup::new(life, AdviceOfCa::Now, 30 * DAY, random.random());
        let log = play(&setup);
        let orders = log
            .iter()
            .filter(|one| matches!(one.what, LogEntry::Ordered { .. }))
            .count();
        assert!((4..=34).contains(&orders), "{orders} orders in 30 days");
        assert!(
            check(&setup, &log).iter().all(|(rule, _)| *rule == Rule::Early),
            "only that it is early"
        );
    }
}

#[test]
fn a_certificate_of_a_day_is_never_unserved_however_often_its_ca_wants_it_renewed() {
    let mut random = seeded("a day");
    for says in [AdviceOfCa::Now, AdviceOfCa::Sense, AdviceOfCa::Nothing] {
        for life in [DAY, 12 * HOUR] {
            let setup = LifeSetup::new(life, says, 30 * DAY, random.random());
            let breaches = check(&setup, &play(&setup));
            let unserved = breaches.iter().any(|(rule, _)| *rule != Rule::Early);
            assert!(!unserved, "{says:?} {life:?}: {breaches:#?}");
        }
    }
}

#[test]
fn advice_that_makes_no_sense_changes_nothing() {
    for says in [AdviceOfCa::Nonsense, AdviceOfCa::TooLate] {
        let (strange, none) = (
            LifeSetup::new(90 * DAY, says, 200 * DAY, 1),
            LifeSetup::new(90 * DAY, AdviceOfCa::Nothing, 200 * DAY, 1),
        );
        let served = |setup: &LifeSetup| -> Vec<Duration> {
            let log = assert_clean(setup);
            log.iter()
                .filter(|one| matches!(one.what, LogEntry::Served { .. }))
                .map(|one| one.at)
                .collect()
        };
        assert_eq!(served(&strange).len(), served(&none).len());
    }
}

#[test]
fn the_next_ca_serves_while_the_first_is_down() {
    let mut random = seeded("fallback");
    for (life, _) in LIVES {
        let mut setup = LifeSetup::new(life, AdviceOfCa::Sense, 3 * life, random.random());
        setup.cas.push(setup.cas[0].clone());
        setup = setup.down(Duration::ZERO, 3 * life);
        let log = assert_clean(&setup);
        let failed = log
            .iter()
            .filter(|one| matches!(one.what, LogEntry::Failed { .. }))
            .count();
        let served = log
            .iter()
            .filter(|one| matches!(one.what, LogEntry::Served { .. }))
            .count();
        assert_eq!(
            failed + 1,
            served,
            "each renewal asks the first once and is served by the second"
        );
    }
}

#[test]
fn the_first_certificate_comes_within_an_hour_of_the_cas_return() {
    let mut random = seeded("first");
    for _ in 0..50 {
        let length = Duration::from_secs(random.random_range(60..3 * 86_400));
        let mut setup = LifeSetup::new(90 * DAY, AdviceOfCa::Sense, 5 * DAY, random.random())
            .down(Duration::ZERO, length);
        setup.begins_served = false;
        assert_clean(&setup);
    }
}

#[test]
fn control_holds_that_are_not_obeyed_are_caught() {
    let setups = mutants(Mutant::NoHolds, "holds").into_iter().map(|mut setup| {
        setup.cas[0].retry_after = Some(3 * HOUR);
        setup.cas[0].answers = Some(IssueFault::RateLimited);
        setup
    });
    assert_caught(Rule::Hold, setups);
}

#[test]
fn control_a_missing_back_off_is_caught() {
    // Without it the simulation would order each second: an outage of some minutes is enough.
    let mut setup = LifeSetup::new(90 * DAY, AdviceOfCa::Nothing, 70 * DAY, 1).down(59 * DAY, DAY + 2 * HOUR);
    setup.mutant = Mutant::NoBackOff;
    assert_caught(Rule::BackOff, [setup]);
}

#[test]
fn control_missing_probes_are_caught() {
    assert_caught(Rule::Probes, mutants(Mutant::NoProbes, "probes"));
}

#[test]
fn control_a_return_that_is_not_noticed_is_caught() {
    assert_caught(Rule::Return, mutants(Mutant::NoHaste, "haste"));
}

#[test]
fn control_a_renewal_that_comes_too_late_is_caught() {
    assert_caught(Rule::Unserved, mutants(Mutant::LateShare, "late"));
}

#[test]
fn control_a_missing_floor_is_caught() {
    let mut setup = LifeSetup::new(90 * DAY, AdviceOfCa::Now, HOUR, 1);
    setup.mutant = Mutant::NoFloor;
    assert_caught(Rule::Floor, [setup]);
}

#[test]
fn control_advice_about_another_certificate_is_caught_when_it_counts() {
    let setups = (0..20).map(|seed| {
        let mut setup = LifeSetup::new(90 * DAY, AdviceOfCa::Sense, 100 * DAY, seed);
        setup.mutant = Mutant::AnyAdvice;
        setup
    });
    assert_caught(Rule::Early, setups);
}
