//! The serving ordered bundle, proved to the anchors of its trust bundle: at the start, and when they change.

use std::time::Duration;

use certstore::Requirements;
use tokio::time::Instant;

use super::ordered::Ordered;
use super::prove_pair;
use crate::debounce::FailedAttempt;
use crate::error::Error;
use crate::event::EventKind;
use crate::view::LastError;

impl Ordered {
    /// Proves the serving bundle to the anchors in force, which may have changed. It goes on serving; a changed result
    /// is reported. A trust bundle that has not been read yet is reported by its own task.
    pub(super) async fn prove_to_anchors(&mut self) {
        self.anchors_changed = false;
        let (Some(serving), Ok(requirements)) = (self.core.serving(), self.core.requirements()) else {
            return;
        };
        let Some(version) = self.core.kept.version(serving.fingerprint()) else {
            return;
        };
        // New domains are a reason to order, not a reason to refuse.
        let requirements = Requirements {
            domains: Vec::new(),
            ..requirements
        };
        let now = (self.core.options.now)();
        let content = Some(version.content());
        match prove_pair(version.pair.clone(), requirements, now).await {
            Ok(_) => self.note_anchors_reached(),
            Err(reason) => {
                let from = self.ca_of(serving.fingerprint());
                let place = from.map_or_else(|| "what serves".to_owned(), |ca| self.orders.ca_name(ca));
                let error = Error {
                    places: vec![place],
                    reason,
                };
                self.report_anchors_missed(*FailedAttempt::new(error, content));
            }
        }
    }

    fn note_anchors_reached(&mut self) {
        if !self.core.failure_streak.end() {
            return;
        }
        self.core.failing.take_if(|failing| failing.is_of_proof());
        self.core.publisher.clear_refusal();
        self.core.show_state();
        if let Some(serving) = self.core.serving() {
            self.core.publisher.report(EventKind::Recovered {
                fingerprint: serving.fingerprint(),
            });
        }
    }

    fn report_anchors_missed(&mut self, failure: FailedAttempt) {
        // The pair is whole: no writer is waited for.
        if !self
            .core
            .failure_streak
            .note(&failure, Instant::now(), Duration::ZERO)
        {
            return;
        }
        // The failure of an order is worse.
        if self.core.failing.as_ref().is_none_or(LastError::is_of_proof) {
            self.core.note_failing(&failure.error, (self.core.options.now)());
        }
        self.core.show_refusal(&failure.error);
        self.core.publisher.report(EventKind::Refused {
            error: failure.error,
            serving: self.core.serving().map(|serving| serving.fingerprint()),
        });
    }
}
