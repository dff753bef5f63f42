//! The certificates page: what serves under each name and why the newest candidate does not, where it comes
//! from, what happens next; and the trust bundles.

use std::time::Duration;

use certmgr::{AcmeView, LastError, NextStep, Revocation, Version, View};
use certstore::store::TrustStatus;
use certstore::{Rejection, Serving, Status, TrustBundle, UnixTime, rfc3339};
use serde_json::{Value, json};

/// The page, as JSON. What the manager says is null in a process without one. `now` gives the time that is
/// left.
pub(super) fn page(
    certificates: &[Status],
    views: &[View],
    revocations: &[Revocation],
    trust_bundles: &[TrustStatus],
    now: Duration,
) -> Value {
    let is_configured = |one: &&Revocation| views.iter().any(|view| *view.name == *one.certificate);
    let others = revocations.iter().filter(|one| !is_configured(one));
    let certificates = certificates.iter().map(|status| {
        let view = views.iter().find(|view| view.name == status.name);
        certificate(status, view, now)
    });
    json!({
        "certificates": certificates.collect::<Value>(),
        "revocations": others.map(revocation).collect::<Value>(),
        "trust_bundles": trust_bundles.iter().map(trust_bundle).collect::<Value>(),
    })
}

fn certificate(status: &Status, view: Option<&View>, now: Duration) -> Value {
    let kept = view.and_then(|view| view.serving.as_ref());
    json!({
        "name": *status.name,
        "source": view.map(|view| json!({ "kind": view.source, "places": view.places })),
        "domains": view.map(|view| texts(&view.domains)),
        "serving": status.serving.as_ref().map(|serving| self::serving(serving, kept, now)),
        "refused": refused(status.refusal.as_ref()),
        "trouble": view.and_then(|view| view.trouble.as_ref()).map(trouble),
        "next": view.map(|view| next(&view.next)),
        "last_success_at": view.and_then(|view| view.last_success_at).map(rfc3339),
        "previous": view.map(|view| view.previous.iter().map(version).collect::<Value>()),
        "acme": view.and_then(|view| view.acme.as_ref()).map(acme),
        "revocations": view.map(|view| view.revocations.iter().map(revocation).collect::<Value>()),
    })
}

/// `kept` tells where it came from, if it is about the same version.
fn serving(serving: &Serving, kept: Option<&Version>, now: Duration) -> Value {
    let kept = kept.filter(|kept| kept.fingerprint == serving.fingerprint());
    let bundle = serving.bundle();
    json!({
        "fingerprint": serving.fingerprint().to_string(),
        "install": serving.install(),
        "names": texts(bundle.names()),
        "key": bundle.key_kind().to_string(),
        "issuer": kept.map(|kept| kept.issuer.as_str()),
        "not_before": rfc3339(bundle.not_before()),
        "not_after": rfc3339(bundle.not_after()),
        "seconds_left": seconds_left(bundle.not_after(), now),
        "promoted_at": kept.and_then(|kept| kept.promoted_at).map(rfc3339),
        "ca": kept.and_then(|kept| kept.ca.as_deref()),
        "order": kept.and_then(|kept| kept.order.as_deref()),
        "warnings": texts(bundle.warnings()),
    })
}

/// One version of a certificate that served earlier.
fn version(version: &Version) -> Value {
    json!({
        "fingerprint": version.fingerprint.to_string(),
        "names": texts(&version.names),
        "key": version.key_kind.to_string(),
        "issuer": version.issuer,
        "not_before": rfc3339(version.not_before),
        "not_after": rfc3339(version.not_after),
        "promoted_at": version.promoted_at.map(rfc3339),
        "ca": version.ca,
        "order": version.order,
        "excluded": version.excluded,
    })
}

fn next(next: &NextStep) -> Value {
    json!({ "action": next.action.as_str(), "at": rfc3339(next.at), "why": next.why })
}

fn trouble(trouble: &LastError) -> Value {
    json!({
        "class": trouble.class.as_str(),
        "message": trouble.message,
        "remedy": trouble.remedy,
        "since": rfc3339(trouble.since),
        "attempts": trouble.attempts,
    })
}

fn acme(acme: &AcmeView) -> Value {
    json!({
        "cas": acme.cas,
        "challenge": acme.challenge,
        "key": acme.key,
        "explanation": acme.explanation,
        "next_order": acme.next_order.map(|(at, why)| json!({ "at": rfc3339(at), "why": why.as_str() })),
    })
}

fn revocation(one: &Revocation) -> Value {
    json!({
        "name": one.certificate,
        "fingerprint": one.fingerprint.to_string(),
        "ca": one.ca,
        "reason": one.reason.as_str(),
        "asked_at": rfc3339(one.asked_at),
        "progress": one.progress.as_str(),
        "message": one.message,
        "next_at": one.next_at.map(rfc3339),
    })
}

fn trust_bundle(status: &TrustStatus) -> Value {
    json!({
        "name": *status.name,
        "serving": status.serving.as_ref().map(|serving| serving_trust(serving)),
        "refused": refused(status.refusal.as_ref()),
    })
}

fn serving_trust(serving: &Serving<TrustBundle>) -> Value {
    let bundle = serving.bundle();
    let cas = bundle.cas().iter().map(|ca| {
        json!({
            "subject": ca.subject,
            "not_before": rfc3339(ca.not_before),
            "not_after": rfc3339(ca.not_after),
        })
    });
    let lists = bundle.revocation_lists().iter().map(|list| {
        json!({
            "issuer": list.issuer,
            "this_update": rfc3339(list.this_update),
            "next_update": rfc3339(list.next_update),
            "revoked": list.revoked,
        })
    });
    json!({
        "fingerprint": bundle.fingerprint().to_string(),
        "install": serving.install(),
        "not_after": bundle.not_after().map(rfc3339),
        "next_update": bundle.next_update().map(rfc3339),
        "cas": cas.collect::<Value>(),
        "revocation_lists": lists.collect::<Value>(),
    })
}

fn refused(refusal: Option<&Rejection>) -> Option<Value> {
    refusal.map(|refusal| json!({ "message": refusal.message, "at": rfc3339(refusal.at) }))
}

fn texts<Item: ToString>(items: &[Item]) -> Value {
    items.iter().map(ToString::to_string).collect()
}

/// Below zero once it has expired.
fn seconds_left(not_after: UnixTime, now: Duration) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    whole(not_after.as_secs()).saturating_sub(whole(now.as_secs()))
}
