//! Times to report a failure, and to look at the source again. Pure: the time is an argument.
//!
//! A writer of two files leaves a mismatched pair for a moment, and a writer in place an empty one. So a
//! failure is looked at again quickly and reported only if it lasts; and each distinct one is reported once.

use std::io;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use certstore::{BundleError, ProveError, TrustError};
use tokio::time::Instant;

use crate::error::{Error, IssueFault, Reason, RemoteFault};
use crate::pair::Content;

/// The first wait before an incomplete pair is read again; doubled up to [`LONGEST_RETRY`].
const SHORTEST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// A source whose error changes all the time is reported after this many settle times.
const MAX_UNREPORTED_SETTLE_TIMES: u32 = 4;

/// A failed attempt and the content that failed, if it got that far.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) error: Error,
    pub(crate) content: Option<Content>,
}

impl FailedAttempt {
    pub(crate) fn new(error: Error, content: Option<Content>) -> Box<Self> {
        Box::new(Self { error, content })
    }
}

/// The failures of a source since its last success.
#[derive(Debug, Default)]
pub(crate) struct SourceFailureStreak(Option<Box<Streak>>);

#[derive(Debug)]
struct Streak {
    since: Instant,
    identity: ErrorIdentity,
    identity_since: Instant,
    next_retry: Duration,
    reported: Option<ErrorIdentity>,
}

impl SourceFailureStreak {
    /// Notes a failure. True if it is to be reported now.
    pub(crate) fn note(&mut self, failure: &FailedAttempt, now: Instant, settle: Duration) -> bool {
        let identity = ErrorIdentity::of(failure);
        let failing = self.0.get_or_insert_with(|| {
            Box::new(Streak {
                since: now,
                identity: identity.clone(),
                identity_since: now,
                next_retry: SHORTEST_RETRY,
                reported: None,
            })
        });
        if failing.identity != identity {
            failing.identity = identity.clone();
            failing.identity_since = now;
            failing.next_retry = SHORTEST_RETRY;
        }
        let lasted = is_final(&failure.error) || now.duration_since(failing.identity_since) >= settle;
        let is_restless = failing.reported.is_none()
            && now.duration_since(failing.since) >= settle * MAX_UNREPORTED_SETTLE_TIMES;
        let tell = failing.reported.as_ref() != Some(&identity) && (lasted || is_restless);
        if tell {
            failing.reported = Some(identity);
        }
        tell
    }

    /// Makes the next failure be reported, also if it has been reported before.
    pub(super) fn report_again(&mut self) {
        if let Some(failing) = &mut self.0 {
            failing.reported = None;
        }
    }

    /// Notes that the source works. True if a failure had been reported.
    pub(crate) fn end(&mut self) -> bool {
        self.0.take().is_some_and(|failing| failing.reported.is_some())
    }

    /// The wait before the next look at content that may be half-way; `None` if the next poll will do.
    pub(crate) fn next_retry(&mut self) -> Option<Duration> {
        let failing = self.0.as_mut()?;
        if failing.reported.as_ref() == Some(&failing.identity) {
            return None;
        }
        let next = failing.next_retry;
        failing.next_retry = (next * 2).min(LONGEST_RETRY);
        Some(next)
    }
}

/// One distinct error. Instants in its text do not make it another one; other content does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ErrorIdentity {
    places: Vec<String>,
    reason: ReasonKind,
    content: Option<Content>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReasonKind {
    Io(io::ErrorKind),
    Hanging,
    Moving,
    Internal,
    Remote(RemoteFault),
    Issue(IssueFault),
    Bundle(Discriminant<BundleError>),
    Prove(Discriminant<ProveError>),
    Trust(Discriminant<TrustError>),
    NoAnchors,
}

