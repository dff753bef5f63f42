//! A chain from a CA, on its way to serving.

use std::time::Duration;

use certstore::{CertBundle, ProveError, UnixTime};
use tokio::time::Instant;

use super::attempt::Arrived;
use super::ordered::{LONGEST_REST, Left, Ordered, SHORTEST_REST};
use super::{Age, Found};
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::EventKind;
use crate::kept::Origin;
use crate::store::StoreError;
use crate::view;

/// Longest wait for a chain that is not valid yet. By then our clock is set right, or the CA's is wrong.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

impl Ordered {
    /// Proves a chain from a CA, and makes it serve. One that cannot be proved yet is held, never ordered again.
    pub(super) async fn accept(&mut self, mut arrived: Box<Arrived>) {
        let pair = arrived.issued.pair.clone();
        let not_before = CertBundle::parse(&pair.chain, &pair.key)
            .ok()
            .map(|bundle| bundle.not_before());
        match self.core.examine(pair, Age::Newest).await {
            Ok(Found::New(candidate)) => {
                let ca = self.orders.source.cas.get(arrived.ca);
                let origin = Origin {
                    ca: ca.map(|ca| ca.directory.clone()),
                    order: Some(arrived.issued.order.clone()),
                };
                let kept = self.core.promote(*candidate, origin).await;
                self.note_issued(&mut arrived, not_before).await;
                if kept {
                    self.forget_order().await;
                } else {
                    self.course.undone = true;
                }
                // This order fulfils a wish that came during it.
                self.core.asked = false;
                self.core.well();
            }
            Ok(Found::Unchanged | Found::Excluded(..)) => {
                self.note_issued(&mut arrived, not_before).await;
                self.forget_order().await;
                self.core.publisher.clear_refusal();
                self.core.well();
            }
            Err((reason, _)) if may_be_proved_later(&reason, arrived.held_since) => {
                self.note_issued(&mut arrived, not_before).await;
                self.hold(arrived, reason);
            }
            Err((reason, _)) => {
                let text = format!("what it issued may not serve: {reason}");
                let mut error = IssueError::new(IssueFault::Certificate, text, reason.remedy_at_ca());
                error.ca = self.orders.ca_name(arrived.ca);
                if let Some(attempt) = arrived.attempt.take() {
                    note(
                        self.orders.ledger.failed(attempt, &error).await,
                        &self.core.config.name,
                    );
                }
                self.forget_order().await;
                self.fail_go(error).await;
            }
        }
    }

    fn hold(&mut self, mut arrived: Box<Arrived>, reason: Reason) {
        let error = Error {
            places: vec![self.orders.ca_name(arrived.ca)],
            reason,
        };
        self.core.note_failing(&error, (self.core.options.now)());
        self.core.show_refusal(&error);
        let why = match error.reason {
            Reason::NoAnchors { .. } => "the trust bundle that it is proved against has not been read yet",
            _ => "what was issued is not valid yet by our clock",
        };
        self.show_now(view::Action::Hold, why);
        let rest = until_valid(&error.reason).unwrap_or(LONGEST_REST.min(self.orders.rules.first_retry));
        // Clocks differ by seconds: a hold that passes within one rest is not reported.
        if rest >= LONGEST_REST && !std::mem::replace(&mut self.course.told.holding, true) {
            self.core.publisher.report(EventKind::Holding { error });
        }
        arrived.held_since.get_or_insert_with(Instant::now);
        self.course.not_before = Some(Instant::now() + rest);
        self.course.holding = Some(arrived);
    }

    async fn note_issued(&self, arrived: &mut Arrived, not_before: Option<UnixTime>) {
        let not_before = not_before.unwrap_or_else(|| (self.core.options.now)());
        if let Some(attempt) = arrived.attempt.take() {
            note(
                self.orders.ledger.issued(attempt, not_before).await,
                &self.core.config.name,
            );
        }
    }

    /// Removes the note of a finished order. If it stays, the next round finds the order finished; TXT records that
    /// stay are removed later.
    pub(super) async fn forget_order(&mut self) {
        let Err(error) = self.orders.issuer.done(&self.core.config.name).await else {
            return;
        };
        if error.class == IssueFault::Dns {
            self.course.left = Some(Left::new(Instant::now(), self.orders.rules.first_retry));
            return;
        }
        tracing::warn!(
            certificate = self.core.config.name,
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

fn note(written: Result<(), StoreError>, name: &str) {
    if let Err(error) = written {
        tracing::warn!(
            certificate = name,
            "the ledger of orders: {error}; it is written with the next note"
        );
    }
}
