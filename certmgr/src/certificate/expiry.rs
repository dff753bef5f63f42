//! When the age of what serves is told.

use std::sync::Arc;

use certstore::UnixTime;

use super::Certificate;
use crate::event::Event;

/// What serves is told as expiring once less than this part of its life is left.
const LAST_PART_OF_LIFE: u64 = 5;

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Soon,
    Past,
}

impl Expiry {
    /// `None` while all is well.
    fn of(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> Option<Self> {
        let (from, until, now) = (not_before.as_secs(), not_after.as_secs(), now.as_secs());
        if now > until {
            Some(Self::Past)
        } else if until.saturating_sub(now) < until.saturating_sub(from) / LAST_PART_OF_LIFE {
            Some(Self::Soon)
        } else {
            None
        }
    }
}

impl Certificate {
    /// Tells once for each generation that its end is near, and once that it is past.
    pub(super) fn tell_expiry(&mut self) {
        let Some(serving) = self.serving() else { return };
        let (generation, bundle) = (serving.generation(), serving.bundle());
        let not_after = bundle.not_after();
        let Some(expiry) = Expiry::of(bundle.not_before(), not_after, (self.options.now)()) else {
            return;
        };
        // What renews itself is told of only when that fails.
        let expected = self.orders.is_some() && self.failing.is_none();
        if self.expiry_told == Some((generation, expiry)) || (expiry == Expiry::Soon && expected) {
            return;
        }
        self.expiry_told = Some((generation, expiry));
        let name = Arc::clone(self.post.name());
        self.post.tell(match expiry {
            Expiry::Soon => Event::ExpiresSoon {
                name,
                generation,
                not_after,
            },
            Expiry::Past => Event::Expired {
                name,
                generation,
                not_after,
            },
        });
    }
}
