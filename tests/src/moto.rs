use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::http::{self, Message};
use crate::process::Double;
use crate::{FaultProxy, Pair, TestDns, eventually, free_port, tool};

const REGION: &str = "eu-central-1";

/// S3, Secrets Manager, Route 53 and SQS as far as they matter here (moto), behind a [`FaultProxy`] of this test.
///
/// All tests of a process share one moto, which takes seconds to start; each has names of its own.
#[derive(Debug)]
pub struct TestMoto {
    /// The proxy in front of it.
    pub proxy: FaultProxy,
    moto: SocketAddr,
    number: usize,
}

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The queue's URL, as the configuration names it.
    pub url: String,
    arn: String,
}

/// A hosted zone of Route 53 whose TXT records are mirrored into a [`TestDns`], so that a CA truly sees them: every
/// change that goes through the proxy is there before it is answered.
#[derive(Debug)]
pub struct HostedZone {
    /// Its id.
    pub id: String,
    moto: SocketAddr,
}

impl TestMoto {
    /// The AWS of this test.
    pub async fn start() -> Self {
        static SHARED: OnceLock<(SocketAddr, Double)> = OnceLock::new();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (moto, _) = SHARED.get_or_init(|| {
            let port = free_port();
            let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
            let double = Double::start(&tool("bin/moto_server"), arguments, &[]);
            (([127, 0, 0, 1], port).into(), double)
        });
        eventually("moto answers", Duration::from_secs(60), async || {
            let request = Message::request("GET", "/moto-api/data.json", "localhost", "");
            http::ask(*moto, &request).await.ok()
        })
        .await;
        Self {
            proxy: FaultProxy::before(*moto).await,
            moto: *moto,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Its URL, through the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Past the proxy.
    pub fn address(&self) -> SocketAddr {
        self.moto
    }

    /// The only region.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// A name that no other test has.
    pub fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.number)
    }

    /// The environment variables that an AWS client needs.
    pub fn environment(&self) -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            // Nobody shall wait for the address of an instance's metadata.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// Makes a bucket of this test.
    pub async fn bucket(&self) -> String {
        self.bucket_named("bucket").await
    }

    /// Makes one more.
    pub async fn bucket_named(&self, what: &str) -> String {
        let name = self.name(what);
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        self.ask(
            "s3",
            Message::request("PUT", &format!("/{name}"), "localhost", body),
        )
        .await;
        name
    }

