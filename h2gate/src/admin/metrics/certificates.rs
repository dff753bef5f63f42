//! Metrics of each certificate: the one that serves, its end, its next step, and its errors.
//!
//! Of what is 0 there is no series, except whether one serves: a thousand certificates have a page of a megabyte. So that
//! a rate sees the first event, events are also counted for all certificates together, each kind from the start.

use std::fmt::Error;
use std::time::Duration;

use certmgr::{Event, View};
use certstore::Status;
use certstore::store::ServingStatus;

use super::exposition::{Families, Labels};
use crate::admin::certificates::seconds_left;
use crate::counters::EventTotals;

/// The sources of the figures.
pub(super) struct Figures<'a> {
    /// The content of the store.
    pub(super) certificates: &'a [Status],
    /// The manager's view of each certificate; empty in a process without a manager.
    pub(super) views: &'a [View],
    pub(super) events: &'a EventTotals,
    /// Since the Unix epoch.
    pub(super) now: Duration,
}

pub(super) fn families(families: &mut Families<'_>, figures: &Figures<'_>) -> Result<(), Error> {
    store(families, figures)?;
    info(families, figures.certificates)?;
    next(families, figures.views)?;
    trouble(families, figures.views)?;
    events(families, figures)
}

fn store(families: &mut Families<'_>, figures: &Figures<'_>) -> Result<(), Error> {
    let Figures {
        certificates, now, ..
    } = *figures;
    families.gauge(
        "h2gate_certificate_serving",
        "1 if a certificate serves under this name, 0 if none was accepted yet",
        certificates
            .iter()
            .map(|status| (name(&status.name), u64::from(status.serving.is_some()))),
    )?;
    families.gauge(
        "h2gate_certificate_refused",
        "1 while the newest candidate of this name is refused and what served before goes on",
        certificates
            .iter()
            .filter(|status| status.refusal.is_some())
            .map(|status| (name(&status.name), 1_u64)),
    )?;
    families.gauge(
        "h2gate_certificate_expires_in_seconds",
        "How long the certificate that serves is still valid; below zero once it has expired",
        serving(certificates, |serving| seconds_left(serving.not_after, now)),
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
        "h2gate_certificate_install",
        "Number of the install that serves; grows with each install in this process",
        serving(certificates, |serving| serving.install),
    )
}

fn info(families: &mut Families<'_>, certificates: &[Status]) -> Result<(), Error> {
    let facts: Vec<_> = certificates
        .iter()
        .filter_map(|status| {
            let serving = status.serving.as_ref()?;
            Some((
                &*status.name,
                serving.fingerprint.to_string(),
                serving.key_kind.to_string(),
            ))
        })
        .collect();
    families.info(
        "h2gate_certificate",
        "The certificate that serves: hash of its content, and its key",
        facts.iter().map(|(name, fingerprint, key)| {
            vec![
                ("certificate", *name),
                ("fingerprint", fingerprint.as_str()),
                ("key", key.as_str()),
            ]
        }),
    )
}

fn next(families: &mut Families<'_>, views: &[View]) -> Result<(), Error> {
    families.info(
        "h2gate_certificate_source",
        "Where the certificate comes from",
        views
            .iter()
            .map(|view| vec![("certificate", &*view.name), ("source", view.source)]),
    )?;
    families.gauge(
        "h2gate_certificate_last_success_timestamp_seconds",
        "When the source was last read, or the CA has last issued, in seconds since the Unix epoch",
        views
            .iter()
            .filter_map(|view| Some((name(&view.name), view.last_success_at?.as_secs()))),
    )?;
    families.gauge(
        "h2gate_certificate_next_action",
        "1 for what happens next with the certificate",
        views.iter().map(|view| {
            let action = view.next.action.as_str();
            (vec![("certificate", &*view.name), ("action", action)], 1_u64)
        }),
    )?;
    families.gauge(
        "h2gate_certificate_next_action_timestamp_seconds",
        "When the next action is due, in seconds since the Unix epoch",
        views
            .iter()
            .map(|view| (name(&view.name), view.next.at.as_secs())),
    )
}

fn trouble(families: &mut Families<'_>, views: &[View]) -> Result<(), Error> {
    families.gauge(
        "h2gate_certificate_trouble",
        "1 for the class of the trouble that lasts",
        views.iter().filter_map(|view| {
            let class = view.trouble.as_ref()?.class.as_str();
            Some((vec![("certificate", &*view.name), ("class", class)], 1_u64))
        }),
    )?;
    families.gauge(
        "h2gate_certificate_failing_since_timestamp_seconds",
        "Since when no attempt has succeeded, in seconds since the Unix epoch; absent while all is well",
        views
            .iter()
            .filter_map(|view| Some((name(&view.name), view.trouble.as_ref()?.since.as_secs()))),
    )?;
    families.gauge(
        "h2gate_certificate_consecutive_failures",
        "Attempts that have failed since the last one that succeeded; absent while all is well",
        views
            .iter()
            .filter_map(|view| Some((name(&view.name), u64::from(view.trouble.as_ref()?.attempts)))),
    )
}

fn events(families: &mut Families<'_>, figures: &Figures<'_>) -> Result<(), Error> {
    let totals = figures.events;
    families.counter(
        "h2gate_certificate_events",
        "Turns in the life of a certificate, by kind, once there has been one",
        figures.certificates.iter().flat_map(|status| {
            let counts = totals.events(&status.name);
            counts.map(|(event, count)| (vec![("certificate", &*status.name), ("event", event)], count))
        }),
    )?;
    families.counter(
        "h2gate_certificate_events_all",
        "Turns in the life of all certificates since the start, by kind",
        Event::KINDS.map(|event| (vec![("event", event)], totals.events_of_kind(event))),
    )?;
    families.counter(
        "h2gate_acme_orders",
        "Attempts to get a certificate by ACME, by how they ended, once there has been one",
        figures
            .views
            .iter()
            .filter(|view| view.acme.is_some())
            .flat_map(|view| {
                let counts = totals.orders(&view.name);
                counts
                    .map(|(outcome, count)| (vec![("certificate", &*view.name), ("outcome", outcome)], count))
            }),
    )
}

fn name(certificate: &str) -> Labels<'_> {
    vec![("certificate", certificate)]
}

fn serving<'a, Number>(
    certificates: &'a [Status],
    fact: impl Fn(&ServingStatus) -> Number + 'a,
) -> impl Iterator<Item = (Labels<'a>, Number)> {
    certificates
        .iter()
        .filter_map(move |status| Some((name(&status.name), fact(status.serving.as_ref()?))))
}
