//! Advice of a CA on the renewal of one certificate (RFC 9773), and the limits within which it is followed.

use std::time::Duration;

use certstore::{Fingerprint, UnixTime};

use super::{DAY, Jitter, Life, MonotonicTime, Now};

/// Shortest time between two requests for advice, however often a CA wants to be asked.
const MIN_ASK_INTERVAL: Duration = Duration::from_secs(60);

/// Longest time between two requests for advice, however seldom a CA wants to be asked: twice a day. A limit of the
/// CA may be longer.
const MAX_ASK_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);

/// Time between two requests for advice, for a CA that does not say when to ask again.
const DEFAULT_ASK_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Range of the wait, drawn, after a request without an answer.
const UNANSWERED_WAIT: (Duration, Duration) = (Duration::from_secs(30 * 60), Duration::from_secs(60 * 60));

/// Divisor of the span: this part of it is left for failures, where the window allows it.
const RESERVED_LIFE_DIVISOR: u32 = 50;

/// Renewal information of a CA for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenewalInfo {
    /// The window's start and end, both inclusive.
    pub(crate) window: (UnixTime, UnixTime),
    /// For people: the reason of the window.
    pub(crate) explanation: Option<String>,
    /// Time after which to ask again; `None` if the CA did not say.
    pub(crate) retry_after: Option<Duration>,
}

/// Advice, or the lack of it, of a CA on the renewal of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    fingerprint: Fingerprint,
    asked: MonotonicTime,
    ask_again_after: Duration,
    /// The advice, and the point of its window that was drawn.
    advised: Option<(RenewalInfo, Jitter)>,
}

impl Advice {
    /// Makes the advice from an answer of the CA; `None`: the CA gives no advice. If the window has not changed, the
    /// moment that was drawn in it stays.
    pub(crate) fn new(
        fingerprint: Fingerprint,
        info: Option<&RenewalInfo>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let known = before.and_then(|before| before.advised_for(fingerprint));
        let advised = info.map(|info| {
            let jitter = match known.filter(|(known, _)| known.window == info.window) {
                Some((_, jitter)) => *jitter,
                None => Jitter::new(random),
            };
            (info.clone(), jitter)
        });
        let interval = match info {
            Some(info) => info
                .retry_after
                .unwrap_or(DEFAULT_ASK_INTERVAL)
                .clamp(MIN_ASK_INTERVAL, MAX_ASK_INTERVAL / 11 * 10),
            None => MAX_ASK_INTERVAL / 11 * 10,
        };
        // Many certificates that have asked at once do not ask again at once.
        let ask_again_after = Jitter::new(random).within(interval, interval / 10 * 11);
        Self {
            fingerprint,
            asked: now.monotonic,
            ask_again_after,
            advised,
        }
    }

    /// Makes the advice after a request that failed or met a limit. Earlier advice on this version still counts.
    pub(crate) fn unknown(
        fingerprint: Fingerprint,
        limit: Option<Duration>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let unanswered = Jitter::new(random).within(UNANSWERED_WAIT.0, UNANSWERED_WAIT.1);
        Self {
            fingerprint,
            asked: now.monotonic,
            // Beyond half a day, too: it is the CA's own word.
            ask_again_after: limit.map_or(unanswered, |after| after.max(MIN_ASK_INTERVAL)),
            advised: before.and_then(|before| before.advised_for(fingerprint)).cloned(),
        }
    }

    /// The words of the CA on the reason of the window.
    pub(crate) fn explanation(&self) -> Option<&str> {
        self.advised.as_ref()?.0.explanation.as_deref()
    }

    /// Instant of the next request; `None`: the advice is about another version.
    pub(super) fn ask_again_at(&self, fingerprint: Fingerprint) -> Option<MonotonicTime> {
        (self.fingerprint == fingerprint).then(|| self.asked.after(self.ask_again_after))
    }

    /// Returns the moment drawn in the window; `None` if there is no advice for this life, or none to be followed.
    ///
    /// RFC 9773 §4.2: random in the whole window. A moment in the last part of the life counts as the begin of that
    /// part, and a window that begins after the end of the life counts as none.
    pub(super) fn moment(&self, life: &Life) -> Option<UnixTime> {
        let (RenewalInfo { window, .. }, jitter) = self.advised_for(life.fingerprint)?;
        let (start, end) = *window;
        if start >= life.not_after {
            return None;
        }
        let since_1970 = |at: UnixTime| Duration::from_secs(at.as_secs());
        let drawn = jitter.within(since_1970(start), since_1970(end));
        let latest = life.before_end(life.span() / RESERVED_LIFE_DIVISOR).max(start);
        Some(UnixTime::since_unix_epoch(drawn).min(latest))
    }

    fn advised_for(&self, fingerprint: Fingerprint) -> Option<&(RenewalInfo, Jitter)> {
        self.advised.as_ref().filter(|_| self.fingerprint == fingerprint)
    }
}

const _: () = assert!(MAX_ASK_INTERVAL.as_secs() * 2 <= DAY.as_secs());
