//! When an ACME certificate is ordered, and when its CA is asked for advice: decisions without a clock, without
//! chance and without I/O.
//!
//! Validity is judged by the wall clock, because it is the peers who judge it. Every wait (back-off, floor,
//! `Retry-After`, the next question) is measured on a clock that cannot jump, see [`Now`]. Chance is drawn once,
//! when a fact is noted, and is part of the fact: so [`next`] may be asked as often as one likes.

mod advice;
mod clocks;
mod retry;

use std::time::Duration;

use certstore::{Fingerprint, UnixTime};

use crate::config::AcmeSource;
use crate::error::IssueFault;

pub(crate) use advice::{Advice, RenewalInfo};
pub(crate) use clocks::{Now, Steady, later};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A life shorter than this is renewed at half of it, a longer one when a third is left.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// A fresh certificate whose dates say that it is due already (the clock is wrong, or the CA dates far back)
/// is kept for this part of its span all the same.
const LEAST_SHARE_OF_LIFE: u32 = 4;

/// The floor grows by this factor, up to a day, with each certificate that was lately renewed on advice.
const OBEDIENCE: u32 = 4;

/// What is known of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What serves. `None`: nothing does.
    pub(crate) serving: Option<Life>,
    /// What the CA last said about a renewal. That of another version does not count.
    pub(crate) advice: Option<Advice>,
    /// What the ledger says.
    pub(crate) record: Record,
    /// The last look at what made an attempt fail.
    pub(crate) probe: Option<Probe>,
    /// Somebody asks for a new one by name. Stays until an attempt has begun.
    pub(crate) requested: bool,
    /// Somebody asked for one, an attempt has begun, and none has come since.
    pub(crate) wanted: bool,
    /// What serves does not cover what is configured.
    pub(crate) names_changed: bool,
}

/// The life of what serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// Position of the CA that issued it, if it is one of those configured: the one to ask for advice.
    pub(crate) ca: Option<usize>,
}

/// The ledger's record of one name set and key type, over all configured CAs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// What a CA last issued for it, whether or not it could serve.
    pub(crate) last_issued: Option<LastIssued>,
    /// The failed attempts since the last success.
    pub(crate) failing: Option<Failing>,
    /// For each CA, by position: until when a limit holds that it has told itself.
    pub(crate) holds: Vec<Option<Steady>>,
    /// When limits allow an order at a CA that is not among those that fail; `None`: all of them do, or none.
    pub(crate) untried: Option<Steady>,
}

/// What a CA issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastIssued {
    pub(crate) at: Steady,
    /// Its `notBefore`; `None` if it could not serve.
    pub(crate) not_before: Option<UnixTime>,
    /// How many have been issued in the last seven days, this one among them.
    pub(crate) lately: u32,
}

/// Attempts that failed, none in between that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failing {
    /// How many; at least 1.
    pub(crate) attempts: u32,
    /// The first of them.
    pub(crate) since: Steady,
    /// The last of them.
    pub(crate) last: Steady,
    /// What the last one died of; `None`: the process ended in the middle of it.
    pub(crate) class: Option<IssueFault>,
    /// Position of the first CA that was unreachable in the last one.
    pub(crate) unreachable: Option<usize>,
    /// How long those who answered in the CAs' places want to be left alone. No word of a CA's own.
    pub(crate) hint: Duration,
    /// Drawn for the last one: scatters what follows it.
    pub(crate) draw: Draw,
}

/// A number from 0 up to but not including 1, drawn once and kept: thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw(u16);

/// A look at what made an attempt fail, where that costs the CA nothing: its directory, or the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) at: Steady,
    /// The directory answers, or nothing speaks against the names.
    pub(crate) good: bool,
    /// One since the last attempt was not.
    pub(crate) was_bad: bool,
    pub(crate) draw: Draw,
}

/// What the operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) min_interval: Duration,
    pub(crate) first_retry: Duration,
}

/// What is to be done, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// After this long. Zero: now. Ask again at least every minute: the clock may be set.
    pub(crate) wait: Duration,
    /// What.
    pub(crate) action: Action,
    /// For people: when the next order is due as things stand, and why.
    pub(crate) order_at: UnixTime,
    /// See `order_at`.
    pub(crate) why: Why,
    /// What keeps an order from being placed that is due.
    pub(crate) held: Option<Held>,
}

