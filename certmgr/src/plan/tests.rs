//! Plans, in sentences.

use std::path::Path;

use certstore::Fingerprint;

use super::*;
use crate::config::{Challenge, KeyType};
use crate::ledger::Counted;
use crate::schedule::Jitter;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Instant at which the plans begin.
const BEGIN: Duration = Duration::from_secs(1_800_000_000);

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const UNKNOWN: &str = "https://ca.test/directory";

fn at(offset: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(BEGIN + offset)
}

fn now() -> Now {
    Now {
        wall: at(Duration::ZERO),
        monotonic: MonotonicTime(BEGIN),
    }
}

fn ca(directory: &str) -> Ca {
    Ca {
        name: "ca".to_owned(),
        directory: directory.to_owned(),
        ca_file: None,
        contact: Vec::new(),
        profile: None,
        external_account: None,
    }
}

/// Makes a candidate for which no certificate serves yet.
fn candidate_for(domain: &str, directory: &str) -> Candidate {
    Candidate {
        name: domain.to_owned(),
        domains: vec![Name::parse(domain).unwrap()],
        source: AcmeSource {
            cas: vec![ca(directory)],
            challenge: Challenge::TlsAlpn01,
            key: KeyType::EcdsaP256,
            preferred_chain: None,
            resolvers: Vec::new(),
            min_interval: HOUR,
            first_retry: Duration::from_secs(60),
        },
        serving: None,
        next: None,
    }
}

/// Makes a candidate whose certificate was issued just now and has this life.
fn serving(domain: &str, directory: &str, life: Duration) -> Candidate {
    Candidate {
        serving: Some(Life {
            fingerprint: Fingerprint::from_bytes([1; 32]),
            not_before: at(Duration::ZERO),
            not_after: at(life),
            ca: Some(0),
        }),
        ..candidate_for(domain, directory)
    }
}

fn look(candidates: &[Candidate], horizon: Duration) -> Plan {
    look_ahead(candidates, History::default(), Stamps::default(), now(), horizon)
}

/// Days from the beginning.
fn days(plan: &Plan) -> Vec<u64> {
    let begin = BEGIN.as_secs();
    let days = plan
        .orders
        .iter()
        .map(|order| (order.at.as_secs() - begin) / DAY.as_secs());
    days.collect()
}

fn limit(plan: &Plan, counted: Counted) -> &PlannedLimit {
    let found = plan.limits.iter().find(|one| one.limit.counted == counted);
    found.unwrap_or_else(|| panic!("{counted:?} is not planned: {:?}", plan.limits))
}

#[test]
fn each_life_is_renewed_when_its_share_is_spent_up_to_the_horizon() {
    let one = [serving("a.test", UNKNOWN, 90 * DAY)];
    assert_eq!(days(&look(&one, YEAR)), [60, 120, 180, 240, 300, 360]);
    assert_eq!(days(&look(&one, 60 * DAY)), [60], "the horizon is inside");
    assert_eq!(days(&look(&one, 60 * DAY - HOUR)), [0; 0]);
    for (life, orders) in [(45, 12), (6, 121)] {
        let plan = look(&[serving("a.test", UNKNOWN, life * DAY)], YEAR);
        assert_eq!(plan.orders.len(), orders, "{life} days");
        let order = &plan.orders[0];
        assert_eq!(
            (order.why, order.expected_life, order.ca.as_str()),
            (Why::LifeSpent, life * DAY, "ca")
        );
        assert!(!plan.truncated);
    }
}

#[test]
fn what_does_not_serve_yet_is_ordered_at_once_and_lives_as_its_profile_says() {
    for (profile, life) in [
        (None, USUAL_LIFE),
        (Some("classic"), USUAL_LIFE),
        (Some("tlsserver"), 45 * DAY),
        (Some("shortlived"), 160 * HOUR),
    ] {
        let mut one = candidate_for("a.test", UNKNOWN);
        one.source.cas[0].profile = profile.map(str::to_owned);
        let plan = look(&[one], Duration::ZERO);
        assert_eq!(days(&plan), [0], "{profile:?}");
        assert_eq!(
            (plan.orders[0].why, plan.orders[0].expected_life),
            (Why::First, life)
        );
    }
}

#[test]
fn what_another_ca_issued_says_nothing_of_how_long_the_next_one_lives() {
    let mut one = serving("a.test", UNKNOWN, 6 * DAY);
    one.source.cas.push(ca("https://fallback.test/"));
    if let Some(life) = &mut one.serving {
        life.ca = Some(1);
    }
    let plan = look(&[one], 30 * DAY);
    assert_eq!(days(&plan), [3], "renewed in time, and then it lives longer");
    assert_eq!(plan.orders[0].expected_life, USUAL_LIFE);
}

#[test]
fn the_storys_own_word_on_the_next_order_counts_once_and_then_the_share_of_life() {
    let mut one = serving("a.test", UNKNOWN, 90 * DAY);
    one.next = Some((at(10 * DAY), Why::Advised));
    let plan = look(&[one.clone()], 100 * DAY);
    assert_eq!(days(&plan), [10, 70]);
    assert_eq!(
        [plan.orders[0].why, plan.orders[1].why],
        [Why::Advised, Why::LifeSpent]
    );
    // The CA is down: the next attempt is planned for its instant, the rest after it.
    one.serving = None;
    one.next = Some((at(2 * DAY), Why::First));
    assert_eq!(days(&look(&[one.clone()], 100 * DAY)), [2, 62]);
    // An overdue order is planned for now and not in the past.
    one.next = Some((at(Duration::ZERO), Why::First));
    let late = Now {
        wall: at(DAY),
        monotonic: MonotonicTime(BEGIN + DAY),
    };
    let plan = look_ahead(&[one], History::default(), Stamps::default(), late, HOUR);
    assert_eq!(plan.orders[0].at, at(DAY));
}

