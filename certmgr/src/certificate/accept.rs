//! A chain from a CA, on its way to serving.

use std::time::Duration;

use certstore::{CertBundle, ProveError, UnixTime};
use tokio::time::Instant;

use super::attempt::IssuedChain;
use super::ordered::{MAX_WAIT, MIN_ROUND_INTERVAL, Ordered, Remains};
use super::{Age, Examination};
use crate::error::{Error, IssueError, IssueFault, Reason};
use crate::event::EventKind;
use crate::kept::Origin;
use crate::view;

/// Longest wait for a chain that is not valid yet. By then our clock is set right, or the CA's is wrong.
const MAX_POSTPONEMENT: Duration = Duration::from_secs(24 * 60 * 60);

impl Ordered {
    /// Proves a chain from a CA, and makes it serve. One that cannot be proved yet is held, never ordered again.
    pub(super) async fn accept(&mut self, mut chain: Box<IssuedChain>) {
        let pair = chain.issued.pair.clone();
        let not_before = CertBundle::parse(&pair.chain, &pair.key)
            .ok()
            .map(|bundle| bundle.not_before());
        match self.core.examine(pair, Age::Newest).await {
            Ok(Examination::New(candidate)) => {
                let ca = self.orders.source.cas.get(chain.ca);
                let origin = Origin {
                    ca: ca.map(|ca| ca.directory.clone()),
                    order: Some(chain.issued.order.clone()),
                };
                let kept = self.core.promote(*candidate, origin).await;
                self.note_issued(&mut chain, not_before).await;
                if kept {
                    self.remove_order_note().await;
                } else {
                    self.progress.note_remains = true;
                }
                // This order fulfils a wish that came during it.
                self.core.renewal_requested = false;
                self.core.note_success();
            }
            Ok(Examination::Unchanged | Examination::Excluded(..)) => {
                self.note_issued(&mut chain, not_before).await;
                self.remove_order_note().await;
                self.core.publisher.clear_refusal();
                self.core.note_success();
            }
            Err((reason, _)) if may_be_proved_later(&reason, chain.postponed_since) => {
                self.note_issued(&mut chain, not_before).await;
                self.postpone(chain, reason);
            }
            Err((reason, _)) => {
                let text = format!("what it issued may not serve: {reason}");
                let mut error = IssueError::new(IssueFault::Certificate, text, reason.remedy_at_ca());
                error.ca = self.orders.ca_name(chain.ca);
                if let Some(attempt) = chain.attempt.take() {
                    let noted = self.orders.ledger.failed(attempt, &error).await;
                    self.orders.ledger.report_unwritten(&self.core.config.name, noted);
                }
                self.remove_order_note().await;
                self.fail_round(error).await;
            }
        }
    }

    fn postpone(&mut self, mut chain: Box<IssuedChain>, reason: Reason) {
        let error = Error {
            places: vec![self.orders.ca_name(chain.ca)],
            reason,
        };
        self.core.note_failing(&error, (self.core.options.now)());
        self.core.show_refusal(&error);
        let why = match error.reason {
            Reason::NoAnchors { .. } => "the trust bundle that it is proved against has not been read yet",
            _ => "what was issued is not valid yet by our clock",
        };
        self.show_now(view::Action::Hold, why);
        let rest = until_valid(&error.reason).unwrap_or(MAX_WAIT.min(self.orders.rules.first_retry));
        // Clocks differ by seconds: a hold that passes within one rest is not reported.
        if rest >= MAX_WAIT && !std::mem::replace(&mut self.progress.reports.holding, true) {
            self.core.publisher.report(EventKind::Holding { error });
        }
        chain.postponed_since.get_or_insert_with(Instant::now);
        self.progress.not_before = Some(Instant::now() + rest);
        self.progress.postponed = Some(chain);
    }

    async fn note_issued(&self, chain: &mut IssuedChain, not_before: Option<UnixTime>) {
        let not_before = not_before.unwrap_or_else(|| (self.core.options.now)());
        if let Some(attempt) = chain.attempt.take() {
            let noted = self.orders.ledger.issued(attempt, not_before).await;
            self.orders.ledger.report_unwritten(&self.core.config.name, noted);
        }
    }

    /// Removes the note of a finished order. If it stays, the next round finds the order finished; TXT records that
    /// stay are removed later.
    pub(super) async fn remove_order_note(&mut self) {
        let Err(error) = self.orders.issuer.done(&self.core.config.name).await else {
            return;
        };
        if error.class == IssueFault::Dns {
            self.progress.remains = Some(Remains::new(Instant::now(), self.orders.rules.first_retry));
            return;
        }
        let error = error.to_string();
        self.core.publisher.report(EventKind::NoteLeft { error });
    }
}

/// True if nothing is wrong with the chain itself: time, or our own next step, will make it provable. A chain of a CA
/// that dates far ahead is not held beyond [`MAX_POSTPONEMENT`].
fn may_be_proved_later(reason: &Reason, postponed_since: Option<Instant>) -> bool {
    match reason {
        Reason::Prove(ProveError::NotYetValid { .. }) => {
            postponed_since.is_none_or(|since| since.elapsed() < MAX_POSTPONEMENT)
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
            Some(left.clamp(MIN_ROUND_INTERVAL, MAX_WAIT))
        }
        _ => None,
    }
}
