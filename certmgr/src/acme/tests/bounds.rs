//! A CA that sends more than any order needs.

use serde_json::json;

use super::answers::{PROBLEM, at_new_order};
use super::scripted::Scripted;
use super::*;

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
    let ca = Scripted::with_order("pending", 3, &proved);
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Refused, "{error}");
    assert!(
        error.text.contains("3 proofs for an order of 1 name; at most 2"),
        "{error}"
    );
    assert_eq!(authorizations(&ca), 0);
    // RFC 8555 §7.1.3: there may be more than one authorization for a name.
    let ca = Scripted::with_order("pending", 2, &proved);
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
    let ca = Scripted::with_order("invalid", 50, &failed);
    let error = ca.error().await;
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
    assert!(
        Scripted::with_order("pending", 1, &of_size(60_000))
            .issue()
            .await
            .is_ok()
    );
    let error = Scripted::with_order("pending", 1, &of_size(70_000)).error().await;
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
        Scripted::answering(path, 201, &[("Location", url)], &body.to_string())
    };
    for path in ["/new-account", "/new-order"] {
        assert!(located(path, 2_000).issue().await.is_ok(), "{path}");
        let error = located(path, 3_000).error().await;
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
    let error = ca.error().await;
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
    let ca = Scripted::answering("/new-order", 302, &[("Location", target)], "");
    let error = ca.error().await;
    assert!(error.text.contains(" redirects to \"http://"), "{error}");
}

#[tokio::test]
async fn however_much_a_ca_says_about_its_profiles_the_text_is_bearable() {
    let ca = Scripted::start(|asked| {
        (asked.path == "/directory").then(|| {
            let body = json!({
                "newNonce": "<ca>/new-nonce", "newAccount": "<ca>/new-account", "newOrder": "<ca>/new-order",
                "meta": { "profiles": { "x".repeat(100_000): "long" } },
            });
            (200, Vec::new(), body.to_string())
        })
    });
    let mut wishes = ca.source();
    wishes.cas[0].profile = Some("classic".to_owned());
    let error = ca.issue_as(&wishes, &request("a", &["a.example.com"])).await;
    let error = error.err().unwrap();
    assert_eq!(error.class, IssueFault::Configuration);
    assert!(error.text.len() < 1_000, "{}", error.text.len());
}

#[tokio::test]
async fn however_many_names_have_failed_the_text_is_bearable() {
    let ca = Scripted::start(|asked| {
        let authorizations: Vec<String> = (0..100)
            .map(|number| format!("<ca>/authorization/{number}"))
            .collect();
        let order = json!({ "status": "invalid", "finalize": "x", "authorizations": authorizations });
        if asked.path == "/finalize" {
            return Some((200, Vec::new(), order.to_string()));
        }
        let number = asked.path.strip_prefix("/authorization/")?;
        let authorization = json!({
            "status": "invalid", "identifier": { "type": "dns", "value": format!("{number}.example.com") },
            "challenges": [{
                "type": "tls-alpn-01", "url": "x", "token": "t", "status": "invalid",
                "error": { "type": format!("{PROBLEM}connection"), "detail": "refused" },
            }],
        });
        Some((200, Vec::new(), authorization.to_string()))
    });
    let names: Vec<String> = (0..100).map(|number| format!("{number}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = ca.issue_as(&ca.source(), &request("a", &names)).await;
    let error = error.err().unwrap();
    assert_eq!(error.class, IssueFault::Challenge, "{error}");
    assert!(
        error
            .text
            .starts_with("the order has failed: 0.example.com: \"refused\" (connection); 1."),
        "{error}"
    );
    assert!(error.text.ends_with("; and 90 more"), "{error}");
    assert_eq!(error.text.matches("refused").count(), 10, "{error}");
}
