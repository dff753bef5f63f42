//! A CA that refuses every second nonce, wants accounts bound to its own, and forgets all of them in between.

use std::time::Duration;

use e2e::{
    PebbleOptions, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TestPebble, busy, eventually, scaled,
};
use serde_json::{Value, json};

const KID: &str = "kid-1";
const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// For all orders of a round.
const ROUND: Duration = Duration::from_secs(120);

/// One certificate of each challenge kind, `count` times, beginning at `first`.
fn certificates(template: &Value, hook: &str, first: usize, count: usize) -> Vec<Value> {
    let kinds = ["tls-alpn-01", "http-01", "dns-01"];
    let numbered = |number: usize| {
        let mut certificate = template.clone();
        certificate["name"] = format!("c{number}").into();
        certificate["domains"] = json!([format!("c{number}.example.com")]);
        certificate["acme"]["challenge"] = kinds[number % 3].into();
        if kinds[number % 3] == "dns-01" {
            certificate["acme"]["dns"] = json!({ "exec": { "command": [hook], "propagation": "0s" } });
        }
        certificate
    };
    (first..first + count).map(numbered).collect()
}

/// A CA that refuses so many of a hundred nonces, and the gateway's certificates from it: all of the kinds of challenge.
async fn scene(bad_nonces: u8) -> (TestPebble, TestGatewayBuilder, Value, String) {
    let pebble = TestPebble::with(PebbleOptions {
        bad_nonces,
        external_accounts: vec![(KID.to_owned(), HMAC_KEY.to_owned())],
        ..PebbleOptions::default()
    })
    .await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let builder = TestGateway::builder(&ca, &backend)
        .without_main()
        .acme(&pebble, &["c.example.com"])
        .http_listener(pebble.http_port());
    let hook = pebble.dns.hook(builder.folder()).to_str().unwrap().to_owned();
    let hmac_file = builder.folder().join("hmac");
    std::fs::write(&hmac_file, format!("{HMAC_KEY}\n")).unwrap();
    let mut template = builder.value("/certificates/0").clone();
    template["acme"]["external_account"] = json!({ "kid": KID, "hmac_key": { "file": hmac_file } });
    (pebble, builder, template, hook)
}

fn names(list: &[Value]) -> Vec<Value> {
    list.iter().map(|one| one["name"].clone()).collect()
}

#[tokio::test]
async fn every_order_succeeds_with_half_of_the_nonces_refused_and_a_ca_that_forgets() {
    let _busy = busy().await;
    // A multiple of the three kinds of challenge, twice.
    let each = scaled(6, 102);
    let (mut pebble, builder, template, hook) = scene(50).await;
    let first = certificates(&template, &hook, 0, each);
    let second = certificates(&template, &hook, each, each);
    let mut gateway = builder
        .set("/certificates", first.clone())
        .set("/listeners/0/tls/certificates", names(&first))
        .start()
        .await;
    let roots = pebble.roots().await;
    for number in 0..each {
        gateway
            .shows(&roots, &format!("c{number}.example.com"), ROUND)
            .await;
    }
    assert_eq!(pebble.issued(), each);
    assert!(refused_nonces(&pebble) > each, "nonces were refused");

    pebble.restart().await;
    let both = [first, second].concat();
    gateway.set("/certificates", both.clone());
    gateway.rewrite("/listeners/0/tls/certificates", names(&both));
    let roots = pebble.roots().await;
    for number in each..2 * each {
        gateway
            .shows(&roots, &format!("c{number}.example.com"), ROUND)
            .await;
    }
    assert_eq!(pebble.issued(), each, "{}", gateway.log());
    assert_eq!(failed_attempts(&gateway), 0, "{}", gateway.log());
    eprintln!(
        "{} of {} orders; {} nonces refused",
        2 * each,
        2 * each,
        refused_nonces(&pebble)
    );
}

/// The control: where hardly a nonce is taken, the same looks see attempts that fail and nothing issued.
#[tokio::test]
async fn a_ca_that_takes_no_nonce_is_seen_to_issue_nothing() {
    let (pebble, builder, template, hook) = scene(99).await;
    let certificates = certificates(&template, &hook, 0, 3);
    let gateway = builder
        .set("/certificates", certificates.clone())
        .set("/listeners/0/tls/certificates", names(&certificates))
        .start()
        .await;
    eventually("attempts fail", ROUND, async || {
        (failed_attempts(&gateway) >= 3).then_some(())
    })
    .await;
    assert_eq!(pebble.issued(), 0);
    assert!(refused_nonces(&pebble) > 3);
}

fn failed_attempts(gateway: &TestGateway) -> usize {
    gateway.log_count(&["event=\"failing\""])
}

/// A bad nonce is the only bad request that Pebble sees here.
fn refused_nonces(pebble: &TestPebble) -> usize {
    let posts = pebble.proxy.calls("POST /");
    posts.iter().filter(|call| call.status == Some(400)).count()
}
