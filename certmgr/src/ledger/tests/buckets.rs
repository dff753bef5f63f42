//! The ledger against a CA that gives back one by one what was used of its limits.

use std::collections::BTreeSet;
use std::ops::Range;

use certstore::Fingerprint;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::tests::is_proof;
use crate::tests::lets_encrypt::{LetsEncrypt, Limited};

/// Time in which one of 50 a week comes back.
const ONE_OF_FIFTY: Duration = Duration::from_secs(7 * 24 * 60 * 60 / 50);

/// An event at one instant.
enum Step {
    Order,
    /// The CA counts at the end of an order.
    Count(String, Vec<Limited>),
    Answer(Box<TestOrder>, Noted),
}

const KEYS: [KeyType; 3] = [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048];

/// Orders for up to three weeks, at most `apart` after each other; `failing` of a thousand fail. Returns how many the
/// ledger and the CA allow, and how many the ledger does not.
fn asked_for(random: &mut StdRng, hosts: usize, apart: Duration, failing: u32) -> (usize, usize) {
    let orders = if is_proof() { 4_000 } else { 1_000 };
    let mut ledger = TestLedger::new();
    let mut ca = LetsEncrypt::default();
    let begin = ledger.now.monotonic.0;
    let mut steps = vec![(begin, Step::Order)];
    let (mut number, mut allowed, mut refused) = (0, 0, 0);
    let mut under_way = BTreeSet::new();
    while let Some(first) = (0..steps.len()).min_by_key(|step| steps[*step].0) {
        let (at, step) = steps.swap_remove(first);
        ledger.after(at - ledger.now.monotonic.0);
        match step {
            Step::Order => {
                let pause = Duration::from_secs(random.random_range(0..=apart.as_secs()));
                if at < begin + 21 * DAY && number < orders {
                    steps.push((at + pause, Step::Order));
                }
                number += 1;
                let host = match random.random_ratio(failing, 1_000) {
                    true => format!("dead{}.of.test", number % hosts),
                    false => format!("host{}.of.test", number % hosts),
                };
                let key = KEYS[random.random_range(0..KEYS.len())];
                let order = Box::new(TestOrder {
                    key,
                    ..order(&host).by_hand()
                });
                let lease = lease_of(&order.domains, key);
                if under_way.contains(&lease) {
                    continue;
                }
                let Ok(noted) = ledger.begins(&order) else {
                    refused += 1;
                    continue;
                };
                under_way.insert(lease);
                allowed += 1;
                let counted = ca.order(0, &host, None, at);
                let counted = counted.unwrap_or_else(|met| panic!("order {number}, for {host}: {met:?}"));
                let takes = Duration::from_secs(random.random_range(1..1_200));
                steps.push((at + takes.mul_f64(random.random()), Step::Count(host, counted)));
                steps.push((at + takes, Step::Answer(order, noted)));
            }
            Step::Count(host, _) if host.starts_with("dead") => {
                ca.validation_failed(&host, at);
                ca.in_a_row.clear();
            }
            Step::Count(host, counted) => {
                counted.iter().for_each(|limited| ca.take(limited, at));
                let mut fingerprint = [0; 32];
                random.fill(&mut fingerprint);
                ca.issued
                    .insert(Fingerprint::from_bytes(fingerprint), (host, false));
            }
            Step::Answer(order, noted) => {
                under_way.remove(&lease_of(&order.domains, order.key));
                match order.domains[0].to_string().starts_with("dead") {
                    true => ledger.fails(noted, IssueFault::Challenge),
                    false => ledger.is_issued(noted),
                }
            }
        }
    }
    (allowed, refused)
}

