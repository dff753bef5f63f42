//! Metrics of trust bundles, which the certificates of clients are verified against: their content and their end.

use std::fmt::Error;
use std::sync::Arc;

use certmgr::{EventKind, Subject, SubjectKind};
use certstore::store::TrustStatus;

use super::exposition::{Families, Named, labelled, labels, values};
use crate::counters::EventTotals;

impl Named for TrustStatus {
    const KEY: &'static str = "trust_bundle";

    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

pub(super) fn families(
    families: &mut Families<'_>,
    bundles: &[TrustStatus],
    events: &EventTotals,
) -> Result<(), Error> {
    families.gauge(
        "h2gate_trust_bundle_serving",
        "1 if a trust bundle serves under this name, 0 if none was accepted yet",
        values(bundles, |one| Some(u64::from(one.serving.is_some()))),
    )?;
    families.gauge(
        "h2gate_trust_bundle_refused",
        "1 while the newest candidate of this name is refused and what served before goes on",
        values(bundles, |one| Some(u64::from(one.refusal.is_some()))),
    )?;
    families.gauge(
        "h2gate_trust_bundle_next_update_timestamp_seconds",
        "By when the first of its revocation lists should be replaced, in seconds since the Unix epoch",
        values(bundles, |one| {
            Some(one.serving.as_ref()?.bundle().next_update()?.as_secs())
        }),
    )?;
    families.gauge(
        "h2gate_trust_bundle_expiry_timestamp_seconds",
        "When the last of its CAs expires, in seconds since the Unix epoch",
        values(bundles, |one| {
            Some(one.serving.as_ref()?.bundle().not_after()?.as_secs())
        }),
    )?;
    families.info(
        "h2gate_trust_bundle",
        "The trust bundle that serves: hash of its content",
        labelled(bundles, "fingerprint", |one| {
            Some(one.serving.as_ref()?.bundle().fingerprint())
        }),
    )?;
    families.counter(
        "h2gate_trust_bundle_events",
        "Turns in the life of a trust bundle, by kind",
        bundles.iter().flat_map(|one| {
            let subject = Subject::TrustBundle(Arc::clone(&one.name));
            EventKind::labels(SubjectKind::TrustBundle).map(move |event| {
                let labels = labels([("trust_bundle", &one.name), ("event", &event)]);
                (labels, events.count_of(&subject, event))
            })
        }),
    )
}
