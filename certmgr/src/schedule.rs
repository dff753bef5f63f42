//! When an ACME certificate is ordered, and when its CA is asked for advice: decisions without a clock, without
//! chance and without I/O.
//!
//! Validity is judged by the wall clock, because it is the peers who judge it. Every wait (back-off, floor,
//! `Retry-After`, the next question) is measured on a clock that cannot jump, see [`Now`]. Chance is drawn once,
//! when a fact is noted, and is part of the fact: so [`next`] may be asked as often as one likes.

use std::time::Duration;

use certstore::{Generation, UnixTime};

use crate::acme::{IssueFault, RenewalInfo};
use crate::config::AcmeSource;

/// Both clocks, read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// The clock that may be set.
    pub(crate) wall: UnixTime,
    /// The clock that only ever runs.
    pub(crate) steady: Steady,
}

/// An instant on the steady clock: the wall clock as it stood when the process began, and from then on the
/// time that has really passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Steady(pub(crate) Duration);

/// What is known of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What serves. `None`: nothing does.
    pub(crate) serving: Option<Life>,
    /// What the CA last said about a renewal. That of another generation does not count.
    pub(crate) advice: Option<Advice>,
    /// What the ledger says.
    pub(crate) record: Record,
    /// The last look at the directory.
    pub(crate) probe: Option<Probe>,
    /// Somebody asks for a new one by name. Stays until an attempt has begun.
    pub(crate) requested: bool,
    /// What serves does not cover what is configured.
    pub(crate) names_changed: bool,
}

/// The life of what serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) generation: Generation,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// Position of the CA that issued it, if it is one of those configured: the one to ask for advice.
    pub(crate) authority: Option<usize>,
}

/// The ledger's record of one name set and key type, over all configured authorities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// When a CA last issued for it, whether or not the result could serve.
    pub(crate) last_issued: Option<Steady>,
    /// The failed attempts since the last success.
    pub(crate) failing: Option<Failing>,
    /// No authority may be asked sooner: each has given a `Retry-After`, and this is the first that ends.
    pub(crate) not_before: Option<Steady>,
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
    /// Position of the first authority that was unreachable in the last one.
    pub(crate) unreachable: Option<usize>,
    /// Drawn for the last one: scatters what follows it.
    pub(crate) draw: Draw,
}

/// A number from 0 up to but not including 1, drawn once and kept: thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw(u16);

/// A look at a CA's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) at: Steady,
    pub(crate) reachable: bool,
    pub(crate) draw: Draw,
}

/// What a CA said, or did not say, about the renewal of one generation (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    generation: Generation,
    asked: Steady,
    ask_again_after: Duration,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    window: (UnixTime, UnixTime),
    draw: Draw,
    explanation: Option<String>,
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
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Order, each authority in turn for which the ledger gives leave; go on with a noted order.
    Issue,
    /// Ask the authority of what serves for its renewal information.
    AskRenewalInfo {
        /// Its position.
        authority: usize,
    },
    /// Look whether this authority is back.
    Probe {
        /// Its position.
        authority: usize,
    },
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
            Self::Advised => "advised",
            Self::LifeSpent => "life_spent",
        }
    }
}

impl Draw {
    /// `random` gives numbers from 0 up to but not including 1.
    pub(crate) fn new(random: &mut dyn FnMut() -> f64) -> Self {
        Self((random() * 1000.0).clamp(0.0, 999.0) as u16)
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

impl Advice {
    /// The CA has answered; `None`: it gives no advice. An answer with the same window as before keeps the moment
    /// that was chosen in it.
    pub(crate) fn new(
        generation: Generation,
        info: Option<&RenewalInfo>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let _ = (info, before, random);
        Self {
            generation,
            asked: now.steady,
            ask_again_after: Duration::from_secs(12 * 3600),
            answer: None,
        }
    }

    /// The CA could not be asked. What it said before about this generation still counts.
    pub(crate) fn unknown(
        generation: Generation,
        retry_after: Option<Duration>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let _ = retry_after;
        Self::new(generation, None, before, now, random)
    }

    /// The CA's words on why the window is what it is.
    pub(crate) fn explanation(&self) -> Option<&str> {
        self.answer.as_ref()?.explanation.as_deref()
    }
}

/// What is to be done next for a certificate.
pub(crate) fn next(known: &Known, rules: &Rules, now: Now) -> Next {
    let _ = (known, rules);
    Next {
        wait: Duration::ZERO,
        action: Action::Issue,
        order_at: now.wall,
        why: Why::First,
    }
}
