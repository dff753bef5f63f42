//! Certificates ordered from a CA that truly validates, while the gateway does its ordinary work.

use std::time::Duration;

use e2e::{
    Fault, Load, PebbleOptions, Signatures, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TestMoto,
    TestPebble, TlsOptions, eventually, scaled,
};
use serde_json::{Value, json};
use x509_parser::public_key::PublicKey;

/// However busy the machine is.
const ORDER: Duration = Duration::from_secs(60);

/// The path at which Pebble gives renewal information.
const RENEWAL_INFO: &str = "/renewalInfo/";

/// A gateway before the real RouteGuide, its files' certificate first, one from `pebble` second.
async fn with_acme(pebble: &TestPebble, domains: &[&str]) -> (TestCa, TestBackend, TestGatewayBuilder) {
    let ca = TestCa::new();
    let backend = TestBackend::guide("one").await;
    let builder = TestGateway::builder(&ca, &backend).acme(pebble, domains);
    (ca, backend, builder)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_issuance_by_tls_alpn_01_under_load_harms_nobody() {
    let pebble = TestPebble::start().await;
    let (ca, _backend, builder) = with_acme(&pebble, &["api.example.com", "www.example.com"]).await;
    pebble.proxy.spoil("POST /order-plz", Fault::Hold);
    let gateway = builder.start().await;
    let load = Load::start(gateway.address(), &ca, TlsOptions::default()).await;
    eventually("the order is on its way", ORDER, async || {
        (pebble.order_requests() == 1).then_some(())
    })
    .await;
    pebble.proxy.heal();

    let roots = pebble.roots().await;
    for name in ["api.example.com", "www.example.com"] {
        let shown = gateway.shows(&roots, name, ORDER).await;
        assert_eq!(shown.chain().len(), 2, "the whole chain but the root");
    }
    load.unharmed().await;
    assert_eq!((pebble.orders(), pebble.issued()), (1, 1), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_by_ari_under_load_harms_nobody() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    pebble.proxy.spoil(RENEWAL_INFO, Fault::Hold);
    let gateway = builder.start().await;
    let roots = pebble.roots().await;
    let first = gateway.shows(&roots, "api.example.com", ORDER).await;
    let load = Load::start(gateway.address(), &roots, TlsOptions::name("api.example.com")).await;

    eventually("it asks when to renew", ORDER, async || {
        (pebble.proxy.count(RENEWAL_INFO) > 0).then_some(())
    })
    .await;
    pebble.advise_renewal_now(&first.leaf_pem()).await;
    pebble.proxy.heal();
    let second = gateway
        .shows_another(&roots, "api.example.com", first.serial(), ORDER)
        .await;
    load.unharmed().await;
    assert_ne!(first.public_key(), second.public_key(), "a fresh key");
    assert_eq!(pebble.orders(), 2);
    let log = pebble.log();
    assert!(
        log.contains("is a replacement of"),
        "the order says what it replaces: {log}"
    );
    assert!(log.contains("has been marked as replaced"), "{log}");
}

#[tokio::test]
async fn without_word_from_the_ca_nothing_is_renewed() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let mut gateway = builder.start().await;
    let roots = pebble.roots().await;
    let first = gateway.shows(&roots, "api.example.com", ORDER).await;
    for _ in 0..scaled(2, 20) {
        gateway.start_again().await;
        let asked = pebble.proxy.count(RENEWAL_INFO);
        eventually("it has asked again when to renew", ORDER, async || {
            (pebble.proxy.count(RENEWAL_INFO) > asked).then_some(())
        })
        .await;
        assert_eq!(
            gateway.shows(&roots, "api.example.com", ORDER).await.serial(),
            first.serial()
        );
    }
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test]
async fn before_the_first_certificate_it_is_ready_and_says_no_plainly() {
    let pebble = TestPebble::start().await;
    pebble.proxy.spoil("POST /order-plz", Fault::Hold);
    let backend = TestBackend::guide("one").await;
    let ca = TestCa::new();
    let gateway = TestGateway::builder(&ca, &backend)
        .without_main()
        .acme(&pebble, &["api.example.com"])
        .start()
        .await;
    let roots = pebble.roots().await;
    let options = TlsOptions::name("api.example.com");
    for _ in 0..20 {
        let refusal = options.connect(gateway.address(), &roots).await.unwrap_err();
        assert!(refusal.0.contains("alert"), "{refusal:?}");
    }
    let words = ["WARN", "handshake failed", "has not been loaded yet"];
    gateway.logs(&words).await;
    assert_eq!(
        gateway.log_count(&words),
        1,
        "one line a minute, not one per handshake"
    );
    pebble.proxy.heal();
    gateway.shows(&roots, "api.example.com", ORDER).await;
}

#[tokio::test]
async fn http_01_works_on_a_listener_that_redirects_everything_else() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let gateway = builder
        .elsewhere()
        .http_listener(pebble.http_port())
        .set("/certificates/1/acme/challenge", "http-01")
        .start()
        .await;
    gateway
        .shows(&pebble.roots().await, "api.example.com", ORDER)
        .await;

    let url = format!("http://127.0.0.1:{}/path?query=1", pebble.http_port());
    let arguments = ["--silent", "--include", "--header", "host: api.example.com", &url];
    let answer = e2e::run_tool("curl", &arguments).await;
    let answer = String::from_utf8_lossy(&answer.stdout).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 308"), "{answer}");
    assert!(
        answer.contains("location: https://api.example.com/path?query=1\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn dns_01_by_route_53_covers_wildcard_and_apex_and_leaves_nothing_behind() {
    let pebble = TestPebble::start().await;
    let moto = TestMoto::start().await;
    let apex = format!("{}.test", moto.name("apex"));
    let deeper = format!("sub.{apex}");
    // The longest suffix wins, so the other zone stays empty.
    let shorter = moto.hosted_zone(&apex, &pebble.dns).await;
    let zone = moto.hosted_zone(&deeper, &pebble.dns).await;
    let wildcard = format!("*.{deeper}");
    let (_ca, _backend, builder) = with_acme(&pebble, &[&deeper, &wildcard]).await;
    let gateway = builder
        .aws(&moto)
        .set("/certificates/1/acme/challenge", "dns-01")
        .set("/certificates/1/acme/dns", route53(&moto))
        .start()
        .await;
    let roots = pebble.roots().await;
    gateway.shows(&roots, &deeper, ORDER).await;
    gateway.shows(&roots, &format!("anything.{deeper}"), ORDER).await;
    eventually("the records are gone", ORDER, async || {
        zone.txt().await.is_empty().then_some(())
    })
    .await;
    let changes = |zone: &str| moto.proxy.count(&format!("/hostedzone/{zone}/rrset"));
    assert!(changes(&zone.id) >= 2 && shorter.txt().await.is_empty());
    assert_eq!(pebble.orders(), 1);
}

fn route53(moto: &TestMoto) -> Value {
    json!({ "route53": { "region": moto.region(), "endpoint": moto.endpoint() } })
}

#[tokio::test]
async fn dns_01_follows_a_delegation_into_another_zone() {
    let pebble = TestPebble::start().await;
    let moto = TestMoto::start().await;
    let there = format!("{}.test", moto.name("answers"));
    let zone = moto.hosted_zone(&there, &pebble.dns).await;
    let alias = format!("customer.{there}");
    pebble
        .dns
        .set_cname("_acme-challenge.api.example.com", &alias)
        .await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let gateway = builder
        .aws(&moto)
        .set("/certificates/1/acme/challenge", "dns-01")
        .set("/certificates/1/acme/dns", route53(&moto))
        .start()
        .await;
    gateway
        .shows(&pebble.roots().await, "api.example.com", ORDER)
        .await;
    eventually("the records are gone", ORDER, async || {
        zone.txt().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn dns_01_works_by_a_command_of_ones_own() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["*.example.com"]).await;
    let hook = pebble.dns.hook(builder.folder());
    let gateway = builder
        .set("/certificates/1/acme/challenge", "dns-01")
        .set(
            "/certificates/1/acme/dns",
            json!({ "exec": { "command": [hook], "propagation": "0s" } }),
        )
        .start()
        .await;
    gateway
        .shows(&pebble.roots().await, "any.example.com", ORDER)
        .await;
    eventually("the record is gone", ORDER, async || {
        let values = pebble.dns.txt("_acme-challenge.example.com").await;
        values.is_empty().then_some(())
    })
    .await;
    let calls = std::fs::read_to_string(hook.with_extension("calls")).unwrap();
    assert_eq!(
        calls,
        "present _acme-challenge.example.com\ncleanup _acme-challenge.example.com\n"
    );
}

#[tokio::test]
async fn one_name_is_served_with_two_kinds_of_key() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let gateway = builder
        .set("/certificates/1/acme/key", json!(["ecdsa-p256", "rsa-2048"]))
        .start()
        .await;
    let roots = pebble.roots().await;
    for only in [Signatures::Ecdsa, Signatures::Rsa] {
        let options = TlsOptions::name("api.example.com").only(only);
        let shown = eventually(format!("{only:?} is served"), 2 * ORDER, async || {
            options.connect(gateway.address(), &roots).await.ok()
        })
        .await;
        let chain = shown.chain();
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let is_rsa = matches!(leaf.public_key().parsed().unwrap(), PublicKey::RSA(_));
        assert_eq!(is_rsa, only == Signatures::Rsa);
    }
}

#[tokio::test]
async fn the_next_ca_is_asked_when_the_first_is_down() {
    let (first, second) = (TestPebble::start().await, TestPebble::start().await);
    first.proxy.spoil("", Fault::status(503));
    let (_ca, _backend, builder) = with_acme(&second, &["api.example.com"]).await;
    let fallback = json!([{
        "directory": second.directory(),
        "ca_file": second.ca_file(),
        "accept_terms": true,
    }]);
    let gateway = builder
        .set("/certificates/1/acme/directory", first.directory())
        .set("/certificates/1/acme/ca_file", first.ca_file().to_str().unwrap())
        .set("/certificates/1/acme/fallback", fallback)
        .start()
        .await;
    let shown = gateway
        .shows(&second.roots().await, "api.example.com", ORDER)
        .await;
    assert_eq!(shown.chain().len(), 2);
    assert_eq!((first.orders(), second.orders()), (0, 1));
}

#[tokio::test]
async fn a_short_lived_profile_is_asked_for() {
    let pebble = TestPebble::start().await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let gateway = builder
        .set("/certificates/1/acme/profile", "shortlived")
        .start()
        .await;
    let shown = gateway
        .shows(&pebble.roots().await, "api.example.com", ORDER)
        .await;
    let chain = shown.chain();
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life.div_euclid(86_400 - 1), 6, "{life} s");
}

#[tokio::test]
async fn a_caa_record_that_forbids_the_ca_is_told_before_anything_is_ordered() {
    let pebble = TestPebble::with(PebbleOptions {
        caa_identities: vec!["ca.test".to_owned()],
        ..PebbleOptions::default()
    })
    .await;
    pebble
        .dns
        .set_caa("example.com", &[("issue", "another.test")])
        .await;
    let (_ca, _backend, builder) = with_acme(&pebble, &["api.example.com"]).await;
    let gateway = builder.start().await;
    gateway.logs(&["acme", "CAA", "example.com", "ca.test"]).await;
    assert_eq!(pebble.order_requests(), 0);

    pebble.dns.clear_caa("example.com").await;
    gateway
        .shows(&pebble.roots().await, "api.example.com", 2 * ORDER)
        .await;
    assert_eq!(pebble.orders(), 1);
}
