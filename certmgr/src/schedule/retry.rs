//! Waits after a failure: for the next attempt, and for the looks that show if the CA is back.

use std::time::Duration;

use super::{DAY, FailureStreak, Jitter, MonotonicTime, Probe, Rules, ScheduledAction};
use crate::error::IssueFault;

/// Longest back-off below a day: a longer one becomes a whole day.
const MAX_SHORT_BACK_OFF: Duration = Duration::from_secs(12 * 60 * 60);

/// Divisor of the life that is left: most waits are shortened to this part of it, see [`at`].
const REMAINING_LIFE_DIVISOR: u32 = 20;

/// Factor of the first wait below which a short life does not shorten a wait: every quarter of an hour by default,
/// which stays within five failed validations per hour.
const MIN_WAIT_FACTOR: u32 = 15;

/// The same factor for attempts that ended with the process: a crash loop may order once an hour.
const INTERRUPTED_WAIT_FACTOR: u32 = 60;

/// Range of the time, drawn, between two looks at the cause of a failure, where that costs the CA nothing.
const PROBE_WAIT: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(30 * 60));

/// Shortest time after an attempt at which a directory that answers makes the next one due: there are outages in
/// which the directory answers and orders fail.
const EARLY_RETRY_WAIT: Duration = Duration::from_secs(30 * 60);

/// Returns the instant of the next attempt. `left` is the life that was left after the last one, zero if none.
///
/// If no life is left, nothing is gained by hurry: CAs count failures that follow each other, and Let's Encrypt
/// pauses names for some of them until a person asks.
pub(super) fn at(
    failing: &FailureStreak,
    probe: Option<&Probe>,
    left: Duration,
    rules: &Rules,
) -> MonotonicTime {
    let back_off = back_off(failing.attempts, rules.first_retry);
    let shortened = |least: u32| (left / REMAINING_LIFE_DIVISOR).max(rules.first_retry.saturating_mul(least));
    // The hint need not come from the CA: it never costs more than a failure of the same moment may.
    let hint = match failing.class {
        // No wait of ours ends a pause, and a person who has ended it may ask at once.
        Some(IssueFault::Paused) => DAY,
        _ => failing.hint.min(shortened(MIN_WAIT_FACTOR)).min(DAY),
    };
    let wait = match failing.class {
        // Each attempt has cost the CA a whole certificate.
        Some(IssueFault::Certificate) => back_off,
        // The CA has seen nothing of the attempt.
        Some(IssueFault::State | IssueFault::Configuration) => back_off.min(shortened(MIN_WAIT_FACTOR)),
        _ if left.is_zero() => back_off,
        Some(_) => back_off.min(shortened(MIN_WAIT_FACTOR)),
        None => back_off.min(shortened(INTERRUPTED_WAIT_FACTOR)),
    };
    let at = failing.last.after(scattered(wait, failing.jitter).max(hint));
    match (probe_after(failing, probe), failing.unreachable) {
        (Some(probe), Some(_)) if probe.good => {
            at.min(probe.at.max(failing.last.after(EARLY_RETRY_WAIT.max(hint))))
        }
        (Some(probe), None) if is_resolved(failing, probe) => at.min(probe.at),
        _ => at,
    }
}

/// Returns the instant `at`, or an earlier one if another CA was not asked because of its limits: failures elsewhere
/// must not keep a certificate waiting once those limits allow an order. Each attempt asks the failing CAs again,
/// hence the pause.
pub(super) fn earlier_for_untried(
    at: MonotonicTime,
    failing: &FailureStreak,
    untried: Option<MonotonicTime>,
) -> MonotonicTime {
    untried.map_or(at, |untried| {
        at.min(untried.max(failing.last.after(EARLY_RETRY_WAIT)))
    })
}

/// Returns the next look and its instant; `None` once a look was good, or if none is free of cost.
pub(super) fn probe_at(
    failing: &FailureStreak,
    probe: Option<&Probe>,
) -> Option<(MonotonicTime, ScheduledAction)> {
    let action = match (failing.unreachable, failing.class) {
        (Some(ca), _) => ScheduledAction::Probe { ca },
        (None, Some(IssueFault::SelfCheck | IssueFault::Challenge)) => ScheduledAction::CheckNames,
        (None, _) => return None,
    };
    let (from, jitter) = match probe_after(failing, probe) {
        Some(probe) if probe.good && failing.unreachable.is_some() || is_resolved(failing, probe) => {
            return None;
        }
        Some(probe) => (probe.at, probe.jitter),
        None => (failing.last, failing.jitter),
    };
    Some((from.after(jitter.within(PROBE_WAIT.0, PROBE_WAIT.1)), action))
}

/// Returns the probe if it came after the last attempt: an earlier one does not count.
fn probe_after<'a>(failing: &FailureStreak, probe: Option<&'a Probe>) -> Option<&'a Probe> {
    probe.filter(|probe| probe.at >= failing.last)
}

/// True if the cause of the failure is gone. If the CA could not validate names that the self-check found good, that
/// check finding them good again says nothing.
fn is_resolved(failing: &FailureStreak, probe: &Probe) -> bool {
    probe.good && (probe.was_bad || failing.class == Some(IssueFault::SelfCheck))
}

/// Returns the back-off: ten times longer after each failure, up to a day.
fn back_off(attempts: u32, first: Duration) -> Duration {
    let times = 10_u32.saturating_pow(attempts.saturating_sub(1));
    let wait = first.saturating_mul(times);
    if wait > MAX_SHORT_BACK_OFF { DAY } else { wait }
}

/// Scatters a wait: 90 to 110 %.
fn scattered(wait: Duration, jitter: Jitter) -> Duration {
    jitter.within(wait / 10 * 9, wait / 10 * 11)
}
