//! The story of a certificate that somebody else renews: read → prove → promote, at each poll and each hint.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::trouble::Failure;
use super::{Certificate, Found, Origin};
use crate::config::Source;
use crate::control::{Action, NextStep};
use crate::error::Error;
use crate::event::Event;
use crate::source::Reader;

/// What is read over the network is not looked at sooner again, however incomplete it was.
const REMOTE_RETRY: Duration = Duration::from_secs(2);

/// Two objects of a remote store may be so far apart before that is told.
const REMOTE_SETTLE: Duration = Duration::from_secs(5);

/// Keeps one certificate served from its source until the task is aborted.
pub(crate) async fn keep(mut certificate: Certificate, mut source: Reader) {
    certificate.restore().await;
    certificate.tell_expiry();
    loop {
        match certificate.meanwhile(Box::pin(source.read())).await {
            Err(error) => certificate.fail(*Failure::new(error, None)),
            Ok(pair) => match certificate.examine(pair).await {
                Ok(Found::Unchanged) => certificate.unchanged().await,
                Ok(Found::HeldBack(generation, content)) => certificate.leave(generation, content),
                Ok(Found::New(candidate)) => {
                    certificate.promote(*candidate, Origin::default()).await;
                    certificate.asked = false;
                    certificate.well();
                }
                Err((reason, content)) => {
                    let places = source.places_of(reason.part());
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
                generation: serving.generation(),
            });
        }
        self.well();
    }

    /// The source holds what an operator rolled back from.
    fn leave(&mut self, generation: certstore::Generation, content: crate::source::Content) {
        let known = self.held.replace(content) == Some(content);
        if !known || self.asked {
            self.asked = false;
            self.post.tell(Event::HeldBack {
                name: Arc::clone(self.post.name()),
                generation,
            });
        }
        self.well();
    }

    /// Notes a failure, and tells it once it has lasted: a writer may be half-way.
    fn fail(&mut self, failure: Failure) {
        let now = (self.options.now)();
        self.note_failing(&failure.error, now);
        if std::mem::take(&mut self.asked) {
            self.trouble.tell_again();
        }
        if self.trouble.note(&failure, Instant::now(), self.settle()) {
            self.show_refusal(&failure.error);
            let (name, error) = (Arc::clone(self.post.name()), failure.error);
            let serving = self.serving().map(|serving| serving.generation());
            self.post.tell(if error.is_unreadable() {
                Event::Unreadable { name, error, serving }
            } else {
                Event::Refused { name, error, serving }
            });
            self.loaded();
        }
    }

    /// Until the next look: a sign of change, the next retry of something incomplete, or the next poll.
    async fn wait(&mut self, source: &mut Reader) {
        let poll = source.poll();
        let retry = self.trouble.next_retry().map(|retry| {
            if self.is_remote() {
                retry.max(REMOTE_RETRY)
            } else {
                retry
            }
        });
        let wait = retry.unwrap_or(poll).min(poll);
        self.show_next_read(wait);
        let next = Instant::now() + wait;
        loop {
            let (hint, commands) = (source.hint(), &mut self.lines.commands);
            tokio::select! {
                seen_at = hint => {
                    self.seen_at = seen_at;
                    return;
                }
                () = sleep_until(next) => {
                    self.seen_at = Instant::now();
                    return;
                }
                Some(command) = commands.recv() => {
                    self.obey(command).await;
                    if self.asked {
                        self.seen_at = Instant::now();
                        return;
                    }
                    self.show_next_read(next.saturating_duration_since(Instant::now()));
                }
            }
        }
    }

    fn show_next_read(&self, wait: Duration) {
        let now = (self.options.now)();
        self.show(NextStep {
            action: Action::Read,
            at: certstore::UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + wait),
            why: "the source is read again and again".to_owned(),
        });
    }

    fn settle(&self) -> Duration {
        match self.is_remote() {
            true => self.options.settle.max(REMOTE_SETTLE),
            false => self.options.settle,
        }
    }

    fn is_remote(&self) -> bool {
        !matches!(self.config.source, Source::Files(_))
    }
}