    /// Writes an object.
    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        let request = Message::request("PUT", &format!("/{bucket}/{key}"), "localhost", body);
        self.ask("s3", request).await;
    }

    /// Writes a pair as `chain.pem` and `key.pem`.
    pub async fn put_pair(&self, bucket: &str, pair: &Pair) {
        self.put(bucket, "chain.pem", pair.chain.as_str()).await;
        self.put(bucket, "key.pem", pair.key.as_str()).await;
    }

    /// Removes an object.
    pub async fn delete(&self, bucket: &str, key: &str) {
        let path = format!("/{bucket}/{key}");
        self.ask("s3", Message::request("DELETE", &path, "localhost", ""))
            .await;
    }

    /// Makes a secret, or gives it a new current version.
    pub async fn put_secret(&self, name: &str, text: &str) {
        let known = self.secrets("DescribeSecret", json!({ "SecretId": name })).await;
        let (action, key) = match known.status() {
            200 => ("PutSecretValue", "SecretId"),
            _ => ("CreateSecret", "Name"),
        };
        let body = json!({ key: name, "SecretString": text });
        let mut answer = self.secrets(action, body.clone()).await;
        // moto walks over its secrets while another call adds one: now and then that ends in 500, and nothing was done.
        for _ in 0..5 {
            if answer.status() != 500 {
                break;
            }
            answer = self.secrets(action, body.clone()).await;
        }
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// A pair as a secret's JSON, in the default fields.
    pub async fn put_pair_secret(&self, name: &str, pair: &Pair) {
        let text = json!({ "certificate": pair.chain, "private_key": pair.key }).to_string();
        self.put_secret(name, &text).await;
    }

    /// Removes a secret for good.
    pub async fn delete_secret(&self, name: &str) {
        let body = json!({ "SecretId": name, "ForceDeleteWithoutRecovery": true });
        let answer = self.secrets("DeleteSecret", body).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    async fn secrets(&self, action: &str, body: Value) -> Message {
        let target = format!("secretsmanager.{action}");
        let request = Message::request("POST", "/", "localhost", body.to_string())
            .with("x-amz-target", &target)
            .with("content-type", "application/x-amz-json-1.1");
        self.send("secretsmanager", request).await
    }

    /// A queue that gets a message for each new object of a bucket.
    pub async fn queue(&self, bucket: &str) -> Queue {
        let name = self.name("queue");
        let created = self.queues("CreateQueue", json!({ "QueueName": name })).await;
        let url = created["QueueUrl"].as_str().unwrap().to_owned();
        let wanted = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let attributes = self.queues("GetQueueAttributes", wanted).await;
        let arn = attributes["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
        let body = format!(
            "<NotificationConfiguration><QueueConfiguration><Queue>{arn}</Queue>\
             <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>"
        );
        let path = format!("/{bucket}?notification");
        self.ask("s3", Message::request("PUT", &path, "localhost", body))
            .await;
        // moto names its own address; the gateway must come through the proxy.
        let path = url.splitn(4, '/').nth(3).unwrap();
        let url = format!("{}/{path}", self.endpoint());
        Queue { url, arn }
    }

    async fn queues(&self, action: &str, body: Value) -> Value {
        let request = Message::request("POST", "/", "localhost", body.to_string())
            .with("x-amz-target", &format!("AmazonSQS.{action}"))
            .with("content-type", "application/x-amz-json-1.0");
        let answer = self.ask("sqs", request).await;
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// A public hosted zone whose TXT records appear in `dns`.
    pub async fn hosted_zone(&self, name: &str, dns: &TestDns) -> HostedZone {
        let reference = rand::random::<u64>();
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}.</Name>\
             <CallerReference>{reference}</CallerReference></CreateHostedZoneRequest>"
        );
        let request = Message::request("POST", "/2013-04-01/hostedzone", "localhost", body);
        let created = self.ask("route53", request).await.text();
        let id = between(&created, "<Id>/hostedzone/", "</Id>")
            .next()
            .unwrap()
            .to_owned();
        let bridge = Arc::new(Bridge {
            moto: self.moto,
            zone: id.clone(),
            dns: dns.mirror(),
            shown: Mutex::default(),
        });
        let changes = format!("POST /2013-04-01/hostedzone/{id}/rrset");
        self.proxy
            .after(&changes, move || Arc::clone(&bridge).mirror().boxed());
        HostedZone { id, moto: self.moto }
    }

    async fn ask(&self, service: &str, request: Message) -> Message {
        let start = request.start.clone();
        let answer = self.send(service, request).await;
        assert!(answer.status() < 300, "{start}: {}", answer.text());
        answer
    }

    /// Past the proxy: what a test does is neither counted nor spoiled.
    async fn send(&self, service: &str, request: Message) -> Message {
        http::ask(self.moto, &signed(service, request)).await.unwrap()
    }
}

impl Queue {
    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }
}

impl HostedZone {
    /// The TXT records in it: name without the dot at the end, and value without quotes.
    pub async fn txt(&self) -> Vec<(String, String)> {
        txt_records(self.moto, &self.id).await.expect("moto answers")
    }
}

/// moto finds the service in the scope of the signature, and looks no further.
fn signed(service: &str, request: Message) -> Message {
    let scope = format!("Credential=test/20260101/{REGION}/{service}/aws4_request");
    let rest = "SignedHeaders=host;x-amz-date, Signature=00";
    request.with("authorization", &format!("AWS4-HMAC-SHA256 {scope}, {rest}"))
}

async fn txt_records(moto: SocketAddr, zone: &str) -> Option<Vec<(String, String)>> {
    let path = format!("/2013-04-01/hostedzone/{zone}/rrset");
    let request = signed("route53", Message::request("GET", &path, "localhost", ""));
    let page = http::ask(moto, &request).await.ok()?.text();
    let mut found = Vec::new();
    for set in between(&page, "<ResourceRecordSet>", "</ResourceRecordSet>") {
        let name = between(set, "<Name>", "</Name>").next()?.trim_end_matches('.');
        if between(set, "<Type>", "</Type>").next()? != "TXT" {
            continue;
        }
        for value in between(set, "<Value>", "</Value>") {
            let value = value.replace("&quot;", "\"");
            found.push((name.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    Some(found)
}

/// From a hosted zone to a DNS server.
#[derive(Debug)]
struct Bridge {
    moto: SocketAddr,
    zone: String,
    dns: crate::dns::Mirror,
    shown: Mutex<Vec<(String, String)>>,
}

impl Bridge {
    /// Makes the DNS server say what the hosted zone says now.
    async fn mirror(self: Arc<Self>) {
        let mut shown = self.shown.lock().await;
        let now = txt_records(self.moto, &self.zone).await.expect("moto answers");
        self.dns.show(&shown, &now).await;
        *shown = now;
    }
}

fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split(close).next())
}
