//! Against moto, which keeps objects, versions, secrets and queues as AWS does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Event, NotificationConfiguration, QueueConfiguration, ServerSideEncryption,
    VersioningConfiguration,
};
use aws_sdk_secretsmanager::primitives::Blob;
use tokio::time::timeout;

use super::*;
use crate::config::SecretReference;
use crate::ports::free_address;

/// Longest wait of a test for an expected event.
const DEADLINE: Duration = Duration::from_secs(60);

/// A moto of this test's own, ended with it.
pub(super) struct MotoStores {
    process: Child,
    address: SocketAddr,
}

impl MotoStores {
    pub(super) async fn start() -> Self {
        let address = free_address();
        let program = tool("moto_server");
        let process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; scripts/install-tools puts it there",
                    program.display()
                )
            });
        let moto = Self { process, address };
        let answers = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, answers).await.expect("moto does not answer");
        moto
    }

    pub(super) fn aws(&self) -> Aws {
        Aws {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(format!("http://{}", self.address)),
            role: None,
        }
    }

    pub(super) async fn s3(&self) -> aws_sdk_s3::Client {
        let config = crate::aws::config(&self.aws()).await.unwrap();
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        client.create_bucket().bucket("certs").send().await.unwrap();
        client
    }

    pub(super) async fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&crate::aws::config(&self.aws()).await.unwrap())
    }
}

impl Drop for MotoStores {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tools = std::env::var_os("H2GATE_TOOLS").map_or_else(|| root.join(".tools"), PathBuf::from);
    tools.join("bin").join(name)
}

/// Writes an object. The version that it made.
pub(super) async fn put(client: &aws_sdk_s3::Client, key: &str, content: impl AsRef<[u8]>) -> Option<String> {
    let put = client.put_object().bucket("certs").key(key);
    let body = ByteStream::from(content.as_ref().to_vec());
    put.body(body).send().await.unwrap().version_id
}