/// What an order that is due waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The CA said when to come back.
    RetryAfter,
    /// Two orders for one name set are never closer than a floor.
    Floor,
    /// The last attempt failed.
    BackOff,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Order, each CA in turn for which the ledger gives leave; go on with a noted order.
    Issue,
    /// Ask the CA of what serves for its renewal information.
    AskRenewalInfo {
        /// Its position.
        ca: usize,
    },
    /// Look whether this CA is back.
    Probe {
        /// Its position.
        ca: usize,
    },
    /// Look whether anything speaks against the names, as before an order.
    CheckNames,
}

/// Why a certificate is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There is none.
    First,
    /// What serves does not cover the configured names.
    NamesChanged,
    /// Somebody asked for it.
    Requested,
    /// Nothing else is due, but the last attempt failed, perhaps before a restart.
    Retried,
    /// The CA says when (RFC 9773).
    Advised,
    /// So little of its life is left.
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

impl Draw {
    /// `random` gives numbers from 0 up to but not including 1.
    pub(crate) fn new(random: &mut dyn FnMut() -> f64) -> Self {
        Self::from_thousandths((random() * f64::from(Self::PARTS)) as u16)
    }

    const PARTS: u16 = 1000;

    /// As it is kept; what is out of bounds counts as the largest.
    pub(crate) fn from_thousandths(thousandths: u16) -> Self {
        Self(thousandths.min(Self::PARTS - 1))
    }

    pub(crate) fn thousandths(self) -> u16 {
        self.0
    }

    /// The point of `from..to` that was drawn.
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
    /// From `notBefore` to `notAfter`.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.not_after.as_secs().saturating_sub(self.not_before.as_secs()))
    }

    fn before_end(&self, left: Duration) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.not_after.as_secs()).saturating_sub(left))
    }

    /// When so much of it is spent that it is renewed without advice: a third is left, or half of a short life.
    fn renewal_by_share(&self) -> UnixTime {
        self.before_end(self.share())
    }

    /// What is left of it then.
    fn share(&self) -> Duration {
        self.span() / if self.span() < SHORT_LIFE { 2 } else { 3 }
    }
}

impl Record {
    /// When the first CA may be asked; `None`: one may be asked now.
    fn held_until(&self) -> Option<Steady> {
        let holds: Option<Vec<_>> = self.holds.iter().copied().collect();
        holds?.into_iter().min()
    }

    fn hold_of(&self, ca: usize) -> Option<Steady> {
        self.holds.get(ca).copied().flatten()
    }
}

/// What is to be done next for a certificate.
pub(crate) fn next(known: &Known, rules: &Rules, now: Now) -> Next {
    let due = due(known, now);
    let planned = planned(known, rules, due, now);
    let Planned {
        wait: order_wait,
        why,
        held,
    } = match unfulfilled(known) {
        Some(why) => sooner(planned, self::planned(known, rules, (Duration::ZERO, why), now)),
        None => planned,
    };
    let order = Some((order_wait, Action::Issue));
    let question = question(known, now);
    let probe = probe(known, now);
    // What the CA advises may change when a routine order is due, so the question goes first.
    let candidates = match why {
        Why::Advised | Why::LifeSpent | Why::Retried => [question, order, probe],
        Why::First | Why::NamesChanged | Why::Requested => [order, question, probe],
    };
    let (wait, action) = candidates
        .into_iter()
        .flatten()
        .min_by_key(|(wait, _)| *wait)
        .unwrap_or((order_wait, Action::Issue));
    Next {
        wait,
        action,
        order_at: later(now.wall, order_wait),
        why,
        held,
    }
}

/// An order that is to be placed.
struct Planned {
    wait: Duration,
    why: Why,
    held: Option<Held>,
}

/// What is due, once nothing forbids it any more.
fn planned(known: &Known, rules: &Rules, (due, why): (Duration, Why), now: Now) -> Planned {
    let leave = until_leave(known, rules, why, now);
    Planned {
        wait: leave.map_or(due, |(wait, _)| due.max(wait)),
        why,
        held: leave
            .filter(|(wait, _)| due.is_zero() && !wait.is_zero())
            .map(|(_, held)| held),
    }
}

fn sooner(one: Planned, other: Planned) -> Planned {
    if other.wait < one.wait { other } else { one }
}