#[test]
fn what_the_ledger_allows_a_ca_that_gives_back_one_by_one_allows_too() {
    let seed = std::env::var("H2GATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("H2GATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (hosts, apart, failing) in [
        // New certificates faster than they come back, and about as fast.
        (100_000, 30 * MINUTE, 0),
        (100_000, 4 * HOUR, 0),
        // Orders that meet the limit of the account, and that of failed validations.
        (50, Duration::from_secs(10), 1_000),
        (5, 2 * MINUTE, 950),
        // Renewals.
        (10, 4 * HOUR, 100),
    ] {
        let (allowed, refused) = asked_for(&mut random, hosts, apart, failing);
        println!("at most {apart:?} apart {allowed} orders are allowed, and {refused} refused");
        assert!(allowed > 50 && refused > 10);
    }
}

/// Orders for new hosts below one domain as soon as the ledger permits them, each issued at once. Returns the longest
/// wait, and the sum of all.
fn waits_of(ledger: &mut TestLedger, hosts: Range<usize>) -> (Duration, Duration) {
    let (begin, mut longest) = (ledger.now.monotonic.0, Duration::ZERO);
    for number in hosts {
        let host = order(&format!("host{number}.example.com"));
        if let Err(refused) = ledger.asks(&host) {
            longest = longest.max(refused.wait);
            ledger.after(refused.wait);
        }
        let noted = ledger.begins(&host).unwrap();
        ledger.is_issued(noted);
    }
    (longest, ledger.now.monotonic.0 - begin)
}

#[test]
fn nobody_waits_for_a_week_for_what_comes_back_in_hours() {
    let mut ledger = TestLedger::new();
    assert_eq!(waits_of(&mut ledger, 0..60), (ONE_OF_FIFTY, 10 * ONE_OF_FIFTY));
    // All that has come back in the meantime can be used at once.
    ledger.after(30 * ONE_OF_FIFTY);
    assert_eq!(waits_of(&mut ledger, 60..90), (Duration::ZERO, Duration::ZERO));
    ledger.after(7 * DAY);
    assert_eq!(waits_of(&mut ledger, 90..140), (Duration::ZERO, Duration::ZERO));
    assert_eq!(waits_of(&mut ledger, 140..141).0, ONE_OF_FIFTY);
}

#[test]
fn what_a_limit_counts_is_remembered_for_two_weeks_and_all_else_for_one() {
    let mut ledger = TestLedger::new();
    for (host, kind) in [("a.test", OrderKind::New), ("b.test", OrderKind::Replacing)] {
        let noted = ledger.begins(&order(host).of_kind(kind)).unwrap();
        ledger.is_issued(noted);
    }
    for (days, kept) in [(7, 2), (1, 1), (6, 1), (1, 0)] {
        ledger.after(days * DAY);
        let noted = ledger.begins(&order("c.test").at("https://ca.test/")).unwrap();
        ledger.fails(noted, IssueFault::Challenge);
        assert_eq!(ledger.history.orders().len(), kept + 1, "{days} days later");
    }
}

#[test]
fn a_host_whose_clock_begins_in_1970_may_order() {
    let mut ledger = TestLedger::new();
    ledger.now = Now {
        wall: UnixTime::since_unix_epoch(MINUTE),
        monotonic: MonotonicTime(MINUTE),
    };
    assert_eq!(waits_of(&mut ledger, 0..52), (ONE_OF_FIFTY, 2 * ONE_OF_FIFTY));
}

#[test]
fn an_order_is_counted_from_its_answer_and_until_then_as_one_of_just_now() {
    let mut ledger = TestLedger::new();
    let host = |number: usize| order(&format!("host{number}.example.com"));
    let begun: Vec<Noted> = (0..50)
        .map(|number| ledger.begins(&host(number)).unwrap())
        .collect();
    let wait = |ledger: &TestLedger| ledger.asks(&host(50)).map_err(|refused| refused.wait);
    for _ in 0..2 {
        ledger.after(50 * MINUTE);
        assert_eq!(wait(&ledger), Err(ONE_OF_FIFTY));
    }
    for noted in begun {
        ledger.is_issued(noted);
    }
    ledger.after(ONE_OF_FIFTY - MINUTE);
    assert_eq!(wait(&ledger), Err(MINUTE));
    ledger.after(MINUTE);
    assert_eq!(wait(&ledger), Ok(()));
}

#[test]
fn validations_under_way_count_as_failed_ones_until_they_are_answered() {
    let mut ledger = TestLedger::new();
    let with = |other: &str| {
        let mut order = order("a.test");
        order.domains.push(Name::parse(other).unwrap());
        order
    };
    let begun: Vec<Noted> = (0..5)
        .map(|number| ledger.begins(&with(&format!("b{number}.test"))).unwrap())
        .collect();
    let refused = ledger.asks(&with("c.test")).unwrap_err();
    assert!(
        refused.to_string().contains("failed validations per name"),
        "{refused}"
    );
    ledger.asks(&order("c.test")).unwrap();
    ledger.is_issued(begun[0]);
    ledger.asks(&with("c.test")).unwrap();
    // The CA refuses some orders for a validation that failed, such as for CAA.
    ledger.fails(begun[1], IssueFault::Refused);
    for noted in &begun[2..] {
        ledger.fails(*noted, IssueFault::Challenge);
    }
    let noted = ledger.begins(&with("c.test")).unwrap();
    ledger.fails(noted, IssueFault::Challenge);
    let refused = ledger.asks(&with("c.test")).unwrap_err();
    assert_eq!(refused.wait, 12 * MINUTE, "{refused}");
}

#[test]
fn who_orders_again_knows_that_what_it_began_before_is_over() {
    let mut ledger = TestLedger::new();
    for _ in 0..10 {
        // The process dies in the middle of each order.
        let again = order("a.test").by_hand().of_kind(OrderKind::Resumed);
        let _ = ledger.begins(&again).unwrap();
    }
    ledger.asks(&order("a.test").by_hand()).unwrap();
}

/// Documents of earlier versions, which kept within sliding windows, have nothing older than seven days.
#[test]
fn nothing_is_missed_of_what_earlier_versions_have_forgotten() {
    for (first, pause, second) in [
        (50, 7 * DAY, 50),
        (20, 6 * DAY, 30),
        (30, DAY, 20),
        (50, 8 * DAY, 1),
    ] {
        let mut ledger = TestLedger::new();
        let mut ca = LetsEncrypt::default();
        let mut number = 0;
        let mut issues = |ledger: &mut TestLedger| {
            let host = format!("host{number}.example.com");
            let noted = ledger.begins(&order(&host))?;
            let at = ledger.now.monotonic.0;
            for limited in ca.order(0, &host, None, at).unwrap() {
                ca.take(&limited, at);
            }
            ledger.is_issued(noted);
            number += 1;
            Ok::<(), Wait>(())
        };
        for _ in 0..first {
            issues(&mut ledger).unwrap();
        }
        ledger.after(pause);
        for _ in 0..second {
            issues(&mut ledger).unwrap();
        }
        ledger.after((7 * DAY).saturating_sub(pause) + MINUTE);
        let earliest = ledger.now.wall.as_secs() - (7 * DAY).as_secs();
        ledger.edits(|orders| orders.retain(|placed| placed["at"].as_u64().unwrap() >= earliest));
        assert_eq!(ledger.history.orders().len(), second);
        for _ in 0..200 {
            if let Err(refused) = issues(&mut ledger) {
                ledger.after(refused.wait);
            }
        }
    }
}
