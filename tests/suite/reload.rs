//! A changed configuration is taken up at once and whole; a bad one changes nothing and says why.

use std::time::Duration;

use e2e::{TestBackend, TestCa, TestClient, TestGateway, TlsOptions, eventually, free_port};
use proto::routeguide::Point;
use serde_json::json;

const SOON: Duration = Duration::from_secs(5);

async fn served_by(client: &TestClient) -> String {
    let answer = client
        .guide()
        .get_feature(Point {
            latitude: 1,
            longitude: 1,
        })
        .await
        .unwrap();
    answer
        .metadata()
        .get("x-served-by")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

async fn two() -> (TestCa, TestBackend, TestBackend, TestGateway) {
    let ca = TestCa::new();
    let (one, two) = (TestBackend::guide("one").await, TestBackend::guide("two").await);
    let gateway = TestGateway::start(&ca, &one).await;
    (ca, one, two, gateway)
}

#[tokio::test]
async fn a_moved_file_is_taken_up_without_a_signal_and_streams_go_on() {
    let (ca, _one, two, mut gateway) = two().await;
    let client = TestClient::connect(&gateway, &ca).await;
    let (notes, outbound) = tokio::sync::mpsc::channel::<proto::routeguide::RouteNote>(1);
    let outbound =
        futures_util::stream::unfold(outbound, async |mut notes| Some((notes.recv().await?, notes)));
    let chat = client.guide().route_chat(outbound).await.unwrap();
    assert_eq!(chat.metadata().get("x-served-by").unwrap(), "one");

    gateway.rewrite("/backends/0/endpoints", json!([two.address().to_string()]));
    eventually("the new backend serves", SOON, async || {
        (served_by(&client).await == "two").then_some(())
    })
    .await;

    // The stream began before: it keeps what it began with.
    let note = proto::routeguide::RouteNote {
        location: Some(Point::default()),
        message: "still here".to_owned(),
    };
    let mut answers = chat.into_inner();
    notes.send(note.clone()).await.unwrap();
    notes.send(note.clone()).await.unwrap();
    assert_eq!(
        e2e::within("an answer", SOON, answers.message()).await.unwrap(),
        Some(note)
    );
    drop(notes);
    assert_eq!(
        e2e::within("the end", SOON, answers.message()).await.unwrap(),
        None
    );
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let (ca, _one, two, gateway) = two().await;
    let client = TestClient::connect(&gateway, &ca).await;
    assert_eq!(served_by(&client).await, "one");
    let changed: serde_json::Value = serde_json::from_str(&gateway.config_text()).unwrap();
    let mut changed = changed;
    changed["backends"][0]["endpoints"] = json!([two.address().to_string()]);
    gateway.write_config_in_place(&changed.to_string());
    gateway.hang_up();
    eventually("the new backend serves", SOON, async || {
        (served_by(&client).await == "two").then_some(())
    })
    .await;
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where_it_is_wrong() {
    let (ca, _one, two, mut gateway) = two().await;
    let client = TestClient::connect(&gateway, &ca).await;
    gateway.write_config("listeners:\n  - name: public\n    adress: \"127.0.0.1:1\"\n");
    // The mistaken key, and the one that was meant.
    gateway.logs(&["adress"]).await;
    gateway.hang_up();
    assert_eq!(served_by(&client).await, "one");
    TestClient::connect(&gateway, &ca).await.ping().await.unwrap();
    let (status, config) = gateway.get("/config").await.unwrap();
    assert!(status == 200 && !config.contains("adress"), "{config}");

    gateway.rewrite("/backends/0/endpoints", json!([two.address().to_string()]));
    eventually("a good file is taken up", SOON, async || {
        (served_by(&client).await == "two").then_some(())
    })
    .await;
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn listeners_come_and_go_and_the_others_are_not_touched() {
    let (ca, _one, _two, mut gateway) = two().await;
    let client = TestClient::connect(&gateway, &ca).await;
    let second = format!("127.0.0.1:{}", free_port());
    let before: serde_json::Value = serde_json::from_str(&gateway.config_text()).unwrap();
    let first = before["listeners"][0].clone();
    let mut listener = first.clone();
    listener["name"] = json!("second");
    listener["address"] = json!(second);
    gateway.rewrite("/listeners", json!([first, listener]));
    let second = second.parse().unwrap();
    let reached = async || TlsOptions::default().connect(second, &ca).await.ok();
    eventually("the second listener serves", SOON, reached).await;
    TestClient::connect_with(second, &ca, TlsOptions::default())
        .await
        .ping()
        .await
        .unwrap();

    gateway.rewrite("/listeners", json!([first]));
    let refused = async || TlsOptions::default().connect(second, &ca).await.err();
    eventually("the second listener is gone", SOON, refused).await;
    client.ping().await.unwrap();
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn a_certificate_can_be_added_by_a_reload() {
    let (ca, _one, _two, mut gateway) = two().await;
    let client = TestClient::connect(&gateway, &ca).await;
    let pair = ca.issue(&e2e::Leaf::named(&["added.example.com"]));
    let files = e2e::PairFiles::plain(&gateway.folder().join("added"), &pair);
    let before: serde_json::Value = serde_json::from_str(&gateway.config_text()).unwrap();
    let mut certificates = before["certificates"].as_array().unwrap().clone();
    certificates.push(json!({ "name": "added", "files": { "chain": files.chain(), "key": files.key() } }));
    gateway.rewrite("/certificates", json!(certificates));
    gateway.rewrite("/listeners/0/tls/certificates", json!(["main", "added"]));
    let shaken = async || {
        TlsOptions::name("added.example.com")
            .connect(gateway.address(), &ca)
            .await
            .ok()
    };
    let shaken = eventually("the added certificate serves", SOON, shaken).await;
    assert_eq!(shaken.serial(), pair.serial);
    client.ping().await.unwrap();
    assert_eq!(client.connects(), 1);
}
