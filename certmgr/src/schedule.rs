//! The schedule of an ACME certificate, [`next`]: when it is ordered, and when its CA is asked for advice. It decides
//! without a clock, without chance and without I/O.
//!
//! Validity is judged by the wall clock, because the peers judge it by theirs. Every wait (back-off, floor,
//! `Retry-After`, the next request for advice) is measured on a clock that cannot jump, see [`Now`]. Chance is drawn
//! once, when a fact is noted, and is part of the fact: so [`next`] may be called as often as one likes.

mod advice;
mod clocks;
mod retry;

use std::time::Duration;

use certstore::{Fingerprint, UnixTime};

use crate::config::AcmeSource;
use crate::error::IssueFault;

pub(crate) use advice::{Advice, RenewalInfo};
pub(crate) use clocks::{MonotonicTime, Now, later};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A life shorter than this is renewed at half of it, a longer one when a third is left.
const MAX_SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// Divisor of the span: a fresh certificate whose dates say that it is due already (the clock is wrong, or the CA
/// dates far back) is kept for this part of its span all the same.
const MIN_USE_DIVISOR: u32 = 4;

/// Factor by which the floor of an advised order grows, up to a day, with each further certificate of the last seven
/// days.
const ADVISED_FLOOR_FACTOR: u32 = 4;

/// The facts about a certificate that its schedule depends on.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The certificate that serves. `None`: there is none.
    pub(crate) serving: Option<Life>,
    /// The last advice of the CA on renewal. Advice on another version does not count.
    pub(crate) advice: Option<Advice>,
    /// The record of the ledger.
    pub(crate) record: OrderRecord,
    /// The last look at the cause of a failed attempt.
    pub(crate) probe: Option<Probe>,
    /// A person asks for a new certificate. It stays set until an attempt has begun.
    pub(crate) requested: bool,
    /// A person has asked for a new certificate, an attempt has begun, and none has come since.
    pub(crate) wanted: bool,
    /// The certificate that serves does not cover the configured names.
    pub(crate) names_changed: bool,
}

/// The life of the certificate that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// Position of the CA that issued it, if that CA is configured: it is the one to ask for advice.
    pub(crate) ca: Option<usize>,
}

/// The ledger's record of one name set and key type, over all configured CAs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OrderRecord {
    /// The last certificate that a CA issued for these names, also one that could not serve.
    pub(crate) last_issued: Option<LastIssued>,
    /// The failed attempts since the last success.
    pub(crate) failing: Option<FailureStreak>,
    /// For each CA, by position: the end of a limit that the CA has reported.
    pub(crate) holds: Vec<Option<MonotonicTime>>,
    /// Instant from which limits allow an order at a CA that has not failed; `None`: all CAs have failed, or none.
    pub(crate) untried: Option<MonotonicTime>,
}

/// A certificate that a CA issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastIssued {
    pub(crate) at: MonotonicTime,
    /// The `notBefore` of the certificate; `None` if it could not serve.
    pub(crate) not_before: Option<UnixTime>,
    /// Number of certificates of the last seven days, this one among them.
    pub(crate) lately: u32,
}

/// Failed attempts, with no success in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailureStreak {
    /// Number of attempts; at least 1.
    pub(crate) attempts: u32,
    /// Instant of the first attempt.
    pub(crate) since: MonotonicTime,
    /// Instant of the last attempt.
    pub(crate) last: MonotonicTime,
    /// Class of the error of the last attempt; `None`: the process ended in the middle of it.
    pub(crate) class: Option<IssueFault>,
    /// Position of the first CA that was unreachable in the last attempt.
    pub(crate) unreachable: Option<usize>,
    /// Time that servers which answered in place of the CAs ask us to wait. It is no word of a CA itself.
    pub(crate) hint: Duration,
    /// Drawn for the last attempt: it scatters the waits that follow.
    pub(crate) jitter: Jitter,
}

/// A number from 0 up to but not including 1, in thousandths. It is drawn once and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jitter(u16);

