//! What a CA says about the renewal of one certificate (RFC 9773), and how far it is followed.

use std::time::Duration;

use certstore::{Fingerprint, UnixTime};

use super::{DAY, Draw, Life, Now, Steady};

/// However often a CA wants to be asked, it is not asked more often than this.
const SOONEST: Duration = Duration::from_secs(60);

/// However seldom a CA wants to be asked, it is asked twice a day.
const LATEST: Duration = Duration::from_secs(12 * 60 * 60);

/// For a CA that does not say when to ask again.
const UNSAID: Duration = Duration::from_secs(6 * 60 * 60);

/// After a question without answer the next one comes within this range, drawn.
const UNANSWERED: (Duration, Duration) = (Duration::from_secs(30 * 60), Duration::from_secs(60 * 60));

/// So much of the span is left for what can go wrong, where the window allows it.
const LAST_PART: u32 = 50;

/// When a CA wants a certificate renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenewalInfo {
    /// The window's start and end, both inclusive.
    pub(crate) window: (UnixTime, UnixTime),
    /// For people: why the window is what it is.
    pub(crate) explanation: Option<String>,
    /// When to ask again; `None` if the CA did not say.
    pub(crate) retry_after: Option<Duration>,
}

/// What a CA said, or did not say, about the renewal of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    fingerprint: Fingerprint,
    asked: Steady,
    ask_again_after: Duration,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    start: UnixTime,
    end: UnixTime,
    draw: Draw,
    explanation: Option<String>,
}

impl Advice {
    /// The CA has answered; `None`: it gives no advice. A window that has not moved keeps the moment that was
    /// chosen in it.
    pub(crate) fn new(
        fingerprint: Fingerprint,
        info: Option<&RenewalInfo>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let known = before.and_then(|before| before.answer_for(fingerprint));
        let answer = info.map(|info| {
            let (start, end) = info.window;
            let draw = match known.filter(|known| (known.start, known.end) == (start, end)) {
                Some(known) => known.draw,
                None => Draw::new(random),
            };
            Answer {
                start,
                end,
                draw,
                explanation: info.explanation.clone(),
            }
        });
        let said = match info {
            Some(info) => info
                .retry_after
                .unwrap_or(UNSAID)
                .clamp(SOONEST, LATEST / 11 * 10),
            None => LATEST / 11 * 10,
        };
        // Many that have asked at once do not come back at once.
        let ask_again_after = Draw::new(random).within(said, said / 10 * 11);
        Self {
            fingerprint,
            asked: now.steady,
            ask_again_after,
            answer,
        }
    }

    /// The CA could not be asked, or has told a limit. What it said before about this version still counts.
    pub(crate) fn unknown(
        fingerprint: Fingerprint,
        limit: Option<Duration>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let unanswered = Draw::new(random).within(UNANSWERED.0, UNANSWERED.1);
        Self {
            fingerprint,
            asked: now.steady,
            // Beyond half a day, too: it is the CA's own word.
            ask_again_after: limit.map_or(unanswered, |after| after.max(SOONEST)),
            answer: before.and_then(|before| before.answer_for(fingerprint)).cloned(),
        }
    }

    /// The CA's words on why the window is what it is.
    pub(crate) fn explanation(&self) -> Option<&str> {
        self.answer.as_ref()?.explanation.as_deref()
    }

    /// `None`: it is about another version.
    pub(super) fn ask_again_at(&self, fingerprint: Fingerprint) -> Option<Steady> {
        (self.fingerprint == fingerprint).then(|| self.asked.after(self.ask_again_after))
    }

    /// The moment chosen in the window; `None` if there is no advice for this life, or none to be followed.
    ///
    /// RFC 9773 §4.2: random in the whole window. What it has beyond the last part of the life counts as the begin of
    /// that part, and a window that begins after the end of the life is none.
    pub(super) fn moment(&self, life: &Life) -> Option<UnixTime> {
        let answer = self.answer_for(life.fingerprint)?;
        if answer.start >= life.not_after {
            return None;
        }
        let (start, end) = (answer.start.as_secs(), answer.end.as_secs());
        let drawn = answer
            .draw
            .within(Duration::from_secs(start), Duration::from_secs(end));
        let latest = life.before_end(life.span() / LAST_PART).max(answer.start);
        Some(UnixTime::since_unix_epoch(drawn).min(latest))
    }

    fn answer_for(&self, fingerprint: Fingerprint) -> Option<&Answer> {
        self.answer.as_ref().filter(|_| self.fingerprint == fingerprint)
    }
}

const _: () = assert!(LATEST.as_secs() * 2 <= DAY.as_secs());
