//! Reports on ordering: events and the view.

use certstore::UnixTime;
use tokio::time::Instant;

use super::Core;
use super::attempt::{PassedOver, state_fault};
use super::ordered::{CaLimit, MAX_WAIT, MIN_ROUND_INTERVAL, Ordered};
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::{EventKind, order_reason};
use crate::ledger::Wait;
use crate::schedule::{self, Block, Why, later};
use crate::store::StoreError;
use crate::view::{self, LastError, NextStep};

/// A renewal that moves by less is not reported again.
const MIN_REPORTED_SHIFT_SECONDS: u64 = 300;

/// Failures before this process began.
pub(super) struct Past {
    since: UnixTime,
    attempts: u32,
}

impl Core {
    pub(super) fn report_failing(&mut self, error: IssueError, next: UnixTime, past: Option<Past>) {
        let now = (self.options.now)();
        let error = place(error);
        self.note_failing(&error, now);
        if let (Some(failing), Some(past)) = (&mut self.failing, past) {
            failing.since = failing.since.min(past.since);
            failing.attempts = failing.attempts.max(past.attempts);
        }
        self.show_refusal(&error);
        let (since, attempts) = self
            .failing
            .as_ref()
            .map_or((now, 1), |one| (one.since, one.attempts));
        self.publisher.report(EventKind::Failing {
            error,
            since,
            attempts,
            next,
            serving: self.serving().map(|serving| serving.fingerprint()),
        });
        self.show(NextStep {
            action: view::Action::Retry,
            at: next,
            why: "the last attempt failed".to_owned(),
        });
    }
}

impl Ordered {
    pub(super) fn note_limit(&mut self, wait: Wait, reported: Option<&CaLimit>) {
        self.progress.not_before = Some(Instant::now() + wait.wait.clamp(MIN_ROUND_INTERVAL, MAX_WAIT));
        let limited = CaLimit {
            limit: format!("{}: {}", wait.ca, wait.limit),
            until: later((self.core.options.now)(), wait.wait),
        };
        if reported.is_none_or(|reported| reported.limit != limited.limit) {
            self.core.publisher.report(EventKind::Limited {
                limit: limited.limit.clone(),
                until: limited.until,
            });
        }
        self.progress.reports.limited = Some(limited);
    }

    /// Reports a CA that did not issue: the next one has, so nothing fails; but the first one needs correction.
    pub(super) fn report_passed_over(&self, passed: &PassedOver, issued_by: &str) {
        let (ca, text, remedy) = match passed {
            PassedOver::Failed(error) => (&error.ca, error.text.clone(), error.remedy.as_str()),
            PassedOver::Limited(wait) => (&wait.ca, wait.to_string(), "nothing, if it passes"),
        };
        self.core.publisher.report(EventKind::FellBack {
            ca: ca.clone(),
            text,
            remedy: remedy.to_owned(),
            issued_by: issued_by.to_owned(),
        });
    }

    pub(super) async fn fail_round(&mut self, error: IssueError) {
        let (next, past) = match self.next().await {
            // The ledger remembers the time before the start.
            Ok((next, record)) => {
                let past = record.failing.map(|one| Past {
                    since: self.orders.ledger.now().wall_at(one.since),
                    attempts: one.attempts,
                });
                (next.order_at, past)
            }
            Err(_) => (later((self.core.options.now)(), MAX_WAIT), None),
        };
        // No CA was asked, and the state is looked at every minute: the first report holds.
        if error.class == IssueFault::State && self.core.failing.as_ref().is_some_and(LastError::is_of_state)
        {
            return self.core.note_failing(&place(error), (self.core.options.now)());
        }
        self.core.report_failing(error, next, past);
    }

    pub(super) fn fail_for_state(&mut self, error: &StoreError) {
        let known = self.core.failing.is_some();
        let error = state_fault(error);
        let next = later((self.core.options.now)(), MAX_WAIT);
        if known {
            self.core.note_failing(&place(error), (self.core.options.now)());
        } else {
            self.core.report_failing(error, next, None);
        }
    }

    /// Reports that an order is due and may not be placed yet, unless a failure of this process has reported it.
    pub(super) fn report_block(&mut self, next: &schedule::Next) {
        let Some(block) = next.block else {
            self.progress.reports.held = None;
            return;
        };
        let at = next.order_at;
        let reported = self.progress.reports.held.is_some_and(|(one, reported)| {
            one == block && reported.as_secs().abs_diff(at.as_secs()) < MIN_REPORTED_SHIFT_SECONDS
        });
        if reported || (self.core.failing.is_some() && !self.core.renewal_requested) {
            return;
        }
        self.progress.reports.held = Some((block, at));
        self.core.publisher.report(EventKind::Limited {
            limit: self.block_reason(block),
            until: at,
        });
    }

    fn block_reason(&self, block: Block) -> String {
        match block {
            Block::RetryAfter => "its CA has said not to come back sooner".to_owned(),
            Block::Floor => format!(
                "one for the same names was issued lately, and `min_interval` is {} s; `h2gate certs renew {}` orders at \
                 once",
                self.orders.rules.min_interval.as_secs(),
                self.core.config.name
            ),
            Block::BackOff => format!(
                "the last attempt failed or was cut short; `h2gate certs renew {}` tries at once",
                self.core.config.name
            ),
        }
    }

    pub(super) fn report_advice(&mut self, next: &schedule::Next) {
        let (Some(serving), Why::Advised) = (self.core.serving(), next.why) else {
            return;
        };
        let (fingerprint, at) = (serving.fingerprint(), next.order_at.as_secs());
        let reported = self.progress.reports.advised.is_some_and(|(one, reported)| {
            one == fingerprint && reported.abs_diff(at) < MIN_REPORTED_SHIFT_SECONDS
        });
        if !reported {
            self.progress.reports.advised = Some((fingerprint, at));
            self.core.publisher.report(EventKind::RenewalAdvised {
                at: next.order_at,
                explanation: self.explanation(),
            });
        }
    }

    pub(super) fn show_next(&self, next: &schedule::Next) {
        if self.progress.postponed.is_some() {
            return;
        }
        let action = match &self.core.failing {
            Some(failing) if !failing.is_of_proof() => view::Action::Retry,
            Some(_) | None => view::Action::Order,
        };
        let (at, why) = match (&self.progress.reports.limited, next.block) {
            (Some(limited), _) => (limited.until.max(next.order_at), limited.limit.clone()),
            (None, Some(block)) => (
                next.order_at,
                format!("{}; {}", order_reason(next.why), self.block_reason(block)),
            ),
            (None, None) => (next.order_at, order_reason(next.why).to_owned()),
        };
        self.core.show(NextStep { action, at, why });
        self.core.channels.view.send_modify(|view| {
            if let Some(acme) = &mut view.acme {
                acme.explanation = self.explanation();
                acme.next_order = Some((next.order_at, next.why));
            }
        });
    }

    /// The CA's explanation of its advice.
    fn explanation(&self) -> Option<String> {
        let advice = self.progress.advice.as_ref()?;
        advice.explanation().map(str::to_owned)
    }

    pub(super) fn show_now(&self, action: view::Action, why: &str) {
        self.core.show(NextStep {
            action,
            at: (self.core.options.now)(),
            why: why.to_owned(),
        });
    }
}

/// An error of an attempt with the place that it is about.
pub(super) fn place(error: IssueError) -> Error {
    let place = match error.ca.as_str() {
        "" => "ACME".to_owned(),
        ca => ca.to_owned(),
    };
    Error {
        places: vec![place],
        reason: Reason::Issue(error),
    }
}
