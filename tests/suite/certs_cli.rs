//! `h2gate certs` against the running program, whose certificate is of a CA that truly validates and revokes.

use std::sync::Arc;
use std::time::Duration;

use e2e::{Handshake, TestBackend, TestCa, TestGateway, TestPebble, eventually};
use rustls::RootCertStore;
use serde_json::Value;

const ORDER: Duration = Duration::from_secs(60);

const NAME: &str = "api.example.com";

/// A gateway with a certificate `acme` that serves, and its CA.
struct Scene {
    pebble: TestPebble,
    roots: Arc<RootCertStore>,
    gateway: TestGateway,
    first: Handshake,
    _backend: TestBackend,
}

impl Scene {
    async fn start() -> Self {
        let pebble = TestPebble::start().await;
        let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
        let gateway = TestGateway::builder(&ca, &backend)
            .acme(&pebble, &[NAME])
            // Pebble draws one by lot where none is asked for.
            .set("/certificates/1/acme/profile", "default")
            .start()
            .await;
        let roots = pebble.roots().await;
        let first = gateway.shows(&roots, NAME, ORDER).await;
        Self {
            pebble,
            roots,
            gateway,
            first,
            _backend: backend,
        }
    }

    async fn serial(&self) -> u64 {
        self.gateway.shows(&self.roots, NAME, ORDER).await.serial()
    }

    /// Runs `h2gate certs` with these words: whether it says that it worked, and what it printed.
    async fn certs(&self, words: &[&str]) -> (bool, String) {
        let admin = self.gateway.admin().to_string();
        let arguments = [&["certs", "--admin", &admin], words].concat();
        let ended = e2e::run_tool(e2e::h2gate(), &arguments).await;
        let text = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8(text).unwrap())
    }

    /// The output as JSON of a command that must succeed.
    async fn json(&self, words: &[&str]) -> Value {
        let (worked, text) = self.certs(&[words, &["--output", "json"]].concat()).await;
        assert!(worked, "{words:?}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[tokio::test]
async fn renew_waits_until_the_next_one_serves_and_rollback_serves_the_one_before() {
    let scene = Scene::start().await;
    let (worked, told) = scene.certs(&["renew", "acme", "--wait", "--timeout", "1m"]).await;
    assert!(worked, "{told}");
    let second = scene.serial().await;
    assert_ne!(
        second,
        scene.first.serial(),
        "it serves when the command ends: {told}"
    );
    assert_eq!(scene.pebble.issued(), 2);

    let (worked, told) = scene.certs(&["rollback", "acme"]).await;
    assert!(worked, "{told}");
    assert_eq!(scene.serial().await, scene.first.serial(), "{told}");
    assert_eq!(scene.pebble.issued(), 2, "nothing is ordered for that");
}

#[tokio::test]
async fn a_renewal_that_fails_is_a_command_that_fails_and_says_why() {
    let scene = Scene::start().await;
    let refusal = e2e::Fault::problem(403, "unauthorized", "this account is closed");
    scene.pebble.proxy.spoil("POST /order-plz", refusal);
    let (worked, told) = scene.certs(&["renew", "acme", "--wait", "--timeout", "1m"]).await;
    assert!(!worked && told.contains("this account is closed"), "{told}");
    assert_eq!(scene.serial().await, scene.first.serial());

    let (worked, told) = scene.certs(&["renew", "nobody"]).await;
    assert!(!worked && told.contains("nobody"), "{told}");
}

#[tokio::test]
async fn revoke_replaces_first_and_the_ca_confirms_it() {
    let scene = Scene::start().await;
    let old = scene.first.serial();
    assert_eq!(scene.pebble.certificate_status(old).await, "Valid");

    // Nothing is revoked as long as there is no successor.
    scene
        .pebble
        .proxy
        .spoil("POST /order-plz", e2e::Fault::status(503));
    let (worked, told) = scene
        .certs(&["revoke", "acme", "--reason", "superseded", "--yes"])
        .await;
    assert!(worked, "{told}");
    scene.gateway.logs(&["event=\"failing\"", "acme"]).await;
    assert_eq!(scene.pebble.certificate_status(old).await, "Valid");
    assert_eq!(scene.serial().await, old);

    scene.pebble.proxy.heal();
    let next = scene.gateway.shows_another(&scene.roots, NAME, old, ORDER).await;
    eventually("the CA has revoked the old one", ORDER, async || {
        (scene.pebble.certificate_status(old).await == "Revoked").then_some(())
    })
    .await;
    assert_eq!(scene.pebble.certificate_status(next.serial()).await, "Valid");
    assert_eq!(scene.serial().await, next.serial());
}

#[tokio::test]
async fn what_is_removed_right_after_the_command_is_revoked_all_the_same() {
    let mut scene = Scene::start().await;
    let old = scene.first.serial();
    // Its replacement does not come.
    scene
        .pebble
        .proxy
        .spoil("POST /order-plz", e2e::Fault::status(503));
    let (worked, told) = scene.certs(&["revoke", "acme", "--yes"]).await;
    assert!(worked, "{told}");
    let (_, told) = scene.certs(&["list"]).await;
    assert!(told.contains("waits until its replacement serves"), "{told}");
    scene
        .gateway
        .set("/listeners/0/tls/certificates", serde_json::json!(["main"]));
    let config: Value = serde_json::from_str(&scene.gateway.config_text()).unwrap();
    let main = config["certificates"][0].clone();
    scene.gateway.rewrite("/certificates", serde_json::json!([main]));
    scene.gateway.hang_up();
    scene.gateway.logs(&["event=\"revoked\"", "acme"]).await;
    assert_eq!(scene.pebble.certificate_status(old).await, "Revoked");
    let all = scene.json(&["list"]).await;
    assert_eq!(all["revocations"][0]["name"], "acme", "{all}");
    assert_eq!(all["revocations"][0]["progress"], "PROGRESS_REVOKED", "{all}");
}

#[tokio::test]
async fn list_show_and_plan_tell_what_the_program_knows() {
    let scene = Scene::start().await;
    let list = scene.json(&["list"]).await.to_string();
    assert!(list.contains("\"acme\"") && list.contains("\"main\""), "{list}");
    let shown = scene.json(&["show", "acme"]).await.to_string();
    assert!(shown.contains(NAME) && shown.contains("localhost"), "{shown}");

    let plan = scene.json(&["plan", "--for", "365d"]).await;
    let orders = plan["orders"].as_array().unwrap_or_else(|| panic!("{plan}"));
    // Ninety days each, renewed when a third is left.
    assert!((5..=7).contains(&orders.len()), "{plan}");
    assert_eq!(scene.pebble.orders(), 1, "a plan orders nothing");
}

#[tokio::test]
async fn the_account_key_is_replaced_and_renewals_go_on() {
    let scene = Scene::start().await;
    let (worked, told) = scene.certs(&["roll-account-key", "acme"]).await;
    assert!(worked, "{told}");
    assert_eq!(scene.pebble.proxy.count("POST /rollover-account-key"), 1);
    let (worked, told) = scene.certs(&["renew", "acme", "--wait", "--timeout", "1m"]).await;
    assert!(worked, "{told}");
    assert_ne!(scene.serial().await, scene.first.serial());
}
