//! The course of a certificate that somebody else renews: read → prove → promote, at each poll and each hint.

use std::time::Duration;

use certstore::Fingerprint;
use tokio::time::{Instant, sleep_until};

use super::{Age, Core, Found, Origin};
use crate::debounce::Failure;
use crate::error::{Error, Reason};
use crate::event::EventKind;
use crate::pair::Content;
use crate::schedule::later;
use crate::source::SourceReader;
use crate::stage::Stage;
use crate::view::{Action, NextStep};

/// A trust bundle may be late by this before a certificate that needs it reports that.
const TRUST_SETTLE: Duration = Duration::from_secs(5);

/// A certificate that somebody else renews.
pub(crate) struct Fetched {
    core: Core,
    source: SourceReader,
}

impl Fetched {
    pub(crate) fn new(core: Core, source: SourceReader) -> Self {
        Self { core, source }
    }

    /// Keeps the certificate served from its source until the task is aborted.
    pub(crate) async fn run(mut self) {
        self.core.restore().await;
        self.core.has_reached(match self.core.serving() {
            Some(_) => Stage::Loaded,
            None => Stage::Restored,
        });
        if self.core.config.trust.is_some() {
            // The kept version was proved against other anchors, or against none.
            self.core.content = None;
        }
        self.core.tell_expiry();
        loop {
            match self.core.meanwhile(Box::pin(self.source.read())).await {
                Err(error) => {
                    self.fail(*Failure::new(error, None));
                    // While the source cannot be read, the kept version is all there is.
                    self.core.restore_if_unread().await;
                }
                Ok(pair) => match self.core.examine(pair, Age::Any).await {
                    Ok(Found::Unchanged) => self.unchanged().await,
                    Ok(Found::Excluded(fingerprint, content)) => self.leave(fingerprint, content),
                    Ok(Found::New(candidate)) => {
                        self.core.promote(*candidate, Origin::default()).await;
                        self.core.asked = false;
                        self.core.well();
                    }
                    Err((reason, content)) => {
                        let places = self.source.places_of(reason.part());
                        let reason = reason.held_in(&self.core.config.source);
                        self.fail(*Failure::new(Error { places, reason }, Some(content)));
                    }
                },
            }
            self.core.tell_expiry();
            self.wait().await;
        }
    }

    async fn unchanged(&mut self) {
        self.core.keep_again().await;
        if std::mem::take(&mut self.core.asked)
            && let Some(serving) = self.core.serving()
        {
            self.core.post.report(EventKind::Unchanged {
                fingerprint: serving.fingerprint(),
            });
        }
        self.core.well();
    }

    /// Leaves in the source a version that an operator rolled back from, or wants revoked.
    fn leave(&mut self, fingerprint: Fingerprint, content: Content) {
        let known = self.core.held.replace(content) == Some(content);
        if !known || self.core.asked {
            self.core.asked = false;
            self.core.post.report(EventKind::Excluded {
                fingerprint,
                to_be_revoked: self.core.is_to_be_revoked(fingerprint),
            });
        }
        self.core.well();
    }

    /// Notes a failure, and reports it once it has lasted: a writer may be half-way.
    fn fail(&mut self, failure: Failure) {
        let now = (self.core.options.now)();
        self.core.note_failing(&failure.error, now);
        if std::mem::take(&mut self.core.asked) {
            self.core.trouble.tell_again();
        }
        let mut settle = self.core.config.source.settle(self.core.options.settle);
        if matches!(failure.error.reason, Reason::NoAnchors { .. }) {
            settle = settle.max(TRUST_SETTLE);
        }
        if self.core.trouble.note(&failure, Instant::now(), settle) {
            self.core.show_refusal(&failure.error);
            let serving = self.core.serving().map(|serving| serving.fingerprint());
            self.core
                .post
                .report(EventKind::of_source(failure.error, serving));
            self.core.loaded();
        }
    }

    /// Waits for the next look: a sign of change, the next retry of something incomplete, or the next poll.
    async fn wait(&mut self) {
        let poll = self.source.poll();
        let retry = self
            .core
            .trouble
            .next_retry()
            .map(|retry| self.core.config.source.retry(retry));
        let wait = retry.unwrap_or(poll).min(poll);
        self.show_next_read(wait, poll);
        let next = Instant::now() + wait;
        loop {
            let look = self.core.next_look();
            let (hint, commands) = (self.source.hint(), &mut self.core.lines.commands);
            let trust_changes = &mut self.core.trust_changes;
            tokio::select! {
                seen_at = hint => {
                    self.core.seen_at = seen_at;
                    return;
                }
                () = sleep_until(next) => break,
                Ok(()) = trust_changes.changed(), if self.core.config.trust.is_some() => {
                    // The next look proves the content even if it serves, and serves on in any case.
                    self.core.content = None;
                    break;
                }
                Some(command) = commands.recv() => {
                    self.core.obey(command).await;
                    if self.core.asked {
                        break;
                    }
                    self.show_next_read(next.saturating_duration_since(Instant::now()), poll);
                }
                () = sleep_until(look) => self.core.look_again().await,
            }
        }
        self.core.seen_at = Instant::now();
    }

    fn show_next_read(&self, wait: Duration, poll: Duration) {
        let every = match poll.as_secs() {
            0 => format!("{} ms", poll.as_millis()),
            seconds => format!("{seconds} s"),
        };
        let now = (self.core.options.now)();
        self.core.show(NextStep {
            action: Action::Read,
            at: later(now, wait),
            why: format!("the source is read at least every {every}"),
        });
    }
}