impl ErrorIdentity {
    fn of(failure: &FailedAttempt) -> Self {
        let reason = match &failure.error.reason {
            Reason::Io { kind, .. } => ReasonKind::Io(*kind),
            Reason::Hanging(_) => ReasonKind::Hanging,
            Reason::Moving => ReasonKind::Moving,
            Reason::Internal(_) => ReasonKind::Internal,
            Reason::Remote { fault, .. } => ReasonKind::Remote(*fault),
            Reason::Issue(error) => ReasonKind::Issue(error.class),
            Reason::Bundle(error) | Reason::Stored(error) => ReasonKind::Bundle(discriminant(error)),
            Reason::Prove(error) => ReasonKind::Prove(discriminant(error)),
            Reason::Trust(error) | Reason::StoredTrust(error) => ReasonKind::Trust(discriminant(error)),
            Reason::NoAnchors { .. } => ReasonKind::NoAnchors,
        };
        Self {
            places: failure.error.places.clone(),
            reason,
            content: failure.content,
        }
    }
}

/// True for a whole pair that is refused for its content: waiting for its writer does not help.
fn is_final(error: &Error) -> bool {
    match &error.reason {
        Reason::Prove(ProveError::MissingIntermediate { .. }) => false,
        Reason::Prove(_) | Reason::Hanging(_) | Reason::Internal(_) | Reason::Issue(_) => true,
        Reason::Io { .. }
        | Reason::Moving
        | Reason::Remote { .. }
        | Reason::Bundle(_)
        | Reason::Stored(_)
        | Reason::Trust(_)
        | Reason::StoredTrust(_)
        | Reason::NoAnchors { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(1);

    fn failing(reason: Reason) -> Box<FailedAttempt> {
        FailedAttempt::new(
            Error {
                places: vec!["tls.crt".to_owned()],
                reason,
            },
            None,
        )
    }

    fn missing() -> Box<FailedAttempt> {
        failing(Reason::Io {
            kind: io::ErrorKind::NotFound,
            text: String::new(),
        })
    }

    #[test]
    fn a_failure_is_told_once_when_it_has_lasted() {
        let (mut streak, start) = (SourceFailureStreak::default(), Instant::now());
        assert!(!streak.note(&missing(), start, SETTLE));
        assert!(!streak.note(&missing(), start + SETTLE / 2, SETTLE));
        assert!(streak.note(&missing(), start + SETTLE, SETTLE));
        assert!(!streak.note(&missing(), start + SETTLE * 9, SETTLE));
        assert!(streak.end() && !streak.end());
    }

    #[test]
    fn what_passes_quickly_is_not_told_at_all() {
        let (mut streak, start) = (SourceFailureStreak::default(), Instant::now());
        assert!(!streak.note(&missing(), start, SETTLE));
        assert!(!streak.end());
        assert!(
            !streak.note(&missing(), start + SETTLE * 2, SETTLE),
            "the time before does not count"
        );
    }

    #[test]
    fn another_cause_must_last_too_but_a_restless_source_is_told_of() {
        let (mut streak, start) = (SourceFailureStreak::default(), Instant::now());
        let causes = [missing(), failing(Reason::Moving)];
        let reported =
            (0..40).position(|turn| streak.note(&causes[turn % 2], start + SETTLE / 4 * turn as u32, SETTLE));
        assert_eq!(reported, Some(16), "after four settle times");
    }

    #[test]
    fn retries_are_quick_until_the_failure_is_told() {
        let (mut streak, start) = (SourceFailureStreak::default(), Instant::now());
        assert_eq!(streak.next_retry(), None);
        streak.note(&missing(), start, SETTLE);
        let retries: Vec<_> = (0..7)
            .filter_map(|_| streak.next_retry())
            .map(|retry| retry.as_millis())
            .collect();
        assert_eq!(retries, [5, 10, 20, 40, 80, 100, 100]);
        streak.note(&missing(), start + SETTLE, SETTLE);
        assert_eq!(streak.next_retry(), None);
    }

    #[test]
    fn a_whole_pair_that_is_refused_is_told_at_once_and_not_again_as_time_goes_by() {
        let (mut streak, start) = (SourceFailureStreak::default(), Instant::now());
        let expired = |seconds| {
            let at = |seconds| certstore::UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            failing(Reason::Prove(ProveError::Expired {
                not_after: at(5),
                now: at(seconds),
            }))
        };
        assert!(streak.note(&expired(6), start, SETTLE));
        assert!(!streak.note(&expired(7), start + SETTLE, SETTLE));
    }
}
