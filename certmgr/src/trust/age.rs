//! Times to report the age of a trust bundle. Pure: the time is an argument.

use certstore::{TrustBundle, UnixTime};

/// The end of a list or CA is reported near once less than this part of its life is left. CAs publish a new list when
/// about a tenth of the old one's life is left, or earlier: then nothing is reported.
const LAST_PART_OF_LIFE: u64 = 20;

/// A list or CA whose end is near or past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ageing {
    pub(super) what: What,
    pub(super) ends_at: UnixTime,
    pub(super) is_past: bool,
}

/// The thing that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The revocation list of this CA.
    List(String),
    /// The CA that expires last.
    LastCa(String),
}

/// All parts of a bundle that are near their end or past it.
pub(super) fn ageing(bundle: &TrustBundle, now: UnixTime) -> Vec<Ageing> {
    let lists = bundle.revocation_lists().iter().filter_map(|list| {
        let is_past = end(list.this_update, list.next_update, now)?;
        Some(Ageing {
            what: What::List(list.issuer.clone()),
            ends_at: list.next_update,
            is_past,
        })
    });
    let last = bundle.cas().iter().max_by_key(|ca| ca.not_after);
    let last = last.and_then(|last| {
        let is_past = end(last.not_before, last.not_after, now)?;
        Some(Ageing {
            what: What::LastCa(last.subject.clone()),
            ends_at: last.not_after,
            is_past,
        })
    });
    lists.chain(last).collect()
}

/// `Some(true)` if the end is past, `Some(false)` if it is near; `None` otherwise.
fn end(from: UnixTime, until: UnixTime, now: UnixTime) -> Option<bool> {
    let (from, until, now) = (from.as_secs(), until.as_secs(), now.as_secs());
    let is_past = now > until;
    let is_near = until.saturating_sub(now) < until.saturating_sub(from) / LAST_PART_OF_LIFE;
    (is_past || is_near).then_some(is_past)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn the_end_is_near_when_a_twentieth_of_life_is_left_and_past_after_the_last_second() {
        let end = |now| end(at(1_000), at(3_000), at(now));
        assert_eq!(end(500), None, "not begun");
        assert_eq!(end(2_900), None);
        assert_eq!(end(2_901), Some(false));
        assert_eq!(end(3_000), Some(false));
        assert_eq!(end(3_001), Some(true));
    }

    #[test]
    fn a_life_of_no_length_ends() {
        assert_eq!(end(at(5), at(5), at(5)), None);
        assert_eq!(end(at(5), at(5), at(6)), Some(true));
        assert_eq!(end(at(9), at(5), at(6)), Some(true));
    }
}
