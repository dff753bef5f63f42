//! Metrics of each certificate: the one that serves, its end, its next step, and its errors.
//!
//! Of what is 0 there is no series, except whether one serves: a thousand certificates have a page of a megabyte. So that
//! a rate sees the first event, events are also counted for all certificates together, each kind from the start.

use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use certmgr::{EventKind, Subject, SubjectKind, View};
use certstore::{Status, UnixTime};

use super::Snapshot;
use super::exposition::{Families, Named, labelled, labels, values};

impl Named for Status {
    const KEY: &'static str = "certificate";

    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Named for View {
    const KEY: &'static str = "certificate";

    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

pub(super) fn families(families: &mut Families<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    store(families, &snapshot.certificates, snapshot.now)?;
    source(families, &snapshot.certificate_views)?;
    events(families, snapshot)
}

fn store(families: &mut Families<'_>, certificates: &[Status], now: Duration) -> Result<(), Error> {
    families.gauge(
        "h2gate_certificate_serving",
        "1 if a certificate serves under this name, 0 if none was accepted yet",
        values(certificates, |one| Some(u64::from(one.serving.is_some()))),
    )?;
    families.gauge(
        "h2gate_certificate_refused",
        "1 while the newest candidate of this name is refused and what served before goes on",
        values(certificates, |one| one.refusal.as_ref().map(|_| 1_u64)),
    )?;
    families.gauge(
        "h2gate_certificate_expires_in_seconds",
        "How long the certificate that serves is still valid; below zero once it has expired",
        values(certificates, |one| {
            Some(seconds_left(one.serving.as_ref()?.bundle().not_after(), now))
        }),
    )?;
    families.gauge(
        "h2gate_certificate_expiry_timestamp_seconds",
        "Until when the certificate that serves is valid, in seconds since the Unix epoch",
        values(certificates, |one| {
            Some(one.serving.as_ref()?.bundle().not_after().as_secs())
        }),
    )?;
    families.gauge(
        "h2gate_certificate_not_before_timestamp_seconds",
        "From when the certificate that serves is valid, in seconds since the Unix epoch",
        values(certificates, |one| {
            Some(one.serving.as_ref()?.bundle().not_before().as_secs())
        }),
    )?;
    families.gauge(
        "h2gate_certificate_install",
        "Number of the install that serves; grows with each install in this process",
        values(certificates, |one| Some(one.serving.as_ref()?.install())),
    )?;
    let facts = certificates.iter().filter_map(|one| {
        let serving = one.serving.as_ref()?;
        let labels = labels([
            ("certificate", &one.name),
            ("fingerprint", &serving.fingerprint()),
            ("key", &serving.bundle().key_kind()),
        ]);
        Some((labels, 1))
    });
    families.info(
        "h2gate_certificate",
        "The certificate that serves: hash of its content, and its key",
        facts,
    )
}

/// Below zero once it has expired.
fn seconds_left(not_after: UnixTime, now: Duration) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    whole(not_after.as_secs()).saturating_sub(whole(now.as_secs()))
}

fn source(families: &mut Families<'_>, views: &[View]) -> Result<(), Error> {
    families.info(
        "h2gate_certificate_source",
        "Where the certificate comes from",
        labelled(views, "source", |view| Some(view.source)),
    )?;
    families.gauge(
        "h2gate_certificate_last_success_timestamp_seconds",
        "When the source was last read, or the CA has last issued, in seconds since the Unix epoch",
        values(views, |view| Some(view.last_success_at?.as_secs())),
    )?;
    families.gauge(
        "h2gate_certificate_next_action",
        "1 for what happens next with the certificate",
        labelled(views, "action", |view| Some(view.next.action.as_str())),
    )?;
    families.gauge(
        "h2gate_certificate_next_action_timestamp_seconds",
        "When the next action is due, in seconds since the Unix epoch",
        values(views, |view| Some(view.next.at.as_secs())),
    )?;
    families.gauge(
        "h2gate_certificate_trouble",
        "1 for the class of the trouble that lasts",
        labelled(views, "class", |view| Some(view.trouble.as_ref()?.class.as_str())),
    )?;
    families.gauge(
        "h2gate_certificate_failing_since_timestamp_seconds",
        "Since when no attempt has succeeded, in seconds since the Unix epoch; absent while all is well",
        values(views, |view| Some(view.trouble.as_ref()?.since.as_secs())),
    )?;
    families.gauge(
        "h2gate_certificate_consecutive_failures",
        "Attempts that have failed since the last one that succeeded; absent while all is well",
        values(views, |view| Some(u64::from(view.trouble.as_ref()?.attempts))),
    )
}

fn events(families: &mut Families<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let totals = &snapshot.certificate_events;
    families.counter(
        "h2gate_certificate_events",
        "Turns in the life of a certificate, by kind, once there has been one",
        snapshot.certificates.iter().flat_map(|one| {
            let of = |event: &str| labels([("certificate", &one.name), ("event", &event)]);
            totals
                .events(&Subject::Certificate(Arc::clone(&one.name)))
                .map(move |(event, count)| (of(event), count))
        }),
    )?;
    families.counter(
        "h2gate_certificate_events_all",
        "Turns in the life of all certificates since the start, by kind",
        [SubjectKind::Certificate, SubjectKind::Ca, SubjectKind::Manager]
            .into_iter()
            .flat_map(EventKind::labels)
            .map(|event| (labels([("event", &event)]), totals.events_with(event))),
    )?;
    let ordered = snapshot
        .certificate_views
        .iter()
        .filter(|view| view.acme.is_some());
    families.counter(
        "h2gate_acme_orders",
        "Attempts to get a certificate by ACME, by how they ended, once there has been one",
        ordered.flat_map(|view| {
            let of = |outcome: &str| labels([("certificate", &view.name), ("outcome", &outcome)]);
            totals
                .orders(&Subject::Certificate(Arc::clone(&view.name)))
                .map(move |(outcome, count)| (of(outcome), count))
        }),
    )
}
