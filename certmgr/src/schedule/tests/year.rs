//! A year of a fleet: two processes that share one state, a CA that counts as Let's Encrypt does, and one that is
//! dead.
//!
//! The CA has counts of its own ([`LetsEncrypt`](crate::tests::lets_encrypt::LetsEncrypt)): it refills its limits
//! little by little, and remembers orders that the fleet has lost. Each order is noted before it is placed and
//! answered some seconds later, and others come in between.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use self::world::{Alive, REFUSED_WITHIN, SimulatedCertificate, YearSetup, YearSimulation};
use super::seeded;
use super::simulation::{BEGIN, DAY, HOUR, MINUTE};
use crate::tests::lets_encrypt::Limited;

/// Makes a fleet of this size: a fifth of it is below one domain, the others are below domains of ten.
fn fleet(size: usize) -> Vec<SimulatedCertificate> {
    let one = |number: usize| SimulatedCertificate {
        name: match number % 5 {
            0 => format!("host{number}.big.test"),
            _ => format!("host{number}.d{}.test", number / 12),
        },
        alive: if number % 10 == 3 {
            Alive::Second
        } else {
            Alive::First
        },
        life: match number % 25 {
            1 => 6 * DAY,
            2 => 45 * DAY,
            _ => 90 * DAY,
        },
        dead: number == 7,
        wanted: Duration::ZERO..2 * YEAR,
    };
    (0..size).map(one).collect()
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Size of the fleet: all of it in a proof; else enough to meet each limit but the one on accounts.
fn size() -> usize {
    if crate::tests::is_proof() { 500 } else { 80 }
}

/// Longest time of a first start, if a CA gives 50 below one domain at once and then one in 202 minutes.
fn everyone_within(size: usize) -> Duration {
    let waiting = u32::try_from(size.div_ceil(5)).unwrap().saturating_sub(50);
    7 * DAY / 50 * waiting + 6 * HOUR
}

#[test]
fn a_fleet_lives_for_a_year_within_what_lets_encrypt_allows() {
    let size = size();
    let lost = 200 * DAY;
    let setup = YearSetup {
        fleet: fleet(size),
        horizon: YEAR,
        losses: vec![lost],
        outage: 60 * DAY..63 * DAY,
    };
    let mut world = YearSimulation::new(&setup, seeded("a_fleet_lives_for_a_year"));
    let everyone = everyone_within(size);
    let dead = ["host7.d0.test"];

    for begin in [Duration::ZERO, lost] {
        // Those below domains of their own at once, as far as the account goes: 300 in three hours.
        world.play_until(begin + 4 * HOUR);
        let unserved = world.unserved();
        let early: Vec<_> = unserved
            .iter()
            .filter(|name| !name.ends_with("big.test"))
            .collect();
        assert_eq!(early, [&dead[0]], "after {begin:?}");
        let mut day = begin + everyone;
        let end = if begin.is_zero() {
            lost - HOUR
        } else {
            setup.horizon
        };
        let (mut planned, mut came) = (BTreeMap::new(), BTreeMap::new());
        while day < end {
            world.play_until(day);
            assert_eq!(world.unserved(), dead, "{day:?} after the beginning");
            if day == begin + everyone + 70 * DAY {
                planned = world.plan(60 * DAY);
                came = world.counts();
            }
            if day == begin + everyone + 130 * DAY {
                agree(&setup, &planned, &came, &world.counts());
            }
            day += DAY;
        }
    }
    // The dead CA is dead for a year: it costs each certificate no more than a look now and then.
    assert_eq!(world.ca.refusals, [], "no limit is met");
    let failures = world.ca.in_a_row[dead[0]];
    // Daily at first, and every other day after 200 (`ledger/in_a_row.rs`); the loss of state begins anew.
    assert!(
        (365 / 2..1_152).contains(&failures),
        "{failures} failed validations of a dead name in a year"
    );
    println!("{} orders, {failures} failed validations", world.orders);
}

fn agree(
    setup: &YearSetup,
    planned: &BTreeMap<String, usize>,
    before: &BTreeMap<String, usize>,
    after: &BTreeMap<String, usize>,
) {
    for one in setup.fleet.iter().filter(|one| !one.dead) {
        let count = |counts: &BTreeMap<String, usize>| counts.get(&one.name).copied().unwrap_or(0);
        let came = count(after) - count(before);
        assert!(
            count(planned).abs_diff(came) <= 1 + came / 20,
            "{}: planned {}, came {came}",
            one.name,
            count(planned)
        );
    }
}

/// 300 orders of an account in three hours; the others fail at the dead CA meanwhile.
#[test]
fn who_waits_for_an_accounts_limit_is_served_when_it_allows() {
    let setup = YearSetup {
        fleet: fleet(400),
        horizon: 2 * HOUR,
        losses: Vec::new(),
        outage: YEAR..YEAR,
    };
    let mut world = YearSimulation::new(&setup, seeded("who_waits_for_an_accounts_limit"));
    world.play_until(5 * MINUTE);
    let of_their_own = |name: &&&str| !name.ends_with("big.test");
    assert!(world.unserved().iter().filter(of_their_own).count() > 50);
    world.play_until(setup.horizon);
    let unserved = world.unserved();
    let unserved: Vec<_> = unserved.iter().filter(of_their_own).collect();
    assert_eq!(unserved, [&"host7.d0.test"]);
    assert_eq!(world.ca.refusals, []);
}

#[test]
fn a_state_that_is_lost_each_night_meets_each_limit_once_and_obeys() {
    let nights: Vec<Duration> = (1..12).map(|night| night * DAY / 2).collect();
    let mut fleet: Vec<SimulatedCertificate> = (0..12)
        .map(|number| SimulatedCertificate {
            name: format!("host{number}.small.test"),
            alive: Alive::First,
            life: 90 * DAY,
            dead: false,
            wanted: Duration::ZERO..YEAR,
        })
        .collect();
    // 45 that are gone when the state is lost for the first time, and 20 others that come then, below one domain.
    fleet.extend((0..65).map(|number: u32| SimulatedCertificate {
        name: format!("host{number}.grown.test"),
        alive: Alive::First,
        life: 90 * DAY,
        dead: false,
        wanted: match number.checked_sub(45) {
            None => Duration::ZERO..nights[0],
            Some(minutes) => nights[0] + minutes * MINUTE..YEAR,
        },
    }));
    let setup = YearSetup {
        fleet,
        horizon: 60 * DAY,
        losses: nights.clone(),
        outage: YEAR..YEAR,
    };
    let mut world = YearSimulation::new(&setup, seeded("a_state_that_is_lost_each_night"));
    world.play_until(setup.horizon);
    assert_eq!(world.unserved(), [""; 0]);
    let met = |of: fn(&Limited) -> bool| world.ca.refusals.iter().any(|(_, limited, _)| of(limited));
    assert!(met(|limited| matches!(limited, Limited::Set(_))));
    assert!(met(|limited| matches!(limited, Limited::Domain(_))));
    // When the state is lost, no limit is known any more, and orders in progress go on. But a process that knows a
    // limit keeps it, and one order alone asks again.
    let known = |(at, limited, until): &(Duration, Limited, Duration),
                 other: &(Duration, Limited, Duration)| {
        let lost = nights
            .iter()
            .any(|night| (*at..=other.0).contains(&(BEGIN + *night)));
        *limited == other.1 && (*at + REFUSED_WITHIN..*until).contains(&other.0) && !lost
    };
    for refusal in &world.ca.refusals {
        let again = world.ca.refusals.iter().find(|other| known(refusal, other));
        assert_eq!(again, None, "{refusal:?} was met again before its time");
    }
    let domain = world
        .ca
        .refusals
        .iter()
        .filter(|(_, limited, _)| matches!(limited, Limited::Domain(_)));
    println!(
        "{} orders, {} refusals, {} of them for a domain",
        world.orders,
        world.ca.refusals.len(),
        domain.count()
    );
}
