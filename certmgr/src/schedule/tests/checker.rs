//! Rules that must hold for a log, computed without the code that is judged.

use std::time::Duration;

use super::simulation::{BEGIN, DAY, HOUR, Happened, LifeSetup, LogEntry, MINUTE};
use crate::error::IssueFault;
use crate::schedule::Why;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The certificate that served had expired at some moment.
    Unserved,
    /// An attempt came sooner after failures than the back-off allows.
    BackOff,
    /// An unreachable CA was looked at too often or too seldom.
    Probes,
    /// A CA was back for an hour, and there was no certificate.
    Return,
    /// An order came before the `Retry-After` of a limit had passed.
    Hold,
    /// Two orders were too close.
    Floor,
    /// A certificate was renewed long before its time.
    Early,
}

/// Returns the breaches, each with a text.
pub(super) fn check(setup: &LifeSetup, log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    breaches.extend(unserved(setup, log));
    breaches.extend(holds(log));
    breaches.extend(floor(log));
    if setup.clock.is_empty() {
        breaches.extend(back_off(log));
        breaches.extend(early(log, setup.cas[0].life));
    }
    if setup.cas.len() == 1 && setup.cas[0].answers.is_none() {
        breaches.extend(probes(setup, log));
        breaches.extend(returns(setup, log));
    }
    breaches
}

fn breach(rule: Rule, at: Duration, words: &str) -> (Rule, String) {
    let days = (at - BEGIN).as_secs_f64() / 86_400.0;
    (rule, format!("day {days:.4}: {words}"))
}

fn unserved(setup: &LifeSetup, log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    let mut until: Option<Duration> = None;
    for one in log {
        if let LogEntry::Served { not_after } = one.what {
            if until.is_some_and(|until| until < one.at) {
                breaches.push(breach(Rule::Unserved, one.at, "expired before this renewal"));
            }
            until = Some(not_after);
        }
    }
    let end = BEGIN + setup.horizon;
    if until.is_none_or(|until| until < end) {
        breaches.push(breach(Rule::Unserved, end, "expired and not renewed"));
    }
    breaches
}

fn holds(log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    let mut held = [Duration::ZERO; 4];
    for one in log {
        match one.what {
            LogEntry::Failed {
                ca,
                class: Some(IssueFault::RateLimited),
                retry_after: Some(wait),
            } => held[ca] = one.at + wait,
            LogEntry::Ordered { ca, .. } | LogEntry::Probed { ca, .. } if one.at < held[ca] => {
                breaches.push(breach(Rule::Hold, one.at, "sooner than Retry-After"));
            }
            _ => {}
        }
    }
    breaches
}

fn floor(log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    let mut served = None;
    for one in log {
        match one.what {
            LogEntry::Served { .. } => served = Some(one.at),
            LogEntry::Ordered { .. } if served.is_some_and(|served| one.at < served + HOUR) => {
                breaches.push(breach(Rule::Floor, one.at, "ordered within an hour of a success"));
            }
            _ => {}
        }
    }
    breaches
}

fn back_off(log: &[Happened]) -> Vec<(Rule, String)> {
    const WAITS: [Duration; 4] = [MINUTE, Duration::from_secs(600), Duration::from_secs(6_000), DAY];
    let mut breaches = Vec::new();
    let (mut attempts, mut last, mut until, mut back) = (0_usize, BEGIN, BEGIN, false);
    let mut interrupted = false;
    for one in log {
        match one.what {
            LogEntry::Served { not_after } => (attempts, until, back) = (0, not_after, false),
            LogEntry::Failed { ca, class, .. } => {
                attempts += usize::from(ca == 0);
                (last, back, interrupted) = (one.at, false, class.is_none());
            }
            LogEntry::Probed { reachable, .. } => back |= reachable,
            LogEntry::Ordered { ca: 0, .. } if attempts > 0 => {
                let shortened = MINUTE * if interrupted { 60 } else { 15 };
                let left = until.saturating_sub(last);
                let bound = if left.is_zero() {
                    DAY
                } else {
                    (left / 20).max(shortened)
                };
                let mut wait = WAITS[attempts.min(4) - 1].min(bound) * 89 / 100;
                if back {
                    wait = wait.min(30 * MINUTE);
                }
                if one.at < last + wait {
                    let words = format!("attempt {attempts} + 1 after {:?}", one.at - last);
                    breaches.push(breach(Rule::BackOff, one.at, &words));
                }
            }
            _ => {}
        }
    }
    breaches
}