/// A look at the cause of a failed attempt, where that costs the CA nothing: its directory, or the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) at: MonotonicTime,
    /// The directory answers, or the self-check of the names finds nothing.
    pub(crate) good: bool,
    /// An earlier look since the last attempt was not good.
    pub(crate) was_bad: bool,
    pub(crate) jitter: Jitter,
}

/// The settings of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) min_interval: Duration,
    pub(crate) first_retry: Duration,
}

/// The next action for a certificate, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// Time until the action. Zero: now. Call [`next`] again at least every minute: the wall clock may be set.
    pub(crate) wait: Duration,
    /// The action.
    pub(crate) action: ScheduledAction,
    /// For people: the instant of the next order as things are.
    pub(crate) order_at: UnixTime,
    /// For people: the reason of that order.
    pub(crate) why: Why,
    /// The reason for which an order that is due is not placed yet.
    pub(crate) block: Option<Block>,
}

/// Reasons for which an order that is due has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// The CA has said when to come back.
    RetryAfter,
    /// Two orders for one name set are never closer than a floor.
    Floor,
    /// The last attempt failed.
    BackOff,
}

/// The actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScheduledAction {
    /// Order, at each CA in turn for which the ledger permits it; go on with a noted order.
    Issue,
    /// Ask the CA of the certificate that serves for its renewal information.
    AskRenewalInfo {
        /// Position of the CA.
        ca: usize,
    },
    /// Read the directory of this CA, to see if the CA is back.
    Probe {
        /// Position of the CA.
        ca: usize,
    },
    /// Check the names, as before an order.
    CheckNames,
}

/// The reason for which a certificate is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There is no certificate yet.
    First,
    /// The certificate that serves does not cover the configured names.
    NamesChanged,
    /// A person has asked for it.
    Requested,
    /// Nothing else is due, but the last attempt failed, perhaps before a restart.
    Retried,
    /// The CA says when (RFC 9773).
    Advised,
    /// The part of its life is spent after which it is renewed without advice.
    LifeSpent,
}

impl Why {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NamesChanged => "names_changed",
            Self::Requested => "requested",
            Self::Retried => "retried",
            Self::Advised => "advised",
            Self::LifeSpent => "life_spent",
        }
    }
}

impl Jitter {
    /// Draws a number. `random` gives numbers from 0 up to but not including 1.
    pub(crate) fn new(random: &mut dyn FnMut() -> f64) -> Self {
        Self::from_thousandths((random() * f64::from(Self::PARTS)) as u16)
    }

    const PARTS: u16 = 1000;

    /// Makes the number from the thousandths that were kept; a value out of bounds counts as the largest.
    pub(crate) fn from_thousandths(thousandths: u16) -> Self {
        Self(thousandths.min(Self::PARTS - 1))
    }

    pub(crate) fn thousandths(self) -> u16 {
        self.0
    }

    /// Returns the point of `from..to` that was drawn.
    fn within(self, from: Duration, to: Duration) -> Duration {
        from + to.saturating_sub(from) / u32::from(Self::PARTS) * u32::from(self.0)
    }
}

impl From<&AcmeSource> for Rules {
    fn from(source: &AcmeSource) -> Self {
        Self {
            min_interval: source.min_interval,
            first_retry: source.first_retry,
        }
    }
}

impl Life {
    /// Time from `notBefore` to `notAfter`.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.not_after.as_secs().saturating_sub(self.not_before.as_secs()))
    }

    fn before_end(&self, left: Duration) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.not_after.as_secs()).saturating_sub(left))
    }

    /// Instant at which it is renewed without advice: a third is left, or half of a short life.
    fn renewal_by_share(&self) -> UnixTime {
        self.before_end(self.share())
    }

    /// The life that is left at that instant.
    fn share(&self) -> Duration {
        self.span() / if self.span() < MAX_SHORT_LIFE { 2 } else { 3 }
    }
}

