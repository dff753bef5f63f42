//! Killed at every step of an order, the next start ends with one valid pair, at most one order more, no key used twice
//! and no record left in the DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64_URL, Engine as _};
use e2e::{
    HostedZone, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TestMoto, TestPebble, busy, eventually,
    proof,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// However busy the machine is with the other crashes.
const ORDER: Duration = Duration::from_secs(90);

/// Records of an order are gone by then.
const TIDY: Duration = Duration::from_secs(10);

/// The last thing that an order leads to: the question when to renew what it brought.
const AFTERWARDS: &str = "acme.after:renewal-info";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Challenge {
    TlsAlpn01,
    Dns01,
}

/// A CA of its own, and a gateway that orders from it.
struct Scene {
    pebble: TestPebble,
    moto: TestMoto,
    zone: HostedZone,
    domain: String,
}

impl Scene {
    async fn new() -> Self {
        let pebble = TestPebble::start().await;
        let moto = TestMoto::start().await;
        let domain = format!("{}.test", moto.name("crash"));
        let zone = moto.hosted_zone(&domain, &pebble.dns).await;
        Self {
            pebble,
            moto,
            zone,
            domain,
        }
    }

    fn gateway(&self, ca: &TestCa, backend: &TestBackend, challenge: Challenge) -> TestGatewayBuilder {
        let builder = TestGateway::builder(ca, backend)
            .without_main()
            .acme(&self.pebble, &[&self.domain])
            .aws(&self.moto);
        match challenge {
            Challenge::TlsAlpn01 => builder,
            Challenge::Dns01 => {
                let route53 = json!({ "region": self.moto.region(), "endpoint": self.moto.endpoint() });
                builder
                    .set("/certificates/0/acme/challenge", "dns-01")
                    .set("/certificates/0/acme/dns", json!({ "route53": route53 }))
            }
        }
    }

    /// Public keys by the order that they were sent for; one order may get the same key twice.
    fn keys_by_order(&self) -> BTreeMap<String, Vec<u8>> {
        let calls = self.pebble.proxy.calls("POST /finalize-order/");
        let mut keys = BTreeMap::new();
        for call in calls {
            let key = key_of_finalize(&call.body);
            let before = keys.insert(call.line.clone(), key.clone());
            assert!(
                before.is_none_or(|before| before == key),
                "an order keeps its key: {}",
                call.line
            );
        }
        keys
    }
}

fn key_of_finalize(jws: &[u8]) -> Vec<u8> {
    let jws: Value = serde_json::from_slice(jws).unwrap();
    let payload = BASE64_URL.decode(jws["payload"].as_str().unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let csr = BASE64_URL.decode(payload["csr"].as_str().unwrap()).unwrap();
    let (_, csr) = X509CertificationRequest::from_der(&csr).unwrap();
    csr.certification_request_info.subject_pki.raw.to_vec()
}

/// The places that an order passes, each as often as it does.
async fn places(challenge: Challenge) -> Vec<String> {
    let (ca, backend, scene) = (TestCa::new(), TestBackend::guide("one").await, Scene::new().await);
    let builder = scene.gateway(&ca, &backend, challenge);
    let trace = builder.folder().join("trace");
    let gateway = builder
        .env("H2GATE_FAILPOINT_TRACE", trace.to_str().unwrap())
        .start()
        .await;
    gateway
        .shows(&scene.pebble.roots().await, &scene.domain, ORDER)
        .await;
    eventually("the order has ended", ORDER, async || {
        trace_of(&trace)
            .iter()
            .any(|place| place == AFTERWARDS)
            .then_some(())
    })
    .await;
    trace_of(&trace)
}

fn trace_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Each place once; in a proof each time that it is passed.
fn chosen(places: &[String]) -> Vec<String> {
    let mut passed = BTreeMap::<&String, usize>::new();
    let mut chosen = Vec::new();
    for place in places {
        let turn = passed.entry(place).or_default();
        *turn += 1;
        if *turn == 1 || proof() {
            chosen.push(format!("{place}#{turn}"));
        }
    }
    chosen
}

/// The cost of a crash.
#[derive(Debug, Default)]
struct Outcome {
    orders: usize,
    /// Keys that were sent for more than one order.
    keys_used_again: usize,
    /// TXT records that nobody took away.
    records: Vec<(String, String)>,
}

impl Outcome {
    /// The broken rules; empty if all is well.
    fn breaches(&self) -> Vec<&'static str> {
        let rules = [
            (self.orders <= 2, "more than one order too many"),
            (self.keys_used_again == 0, "a key for two orders"),
            (self.records.is_empty(), "a record is left"),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds);
        broken.map(|(_, words)| words).collect()
    }
}

impl Scene {
    /// After an order, and the time that tidying up takes.
    async fn outcome(&self) -> Outcome {
        let give_up_at = Instant::now() + TIDY;
        let mut records = self.zone.txt().await;
        while !records.is_empty() && Instant::now() < give_up_at {
            tokio::time::sleep(Duration::from_millis(50)).await;
            records = self.zone.txt().await;
        }
        Outcome {
            orders: self.pebble.orders(),
            keys_used_again: used_again(&self.keys_by_order()),
            records,
        }
    }
}

fn used_again(keys: &BTreeMap<String, Vec<u8>>) -> usize {
    let distinct: BTreeSet<_> = keys.values().collect();
    keys.len() - distinct.len()
}

/// Dies there, starts again, and is judged. How many orders it took.
async fn dies_at(challenge: Challenge, place: &str) -> usize {
    let (ca, backend, mut scene) = (TestCa::new(), TestBackend::guide("one").await, Scene::new().await);
    let mut gateway = scene
        .gateway(&ca, &backend, challenge)
        .env("H2GATE_FAILPOINT", place)
        .spawn();
    let end = gateway.exit(ORDER).await;
    assert_eq!(end.code(), None, "{place}: it ended by itself: {}", gateway.log());

    gateway.forget_environment("H2GATE_FAILPOINT");
    gateway.start_again().await;
    let roots = scene.pebble.roots().await;
    let shown = gateway.shows(&roots, &scene.domain, ORDER).await;
    let outcome = scene.outcome().await;
    assert!(
        outcome.breaches().is_empty(),
        "{place}: {outcome:?}\n{}",
        gateway.log()
    );

    // The serving certificate is also the kept one: with the CA gone it serves again after a start.
    let kept = gateway.folder().join("state/certificates/acme.json");
    eventually(format!("{place}: it is kept"), ORDER, async || {
        kept.exists().then_some(())
    })
    .await;
    scene.pebble.stop();
    gateway.start_again().await;
    let again = gateway.shows(&roots, &scene.domain, ORDER).await;
    assert_eq!(again.serial(), shown.serial(), "{place}");
    outcome.orders
}

async fn survives_everywhere(challenge: Challenge) {
    let _busy = busy().await;
    let all = places(challenge).await;
    let chosen = chosen(&all);
    for sign in [
        "store.write.before:order",
        "acme.after:new-order",
        "acme.before:finalize",
    ] {
        assert!(all.iter().any(|place| place == sign), "{sign} is passed: {all:?}");
    }
    let touches_dns = all.iter().any(|place| place.starts_with("dns.present"));
    assert_eq!(touches_dns, challenge == Challenge::Dns01);
    let outcomes = stream::iter(&chosen)
        .map(async |place| (place, dies_at(challenge, place).await))
        .buffer_unordered(3)
        .collect::<Vec<_>>()
        .await;
    let again: Vec<_> = outcomes
        .iter()
        .filter(|(_, orders)| *orders > 1)
        .map(|(place, _)| *place)
        .collect();
    eprintln!(
        "{challenge:?}: died at {} places; a second order after {again:?}",
        outcomes.len()
    );
}

#[tokio::test]
async fn an_order_by_dns_01_survives_death_at_its_steps() {
    survives_everywhere(Challenge::Dns01).await;
}

#[tokio::test]
async fn an_order_by_tls_alpn_01_survives_death_at_its_steps() {
    survives_everywhere(Challenge::TlsAlpn01).await;
}

/// The control: a program that remembers nothing of what it began is judged by the same looks. It leaves a record, and
/// one order more for each crash.
#[tokio::test]
async fn what_a_forgetful_program_costs_is_seen() {
    let (ca, backend, scene) = (TestCa::new(), TestBackend::guide("one").await, Scene::new().await);
    let mut gateway = scene
        .gateway(&ca, &backend, Challenge::Dns01)
        .env("H2GATE_FAILPOINT", "dns.present.after")
        .spawn();
    for _ in 0..2 {
        gateway.exit(ORDER).await;
        std::fs::remove_dir_all(gateway.folder().join("state")).unwrap();
        gateway.spawn_again(&[]);
    }
    gateway.exit(ORDER).await;
    std::fs::remove_dir_all(gateway.folder().join("state")).unwrap();
    gateway.forget_environment("H2GATE_FAILPOINT");
    gateway.start_again().await;
    let roots = scene.pebble.roots().await;
    gateway.shows(&roots, &scene.domain, ORDER).await;
    let outcome = scene.outcome().await;
    assert_eq!(outcome.orders, 4, "{outcome:?}");
    assert_eq!(
        outcome.breaches(),
        ["more than one order too many", "a record is left"],
        "{outcome:?}"
    );

    let mut keys = scene.keys_by_order();
    assert_eq!(used_again(&keys), 0);
    let key = keys.values().next().unwrap().clone();
    keys.insert("another order".to_owned(), key);
    assert_eq!(used_again(&keys), 1);
}
