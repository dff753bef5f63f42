//! What serves under each certificate name, and until when.

use std::fmt::Error;

use certstore::Status;
use certstore::store::ServingStatus;

use super::exposition::{Families, Labels};
use crate::run::certificates::EventTotals;

pub(super) fn families(
    families: &mut Families<'_>,
    certificates: &[Status],
    events: &EventTotals,
) -> Result<(), Error> {
    families.gauge(
        "h2gate_certificate_serving",
        "1 if a certificate serves under this name, 0 if none was accepted yet",
        certificates
            .iter()
            .map(|status| (name(status), u64::from(status.serving.is_some()))),
    )?;
    families.gauge(
        "h2gate_certificate_refused",
        "1 while the newest candidate of this name is refused and what served before goes on",
        certificates
            .iter()
            .map(|status| (name(status), u64::from(status.refusal.is_some()))),
    )?;
    families.gauge(
        "h2gate_certificate_expiry_timestamp_seconds",
        "Until when the certificate that serves is valid, in seconds since the Unix epoch",
        serving(certificates, |serving| serving.not_after.as_secs()),
    )?;
    families.gauge(
        "h2gate_certificate_not_before_timestamp_seconds",
        "From when the certificate that serves is valid, in seconds since the Unix epoch",
        serving(certificates, |serving| serving.not_before.as_secs()),
    )?;
    families.gauge(
        "h2gate_certificate_serial",
        "Number of the install that serves; grows with each install in this process",
        serving(certificates, |serving| serving.serial),
    )?;
    families.counter(
        "h2gate_certificate_events",
        "Turns in the life of a certificate, by kind",
        events
            .iter()
            .map(|((name, event), count)| (vec![("certificate", &**name), ("event", *event)], *count)),
    )?;
    info(families, certificates)
}

fn info(families: &mut Families<'_>, certificates: &[Status]) -> Result<(), Error> {
    let facts: Vec<_> = certificates
        .iter()
        .filter_map(|status| {
            let serving = status.serving.as_ref()?;
            Some((
                &*status.name,
                serving.generation.to_string(),
                serving.key_kind.to_string(),
            ))
        })
        .collect();
    families.info(
        "h2gate_certificate",
        "The certificate that serves: hash of its content, and its key",
        facts.iter().map(|(name, generation, key)| {
            vec![
                ("certificate", *name),
                ("generation", generation.as_str()),
                ("key", key.as_str()),
            ]
        }),
    )
}

fn name(status: &Status) -> Labels<'_> {
    vec![("certificate", &*status.name)]
}

fn serving<'a>(
    certificates: &'a [Status],
    fact: impl Fn(&ServingStatus) -> u64 + 'a,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    certificates
        .iter()
        .filter_map(move |status| Some((name(status), fact(status.serving.as_ref()?))))
}
