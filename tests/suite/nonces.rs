//! A CA that refuses every second nonce, wants accounts bound to its own, and forgets all of them in between.

use std::time::Duration;

use e2e::{PebbleOptions, TestBackend, TestCa, TestGateway, TestPebble, scaled};
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

#[tokio::test]
async fn every_order_succeeds_with_half_of_the_nonces_refused_and_a_ca_that_forgets() {
    // A multiple of the three kinds of challenge, twice.
    let each = scaled(6, 102);
    let mut pebble = TestPebble::with(PebbleOptions {
        bad_nonces: 50,
        external_accounts: vec![(KID.to_owned(), HMAC_KEY.to_owned())],
        ..PebbleOptions::default()
    })
    .await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let builder = TestGateway::builder(&ca, &backend)
        .without_main()
        .acme(&pebble, &["c.example.com"]);
    let hook = pebble.dns.hook(builder.folder()).to_str().unwrap().to_owned();
    let hmac_file = builder.folder().join("hmac");
    std::fs::write(&hmac_file, format!("{HMAC_KEY}\n")).unwrap();
    let mut template = builder.value("/certificates/0").clone();
    template["acme"]["external_account"] = json!({ "kid": KID, "hmac_key": { "file": hmac_file } });

    let first = certificates(&template, &hook, 0, each);
    let second = certificates(&template, &hook, each, each);
    let names = |list: &[Value]| list.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    let mut gateway = builder
        .http_listener(pebble.http_port())
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
    let failed = gateway.log_count(&["ERROR"]);
    assert_eq!(failed, 0, "no attempt failed: {}", gateway.log());
    eprintln!(
        "{} of {} orders; {} nonces refused",
        2 * each,
        2 * each,
        refused_nonces(&pebble)
    );
}

/// A bad nonce is the only bad request that Pebble sees here.
fn refused_nonces(pebble: &TestPebble) -> usize {
    let posts = pebble.proxy.calls("POST /");
    posts.iter().filter(|call| call.status == Some(400)).count()
}
