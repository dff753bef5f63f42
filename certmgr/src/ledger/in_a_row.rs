//! Validations that fail one after the other, and the pause of the name that they lead to.
//!
//! Let's Encrypt pauses a name for an account that fails often enough with no success in between, and no wait ends
//! that: a person must. Each certificate that has the name counts, and each account counts for itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::Times;

/// Number of failures after which a name is slowed down.
const FREELY: u32 = 200;

/// Time for one failure beyond that, counted from the first: 1,152 of them would take more than five years.
const APART: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Longest wait of a name, however often it has failed, for example by hand.
const LONGEST_REST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Number of failures left to the pause at which people are warned.
const NEAR: u32 = 152;

/// Failures of a name at a CA, with no success in between. An attempt in progress counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InARow {
    pub(super) count: u32,
    pub(super) since: u64,
    pub(super) last: u64,
}

impl InARow {
    pub(super) fn begun(at: u64) -> Self {
        Self {
            count: 0,
            since: at,
            last: at,
        }
    }

    pub(super) fn one_more(&mut self, at: u64) {
        self.count = self.count.saturating_add(1);
        self.last = at;
    }

    /// Time until the name may be tried once more; `None`: now.
    pub(super) fn rest(&self, times: Times<'_>) -> Option<Duration> {
        let beyond = self
            .count
            .saturating_add(1)
            .checked_sub(FREELY)
            .filter(|beyond| *beyond > 0)?;
        let in_line = times.of(self.since).after(APART.saturating_mul(beyond));
        times.left(in_line.min(times.of(self.last).after(LONGEST_REST)))
    }

    /// Warning for people, once the name is close to the pause of the CA.
    pub(super) fn warning(&self, name: &str, pause: u32) -> Option<String> {
        (self.count.saturating_add(NEAR) >= pause).then(|| {
            format!(
                "{name} has failed {} times in a row, and at {pause} the CA pauses it until a person unpauses it",
                self.count
            )
        })
    }
}