async fn fault(reader: &mut SourceReader) -> RemoteFault {
    remote(&reader.read().await.unwrap_err()).0
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn objects_are_read_as_they_are_replaced_pinned_encrypted_and_removed() {
    let moto = MotoStores::start().await;
    let client = moto.s3().await;
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    let enable = client.put_bucket_versioning().bucket("certs");
    enable
        .versioning_configuration(versioning.build())
        .send()
        .await
        .unwrap();

    let mut reader = s3(moto.aws(), "certs", pair_of_objects(), None);
    assert_eq!(fault(&mut reader).await, RemoteFault::NotFound);
    let first = put(&client, "api/chain.pem", "chain 1").await;
    put(&client, "api/key.pem", "key 1").await;
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 1", "key 1"));
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 1", "key 1"), "304");

    put(&client, "api/chain.pem", "chain 2").await;
    put(&client, "api/key.pem", "key 2").await;
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 2", "key 2"));

    let pinned = S3Object {
        key: "api/chain.pem".to_owned(),
        version: first,
    };
    let mut reader_of_pinned = s3(moto.aws(), "certs", [pinned.clone(), pinned], None);
    assert_eq!(
        texts(&reader_of_pinned.read().await.unwrap()),
        ("chain 1", "chain 1")
    );
    let unknown = S3Object {
        key: "api/chain.pem".to_owned(),
        version: Some("00000000-0000-0000-0000-000000000000".to_owned()),
    };
    let mut reader_of_unknown = s3(moto.aws(), "certs", [unknown.clone(), unknown], None);
    assert_eq!(fault(&mut reader_of_unknown).await, RemoteFault::NotFound);

    let encrypted = client.put_object().bucket("certs").key("api/key.pem");
    let encrypted = encrypted.server_side_encryption(ServerSideEncryption::AwsKms);
    encrypted
        .body(ByteStream::from_static(b"key 3"))
        .send()
        .await
        .unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 2", "key 3"));

    put(&client, "api/key.pem", vec![b'x'; 1_000_000]).await;
    assert_eq!(fault(&mut reader).await, RemoteFault::TooLarge);
    client
        .delete_object()
        .bucket("certs")
        .key("api/key.pem")
        .send()
        .await
        .unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!(remote(&error).0, RemoteFault::NotFound);
    assert_eq!(error.places, ["s3://certs/api/key.pem"]);
    put(&client, "api/key.pem", "key 4").await;
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 2", "key 4"));

    let mut nowhere = s3(moto.aws(), "other", pair_of_objects(), None);
    assert_eq!(fault(&mut nowhere).await, RemoteFault::NotFound);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_message_of_s3_in_the_queue_is_a_hint() {
    let moto = MotoStores::start().await;
    let client = moto.s3().await;
    let queues = aws_sdk_sqs::Client::new(&crate::aws::config(&moto.aws()).await.unwrap());
    let made = queues.create_queue().queue_name("changes").send().await.unwrap();
    let url = made.queue_url.unwrap().replace("localhost", "127.0.0.1");
    let tell = QueueConfiguration::builder()
        .queue_arn("arn:aws:sqs:us-east-1:123456789012:changes")
        .events(Event::S3ObjectCreated)
        .build()
        .unwrap();
    let notify = client.put_bucket_notification_configuration().bucket("certs");
    let tell = NotificationConfiguration::builder()
        .queue_configurations(tell)
        .build();
    notify.notification_configuration(tell).send().await.unwrap();

    let mut reader = s3(moto.aws(), "certs", pair_of_objects(), Some(url.clone()));
    // Another certificate of the same bucket.
    let mut other = s3(moto.aws(), "certs", pair_of_objects(), Some(url.clone()));
    let early = timeout(Duration::from_secs(3), async {
        tokio::select! { _ = reader.hint() => {}, _ = other.hint() => {} }
    });
    assert!(early.await.is_err(), "a hint before any change");
    put(&client, "api/chain.pem", "chain").await;
    for reader in [&mut reader, &mut other] {
        timeout(DEADLINE, reader.hint())
            .await
            .expect("no hint after a change");
    }
    // A reader that leaves takes nothing away from the others.
    drop(reader);
    put(&client, "api/key.pem", "key").await;
    timeout(DEADLINE, other.hint())
        .await
        .expect("no hint after a change");
    let left = async {
        loop {
            let count = queues.get_queue_attributes().queue_url(&url);
            let count = count.attribute_names(aws_sdk_sqs::types::QueueAttributeName::All);
            let count = count.send().await.unwrap().attributes.unwrap();
            if count
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("ApproximateNumber"))
                .all(|(_, count)| count == "0")
            {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, left)
        .await
        .expect("the message stays in the queue");
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_secret_is_read_as_it_is_rotated_and_removed() {
    let moto = MotoStores::start().await;
    let client = moto.secrets().await;
    let value = |turn: u32| {
        let value =
            serde_json::json!({"certificate": format!("chain {turn}"), "private_key": format!("key {turn}")});
        value.to_string()
    };
    let mut reader = secret(moto.aws(), "prod/api", json());
    assert_eq!(fault(&mut reader).await, RemoteFault::NotFound);
    client
        .create_secret()
        .name("prod/api")
        .secret_string(value(1))
        .send()
        .await
        .unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 1", "key 1"));
    client
        .put_secret_value()
        .secret_id("prod/api")
        .secret_string(value(2))
        .send()
        .await
        .unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 2", "key 2"));

    // A rotation in progress: a version that is not current yet is not read.
    let pending = client
        .put_secret_value()
        .secret_id("prod/api")
        .secret_string(value(3));
    let pending = pending.version_stages("AWSPENDING").send().await.unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 2", "key 2"));
    let versions = client
        .list_secret_version_ids()
        .secret_id("prod/api")
        .send()
        .await
        .unwrap();
    let current = versions
        .versions()
        .iter()
        .find(|version| version.version_stages().iter().any(|stage| stage == "AWSCURRENT"));
    client
        .update_secret_version_stage()
        .secret_id("prod/api")
        .version_stage("AWSCURRENT")
        .move_to_version_id(pending.version_id.unwrap())
        .remove_from_version_id(current.unwrap().version_id().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 3", "key 3"));

    client.delete_secret().secret_id("prod/api").send().await.unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!(remote(&error).0, RemoteFault::NotFound, "{error}");
    client
        .restore_secret()
        .secret_id("prod/api")
        .send()
        .await
        .unwrap();
    assert_eq!(texts(&reader.read().await.unwrap()), ("chain 3", "key 3"));
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_secret_may_be_a_container_in_binary_or_in_base64() {
    let moto = MotoStores::start().await;
    let client = moto.secrets().await;
    let base64 = include_str!("../secrets_manager/pkcs12/modern.p12.base64");
    let binary = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD
            .decode(base64.replace('\n', ""))
            .unwrap()
    };
    client
        .create_secret()
        .name("text")
        .secret_string(base64)
        .send()
        .await
        .unwrap();
    client
        .create_secret()
        .name("binary")
        .secret_binary(Blob::new(binary))
        .send()
        .await
        .unwrap();
    let passphrase = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(passphrase.path(), "changeit\n").unwrap();
    client
        .create_secret()
        .name("passphrase")
        .secret_string("changeit")
        .send()
        .await
        .unwrap();
    let stored = SecretReference::SecretsManager {
        secret: "passphrase".to_owned(),
        aws: moto.aws(),
    };
    for passphrase in [SecretReference::File(passphrase.path().to_owned()), stored] {
        for name in ["text", "binary"] {
            let format = SecretFormat::Pkcs12 {
                passphrase: Some(passphrase.clone()),
            };
            let pair = secret(moto.aws(), name, format).read().await.unwrap();
            certstore::CertBundle::parse(&pair.chain, &pair.key).unwrap();
        }
    }
}
