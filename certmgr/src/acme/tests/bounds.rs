//! A CA that gives more than any order needs.

use serde_json::{Value, json};

use super::answers::{PROBLEM, at_new_order};
use super::scripted::Scripted;
use super::*;

/// A CA with an order of this status for `a.example.com`. Each of its authorizations is this one.
fn with_order(status: &'static str, authorizations: usize, authorization: Value) -> Scripted {
    let authorization = authorization.to_string();
    Scripted::start(move |asked| {
        let urls: Vec<String> = (0..authorizations)
            .map(|number| format!("<ca>/authorization?{number}"))
            .collect();
        let order = json!({ "status": status, "finalize": "<ca>/finalize", "authorizations": urls });
        match asked.path.as_str() {
            "/new-order" => Some((201, vec![("Location", "<ca>/order")], order.to_string())),
            path if path.starts_with("/authorization") => Some((200, Vec::new(), authorization.clone())),
            _ => None,
        }
    })
}

fn authorizations(ca: &Scripted) -> usize {
    let asked = ca.asked();
    let of_them = asked
        .iter()
        .filter(|asked| asked.path.starts_with("/authorization"));
    of_them.count()
}

#[tokio::test]
async fn more_authorizations_than_any_order_needs_are_not_fetched() {
    let proved = json!({
        "status": "valid", "identifier": { "type": "dns", "value": "a.example.com" }, "challenges": [],
    });
    let ca = with_order("pending", 3, proved.clone());
    let error = ca.issue().await.err().unwrap();
    assert_eq!(error.class, IssueFault::Refused, "{error}");
    assert!(
        error.text.contains("3 proofs for an order of 1 name; at most 2"),
        "{error}"
    );
    assert_eq!(authorizations(&ca), 0);
    // RFC 8555 §7.1.3: there may be more than one for a name.
    let ca = with_order("pending", 2, proved);
    assert!(ca.issue().await.is_ok());
    assert_eq!(authorizations(&ca), 2);
}

#[tokio::test]
async fn of_an_order_that_has_failed_no_more_reasons_are_fetched_than_it_has_proofs() {
    let failed = json!({
        "status": "invalid", "identifier": { "type": "dns", "value": "a.example.com" },
        "challenges": [{
            "type": "tls-alpn-01", "url": "x", "token": "t", "status": "invalid",
            "error": { "type": format!("{PROBLEM}connection"), "detail": "refused" },
        }],
    });
    let ca = with_order("invalid", 50, failed);
    let error = ca.issue().await.err().unwrap();
    assert_eq!(error.class, IssueFault::Challenge, "{error}");
    assert_eq!(authorizations(&ca), 2);
}

#[tokio::test]
async fn an_authorization_has_room_for_what_any_ca_says_in_it_and_no_more() {
    let of_size = |octets: usize| {
        json!({
            "status": "valid", "identifier": { "type": "dns", "value": "a.example.com" }, "challenges": [],
            "x": "x".repeat(octets),
        })
    };
    assert!(with_order("pending", 1, of_size(60_000)).issue().await.is_ok());
    let error = with_order("pending", 1, of_size(70_000))
        .issue()
        .await
        .err()
        .unwrap();
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    assert!(
        error.text.contains("an answer of more than 65536 octets"),
        "{error}"
    );
}

#[tokio::test]
async fn a_url_that_is_too_long_is_neither_kept_nor_asked_for() {
    let located = |path: &'static str, octets: usize| {
        let url: &'static str = format!("<ca>/{}", "x".repeat(octets)).leak();
        let body = match path {
            "/new-account" => json!({}),
            _ => json!({ "status": "ready", "finalize": "<ca>/finalize", "authorizations": [] }),
        };
        Scripted::start(move |asked| {
            (asked.path == path).then(|| (201, vec![("Location", url)], body.to_string()))
        })
    };
    for path in ["/new-account", "/new-order"] {
        assert!(located(path, 2_000).issue().await.is_ok(), "{path}");
        let error = located(path, 3_000).issue().await.err().unwrap();
        assert_eq!(error.class, IssueFault::Unreachable, "{path}: {error}");
        assert!(
            error.text.contains("is longer than 2048 octets"),
            "{path}: {error}"
        );
        assert!(error.text.len() < 1_000, "{path}: {error}");
    }
    let far = format!("<ca>/{}", "x".repeat(3_000));
    let ca = Scripted::start(move |asked| {
        let order = json!({ "status": "ready", "finalize": far, "authorizations": [] });
        (asked.path == "/new-order").then(|| (201, vec![("Location", "<ca>/order")], order.to_string()))
    });
    let error = ca.issue().await.err().unwrap();
    assert!(error.text.contains("is longer than 2048 octets"), "{error}");
}

#[tokio::test]
async fn what_a_ca_says_cannot_be_taken_for_what_h2gate_says() {
    let forged = "no\" x\n2026 ERROR h2gate: forged certificate=api";
    let body = json!({
        "type": format!("{PROBLEM}{forged}"), "detail": forged,
        "subproblems": [
            { "type": forged, "detail": forged, "identifier": { "type": "dns", "value": forged } },
            { "type": forged },
        ],
    });
    let error = at_new_order(400, &[], body.to_string()).await;
    let quoted = r#""no\" x\n2026 ERROR h2gate: forged certificate=api""#;
    assert_eq!(
        error.text,
        format!("cannot order a certificate: {quoted} ({quoted}); {quoted}: {quoted} ({quoted}); {quoted}")
    );
    let target: &'static str = "<ca>/ ERROR h2gate: forged certificate=api";
    let ca = Scripted::start(move |asked| {
        (asked.path == "/new-order").then(|| (302, vec![("Location", target)], String::new()))
    });
    let error = ca.issue().await.err().unwrap();
    assert!(error.text.contains(" redirects to \"http://"), "{error}");
}
