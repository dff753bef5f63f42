//! A chain from a CA, on its way to serving.

use std::sync::Arc;
use std::time::Duration;

use certstore::{CertBundle, ProveError, UnixTime};
use tokio::time::Instant;

use super::attempt::Arrived;
use super::ordered::{Course, LONGEST_REST, Left, SHORTEST_REST};
use super::orders::Orders;
use super::{Age, Certificate, Found};
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::Event;
use crate::kept::Origin;
use crate::store::StoreError;
use crate::view;

/// Longest wait for a chain that is not valid yet. By then our clock is set right, or the CA's is wrong.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

impl Certificate {
    /// Proves a chain from a CA, and makes it serve. One that cannot be proved yet is held, never ordered again.
    pub(super) async fn accept(
        &mut self,
        orders: &Arc<Orders>,
        course: &mut Course,
        mut arrived: Box<Arrived>,
    ) {
        let pair = arrived.issued.pair.clone();
        let not_before = CertBundle::parse(&pair.chain, &pair.key)
            .ok()
            .map(|bundle| bundle.not_before());
        match self.examine(pair, Age::Newest).await {
            Ok(Found::New(candidate)) => {
                course.held_since = None;
                let origin = origin_of(orders, &arrived);
                let kept = self.promote(*candidate, origin).await;
                self.note_issued(orders, &mut arrived, not_before).await;
                if kept {
                    self.forget_order(orders, course).await;
                } else {
                    course.undone = true;
                }
                // This order fulfils a wish that came during it.
                self.asked = false;
                self.well();
            }
            Ok(Found::Unchanged | Found::Excluded(..)) => {
                self.note_issued(orders, &mut arrived, not_before).await;
                self.forget_order(orders, course).await;
                self.post.clear_refusal();
                self.well();
            }
            Err((reason, _)) if may_be_proved_later(&reason, course.held_since) => {
                self.note_issued(orders, &mut arrived, not_before).await;
                self.hold(orders, course, arrived, reason);
            }
            Err((reason, _)) => {
                course.held_since = None;
                let error = IssueError {
                    class: IssueFault::Certificate,
                    ca: ca_name(orders, arrived.ca),
                    text: format!("what it issued may not serve: {reason}"),
                    remedy: reason.remedy_at_ca().to_owned(),
                    retry_after: None,
                };
                if let Some(attempt) = arrived.attempt.take() {
                    note(orders.ledger.failed(attempt, &error).await, &self.config.name);
                }
                self.forget_order(orders, course).await;
                self.fail_go(orders, course, error).await;
            }
        }
    }

    fn hold(&mut self, orders: &Orders, course: &mut Course, arrived: Box<Arrived>, reason: Reason) {
        let error = error_of(orders, &arrived, reason);
        self.note_failing(&error, (self.options.now)());
        self.show_refusal(&error);
        let why = match error.reason {
            Reason::NoAnchors { .. } => "the trust bundle that it is proved against has not been read yet",
            _ => "what was issued is not valid yet by our clock",
        };
        self.show_now(view::Action::Hold, why);
        let rest = until_valid(&error.reason).unwrap_or(LONGEST_REST.min(orders.rules.first_retry));
        // Clocks differ by seconds: a hold that passes within one rest is not reported.
        if rest >= LONGEST_REST && !std::mem::replace(&mut course.told.holding, true) {
            let name = Arc::clone(self.post.name());
            self.post.tell(Event::Holding { name, error });
        }
        course.held_since.get_or_insert_with(Instant::now);
        course.not_before = Some(Instant::now() + rest);
        course.holding = Some(arrived);
    }

    async fn note_issued(&self, orders: &Orders, arrived: &mut Arrived, not_before: Option<UnixTime>) {
        let not_before = not_before.unwrap_or_else(|| (self.options.now)());
        if let Some(attempt) = arrived.attempt.take() {
            note(orders.ledger.issued(attempt, not_before).await, &self.config.name);
        }
    }

    /// Removes the note of a finished order. If it stays, the next round finds the order finished; TXT records that
    /// stay are removed later.
    pub(super) async fn forget_order(&self, orders: &Orders, course: &mut Course) {
        let Err(error) = orders.issuer.done(&self.config.name).await else {
            return;
        };
        if error.class == IssueFault::Dns {
            course.left = Some(Left::new(Instant::now(), orders.rules.first_retry));
            return;
        }
        tracing::warn!(
            certificate = self.config.name,
            "the note of a finished order stays: {error}"
        );
    }
}

/// True if nothing is wrong with the chain itself: time, or our own next step, will make it provable. A chain of a CA
/// that dates far ahead is not held beyond [`LONGEST_HOLD`].
fn may_be_proved_later(reason: &Reason, held_since: Option<Instant>) -> bool {
    match reason {
        Reason::Prove(ProveError::NotYetValid { .. }) => {
            held_since.is_none_or(|since| since.elapsed() < LONGEST_HOLD)
        }
        Reason::NoAnchors { .. } | Reason::Internal(_) => true,
        _ => false,
    }
}

/// Time until the chain is valid by our clock, which may be set before that.
fn until_valid(reason: &Reason) -> Option<Duration> {
    match reason {
        Reason::Prove(ProveError::NotYetValid { not_before, now }) => {
            let left = Duration::from_secs(not_before.as_secs().saturating_sub(now.as_secs()));
            Some(left.clamp(SHORTEST_REST, LONGEST_REST))
        }
        _ => None,
    }
}

fn origin_of(orders: &Orders, arrived: &Arrived) -> Origin {
    let ca = orders.source.cas.get(arrived.ca);
    Origin {
        ca: ca.map(|one| one.directory.clone()),
        order: Some(arrived.issued.order.clone()),
    }
}

pub(super) fn ca_name(orders: &Orders, ca: usize) -> String {
    let ca = orders.source.cas.get(ca);
    ca.map(|one| one.name.clone()).unwrap_or_default()
}

fn error_of(orders: &Orders, arrived: &Arrived, reason: Reason) -> Error {
    Error {
        places: vec![ca_name(orders, arrived.ca)],
        reason,
    }
}

fn note(written: Result<(), StoreError>, name: &str) {
    if let Err(error) = written {
        tracing::warn!(
            certificate = name,
            "the ledger of orders: {error}; it is written with the next note"
        );
    }
}