#[test]
fn the_orders_of_all_certificates_come_in_order_of_time() {
    let plan = look(
        &[
            serving("long.test", UNKNOWN, 90 * DAY),
            serving("short.test", UNKNOWN, 6 * DAY),
            candidate_for("new.test", UNKNOWN),
        ],
        61 * DAY,
    );
    assert!(plan.orders.is_sorted_by_key(|order| order.at));
    assert_eq!(plan.orders[0].name, "new.test");
    let of = |name: &str| plan.orders.iter().filter(|order| order.name == name).count();
    assert_eq!((of("long.test"), of("short.test"), of("new.test")), (1, 20, 2));
}

#[test]
fn too_many_new_certificates_below_one_domain_break_the_cas_limit() {
    let fleet = |count: usize| -> Vec<Candidate> {
        let one = |number| candidate_for(&format!("host{number}.example.com"), LETS_ENCRYPT);
        (0..count).map(one).collect()
    };
    let allowed = look(&fleet(50), YEAR);
    let domain = limit(&allowed, Counted::RegisteredDomain);
    assert!(domain.inside && allowed.limits.iter().all(|one| one.inside));
    assert_eq!(
        (domain.peak, domain.subject.as_deref(), domain.peak_at),
        (50, Some("example.com"), Some(at(Duration::ZERO))),
        "renewals name what they replace, and are not counted"
    );
    let beyond = look(&fleet(51), YEAR);
    assert!(!limit(&beyond, Counted::RegisteredDomain).inside);
    assert_eq!(limit(&beyond, Counted::Orders).peak, 51);
    assert!(limit(&beyond, Counted::Orders).inside);
    // One certificate comes back in 202 minutes.
    for (soon, peak) in [(HOUR, 51), (4 * HOUR, 50), (YEAR / 2, 50)] {
        let mut later = fleet(51);
        later[50].next = Some((at(soon), Why::First));
        let plan = look(&later, YEAR);
        let domain = limit(&plan, Counted::RegisteredDomain);
        assert_eq!((domain.peak, domain.inside), (peak, peak <= 50), "{soon:?}");
    }
    // Elsewhere it is another domain.
    let mut spread = fleet(50);
    spread.push(candidate_for("host.example.org", LETS_ENCRYPT));
    assert!(limit(&look(&spread, YEAR), Counted::RegisteredDomain).inside);
}

#[test]
fn what_was_ordered_lately_counts_towards_the_limits() {
    let one = candidate_for("a.example.com", LETS_ENCRYPT);
    let (mut history, mut stamps) = (History::default(), Stamps::default());
    for number in 0..5 {
        let then = Now {
            wall: at(number * HOUR),
            monotonic: MonotonicTime(BEGIN + number * HOUR),
        };
        let order = Order {
            domains: &one.domains,
            key: one.source.key,
            ca: &one.source.cas[0],
            kind: OrderKind::New,
            by_hand: false,
        };
        let noted = history.intend(&order, Jitter::from_thousandths(0), &mut stamps, then);
        history.issued(noted, then.wall, &mut stamps, then);
    }
    let today = Now {
        wall: at(DAY),
        monotonic: MonotonicTime(BEGIN + DAY),
    };
    let plan = look_ahead(&[one], history, stamps, today, DAY);
    let same = limit(&plan, Counted::SameNames);
    assert_eq!(
        (same.peak, same.inside, same.peak_at),
        (6, false, Some(at(Duration::ZERO)))
    );
    assert_eq!(same.subject.as_deref(), Some("a.example.com"));
}

#[test]
fn of_a_ca_that_publishes_no_limits_none_are_planned() {
    let plan = look(&[candidate_for("a.test", UNKNOWN)], YEAR);
    assert!(plan.limits.is_empty() && !plan.orders.is_empty());
    let none = look(&[], YEAR);
    assert!(none.limits.is_empty() && none.orders.is_empty() && !none.truncated);
}

#[test]
fn a_plan_ends_at_its_bound_and_says_so() {
    // A hundred and twenty-one orders a year each.
    let many: Vec<Candidate> = (0..100)
        .map(|number| serving(&format!("host{number}.test"), UNKNOWN, 6 * DAY))
        .collect();
    let plan = look(&many, YEAR);
    assert_eq!((plan.orders.len(), plan.truncated), (MAX_PLANNED, true));
    let fewer = look(&many[..80], YEAR);
    assert_eq!((fewer.orders.len(), fewer.truncated), (80 * 121, false));
}

#[test]
fn lives_without_length_neither_stop_nor_flood_the_plan() {
    for life in [Duration::ZERO, Duration::from_secs(1)] {
        let plan = look(&[serving("a.test", UNKNOWN, life)], DAY);
        assert!(
            (1..=25).contains(&plan.orders.len()),
            "{} in a day",
            plan.orders.len()
        );
    }
}

#[test]
fn only_what_comes_from_a_ca_is_planned() {
    let files = CertificateConfig::from_files("api", Path::new("a"), Path::new("b"));
    let view = crate::certificate::first_view("api", &files, at(Duration::ZERO));
    assert!(candidate(&files, &view).is_none());
    let acme = CertificateConfig {
        source: Source::Acme(Box::new(candidate_for("a.test", UNKNOWN).source)),
        ..files
    };
    assert!(candidate(&acme, &view).is_some_and(|one| one.serving.is_none() && one.next.is_none()));
}
