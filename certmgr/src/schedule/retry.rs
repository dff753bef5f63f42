//! After a failure: when to try again, and when to look whether the CA is back.

use std::time::Duration;

use super::{Action, DAY, Draw, Failing, Probe, Rules, Steady};
use crate::error::IssueFault;

/// Where a waiting time of the back-off is nearer to a day than this, it is a day.
const ABOUT_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// No wait is longer than this part of the life that is left.
const SHARE_OF_WHAT_IS_LEFT: u32 = 20;

/// Little life shortens a wait to no less than this many times the first one: every quarter of an hour by
/// default, which stays inside five failed validations per hour.
const HURRIED: u32 = 15;

/// The same for attempts that ended with the process: a crash loop may order once an hour.
const HURRIED_INTERRUPTED: u32 = 60;

/// What made the last attempt fail is looked at, where that costs the CA nothing, in intervals within this range, drawn.
const PROBE: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(30 * 60));

/// A directory that answers makes an attempt due at once, but not sooner after the last one than this: there are
/// outages in which the directory answers and orders fail.
const HASTENED: Duration = Duration::from_secs(30 * 60);

/// When the next attempt is due, if this much of a life was left after the last one (none: zero).
///
/// Who has nothing left to lose is not in a hurry: CAs count failures that follow each other, and Let's Encrypt
/// pauses names for some of them until a person asks.
pub(super) fn at(failing: &Failing, probe: Option<&Probe>, left: Duration, rules: &Rules) -> Steady {
    let back_off = back_off(failing.attempts, rules.first_retry);
    let hurried = |least: u32| (left / SHARE_OF_WHAT_IS_LEFT).max(rules.first_retry.saturating_mul(least));
    // Whoever says it need not be the CA: it never costs more than a failure of the same moment may.
    let hint = match failing.class {
        // No wait of ours ends it, and a person who has may ask at once.
        Some(IssueFault::Paused) => DAY,
        _ => failing.hint.min(hurried(HURRIED)).min(DAY),
    };
    let wait = match failing.class {
        // Each attempt has cost the CA a whole certificate.
        Some(IssueFault::Certificate) => back_off,
        // The CA has seen nothing of it.
        Some(IssueFault::State | IssueFault::Configuration) => back_off.min(hurried(HURRIED)),
        _ if left.is_zero() => back_off,
        Some(_) => back_off.min(hurried(HURRIED)),
        None => back_off.min(hurried(HURRIED_INTERRUPTED)),
    };
    let at = failing.last.after(scattered(wait, failing.draw).max(hint));
    match (probe_after(failing, probe), failing.unreachable) {
        (Some(probe), Some(_)) if probe.good => at.min(probe.at.max(failing.last.after(HASTENED.max(hint)))),
        (Some(probe), None) if has_turned(failing, probe) => at.min(probe.at),
        _ => at,
    }
}

/// The same, if another CA was not asked because of its limits: what fails elsewhere must not keep a certificate
/// waiting once they allow it. Each attempt asks those that fail again, hence the pause.
pub(super) fn hastened_by_others(at: Steady, failing: &Failing, untried: Option<Steady>) -> Steady {
    untried.map_or(at, |untried| at.min(untried.max(failing.last.after(HASTENED))))
}

/// What is looked at next, and when; `None` once it was seen to be well again, or if nothing can be seen for free.
pub(super) fn probe_at(failing: &Failing, probe: Option<&Probe>) -> Option<(Steady, Action)> {
    let action = match (failing.unreachable, failing.class) {
        (Some(ca), _) => Action::Probe { ca },
        (None, Some(IssueFault::SelfCheck | IssueFault::Challenge)) => Action::CheckNames,
        (None, _) => return None,
    };
    let (from, draw) = match probe_after(failing, probe) {
        Some(probe) if probe.good && failing.unreachable.is_some() || has_turned(failing, probe) => {
            return None;
        }
        Some(probe) => (probe.at, probe.draw),
        None => (failing.last, failing.draw),
    };
    Some((from.after(draw.within(PROBE.0, PROBE.1)), action))
}

/// A probe counts if it came after the last attempt.
fn probe_after<'a>(failing: &Failing, probe: Option<&'a Probe>) -> Option<&'a Probe> {
    probe.filter(|probe| probe.at >= failing.last)
}

/// Names that were well when the CA failed to see the challenge's answer say nothing by being well.
fn has_turned(failing: &Failing, probe: &Probe) -> bool {
    probe.good && (probe.was_bad || failing.class == Some(IssueFault::SelfCheck))
}

/// Ten times longer after each failure, up to a day.
fn back_off(attempts: u32, first: Duration) -> Duration {
    let times = 10_u32.saturating_pow(attempts.saturating_sub(1));
    let wait = first.saturating_mul(times);
    if wait > ABOUT_A_DAY { DAY } else { wait }
}

/// 90 to 110 %.
fn scattered(wait: Duration, draw: Draw) -> Duration {
    draw.within(wait / 10 * 9, wait / 10 * 11)
}
