//! Reports on ordering: events and the view.

use std::sync::Arc;

use certstore::UnixTime;
use tokio::time::Instant;

use super::Certificate;
use super::attempt::{PassedOver, state_fault};
use super::ordered::{Course, LONGEST_REST, Limited, SHORTEST_REST};
use super::orders::Orders;
use super::view::Failing;
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::{self, Event};
use crate::ledger::Wait;
use crate::schedule::{self, Advice, Block, Rules, Why, later};
use crate::store::StoreError;
use crate::view::{self, NextStep};

/// A renewal that moves by less is not reported again. Seconds.
const TOLD_APART: u64 = 300;

/// Failures before this process began.
pub(super) struct Past {
    since: UnixTime,
    attempts: u32,
}

impl Certificate {
    pub(super) fn note_limit(&mut self, course: &mut Course, wait: Wait, told: Option<&Limited>) {
        course.not_before = Some(Instant::now() + wait.wait.clamp(SHORTEST_REST, LONGEST_REST));
        let limited = Limited {
            limit: format!("{}: {}", wait.ca, wait.limit),
            until: later((self.options.now)(), wait.wait),
        };
        if told.is_none_or(|told| told.limit != limited.limit) {
            self.post.tell(Event::Limited {
                name: Arc::clone(self.post.name()),
                limit: limited.limit.clone(),
                until: limited.until,
            });
        }
        course.told.limited = Some(limited);
    }

    /// Reports a CA that did not issue: the next one has, so nothing fails; but the first one needs correction.
    pub(super) fn tell_passed_over(&self, passed: &PassedOver, issued_by: &str) {
        let (ca, text, remedy) = match passed {
            PassedOver::Failed(error) => (&error.ca, error.text.clone(), error.remedy.as_str()),
            PassedOver::Limited(wait) => (&wait.ca, wait.to_string(), "nothing, if it passes"),
        };
        self.post.tell(Event::FellBack {
            name: Arc::clone(self.post.name()),
            ca: ca.clone(),
            text,
            remedy: remedy.to_owned(),
            issued_by: issued_by.to_owned(),
        });
    }

    pub(super) async fn fail_go(&mut self, orders: &Orders, course: &Course, error: IssueError) {
        let (next, past) = match self.next(orders, course).await {
            // The ledger remembers the time before the start.
            Ok((next, record)) => {
                let past = record.failing.map(|one| Past {
                    since: orders.ledger.now().wall_at(one.since),
                    attempts: one.attempts,
                });
                (next.order_at, past)
            }
            Err(_) => (later((self.options.now)(), LONGEST_REST), None),
        };
        // No CA was asked, and the state is looked at every minute: the first report holds.
        if error.class == IssueFault::State && self.failing.as_ref().is_some_and(Failing::is_of_state) {
            return self.note_failing(&place(error), (self.options.now)());
        }
        self.tell_failing(error, next, past);
    }

    pub(super) fn fail_for_state(&mut self, error: &StoreError) {
        let known = self.failing.is_some();
        let error = state_fault(error);
        let next = later((self.options.now)(), LONGEST_REST);
        if known {
            self.note_failing(&place(error), (self.options.now)());
        } else {
            self.tell_failing(error, next, None);
        }
    }

    pub(super) fn tell_failing(&mut self, error: IssueError, next: UnixTime, past: Option<Past>) {
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
        self.post.tell(Event::Failing {
            name: Arc::clone(self.post.name()),
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

    /// Reports that an order is due and may not be placed yet, unless a failure of this process has reported it.
    pub(super) fn tell_held(&mut self, next: &schedule::Next, course: &mut Course, rules: &Rules) {
        let Some(held) = next.block else {
            course.told.held = None;
            return;
        };
        let at = next.order_at;
        let told = course
            .told
            .held
            .is_some_and(|(one, told)| one == held && told.as_secs().abs_diff(at.as_secs()) < TOLD_APART);
        if told || (self.failing.is_some() && !self.asked) {
            return;
        }
        course.told.held = Some((held, at));
        self.post.tell(Event::Limited {
            name: Arc::clone(self.post.name()),
            limit: self.words_of(held, rules),
            until: at,
        });
    }

    fn words_of(&self, held: Block, rules: &Rules) -> String {
        match held {
            Block::RetryAfter => "its CA has said not to come back sooner".to_owned(),
            Block::Floor => format!(
                "one for the same names was issued lately, and `min_interval` is {} s; `h2gate certs renew {}` orders at \
                 once",
                rules.min_interval.as_secs(),
                self.config.name
            ),
            Block::BackOff => format!(
                "the last attempt failed or was cut short; `h2gate certs renew {}` tries at once",
                self.config.name
            ),
        }
    }

    pub(super) fn tell_advice(&mut self, next: &schedule::Next, course: &mut Course) {
        let (Some(serving), Why::Advised) = (self.serving(), next.why) else {
            return;
        };
        let (fingerprint, at) = (serving.fingerprint(), next.order_at.as_secs());
        let told = course
            .told
            .advised
            .is_some_and(|(one, told)| one == fingerprint && told.abs_diff(at) < TOLD_APART);
        if !told {
            course.told.advised = Some((fingerprint, at));
            self.post.tell(Event::RenewalAdvised {
                name: Arc::clone(self.post.name()),
                at: next.order_at,
                explanation: explanation(course),
            });
        }
    }

    pub(super) fn show_next(&self, next: &schedule::Next, course: &Course, rules: &Rules) {
        if course.holding.is_some() {
            return;
        }
        let action = match &self.failing {
            Some(failing) if !failing.is_of_proof() => view::Action::Retry,
            Some(_) | None => view::Action::Order,
        };
        let (at, why) = match (&course.told.limited, next.block) {
            (Some(limited), _) => (limited.until.max(next.order_at), limited.limit.clone()),
            (None, Some(held)) => (
                next.order_at,
                format!("{}; {}", event::words(next.why), self.words_of(held, rules)),
            ),
            (None, None) => (next.order_at, event::words(next.why).to_owned()),
        };
        self.show(NextStep { action, at, why });
        self.lines.view.send_modify(|view| {
            if let Some(acme) = &mut view.acme {
                acme.explanation = explanation(course);
                acme.next_order = Some((next.order_at, next.why));
            }
        });
    }

    pub(super) fn show_now(&self, action: view::Action, why: &str) {
        self.show(NextStep {
            action,
            at: (self.options.now)(),
            why: why.to_owned(),
        });
    }
}

fn explanation(course: &Course) -> Option<String> {
    course
        .advice
        .as_ref()
        .and_then(Advice::explanation)
        .map(str::to_owned)
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
