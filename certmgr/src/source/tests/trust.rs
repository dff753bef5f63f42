//! Trust bundles from moto, kept in force in the way of the program.

use certstore::store;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::moto::{MotoStores, put};
use super::*;
use crate::tests::test_now;
use crate::tests::trust::{TrustCa, lets_in};
use crate::{Event, Options, TrustConfig};

const DEADLINE: Duration = Duration::from_secs(60);

/// The shortest poll that the configuration allows.
const OFTEN: Duration = Duration::from_secs(1);

struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    async fn tell(&mut self, kind: &str) -> Event {
        let event = timeout(DEADLINE, self.0.recv()).await.expect("no event in time");
        let event = event.unwrap();
        assert_eq!(event.kind.label(), kind, "{event}");
        event
    }
}

fn options() -> (Options, Events) {
    let (sender, events) = mpsc::unbounded_channel();
    let observer = Arc::new(move |event: &Event| drop(sender.send(event.clone())));
    let options = Options {
        now: Arc::new(test_now),
        observer: Some(observer),
        ..Options::default()
    };
    (options, Events(events))
}

fn config(source: Source) -> TrustConfig {
    TrustConfig {
        name: "clients".to_owned(),
        source,
        revocation: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_bundle_of_objects_is_swapped_and_stays_when_they_are_gone() {
    let moto = MotoStores::start().await;
    let client = moto.s3().await;
    let ca = TrustCa::new("one");
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    put(&client, "ca.pem", ca.pem()).await;
    put(&client, "ca.crl", ca.list(&[], 9)).await;
    let source = Source::S3(S3Source {
        aws: moto.aws(),
        bucket: "certs".to_owned(),
        chain: object("ca.pem"),
        key: object("ca.crl"),
        path_style: true,
        poll: OFTEN,
        queue: None,
    });
    let (options, mut events) = options();
    let (writer, reader) = store();
    let handle = crate::start(Vec::new(), writer, options);
    handle.reload_trust(vec![config(source)]);
    events.tell("promoted").await;
    assert!(lets_in(&reader, "clients", &good) && lets_in(&reader, "clients", &bad));

    put(&client, "ca.crl", ca.list(&[2], 9)).await;
    events.tell("promoted").await;
    assert!(lets_in(&reader, "clients", &good) && !lets_in(&reader, "clients", &bad));

    put(&client, "ca.crl", "half a list").await;
    let told = events.tell("refused").await;
    assert!(told.to_string().contains("s3://certs/ca.crl"), "{told}");
    assert!(told.to_string().contains("store it as PEM"), "{told}");
    let gone = client.delete_object().bucket("certs").key("ca.crl");
    gone.send().await.unwrap();
    events.tell("unreadable").await;
    assert!(lets_in(&reader, "clients", &good) && !lets_in(&reader, "clients", &bad));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_bundle_of_a_secret_is_swapped_when_it_is_rotated() {
    let moto = MotoStores::start().await;
    let client = moto.secrets().await;
    let ca = TrustCa::new("one");
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    let value = |crl: String| serde_json::json!({"ca": ca.pem(), "crl": crl}).to_string();
    client
        .create_secret()
        .name("prod/clients")
        .secret_string(value(ca.list(&[], 9)))
        .send()
        .await
        .unwrap();
    let source = Source::SecretsManager(SecretsManagerSource {
        aws: moto.aws(),
        secret: "prod/clients".to_owned(),
        format: SecretFormat::Json {
            chain: "ca".to_owned(),
            key: "crl".to_owned(),
        },
        poll: OFTEN,
    });
    let (options, mut events) = options();
    let (writer, reader) = store();
    let handle = crate::start(Vec::new(), writer, options);
    handle.reload_trust(vec![config(source)]);
    events.tell("promoted").await;
    assert!(lets_in(&reader, "clients", &good) && lets_in(&reader, "clients", &bad));

    let rotated = client.put_secret_value().secret_id("prod/clients");
    rotated
        .secret_string(value(ca.list(&[2], 9)))
        .send()
        .await
        .unwrap();
    events.tell("promoted").await;
    assert!(lets_in(&reader, "clients", &good) && !lets_in(&reader, "clients", &bad));
}