/// Why an order is wanted though nothing may be due: what was begun stays wanted until it succeeds. An attempt that
/// ended with the process does not count: it may have brought what serves now.
fn unfulfilled(known: &Known) -> Option<Why> {
    let failed = known
        .record
        .failing
        .is_some_and(|failing| failing.class.is_some());
    match known.wanted {
        true => Some(Why::Requested),
        false => failed.then_some(Why::Retried),
    }
}

/// When an order is wanted, and why: what may forbid it is not asked here.
fn due(known: &Known, now: Now) -> (Duration, Why) {
    // Also where nothing serves: whoever has mended what was wrong need not wait for the back-off.
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
    match we_have_it_since(known, life) {
        Some(since) => {
            let offset = Duration::from_secs(moment.as_secs().saturating_sub(life.not_before.as_secs()));
            // A wall clock that was set back must not let it expire; one that was set forward must not have it
            // renewed again and again.
            let by_steady = now.until(since.after(offset));
            let soonest = now.until(since.after(offset.min(life.span() / LEAST_SHARE_OF_LIFE)));
            (by_wall.min(by_steady).max(soonest), why)
        }
        None => (by_wall, why),
    }
}

/// When we got what serves, if the ledger knows.
fn we_have_it_since(known: &Known, life: &Life) -> Option<Steady> {
    known
        .record
        .last_issued
        .filter(|issued| issued.not_before == Some(life.not_before))
        .map(|issued| issued.at)
}

/// Two orders for one name set are never closer than this.
fn floor(issued: &LastIssued, why: Why, life: Option<&Life>, rules: &Rules) -> Duration {
    match why {
        // A CA that answers "now" for each new certificate is obeyed less and less often, but as often as it would be
        // ordered without advice: a certificate may live for a day alone.
        Why::Advised => {
            let most = life.map_or(DAY, |life| DAY.min(life.span() - life.share()));
            rules
                .min_interval
                .saturating_mul(OBEDIENCE.saturating_pow(issued.lately.saturating_sub(1)))
                .clamp(rules.min_interval, rules.min_interval.max(most))
        }
        Why::First | Why::NamesChanged | Why::Requested | Why::Retried | Why::LifeSpent => rules.min_interval,
    }
}

/// How long until nothing forbids an order any more, and what forbids it longest. Somebody's wish overrides the
/// floor and the back-off once, and nothing overrides a `Retry-After`.
fn until_leave(known: &Known, rules: &Rules, why: Why, now: Now) -> Option<(Duration, Held)> {
    let record = &known.record;
    let hold = record.held_until();
    if known.requested {
        return hold.map(|hold| (now.until(hold), Held::RetryAfter));
    }
    let floor = record.last_issued.map(|issued| {
        issued
            .at
            .after(floor(&issued, why, known.serving.as_ref(), rules))
    });
    let retry = record.failing.as_ref().map(|failing| {
        let since = now.steady.0.saturating_sub(failing.last.0);
        let left_then = known
            .serving
            .map_or(Duration::ZERO, |life| now.until_wall(life.not_after) + since);
        let at = retry::at(failing, known.probe.as_ref(), left_then, rules);
        retry::hastened_by_others(at, failing, record.untried)
    });
    let all = [
        (floor, Held::Floor),
        (retry, Held::BackOff),
        (hold, Held::RetryAfter),
    ];
    all.into_iter()
        .filter_map(|(at, held)| Some((now.until(at?), held)))
        .max_by_key(|(wait, _)| *wait)
}

/// When the CA of what serves is asked for advice.
fn question(known: &Known, now: Now) -> Option<(Duration, Action)> {
    let life = known.serving.filter(|life| now.wall <= life.not_after)?;
    let ca = life.ca?;
    let again = known
        .advice
        .as_ref()
        .and_then(|advice| advice.ask_again_at(life.fingerprint));
    let at = again.into_iter().chain(known.record.hold_of(ca)).max();
    Some((
        at.map_or(Duration::ZERO, |at| now.until(at)),
        Action::AskRenewalInfo { ca },
    ))
}

/// When what made the last attempt fail is looked at.
fn probe(known: &Known, now: Now) -> Option<(Duration, Action)> {
    let failing = known.record.failing.as_ref()?;
    let (at, action) = retry::probe_at(failing, known.probe.as_ref())?;
    let hold = known.record.hold_of(failing.unreachable.unwrap_or(0));
    Some((now.until(at.max(hold.unwrap_or(at))), action))
}

#[cfg(test)]
mod tests;