fn probes(setup: &LifeSetup, log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    // The last look at the unreachable CA, and the end of the time for which it asked to wait.
    let mut look: Option<(Duration, Duration)> = None;
    for one in log {
        let next = match one.what {
            LogEntry::Failed {
                class: Some(IssueFault::Unreachable),
                retry_after,
                ..
            } => Some((one.at, one.at + retry_after.unwrap_or_default())),
            LogEntry::Probed { reachable: false, .. } => {
                Some((one.at, look.map_or(one.at, |(_, held)| held)))
            }
            LogEntry::Probed { reachable: true, .. } | LogEntry::Served { .. } | LogEntry::Ordered { .. } => {
                None
            }
            _ => continue,
        };
        if let Some((at, held)) = look {
            // An order takes up to 20 s.
            if one.at > at.max(held) + 30 * MINUTE + Duration::from_secs(30) {
                breaches.push(breach(
                    Rule::Probes,
                    one.at,
                    "not looked at for more than 30 minutes",
                ));
            }
            if matches!(one.what, LogEntry::Probed { .. }) && one.at < at + 10 * MINUTE {
                breaches.push(breach(Rule::Probes, one.at, "looked at twice within 10 minutes"));
            }
        }
        look = next;
    }
    let end = BEGIN + setup.horizon;
    if look.is_some_and(|(at, held)| at.max(held) + 31 * MINUTE < end) {
        breaches.push(breach(Rule::Probes, end, "not looked at any more"));
    }
    breaches
}

fn returns(setup: &LifeSetup, log: &[Happened]) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    let down = &setup.cas[0].down;
    for back in down.iter().map(|down| BEGIN + down.end) {
        let mut failing = false;
        let mut held = back;
        for one in log.iter().filter(|one| one.at < back) {
            match one.what {
                LogEntry::Failed { retry_after, .. } => {
                    failing = true;
                    held = held.max(one.at + retry_after.unwrap_or_default());
                }
                LogEntry::Served { .. } => failing = false,
                _ => {}
            }
        }
        let by = held + HOUR;
        let again = down
            .iter()
            .any(|down| BEGIN + down.start >= back && BEGIN + down.start < by);
        let served = log
            .iter()
            .any(|one| (back..by).contains(&one.at) && matches!(one.what, LogEntry::Served { .. }));
        if failing && !again && !served && by < BEGIN + setup.horizon {
            breaches.push(breach(
                Rule::Return,
                back,
                "not renewed within an hour of the CA's return",
            ));
        }
    }
    breaches
}

fn early(log: &[Happened], life: Duration) -> Vec<(Rule, String)> {
    let mut breaches = Vec::new();
    let mut until = BEGIN;
    let share = if life < 10 * DAY { life / 2 } else { life / 3 };
    for one in log {
        match one.what {
            LogEntry::Served { not_after } => until = not_after,
            LogEntry::Ordered {
                why: Why::LifeSpent, ..
            } if one.at + share + MINUTE < until => {
                breaches.push(breach(
                    Rule::Early,
                    one.at,
                    "renewed before its share of life was spent",
                ));
            }
            LogEntry::Ordered {
                why: Why::Advised, ..
            } if one.at + share + 2 * DAY < until => {
                breaches.push(breach(Rule::Early, one.at, "renewed before the window"));
            }
            _ => {}
        }
    }
    breaches
}
