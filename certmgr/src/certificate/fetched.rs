//! A certificate as a subject of [`run_fetched`](crate::fetched::run_fetched).

use std::time::Duration;

use certstore::Fingerprint;
use tokio::time::{Instant, sleep_until};

use super::{Age, Core, Examination, Origin};
use crate::config::Source;
use crate::debounce::{FailedAttempt, SourceFailureStreak};
use crate::error::Reason;
use crate::event::EventKind;
use crate::fetched::Fetched;
use crate::pair::{Content, Pair};
use crate::schedule::later;
use crate::stage::Stage;
use crate::view::{Action, NextStep};

/// A trust bundle may be late by this before a certificate that needs it reports that.
const TRUST_SETTLE: Duration = Duration::from_secs(5);

impl Fetched for Core {
    fn source(&self) -> &Source {
        &self.config.source
    }

    fn failure_streak(&mut self) -> &mut SourceFailureStreak {
        &mut self.failure_streak
    }

    async fn start(&mut self) {
        self.restore().await;
        let stage = match self.serving() {
            Some(_) => Stage::Loaded,
            None => Stage::Restored,
        };
        stage.reach(&self.channels.stage);
        if self.config.trust.is_some() {
            // The kept version was proved against other anchors, or against none.
            self.content = None;
        }
    }

    async fn wait_for<T: Send>(&mut self, reading: impl Future<Output = T> + Send) -> T {
        self.meanwhile(reading).await
    }

    async fn apply(&mut self, content: Pair) -> Result<(), (Reason, Content)> {
        match self.examine(content, Age::Any).await? {
            Examination::Unchanged => self.unchanged().await,
            Examination::Excluded(fingerprint, content) => self.report_excluded(fingerprint, content),
            Examination::New(candidate) => {
                self.promote(*candidate, Origin::default()).await;
                self.renewal_requested = false;
                self.note_success();
            }
        }
        Ok(())
    }

    async fn fail(&mut self, failure: FailedAttempt) {
        let is_unread = failure.content.is_none();
        let now = (self.options.now)();
        self.note_failing(&failure.error, now);
        if std::mem::take(&mut self.renewal_requested) {
            self.failure_streak.report_again();
        }
        let mut settle = self.config.source.settle(self.options.settle);
        if matches!(failure.error.reason, Reason::NoAnchors { .. }) {
            settle = settle.max(TRUST_SETTLE);
        }
        if self.failure_streak.note(&failure, Instant::now(), settle) {
            self.show_refusal(&failure.error);
            let serving = self.serving().map(|serving| serving.fingerprint());
            self.publisher
                .report(EventKind::of_source(failure.error, serving));
            self.reach_loaded();
        }
        if is_unread {
            // While the source cannot be read, the kept version is all there is.
            self.restore_if_unread().await;
        }
    }

    fn report_age(&mut self) {
        self.report_expiry();
    }

    async fn wait(
        &mut self,
        mut hint: impl Future<Output = Instant> + Send + Unpin,
        wait: Duration,
        poll: Duration,
    ) {
        self.show_next_read(wait, poll);
        let next = Instant::now() + wait;
        loop {
            let look = self.next_look();
            tokio::select! {
                seen_at = &mut hint => {
                    self.seen_at = seen_at;
                    return;
                }
                () = sleep_until(next) => break,
                Ok(()) = self.trust_changes.changed(), if self.config.trust.is_some() => {
                    // The next look proves the content even if it serves, and serves on in any case.
                    self.content = None;
                    break;
                }
                Some(command) = self.channels.commands.recv() => {
                    self.carry_out(command).await;
                    if self.renewal_requested {
                        break;
                    }
                    self.show_next_read(next.saturating_duration_since(Instant::now()), poll);
                }
                () = sleep_until(look) => self.look_again().await,
            }
        }
        self.seen_at = Instant::now();
    }
}

impl Core {
    async fn unchanged(&mut self) {
        self.keep_again().await;
        if std::mem::take(&mut self.renewal_requested)
            && let Some(serving) = self.serving()
        {
            self.publisher.report(EventKind::Unchanged {
                fingerprint: serving.fingerprint(),
            });
        }
        self.note_success();
    }

    /// Leaves in the source a version that an operator rolled back from, or wants revoked.
    fn report_excluded(&mut self, fingerprint: Fingerprint, content: Content) {
        let known = self.excluded_content.replace(content) == Some(content);
        if !known || self.renewal_requested {
            self.renewal_requested = false;
            self.publisher.report(EventKind::Excluded {
                fingerprint,
                to_be_revoked: self.is_to_be_revoked(fingerprint),
            });
        }
        self.note_success();
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
