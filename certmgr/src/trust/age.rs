//! Times to report the age of a trust bundle. Pure: the time is an argument.

use certstore::{TrustBundle, UnixTime};

use crate::clock::Expiry;

/// The end of a list or CA is reported near once less than this part of its life is left. CAs publish a new list when
/// about a tenth of the old one's life is left, or earlier: then nothing is reported.
const LAST_PART_OF_LIFE: u64 = 20;

/// A list or CA whose end is near or past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ageing {
    pub(super) what: EndingPart,
    pub(super) ends_at: UnixTime,
    pub(super) expiry: Expiry,
}

/// The thing that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndingPart {
    /// The revocation list of this CA.
    List(String),
    /// The CA that expires last.
    LastCa(String),
}

/// All parts of a bundle that are near their end or past it.
pub(super) fn ageing(bundle: &TrustBundle, now: UnixTime) -> Vec<Ageing> {
    let lists = bundle.revocation_lists().iter().filter_map(|list| {
        Some(Ageing {
            what: EndingPart::List(list.issuer.clone()),
            ends_at: list.next_update,
            expiry: Expiry::of(list.this_update, list.next_update, now, LAST_PART_OF_LIFE)?,
        })
    });
    let last = bundle.cas().iter().max_by_key(|ca| ca.not_after);
    let last = last.and_then(|last| {
        Some(Ageing {
            what: EndingPart::LastCa(last.subject.clone()),
            ends_at: last.not_after,
            expiry: Expiry::of(last.not_before, last.not_after, now, LAST_PART_OF_LIFE)?,
        })
    });
    lists.chain(last).collect()
}