impl OrderRecord {
    /// Instant at which the first CA accepts orders again; `None`: one does now.
    fn blocked_until(&self) -> Option<MonotonicTime> {
        let holds: Option<Vec<_>> = self.holds.iter().copied().collect();
        holds?.into_iter().min()
    }

    fn limit_of(&self, ca: usize) -> Option<MonotonicTime> {
        self.holds.get(ca).copied().flatten()
    }
}

/// Decides the next action for a certificate.
///
/// The result depends on the arguments alone, and there is no error: every combination of facts has an action. The
/// caller notes all facts in `known`, takes `now` from the clock of the ledger, calls again after each new fact and
/// at least every minute, because the wall clock may be set, and acts when no wait is left. [`ScheduledAction::Issue`] is no
/// permission: the ledger gives that for each order. An action that was begun and dropped leaves no trace here,
/// except for the facts that it noted.
pub(crate) fn next(known: &Facts, rules: &Rules, now: Now) -> Next {
    let due = due(known, now);
    let planned = planned(known, rules, due, now);
    let Planned {
        wait: order_wait,
        why,
        block,
    } = match unfulfilled(known) {
        Some(why) => sooner(planned, self::planned(known, rules, (Duration::ZERO, why), now)),
        None => planned,
    };
    let order = Some((order_wait, ScheduledAction::Issue));
    let question = question(known, now);
    let probe = probe(known, now);
    // The advice of the CA may change the time of a routine order, so the request for it goes first.
    let candidates = match why {
        Why::Advised | Why::LifeSpent | Why::Retried => [question, order, probe],
        Why::First | Why::NamesChanged | Why::Requested => [order, question, probe],
    };
    let (wait, action) = candidates
        .into_iter()
        .flatten()
        .min_by_key(|(wait, _)| *wait)
        .unwrap_or((order_wait, ScheduledAction::Issue));
    Next {
        wait,
        action,
        order_at: later(now.wall, order_wait),
        why,
        block,
    }
}

/// An order that is to be placed, and its wait.
struct Planned {
    wait: Duration,
    why: Why,
    block: Option<Block>,
}

/// Returns the order that is due, once nothing forbids it any more.
fn planned(known: &Facts, rules: &Rules, (due, why): (Duration, Why), now: Now) -> Planned {
    let blocked = until_allowed(known, rules, why, now);
    Planned {
        wait: blocked.map_or(due, |(wait, _)| due.max(wait)),
        why,
        block: blocked
            .filter(|(wait, _)| due.is_zero() && !wait.is_zero())
            .map(|(_, block)| block),
    }
}

fn sooner(one: Planned, other: Planned) -> Planned {
    if other.wait < one.wait { other } else { one }
}

/// Reason for which an order is wanted although none may be due: an order that was begun stays wanted until it
/// succeeds. An attempt that ended with the process does not count: it may have brought the certificate that serves
/// now.
fn unfulfilled(known: &Facts) -> Option<Why> {
    let failed = matches!(known.record.failing, Some(FailureStreak { class: Some(_), .. }));
    match known.wanted {
        true => Some(Why::Requested),
        false => failed.then_some(Why::Retried),
    }
}

/// Time until an order is due, and its reason. The waits that may forbid the order are not looked at here.
fn due(known: &Facts, now: Now) -> (Duration, Why) {
    // Also if no certificate serves: a person who has corrected the mistake need not wait for the back-off.
    if known.requested {
        return (Duration::ZERO, Why::Requested);
    }
    let Some(life) = &known.serving else {
        return (Duration::ZERO, Why::First);
    };
    if known.names_changed {
        return (Duration::ZERO, Why::NamesChanged);
    }
    let advised = known.advice.as_ref().and_then(|advice| advice.moment(life));
    let (moment, why) = match advised {
        Some(moment) => (moment, Why::Advised),
        None => (life.renewal_by_share(), Why::LifeSpent),
    };
    let by_wall = now.until_wall(moment);
    match issued_at(known, life) {
        Some(since) => {
            let offset = Duration::from_secs(moment.as_secs().saturating_sub(life.not_before.as_secs()));
            // A wall clock that was set back must not let it expire; one that was set forward must not have it
            // renewed again and again.
            let by_monotonic = now.until(since.after(offset));
            let soonest = now.until(since.after(offset.min(life.span() / MIN_USE_DIVISOR)));
            (by_wall.min(by_monotonic).max(soonest), why)
        }
        None => (by_wall, why),
    }
}

