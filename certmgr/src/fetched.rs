//! The story of what somebody else renews: read → examine → promote → report → wait, at each poll and each hint.
//! Certificates and trust bundles are its two subjects.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Random;
use crate::config::Source;
use crate::debounce::{FailedAttempt, SourceFailureStreak};
use crate::error::{Error, Reason};
use crate::pair::{Content, Pair};
use crate::source::SourceReader;

/// A certificate or trust bundle that somebody else renews.
///
/// If any step fails, the bundle in use stays. Errors do not leave the task: they become events and the refusal in the
/// store.
pub(crate) trait Fetched: Send {
    /// The configured source.
    fn source(&self) -> &Source;

    /// The state of the source.
    fn failure_streak(&mut self) -> &mut SourceFailureStreak;

    /// Puts the kept bundle into use.
    fn start(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits for the source, and answers everybody else meanwhile.
    fn wait_for<T: Send>(
        &mut self,
        reading: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send {
        reading
    }

    /// Examines the content of the source. Another bundle that may serve is kept, put into use and reported.
    fn apply(&mut self, content: Pair) -> impl Future<Output = Result<(), (Reason, Content)>> + Send;

    /// Notes a failure, and reports it once it has lasted: a writer may be half-way.
    fn fail(&mut self, failure: FailedAttempt) -> impl Future<Output = ()> + Send;

    /// Reports once that the end of what is in use is near, and once that it is past.
    fn report_age(&mut self);

    /// Waits for a hint that the source has changed, which gives the instant of the change, but for `wait` at most.
    fn wait(
        &mut self,
        hint: impl Future<Output = Instant> + Send + Unpin,
        wait: Duration,
        poll: Duration,
    ) -> impl Future<Output = ()> + Send;
}

/// Keeps it in use from its source until the task is aborted. Polls are scattered by `random`.
pub(crate) async fn run_fetched(mut subject: impl Fetched, mut source: SourceReader, random: Random) {
    subject.start().await;
    subject.report_age();
    loop {
        let failure = match subject.wait_for(Box::pin(source.read())).await {
            Err(error) => Some(FailedAttempt::new(error, None)),
            Ok(content) => subject.apply(content).await.err().map(|(reason, content)| {
                let places = source.places_of(reason.part());
                let reason = reason.held_in(subject.source());
                FailedAttempt::new(Error { places, reason }, Some(content))
            }),
        };
        if let Some(failure) = failure {
            subject.fail(*failure).await;
        }
        subject.report_age();
        let poll = source.poll(&random);
        let retry = subject.failure_streak().next_retry();
        let retry = retry.map(|retry| subject.source().retry(retry));
        let wait = retry.unwrap_or(poll).min(poll);
        subject.wait(pin!(source.hint()), wait, poll).await;
    }
}
