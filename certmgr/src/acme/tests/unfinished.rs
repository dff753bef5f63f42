//! Orders that a CA does not finish.

use serde_json::json;

use super::answers::problem;
use super::scripted::Scripted;
use super::*;
use crate::acme::kept::Secret;
use crate::acme::keys;
use crate::acme::pending_order::{PendingOrder, Purpose};

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_gone_on_with() {
    let finalized = AtomicUsize::new(0);
    let ca = Scripted::start(move |asked| match asked.path.as_str() {
        // The CA has acted; only its answer did not arrive.
        "/finalize" => {
            finalized.fetch_add(1, Ordering::SeqCst);
            Some((502, Vec::new(), String::new()))
        }
        "/order" if finalized.load(Ordering::SeqCst) > 0 => {
            let order = json!({
                "status": "valid", "finalize": "<ca>/finalize", "authorizations": [],
                "certificate": "<ca>/certificate",
            });
            Some((200, Vec::new(), order.to_string()))
        }
        _ => None,
    });
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    let issued = ca.issue().await.unwrap();
    assert!(issued.order.ends_with("/order"));
    assert_eq!((ca.count("/new-order"), ca.count("/finalize")), (1, 1));
}

#[tokio::test]
async fn an_order_that_is_not_there_any_more_makes_room_for_another_whatever_the_ca_says() {
    for (status, words) in [
        (404, problem("malformed", "no such order")),
        (404, String::new()),
        (410, String::new()),
    ] {
        let lost = AtomicUsize::new(0);
        let ca = Scripted::start(move |asked| match asked.path.as_str() {
            "/finalize" if lost.fetch_add(1, Ordering::SeqCst) == 0 => Some((502, Vec::new(), String::new())),
            "/order" => Some((status, Vec::new(), words.clone())),
            _ => None,
        });
        ca.error().await;
        ca.issue().await.unwrap();
        assert_eq!((ca.count("/new-order"), ca.count("/order")), (2, 1), "{status}");
    }
}

#[tokio::test]
async fn a_page_in_the_cas_place_takes_no_order_away() {
    for status in [404, 410] {
        let (finalized, asked_for) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ca = Scripted::start(move |asked| match asked.path.as_str() {
            "/finalize" if finalized.fetch_add(1, Ordering::SeqCst) == 0 => {
                Some((502, Vec::new(), String::new()))
            }
            "/order" if asked_for.fetch_add(1, Ordering::SeqCst) == 0 => {
                let page = "<!DOCTYPE html><title>We are moving</title>".to_owned();
                Some((status, Vec::new(), page))
            }
            _ => None,
        });
        ca.error().await;
        let error = ca.error().await;
        assert_eq!(error.class, IssueFault::Unreachable, "{error}");
        ca.issue().await.unwrap();
        assert_eq!((ca.count("/new-order"), ca.count("/order")), (1, 2), "{status}");
    }
}

#[tokio::test]
async fn a_nonce_that_is_not_found_takes_no_order_away() {
    let (finalized, nonces) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ca = Scripted::start(move |asked| match asked.path.as_str() {
        "/finalize" if finalized.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some((502, Vec::new(), String::new()))
        }
        // The first of the second attempt.
        "/new-nonce" if nonces.fetch_add(1, Ordering::SeqCst) == 1 => Some((404, Vec::new(), String::new())),
        _ => None,
    });
    ca.error().await;
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    assert!(error.text.contains("newNonce gave HTTP status 404"), "{error}");
    ca.issue().await.unwrap();
    assert_eq!((ca.count("/new-order"), ca.count("/order")), (1, 1));
}

#[tokio::test]
async fn a_page_in_the_place_of_the_certificate_takes_no_order_away() {
    for answer in [
        "<!DOCTYPE html><title>We are moving</title>",
        "OK",
        "{}",
        "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n",
    ] {
        let asked_for = AtomicUsize::new(0);
        let ca = Scripted::start(move |asked| {
            let is_first = asked.path == "/certificate" && asked_for.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| (200, Vec::new(), answer.to_owned()))
        });
        let error = ca.error().await;
        assert_eq!(error.class, IssueFault::Unreachable, "{error}");
        assert!(error.text.contains("is no certificate"), "{error}");
        ca.issue().await.unwrap();
        assert_eq!(
            (ca.count("/new-order"), ca.count("/certificate")),
            (1, 2),
            "{answer}"
        );
    }
    // A CA that never has the certificate is asked for another one in the end.
    let ca = Scripted::answering("/certificate", 200, &[], "<html>");
    for orders in [1, 1, 1, 2] {
        ca.error().await;
        assert_eq!(ca.count("/new-order"), orders);
    }
}

