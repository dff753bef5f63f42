//! What a CA says about the renewal of one certificate (RFC 9773), and how far it is followed.

use std::time::Duration;

use certstore::{Generation, UnixTime};

use super::{DAY, Draw, Life, Now, Steady};
use crate::acme::RenewalInfo;

/// However often a CA wants to be asked, it is not asked more often than this.
const SOONEST: Duration = Duration::from_secs(60);

/// However seldom a CA wants to be asked, it is asked twice a day.
const LATEST: Duration = Duration::from_secs(12 * 60 * 60);

/// For a CA that does not say when to ask again.
const UNSAID: Duration = Duration::from_secs(6 * 60 * 60);

/// After a question without answer the next one comes within this range, drawn.
const UNANSWERED: (Duration, Duration) = (Duration::from_secs(30 * 60), Duration::from_secs(60 * 60));

/// Advice that leaves less than this part of the span for what can go wrong is not followed.
const LAST_PART: u32 = 6;

/// What a CA said, or did not say, about the renewal of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    generation: Generation,
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
    /// chosen in it. One that ends before it starts is no answer.
    pub(crate) fn new(
        generation: Generation,
        info: Option<&RenewalInfo>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let known = before.and_then(|before| before.answer_for(generation));
        let answer = info
            // RFC 9773 §4.2: an end that does not follow the start is as if there were no answer.
            .filter(|info| info.window.0 < info.window.1)
            .map(|info| {
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
        let ask_again_after = match info {
            Some(info) => info.retry_after.unwrap_or(UNSAID).clamp(SOONEST, LATEST),
            None => LATEST,
        };
        Self {
            generation,
            asked: now.steady,
            ask_again_after,
            answer,
        }
    }

    /// The CA could not be asked, or has told a limit. What it said before about this generation still counts.
    pub(crate) fn unknown(
        generation: Generation,
        limit: Option<Duration>,
        before: Option<&Self>,
        now: Now,
        random: &mut dyn FnMut() -> f64,
    ) -> Self {
        let unanswered = Draw::new(random).within(UNANSWERED.0, UNANSWERED.1);
        Self {
            generation,
            asked: now.steady,
            // Beyond half a day, too: it is the CA's own word.
            ask_again_after: limit.map_or(unanswered, |after| after.max(SOONEST)),
            answer: before.and_then(|before| before.answer_for(generation)).cloned(),
        }
    }

    /// The CA's words on why the window is what it is.
    pub(crate) fn explanation(&self) -> Option<&str> {
        self.answer.as_ref()?.explanation.as_deref()
    }

    /// `None`: it is about another generation.
    pub(super) fn ask_again_at(&self, generation: Generation) -> Option<Steady> {
        (self.generation == generation).then(|| self.asked.after(self.ask_again_after))
    }

    /// The moment chosen in the window; `None` if there is no advice for this life, or none to be followed.
    ///
    /// RFC 9773 §4.2 wants it random in the window. Where the window reaches beyond the moment at which this life
    /// would be renewed without advice, only the part before that is drawn from: waiting longer would win nothing
    /// and lose the time in which a CA may be down.
    pub(super) fn moment(&self, life: &Life) -> Option<UnixTime> {
        let answer = self.answer_for(life.generation)?;
        let share = life.renewal_by_share();
        let latest = if answer.start <= share {
            share
        } else {
            life.before_end(life.span() / LAST_PART)
        };
        if answer.start > latest {
            return None;
        }
        let start = Duration::from_secs(answer.start.as_secs());
        let end = Duration::from_secs(answer.end.min(latest).as_secs());
        Some(UnixTime::since_unix_epoch(answer.draw.within(start, end)))
    }

    fn answer_for(&self, generation: Generation) -> Option<&Answer> {
        self.answer.as_ref().filter(|_| self.generation == generation)
    }
}

const _: () = assert!(LATEST.as_secs() * 2 <= DAY.as_secs());
