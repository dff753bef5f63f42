//! Metrics of trust bundles, which the certificates of clients are verified against: their content and their end.

use std::fmt::Error;

use certmgr::TrustEvent;
use certstore::store::TrustStatus;
use certstore::{ServingTrust, UnixTime};

use super::exposition::{Families, Labels};
use crate::counters::EventTotals;

pub(super) fn families(
    families: &mut Families<'_>,
    bundles: &[TrustStatus],
    events: &EventTotals,
) -> Result<(), Error> {
    families.gauge(
        "h2gate_trust_bundle_serving",
        "1 if a trust bundle serves under this name, 0 if none was accepted yet",
        bundles
            .iter()
            .map(|status| (name(status), u64::from(status.serving.is_some()))),
    )?;
    families.gauge(
        "h2gate_trust_bundle_refused",
        "1 while the newest candidate of this name is refused and what served before goes on",
        bundles
            .iter()
            .map(|status| (name(status), u64::from(status.refusal.is_some()))),
    )?;
    families.gauge(
        "h2gate_trust_bundle_next_update_timestamp_seconds",
        "By when the first of its revocation lists should be replaced, in seconds since the Unix epoch",
        moments(bundles, |serving| serving.bundle.next_update()),
    )?;
    families.gauge(
        "h2gate_trust_bundle_expiry_timestamp_seconds",
        "When the last of its CAs expires, in seconds since the Unix epoch",
        moments(bundles, |serving| serving.bundle.not_after()),
    )?;
    let fingerprints: Vec<_> = bundles
        .iter()
        .filter_map(|status| {
            let serving = status.serving.as_ref()?;
            Some((&*status.name, serving.bundle.fingerprint().to_string()))
        })
        .collect();
    families.info(
        "h2gate_trust_bundle",
        "The trust bundle that serves: hash of its content",
        fingerprints
            .iter()
            .map(|(name, fingerprint)| vec![("trust_bundle", *name), ("fingerprint", fingerprint.as_str())]),
    )?;
    families.counter(
        "h2gate_trust_bundle_events",
        "Turns in the life of a trust bundle, by kind",
        bundles.iter().flat_map(|status| {
            TrustEvent::KINDS.map(|event| {
                (
                    vec![("trust_bundle", &*status.name), ("event", event)],
                    events.trust_events(&status.name, event),
                )
            })
        }),
    )
}

fn name(status: &TrustStatus) -> Labels<'_> {
    vec![("trust_bundle", &*status.name)]
}

fn moments<'a>(
    bundles: &'a [TrustStatus],
    moment: impl Fn(&ServingTrust) -> Option<UnixTime> + 'a,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    bundles
        .iter()
        .filter_map(move |status| Some((name(status), moment(status.serving.as_ref()?)?.as_secs())))
}
