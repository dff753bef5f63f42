//! After a failure: when to try again, and when to look whether the CA is back.

use std::time::Duration;

use super::{DAY, Draw, Failing, Probe, Rules, Steady};
use crate::acme::IssueFault;

/// Where a waiting time of the back-off is nearer to a day than this, it is a day.
const ABOUT_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// No wait is longer than this part of the life that is left.
const SHARE_OF_WHAT_IS_LEFT: u32 = 20;

/// Little life shortens a wait to no less than this many times the first one: every quarter of an hour by
/// default, which stays inside five failed validations per hour.
const HURRIED: u32 = 15;

/// The same for attempts that ended with the process: a crash loop may order once an hour.
const HURRIED_INTERRUPTED: u32 = 60;

/// While the CA is unreachable its directory is looked at in intervals within this range, drawn.
const PROBE: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(30 * 60));

/// A directory that answers makes an attempt due at once, but not sooner after the last one than this: there are
/// outages in which the directory answers and orders fail.
const HASTENED: Duration = Duration::from_secs(30 * 60);

/// When the next attempt is due, if this much of a life was left after the last one (none: zero).
pub(super) fn at(failing: &Failing, probe: Option<&Probe>, left: Duration, rules: &Rules) -> Steady {
    let back_off = back_off(failing.attempts, rules.first_retry);
    let hurried = |least: u32| (left / SHARE_OF_WHAT_IS_LEFT).max(rules.first_retry.saturating_mul(least));
    // Whoever says it need not be the CA: it never costs more than a failure of the same moment may.
    let hint = failing.hint.min(hurried(HURRIED)).min(DAY);
    let wait = match failing.class {
        // Each attempt has cost the CA a whole certificate.
        Some(IssueFault::Certificate) => back_off,
        Some(_) => back_off.min(hurried(HURRIED)),
        None => back_off.min(hurried(HURRIED_INTERRUPTED)),
    };
    let at = failing.last.after(scattered(wait, failing.draw).max(hint));
    match probe_after(failing, probe) {
        Some(probe) if probe.reachable => at.min(probe.at.max(failing.last.after(HASTENED.max(hint)))),
        _ => at,
    }
}

/// When the directory is looked at next; `None` once it was seen to answer.
pub(super) fn probe_at(failing: &Failing, probe: Option<&Probe>) -> Option<Steady> {
    let (from, draw) = match probe_after(failing, probe) {
        Some(probe) if probe.reachable => return None,
        Some(probe) => (probe.at, probe.draw),
        None => (failing.last, failing.draw),
    };
    Some(from.after(draw.within(PROBE.0, PROBE.1)))
}

/// A probe counts if it came after the last attempt.
fn probe_after<'a>(failing: &Failing, probe: Option<&'a Probe>) -> Option<&'a Probe> {
    probe.filter(|probe| failing.unreachable.is_some() && probe.at >= failing.last)
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