#[tokio::test]
async fn an_order_that_stays_where_it_is_makes_room_for_another_in_the_end() {
    let ca = Scripted::start(|asked| {
        let order = json!({ "status": "processing", "finalize": "<ca>/finalize", "authorizations": [] });
        matches!(asked.path.as_str(), "/finalize" | "/order").then(|| (200, Vec::new(), order.to_string()))
    });
    for orders in [1, 1, 1, 2] {
        let error = ca.error().await;
        assert_eq!(error.class, IssueFault::Unreachable);
        assert!(error.text.contains("still `processing` after 1 s"), "{error}");
        assert_eq!(ca.count("/new-order"), orders);
    }
}

#[tokio::test]
async fn records_that_nobody_can_remove_any_more_are_reported_once_and_forgotten() {
    let ca = Scripted::start(|_| None);
    let source = ca.source();
    let asked = request("a", &["a.example.com"]);
    let shared = shared(open(&ca.folder), Challenges::default(), 1);
    let purpose = Purpose::new(&source.cas[0], "https://ca.example/account", &asked);
    let mut note = PendingOrder::new(purpose, Secret(keys::generate(KeyType::EcdsaP256).await.unwrap()));
    note.order = Some("https://ca.example/order".to_owned());
    note.records = vec![TxtRecord {
        name: "_acme-challenge.a.example.com".to_owned(),
        value: "x".to_owned(),
    }];
    note.write(&shared, "a").await.unwrap();
    // The challenge is tls-alpn-01: no DNS provider is configured.
    let client = Client::new(&source, &shared);
    client.clean_up("a").await.unwrap();
    let note = PendingOrder::read(&shared, "a").await.unwrap().unwrap();
    assert_eq!((note.records, note.order.is_some()), (Vec::new(), true));
    client.done("a").await.unwrap();
    assert!(PendingOrder::read(&shared, "a").await.unwrap().is_none());
}

/// A provider that writes no record and can remove none.
struct Picky;

impl TxtRecords for Picky {
    fn check(&self, records: &[TxtRecord]) -> Result<(), IssueError> {
        Err(IssueError {
            class: IssueFault::Dns,
            ca: String::new(),
            text: format!("{} is odd", records[0].name),
            remedy: "choose another name".to_owned(),
            retry_after: None,
        })
    }

    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move { self.check(records) })
    }

    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move { self.check(records) })
    }
}

#[tokio::test]
async fn a_record_that_nobody_writes_is_not_noted_and_holds_up_no_later_order() {
    let ca = Scripted::start(|asked| match asked.path.as_str() {
        "/new-order" | "/order" => {
            let order = json!({
                "status": "pending", "finalize": "<ca>/finalize", "authorizations": ["<ca>/authorization"],
            });
            let status = if asked.path == "/order" { 200 } else { 201 };
            Some((status, vec![("Location", "<ca>/order")], order.to_string()))
        }
        "/authorization" => {
            let authorization = json!({
                "identifier": { "type": "dns", "value": "a.example.com" }, "status": "pending",
                "challenges": [{
                    "type": "dns-01", "url": "<ca>/challenge", "token": "token", "status": "pending",
                }],
            });
            Some((200, Vec::new(), authorization.to_string()))
        }
        _ => None,
    });
    let source = AcmeSource {
        challenge: dns_01(),
        ..ca.source()
    };
    let shared = shared(open(&ca.folder), Challenges::default(), 1);
    let mut client = Client::new(&source, &shared);
    client.txt = Some(Arc::new(Picky));
    let error = client
        .issue(&request("a", &["a.example.com"]))
        .await
        .err()
        .unwrap();
    assert!(error.text.contains("is odd"), "{error}");
    let note = PendingOrder::read(&shared, "a").await.unwrap().unwrap();
    assert_eq!(note.records, []);
}
