//! Results for programs. Every key is always there; what is absent is null. Documented in `docs/operations.md`.

use prost_types::{Duration, Timestamp};
use proto::certs::v1 as pb;
use serde_json::{Value, json};

use super::list::action;
use super::plan::is_inside;
use super::{wishes, words};
use crate::remote_text::in_json;

/// The line or lines to print. JSON lets DEL and the controls of U+0080 to U+009F stand, and a terminal may obey
/// them.
pub(super) fn text(value: &Value) -> String {
    in_json(&format!("{value:#}\n")).into_owned()
}

pub(super) fn certificates(all: &pb::ListResponse) -> Value {
    json!({
        "certificates": all.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "revocations": all.revocations.iter().map(revocation).collect::<Vec<_>>(),
    })
}

fn revocation(one: &pb::Revocation) -> Value {
    json!({
        "name": one.name,
        "fingerprint": one.fingerprint,
        "ca": one.ca,
        "reason": one.reason,
        "asked_at": time(&one.asked_time),
        "progress": wishes::name(one),
        "message": said(&one.message),
        "next_at": time(&one.next_time),
    })
}

pub(super) fn certificate(one: &pb::Certificate) -> Value {
    json!({
        "name": one.name,
        "source": one.source,
        "places": one.places,
        "domains": one.domains,
        "serving": one.serving.as_ref().map(version),
        "previous": one.previous.iter().map(version).collect::<Vec<_>>(),
        "next": one.next.as_ref().map(|next| json!({
            "action": action(next),
            "at": time(&next.time),
            "why": next.why,
        })),
        "trouble": one.trouble.as_ref().map(|trouble| json!({
            "class": trouble.class,
            "message": trouble.message,
            "remedy": trouble.remedy,
            "since": time(&trouble.since_time),
            "attempts": trouble.attempts,
        })),
        "last_success_at": time(&one.last_success_time),
        "acme": one.acme.as_ref().map(|acme| json!({
            "cas": acme.cas,
            "challenge": acme.challenge,
            "key": acme.key,
            "renewal_explanation": said(&acme.renewal_explanation),
        })),
        "revocations": one.revocations.iter().map(revocation).collect::<Vec<_>>(),
    })
}

pub(super) fn plan(plan: &pb::PlanResponse) -> Value {
    let orders = plan.orders.iter().map(|order| {
        json!({
            "name": order.name,
            "ca": order.ca,
            "at": time(&order.time),
            "why": order.why,
            "expected_life_seconds": seconds(&order.expected_life),
        })
    });
    let limits = plan.limits.iter().map(|limit| {
        json!({
            "ca": limit.ca,
            "limit": limit.limit,
            "subject": said(&limit.subject),
            "allowed": limit.allowed,
            "window_seconds": seconds(&limit.window),
            "peak": limit.peak,
            "peak_at": time(&limit.peak_time),
            "inside": limit.inside,
        })
    });
    json!({
        "orders": orders.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
        "complete": plan.complete,
        "inside": is_inside(plan),
    })
}

pub(super) fn outcome(name: &str, outcome: &str) -> Value {
    json!({ "name": name, "outcome": outcome })
}

pub(super) fn rolled_back(name: &str, fingerprint: &str) -> Value {
    json!({ "name": name, "outcome": "rolled_back", "fingerprint": fingerprint })
}

/// A renewal that was watched to its end, or until patience ended.
pub(super) fn renewed(name: &str, outcome: &str, events: &[pb::Event], now: &pb::Certificate) -> Value {
    let events = events.iter().map(|event| {
        json!({
            "kind": event.kind,
            "message": event.message,
            "at": time(&event.time),
            "error": event.is_error,
        })
    });
    json!({
        "name": name,
        "outcome": outcome,
        "events": events.collect::<Vec<_>>(),
        "certificate": certificate(now),
    })
}

fn version(version: &pb::Version) -> Value {
    json!({
        "fingerprint": version.fingerprint,
        "names": version.names,
        "key": version.key_kind,
        "not_before": time(&version.not_before_time),
        "not_after": time(&version.not_after_time),
        "issuer": version.issuer,
        "warnings": version.warnings,
        "promoted_at": time(&version.promoted_time),
        "ca": said(&version.ca),
        "order": said(&version.order),
        "excluded": version.excluded,
    })
}

fn time(time: &Option<Timestamp>) -> Option<String> {
    time.as_ref().map(words::at)
}

fn seconds(duration: &Option<Duration>) -> Option<i64> {
    duration.as_ref().map(|duration| duration.seconds)
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_nothing_to_obey_and_a_program_misses_nothing() {
        let value = outcome("a\u{1b}[2J\u{7f}\u{9b}31m\u{85}\u{202e}\u{e4}", "begun");
        let text = text(&value);
        assert!(
            text.chars().all(|c| c == '\n' || certstore::is_shown(c)),
            "{text:?}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
    }
}
