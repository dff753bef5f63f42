//! Our account at the CA and its key, renewal information, revocation, probes.

use std::time::Duration;

use certstore::rfc3339;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::super::RevocationReason;
use super::super::account;
use super::super::session::Session;
use super::pebble::Pebble;
use super::*;

async fn account_document(place: &TestPlace, ca: &Ca) -> Value {
    let text = place.document(&Document::Account(account::name(ca))).await;
    serde_json::from_str(&text.unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_ca_that_has_forgotten_us_gets_the_same_key_again() {
    let mut pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let before = account_document(&place, &pebble.ca()).await;
    pebble.restart().await;
    // The noted order is forgotten as well.
    assert!(
        client
            .has_unfinished(&request("a", &["a.example.com"]))
            .await
            .unwrap()
    );
    let issued = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    assert_serves(&issued, &["a.example.com"]);
    let after = account_document(&place, &pebble.ca()).await;
    assert_eq!(before["key"], after["key"]);
    assert_ne!(before["url"], after["url"]);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn an_account_that_was_deactivated_is_replaced() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let wishes = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    let shared = shared(place.state.clone(), place.challenges.clone(), 4);
    let session = Session::open(&pebble.ca()).await.unwrap();
    let account = account::open(session, &shared, None).await.unwrap();
    let deactivate = json!({ "status": "deactivated" });
    account
        .post("account", &account.url, Some(&deactivate))
        .await
        .unwrap();
    let issued = issue(&place.client(&wishes), &request("a", &["a.example.com"]))
        .await
        .unwrap();
    assert_serves(&issued, &["a.example.com"]);
    assert_eq!(pebble.accounts(), 2);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_changed_contact_is_reported_to_the_ca_once() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let ca = Ca {
        contact: vec!["new@example.com".to_owned(), "other@example.com".to_owned()],
        ..pebble.ca()
    };
    for (ca, told) in [(pebble.ca(), 0), (ca.clone(), 1), (ca, 1)] {
        let client = place.client(&source(ca.clone(), Challenge::TlsAlpn01, &pebble.dns));
        issue(&client, &request("a", &["a.example.com"])).await.unwrap();
        client.done("a").await.unwrap();
        assert_eq!(pebble.posts("/my-account/"), told);
        let kept = account_document(&place, &ca).await;
        assert_eq!(kept["contact"], json!(ca.contact));
    }
    assert_eq!(pebble.accounts(), 1);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn documents_that_cannot_be_understood_are_made_anew() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let asked = request("a", &["a.example.com"]);
    issue(&client, &asked).await.unwrap();
    let order = Document::Order("a".to_owned());
    let account = Document::Account(account::name(&pebble.ca()));
    let whole = place.document(&account).await.unwrap();
    for garbage in ["", "{}", "\u{0}\u{1}", &whole[..whole.len() / 2], "[1, 2]"] {
        for document in [&order, &account] {
            place
                .state
                .store
                .write(document, garbage.as_bytes())
                .await
                .unwrap();
        }
        let issued = issue(&client, &asked).await.unwrap();
        assert_serves(&issued, &["a.example.com"]);
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn the_account_key_is_replaced_and_a_crash_in_between_loses_none() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let wishes = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    let client = place.client(&wishes);
    issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let first = account_document(&place, &pebble.ca()).await;
    for steps in 0.. {
        let ended = dropped_at(steps, client.roll_account_key(0)).await;
        let asked = request(&format!("c{steps}"), &["a.example.com"]);
        issue(&client, &asked)
            .await
            .unwrap_or_else(|error| panic!("step {steps}: {error}"));
        if let Some(ended) = ended {
            ended.unwrap();
            assert!(steps > 6, "{steps} steps only");
            break;
        }
    }
    let last = account_document(&place, &pebble.ca()).await;
    assert_eq!(first["url"], last["url"]);
    assert_ne!(first["key"], last["key"]);
    assert_eq!(last["next_key"], Value::Null);
    assert_eq!(pebble.accounts(), 1);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_new_account_key_fails_no_order_that_is_under_way() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let wishes = source(pebble.ca(), Challenge::Http01, &pebble.dns);
    let shared = shared(place.state.clone(), place.challenges.clone(), 4);
    issue(
        &place.client_of(&wishes, &shared),
        &request("a", &["a.example.com"]),
    )
    .await
    .unwrap();
    let before = account_document(&place, &pebble.ca()).await;
    let orders = (0..8).map(|number| {
        let client = place.client_of(&wishes, &shared);
        async move {
            let asked = request(&format!("a{number}"), &["a.example.com"]);
            issue(&client, &asked).await.unwrap();
        }
    });
    let client = place.client_of(&wishes, &shared);
    let (_, rolled) = tokio::join!(futures_util::future::join_all(orders), async {
        // The orders are in progress: the first has been placed.
        while pebble.orders() < 2 {
            tokio::task::yield_now().await;
        }
        client.roll_account_key(0).await
    });
    rolled.unwrap();
    let after = account_document(&place, &pebble.ca()).await;
    assert_ne!(before["key"], after["key"]);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn commands_to_a_ca_that_has_forgotten_us_register_again() {
    let mut pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let issued = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(&issued.pair.chain).unwrap();
    pebble.restart().await;
    // Pebble knows neither the certificate nor the account, and its error is about the certificate.
    let error = client
        .revoke(0, &leaf, RevocationReason::Superseded)
        .await
        .unwrap_err();
    assert!(!error.text.contains("accountDoesNotExist"), "{error}");

    pebble.restart().await;
    let error = client.roll_account_key(0).await.unwrap_err();
    assert!(error.text.contains("accountDoesNotExist"), "{error}");
    assert!(error.remedy.contains("registers again"), "{}", error.remedy);
    client.roll_account_key(0).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn renewal_information_is_what_the_ca_says_for_this_certificate() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let issued = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(&issued.pair.chain).unwrap();
    let info = client.renewal_info(0, &leaf).await.unwrap().unwrap();
    // Pebble draws a profile when none is asked for: six or ninety days.
    assert!(info.window.0.as_secs() > UnixTime::now().as_secs() + 2 * 86_400);
    assert!(info.window.0 <= info.window.1);
    assert_eq!(info.retry_after, Some(Duration::from_secs(6 * 3_600)));

    let play = async |answer: &str| {
        let certificate = String::from_utf8(issued.pair.chain.to_vec()).unwrap();
        let body = json!({ "Certificate": certificate, "ARIResponse": answer });
        pebble
            .manage(http::Method::POST, "/set-renewal-info/", &body.to_string())
            .await;
        client.renewal_info(0, &leaf).await
    };
    let window = r#"{"suggestedWindow":{"start":"2026-01-02T03:04:05Z","end":"2026-01-03T00:00:00.5Z"},"explanationURL":"https://ca.example/why"}"#;
    let info = play(window).await.unwrap().unwrap();
    assert_eq!(rfc3339(info.window.0), "2026-01-02T03:04:05Z");
    assert_eq!(rfc3339(info.window.1), "2026-01-03T00:00:00Z");
    assert_eq!(info.explanation.as_deref(), Some("https://ca.example/why"));
    for broken in [
        "{",
        r#"{"suggestedWindow":{}}"#,
        r#"{"suggestedWindow":{"start":"soon","end":"later"}}"#,
    ] {
        let error = play(broken).await.unwrap_err();
        assert_eq!(error.class, IssueFault::Unreachable, "{broken}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_certificate_is_revoked_and_to_ask_twice_is_no_error() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let issued = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(&issued.pair.chain).unwrap();
    for _ in 0..2 {
        client
            .revoke(0, &leaf, RevocationReason::KeyCompromise)
            .await
            .unwrap();
    }
    let info = client.renewal_info(0, &leaf).await.unwrap().unwrap();
    assert!(info.window.1 <= UnixTime::now(), "{info:?}");
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_probe_reports_whether_the_ca_is_there_and_trusted() {
    let mut pebble = Pebble::start().await;
    let place = pebble.place();
    let probe = async |ca: Ca| {
        let wishes = source(ca, Challenge::TlsAlpn01, &pebble.dns);
        place.client(&wishes).probe(0).await
    };
    probe(pebble.ca()).await.unwrap();
    let strange = Ca {
        ca_file: None,
        ..pebble.ca()
    };
    let error = probe(strange).await.unwrap_err();
    assert_eq!(error.class, IssueFault::Unreachable);
    assert!(error.remedy.contains("`ca_file`"), "{error}: {}", error.remedy);
    let missing = Ca {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..pebble.ca()
    };
    let error = probe(missing).await.unwrap_err();
    assert_eq!(error.class, IssueFault::Configuration, "{error}");
    let ca = pebble.ca();
    pebble.stop().await;
    let wishes = source(ca, Challenge::TlsAlpn01, &pebble.dns);
    let error = place.client(&wishes).probe(0).await.unwrap_err();
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
}