/// Instant at which the certificate that serves was issued, if the ledger has it.
fn issued_at(known: &Facts, life: &Life) -> Option<MonotonicTime> {
    let issued = known.record.last_issued?;
    (issued.not_before == Some(life.not_before)).then_some(issued.at)
}

/// Shortest time between two orders for one name set.
fn floor(issued: &LastIssued, why: Why, life: Option<&Life>, rules: &Rules) -> Duration {
    match why {
        // The advice of a CA that answers "now" for each new certificate is followed less and less often, but no less
        // often than without advice: a certificate may live for only a day.
        Why::Advised => {
            let most = life.map_or(DAY, |life| DAY.min(life.span() - life.share()));
            let factor = ADVISED_FLOOR_FACTOR.saturating_pow(issued.lately.saturating_sub(1));
            let (least, floor) = (rules.min_interval, rules.min_interval.saturating_mul(factor));
            floor.clamp(least, least.max(most))
        }
        Why::First | Why::NamesChanged | Why::Requested | Why::Retried | Why::LifeSpent => rules.min_interval,
    }
}

/// Time until nothing forbids an order any more, and the reason that forbids it longest. The wish of a person
/// overrides the floor and the back-off once; nothing overrides a `Retry-After`.
fn until_allowed(known: &Facts, rules: &Rules, why: Why, now: Now) -> Option<(Duration, Block)> {
    let (record, life) = (&known.record, known.serving.as_ref());
    let hold = record.blocked_until();
    if known.requested {
        return hold.map(|hold| (now.until(hold), Block::RetryAfter));
    }
    let floor = record
        .last_issued
        .map(|issued| issued.at.after(floor(&issued, why, life, rules)));
    let retry = record.failing.as_ref().map(|failing| {
        let since = now.monotonic.0.saturating_sub(failing.last.0);
        let left_then = life.map_or(Duration::ZERO, |life| now.until_wall(life.not_after) + since);
        let at = retry::at(failing, known.probe.as_ref(), left_then, rules);
        retry::earlier_for_untried(at, failing, record.untried)
    });
    let all = [
        (floor, Block::Floor),
        (retry, Block::BackOff),
        (hold, Block::RetryAfter),
    ];
    let waits = all
        .into_iter()
        .filter_map(|(at, block)| Some((now.until(at?), block)));
    waits.max_by_key(|(wait, _)| *wait)
}

/// Time until the CA of the certificate that serves is asked for advice.
fn question(known: &Facts, now: Now) -> Option<(Duration, ScheduledAction)> {
    let life = known.serving.filter(|life| now.wall <= life.not_after)?;
    let ca = life.ca?;
    let advice = known.advice.as_ref();
    let again = advice.and_then(|advice| advice.ask_again_at(life.fingerprint));
    let at = again.into_iter().chain(known.record.limit_of(ca)).max();
    Some((
        at.map_or(Duration::ZERO, |at| now.until(at)),
        ScheduledAction::AskRenewalInfo { ca },
    ))
}

/// Time until the cause of the last failure is looked at.
fn probe(known: &Facts, now: Now) -> Option<(Duration, ScheduledAction)> {
    let failing = known.record.failing.as_ref()?;
    let (at, action) = retry::probe_at(failing, known.probe.as_ref())?;
    let hold = known.record.limit_of(failing.unreachable.unwrap_or(0));
    Some((now.until(at.max(hold.unwrap_or(at))), action))
}

#[cfg(test)]
mod tests;
