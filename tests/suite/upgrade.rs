//! A state directory of an earlier version is taken over: no order more, no other account, nothing lost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{TestBackend, TestCa, TestGateway, TestPebble, busy, eventually};
use serde_json::{Value, json};

const ORDER: Duration = Duration::from_secs(90);

const FIRST: &str = "first.example.com";
const SECOND: &str = "second.example.com";

/// The program of the earlier version, built with the feature `failpoints`.
fn earlier() -> PathBuf {
    let path =
        std::env::var_os("H2GATE_EARLIER").expect("H2GATE_EARLIER names the program of an earlier version");
    PathBuf::from(path)
}

/// The format of a document of the state directory.
fn format(folder: &Path, document: &str) -> Option<Value> {
    let text = std::fs::read(folder.join("state").join(document)).ok()?;
    let document: Value = serde_json::from_slice(&text).ok()?;
    document.get("format").cloned()
}

/// A certificate from files, one that is ordered, an order that a crash interrupts, and a trust bundle. An account and a
/// ledger come with them.
#[tokio::test]
#[ignore = "H2GATE_EARLIER names the program to upgrade from, built with the feature failpoints"]
async fn state_of_an_earlier_version_is_taken_over_without_another_order() {
    let _busy = busy().await;
    let (ca, backend, pebble) = (
        TestCa::new(),
        TestBackend::guide("one").await,
        TestPebble::start().await,
    );
    let builder = TestGateway::builder(&ca, &backend)
        .program(&earlier())
        .acme(&pebble, &[FIRST]);
    let bundle = builder.folder().join("clients.pem");
    std::fs::copy(ca.file(), &bundle).unwrap();
    let mut second = builder.value("/certificates/1").clone();
    let builder = builder
        .set(
            "/trust_bundles",
            json!([{ "name": "clients", "files": { "ca": bundle } }]),
        )
        .set(
            "/listeners/0/tls/client_auth",
            json!({ "mode": "optional", "trust": "clients" }),
        );
    let certificates = builder.value("/certificates").as_array().unwrap().clone();
    let mut gateway = builder.start().await;
    let roots = pebble.roots().await;
    let first = gateway.shows(&roots, FIRST, ORDER).await;
    let state = [
        "certificates/main.json",
        "certificates/acme.json",
        "trust/clients.json",
    ];
    let kept = || {
        state
            .iter()
            .map(|document| format(gateway.folder(), document))
            .collect::<Option<Vec<_>>>()
    };
    let before = eventually("all of it is kept", ORDER, async || kept()).await;

    second["name"] = json!("second");
    second["domains"] = json!([SECOND]);
    gateway.rewrite("/certificates", [certificates, vec![second]].concat());
    gateway.rewrite("/listeners/0/tls/certificates", json!(["main", "acme", "second"]));
    gateway.spawn_again(&[("H2GATE_FAILPOINT", "acme.before:finalize")]);
    gateway.exit(ORDER).await;
    assert_eq!(pebble.orders(), 2, "{}", gateway.log());

    gateway.change_program(None);
    gateway.start_again().await;
    assert_eq!(gateway.shows(&roots, FIRST, ORDER).await.serial(), first.serial());
    gateway.shows(&roots, SECOND, ORDER).await;
    assert_eq!(
        pebble.orders(),
        2,
        "the interrupted order was continued: {}",
        gateway.log()
    );
    assert_eq!(
        pebble.proxy.calls("POST /sign-me-up").len(),
        1,
        "{}",
        gateway.log()
    );
    assert_eq!(gateway.log_count(&["ERROR"]), 0, "{}", gateway.log());

    // The new program's documents are its own kind now; the next start needs neither source nor CA.
    let second = ["certificates/second.json"].map(|document| format(gateway.folder(), document));
    eprintln!("formats: {before:?} before, {second:?} of what was ordered afterwards");
    gateway.start_again().await;
    assert_eq!(gateway.shows(&roots, FIRST, ORDER).await.serial(), first.serial());
    assert_eq!(pebble.orders(), 2, "{}", gateway.log());

    // The way back: what the earlier program cannot read it leaves as it is, and says so.
    gateway.change_program(Some(&earlier()));
    gateway.spawn_again(&[]);
    let said = gateway.logs(&["format", "newer version"]).await;
    eprintln!("the earlier program: {said}");
    assert_eq!(
        ["certificates/second.json"].map(|document| format(gateway.folder(), document)),
        second
    );
    assert_eq!(pebble.orders(), 2, "{}", gateway.log());
}
