//! The course of a certificate that somebody else renews: read → prove → promote, at each poll and each hint.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Age, Certificate, Found, Origin};
use crate::debounce::Failure;
use crate::error::{Error, Reason};
use crate::event::Event;
use crate::schedule::later;
use crate::source::SourceReader;
use crate::stage::Stage;
use crate::view::{Action, NextStep};

/// A trust bundle may be late by this before a certificate that needs it reports that.
const TRUST_SETTLE: Duration = Duration::from_secs(5);

/// Keeps one certificate served from its source until the task is aborted.
pub(crate) async fn keep(mut certificate: Certificate, mut source: SourceReader) {
    certificate.restore().await;
    certificate.has_reached(match certificate.serving() {
        Some(_) => Stage::Loaded,
        None => Stage::Restored,
    });
    if certificate.config.trust.is_some() {
        // The kept version was proved against other anchors, or against none.
        certificate.doubt();
    }
    certificate.tell_expiry();
    loop {
        match certificate.meanwhile(Box::pin(source.read())).await {
            Err(error) => {
                certificate.fail(*Failure::new(error, None));
                // While the source cannot be read, the kept version is all there is.
                certificate.restore_if_unread().await;
            }
            Ok(pair) => match certificate.examine(pair, Age::Any).await {
                Ok(Found::Unchanged) => certificate.unchanged().await,
                Ok(Found::Excluded(fingerprint, content)) => certificate.leave(fingerprint, content),
                Ok(Found::New(candidate)) => {
                    certificate.promote(*candidate, Origin::default()).await;
                    certificate.asked = false;
                    certificate.well();
                }
                Err((reason, content)) => {
                    let places = source.places_of(reason.part());
                    let reason = reason.held_in(&certificate.config.source);
                    certificate.fail(*Failure::new(Error { places, reason }, Some(content)));
                }
            },
        }
        certificate.tell_expiry();
        certificate.wait(&mut source).await;
    }
}

impl Certificate {
    async fn unchanged(&mut self) {
        self.keep_again().await;
        if std::mem::take(&mut self.asked)
            && let Some(serving) = self.serving()
        {
            self.post.tell(Event::Unchanged {
                name: Arc::clone(self.post.name()),
                fingerprint: serving.fingerprint(),
            });
        }
        self.well();
    }

    /// Leaves in the source a version that an operator rolled back from, or wants revoked.
    fn leave(&mut self, fingerprint: certstore::Fingerprint, content: crate::pair::Content) {
        let known = self.held.replace(content) == Some(content);
        if !known || self.asked {
            self.asked = false;
            self.post.tell(Event::Excluded {
                name: Arc::clone(self.post.name()),
                fingerprint,
                to_be_revoked: self.is_to_be_revoked(fingerprint),
            });
        }
        self.well();
    }

    /// Notes a failure, and reports it once it has lasted: a writer may be half-way.
    fn fail(&mut self, failure: Failure) {
        let now = (self.options.now)();
        self.note_failing(&failure.error, now);
        if std::mem::take(&mut self.asked) {
            self.trouble.tell_again();
        }
        let mut settle = self.config.source.settle(self.options.settle);
        if matches!(failure.error.reason, Reason::NoAnchors { .. }) {
            settle = settle.max(TRUST_SETTLE);
        }
        if self.trouble.note(&failure, Instant::now(), settle) {
            self.show_refusal(&failure.error);
            let (name, error) = (Arc::clone(self.post.name()), failure.error);
            let serving = self.serving().map(|serving| serving.fingerprint());
            self.post.tell(if error.is_unreadable() {
                Event::Unreadable { name, error, serving }
            } else {
                Event::Refused { name, error, serving }
            });
            self.loaded();
        }
    }

    /// Waits for the next look: a sign of change, the next retry of something incomplete, or the next poll.
    async fn wait(&mut self, source: &mut SourceReader) {
        let poll = source.poll();
        let retry = self
            .trouble
            .next_retry()
            .map(|retry| self.config.source.retry(retry));
        let wait = retry.unwrap_or(poll).min(poll);
        self.show_next_read(wait, poll);
        let next = Instant::now() + wait;
        loop {
            let look = self.next_look();
            let (hint, commands) = (source.hint(), &mut self.lines.commands);
            let trust_changes = &mut self.trust_changes;
            tokio::select! {
                seen_at = hint => {
                    self.seen_at = seen_at;
                    return;
                }
                () = sleep_until(next) => {
                    self.seen_at = Instant::now();
                    return;
                }
                Ok(()) = trust_changes.changed(), if self.config.trust.is_some() => {
                    self.doubt();
                    return;
                }
                Some(command) = commands.recv() => {
                    self.obey(command).await;
                    if self.asked {
                        self.seen_at = Instant::now();
                        return;
                    }
                    self.show_next_read(next.saturating_duration_since(Instant::now()), poll);
                }
                () = sleep_until(look) => self.look_again().await,
            }
        }
    }

    /// Makes the next look prove the source's content even if it serves. The serving bundle serves on in any case.
    fn doubt(&mut self) {
        self.content = None;
        self.seen_at = Instant::now();
    }

    fn show_next_read(&self, wait: Duration, poll: Duration) {
        let every = match poll.as_secs() {
            0 => format!("{} ms", poll.as_millis()),
            seconds => format!("{seconds} s"),
        };
        let now = (self.options.now)();
        self.show(NextStep {
            action: Action::Read,
            at: later(now, wait),
            why: format!("the source is read at least every {every}"),
        });
    }
}
