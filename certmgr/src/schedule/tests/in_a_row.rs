//! Names that fail for years: Let's Encrypt pauses one that has failed 1,152 times in a row.

use std::time::Duration;

use certstore::Name;
use rand::Rng as _;

use super::super::*;
use super::seeded;
use super::simulation::{BEGIN, DAY, HOUR, MINUTE, RULES, fingerprint, unix};
use crate::config::{Ca, KeyType};
use crate::error::IssueError;
use crate::ledger::{History, Order, OrderKind, Stamps};

const PAUSED_AT: usize = 1_152;

/// A certificate with the dead name in it.
struct Dead {
    domains: Vec<Name>,
    key: KeyType,
    /// End of the validity of the last certificate.
    valid_for: Duration,
    probe: Option<Probe>,
    looks: u32,
    at: Duration,
}

/// The DNS of the name, and the share of looks that find it good.
#[derive(Debug, Clone, Copy)]
enum LooksOfDns {
    AlwaysWell,
    Flapping,
}

/// Returns the instants at which the name failed at the CA before `horizon`.
fn failures(mut all: Vec<Dead>, dns: LooksOfDns, horizon: Duration) -> Vec<Duration> {
    let mut random = seeded("names that fail for years");
    let ca = Ca {
        name: "ca".to_owned(),
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        ca_file: None,
        contact: Vec::new(),
        profile: None,
        external_account: None,
    };
    let (mut history, mut stamps, mut failed) = (History::default(), Stamps::default(), Vec::new());
    while let Some(dead) = all.iter_mut().min_by_key(|dead| dead.at)
        && dead.at < BEGIN + horizon
        && failed.len() < PAUSED_AT
    {
        let now = Now {
            wall: unix(dead.at),
            monotonic: MonotonicTime(dead.at),
        };
        let cas = std::slice::from_ref(&ca);
        let known = Facts {
            serving: Some(Life {
                fingerprint: fingerprint(1),
                not_before: unix(BEGIN - 90 * DAY + dead.valid_for),
                not_after: unix(BEGIN + dead.valid_for),
                ca: Some(0),
            })
            .filter(|life| now.wall <= life.not_after),
            advice: None,
            record: history.record(&dead.domains, dead.key, cas, &stamps, now),
            probe: dead.probe,
            requested: false,
            wanted: false,
            names_changed: true,
        };
        let next = next(&known, &RULES, now);
        dead.at += next.wait;
        if !next.wait.is_zero() {
            continue;
        }
        let jitter = Jitter::new(&mut || random.random());
        match next.action {
            ScheduledAction::Issue => {
                dead.probe = None;
                let order = Order {
                    domains: &dead.domains,
                    key: dead.key,
                    ca: &ca,
                    kind: OrderKind::New,
                    by_hand: false,
                };
                if let Err(wait) = history.may_order(&order, &stamps, now) {
                    dead.at += wait.wait.max(Duration::from_secs(1));
                    continue;
                }
                let noted = history.intend(&order, jitter, &mut stamps, now);
                failed.push(dead.at);
                dead.at += Duration::from_secs(random.random_range(2..20));
                let now = Now {
                    wall: unix(dead.at),
                    monotonic: MonotonicTime(dead.at),
                };
                let error = IssueError {
                    class: IssueFault::Challenge,
                    ca: "ca".to_owned(),
                    text: String::new(),
                    remedy: String::new(),
                    retry_after: None,
                };
                history.failed(noted, &error, &mut stamps, now);
            }
            ScheduledAction::CheckNames => {
                dead.looks += 1;
                let good = match dns {
                    LooksOfDns::AlwaysWell => true,
                    LooksOfDns::Flapping => dead.looks.is_multiple_of(2),
                };
                dead.probe = Some(Probe {
                    at: now.monotonic,
                    good,
                    was_bad: !good || dead.probe.is_some_and(|probe| probe.was_bad),
                    jitter,
                });
            }
            ScheduledAction::AskRenewalInfo { .. } | ScheduledAction::Probe { .. } => dead.at += HOUR,
        }
    }
    failed
}

fn dead(domains: &[&str], key: KeyType, valid_for: Duration) -> Dead {
    Dead {
        domains: domains.iter().map(|name| Name::parse(name).unwrap()).collect(),
        key,
        valid_for,
        probe: None,
        looks: 0,
        at: BEGIN,
    }
}

/// The dead name alone, with two kinds of key, beside another name, and below a wildcard.
fn all_that_have_it() -> Vec<Dead> {
    vec![
        dead(&["a.test"], KeyType::EcdsaP256, 30 * DAY),
        dead(&["a.test"], KeyType::Rsa2048, 30 * DAY),
        dead(&["A.test", "b.test"], KeyType::EcdsaP256, Duration::ZERO),
        dead(&["*.a.test"], KeyType::EcdsaP256, Duration::ZERO),
    ]
}

#[test]
fn in_two_years_no_dead_name_comes_near_to_being_paused() {
    let years = 2 * 365 * DAY;
    for dns in [LooksOfDns::AlwaysWell, LooksOfDns::Flapping] {
        let failed = failures(all_that_have_it(), dns, years);
        println!("{dns:?}: {} failures", failed.len());
        assert!((500..700).contains(&failed.len()), "{dns:?}: {}", failed.len());
        // The name is never given up.
        let longest = failed.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(longest <= 7 * DAY, "{dns:?}: {longest:?}");
        assert!(*failed.last().unwrap() > BEGIN + years - 8 * DAY);
    }
}

#[test]
fn one_certificate_with_a_dead_name_is_tried_daily_for_a_year() {
    let alone = vec![dead(&["a.test"], KeyType::EcdsaP256, Duration::ZERO)];
    let failed = failures(alone, LooksOfDns::AlwaysWell, 365 * DAY);
    assert!((360..400).contains(&failed.len()), "{}", failed.len());
    assert!(failed[1] - failed[0] < 2 * MINUTE);
}
