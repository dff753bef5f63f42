//! The issuer against Pebble, a real CA for tests, and against answers that no CA for tests gives. This file has the
//! vocabulary.

mod pebble;
mod scripted;

mod answers;
mod at_once;
mod bounds;
mod crash;
mod limits;
mod orders;
mod standing;
mod unfinished;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use certstore::{CertBundle, Challenges, Name, Requirements, UnixTime, prove};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::sync::Notify;

use self::pebble::PebbleDns;
use super::client::{Client, Shared};
use super::{Issued, Issuer as _, Registrar, Request};
use crate::config::{
    AcmeSource, Ca, Challenge, DnsProvider, ExecHook, ExternalAccount, KeyType, SecretReference,
};
use crate::dns::{TxtRecord, TxtRecords};
use crate::error::{IssueError, IssueFault};
use crate::state::State;
use crate::store::{BoxFuture, Document, Held, Store, StoreError};

/// Time for which a test waits for an event. It is never reached if the code is correct.
const DEADLINE: Duration = Duration::from_secs(60);

tokio::task_local! {
    /// Stops the future that it is set around at one of its steps.
    static STOP: Arc<StepLimit>;
}

/// Lets a future run up to its n-th step, a call to the CA or a write, and no further.
struct StepLimit {
    left: AtomicUsize,
    reached: Notify,
}

/// The code under test calls this before and after each step.
pub(super) async fn step() {
    let Ok(stop) = STOP.try_with(Arc::clone) else {
        return;
    };
    let left = stop
        .left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_err() {
        stop.reached.notify_one();
        std::future::pending::<()>().await;
    }
}

/// Runs a future up to its n-th step and drops it there; `None` if it ended before.
async fn dropped_at<T>(steps: usize, future: impl Future<Output = T>) -> Option<T> {
    let stop = Arc::new(StepLimit {
        left: AtomicUsize::new(steps),
        reached: Notify::new(),
    });
    tokio::select! {
        () = stop.reached.notified() => None,
        ended = STOP.scope(Arc::clone(&stop), future) => Some(ended),
    }
}

/// A state directory, the published answers, and the DNS that the CA asks.
struct TestPlace {
    folder: TempDir,
    state: State,
    challenges: Challenges,
    txt: Arc<TestTxt>,
}

impl TestPlace {
    fn new(dns: &Arc<PebbleDns>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = open(&folder);
        Self {
            folder,
            state,
            challenges: Challenges::default(),
            txt: Arc::new(TestTxt::new(dns)),
        }
    }

    fn client(&self, source: &AcmeSource) -> Client {
        let shared = shared(self.state.clone(), self.challenges.clone(), 4);
        self.client_of(source, &shared)
    }

    fn client_of(&self, source: &AcmeSource, shared: &Arc<Shared>) -> Client {
        Client {
            shared: Arc::clone(shared),
            source: source.clone(),
            txt: match source.challenge {
                Challenge::Dns01(_) => Some(Arc::clone(&self.txt) as Arc<dyn TxtRecords>),
                _ => None,
            },
            max_wait: DEADLINE,
        }
    }

    async fn document(&self, document: &Document) -> Option<String> {
        let bytes = self.state.store.read(document).await.unwrap()?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn note(&self, certificate: &str) -> Option<serde_json::Value> {
        let text = self.document(&Document::Order(certificate.to_owned())).await?;
        Some(serde_json::from_str(&text).unwrap())
    }
}

/// Makes a shared state in which accounts are not counted.
fn shared(state: State, challenges: Challenges, max_orders: usize) -> Arc<Shared> {
    Shared::new(
        state,
        challenges,
        Arc::new(Uncounted),
        max_orders,
        crate::event::Reporter::new(None),
    )
}

struct Uncounted;

impl Registrar for Uncounted {
    fn may_register<'a>(&'a self, _: &'a Ca) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async { Ok(()) })
    }

    fn not_registered<'a>(&'a self, _: &'a Ca) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

fn open(folder: &TempDir) -> State {
    State::open(&folder.path().join("state")).unwrap()
}

/// Writes TXT records to the DNS that Pebble asks, and knows which of them exist.
struct TestTxt {
    dns: Arc<PebbleDns>,
    records: Mutex<BTreeSet<TxtRecord>>,
    /// Number of records that were ever written.
    written: AtomicUsize,
    /// Number of removals that will fail from now on.
    failures: AtomicUsize,
}

impl TestTxt {
    fn new(dns: &Arc<PebbleDns>) -> Self {
        Self {
            dns: Arc::clone(dns),
            records: Mutex::default(),
            written: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    fn left(&self) -> Vec<TxtRecord> {
        self.records.lock().unwrap().iter().cloned().collect()
    }

    /// Publishes all values of these names, as they are wanted now.
    async fn publish(&self, names: BTreeSet<String>) {
        for name in names {
            self.dns.clear_txt(&name).await;
            for record in self.left().iter().filter(|record| record.name == name) {
                self.dns.add_txt(&record.name, &record.value).await;
            }
        }
    }
}

impl TxtRecords for TestTxt {
    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            step().await;
            self.written.fetch_add(records.len(), Ordering::SeqCst);
            self.records.lock().unwrap().extend(records.iter().cloned());
            self.publish(records.iter().map(|record| record.name.clone()).collect())
                .await;
            step().await;
            Ok(())
        })
    }

    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            step().await;
            let fails = self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(IssueError {
                    class: IssueFault::Dns,
                    ca: String::new(),
                    text: "the provider is asleep".to_owned(),
                    remedy: "wake it".to_owned(),
                    retry_after: None,
                });
            }
            self.records
                .lock()
                .unwrap()
                .retain(|record| !records.contains(record));
            self.publish(records.iter().map(|record| record.name.clone()).collect())
                .await;
            step().await;
            Ok(())
        })
    }
}

/// Makes a source that orders from this CA.
fn source(ca: Ca, challenge: Challenge, dns: &PebbleDns) -> AcmeSource {
    AcmeSource {
        cas: vec![ca],
        challenge,
        key: KeyType::EcdsaP256,
        preferred_chain: None,
        resolvers: vec![dns.address],
        min_interval: Duration::from_secs(3_600),
        first_retry: Duration::from_secs(60),
    }
}

fn dns_01() -> Challenge {
    Challenge::Dns01(DnsProvider::Exec(ExecHook {
        command: vec!["/bin/false".to_owned()],
        timeout: DEADLINE,
        propagation: Duration::ZERO,
    }))
}

pub(super) fn request(certificate: &str, domains: &[&str]) -> Request {
    Request {
        certificate: certificate.to_owned(),
        domains: domains
            .iter()
            .map(|domain| Name::parse(domain).unwrap())
            .collect(),
        key: KeyType::EcdsaP256,
        ca: 0,
        replaces: None,
        limiter: None,
    }
}

/// Asserts that the issued pair may serve for all names that were asked for.
fn assert_serves(issued: &Issued, domains: &[&str]) -> CertBundle {
    let parse = || CertBundle::parse(&issued.pair.chain, &issued.pair.key).unwrap();
    let profile = Requirements {
        domains: domains
            .iter()
            .map(|domain| Name::parse(domain).unwrap())
            .collect(),
        ..Requirements::default()
    };
    prove(parse(), &profile, UnixTime::now()).unwrap();
    parse()
}

/// Issues as the task of a certificate does: it waits for a permit first.
async fn issue(client: &Client, request: &Request) -> Result<Issued, IssueError> {
    let issued = async {
        let _permit = client.order_permit().await;
        client.issue(request).await
    };
    tokio::time::timeout(DEADLINE, issued)
        .await
        .expect("the order takes too long")
}

/// Answers TLS-ALPN-01 as a gateway would (RFC 8737), until the process ends.
fn answer_tls_alpn(port: u16, challenges: &Challenges) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ChallengeResolver(challenges.clone())));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let config = Arc::new(config);
    listen(
        TcpListener::bind(("127.0.0.1", port)).unwrap(),
        move |mut stream| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = session.complete_io(&mut stream);
        },
    );
}

/// Answers HTTP-01, until the process ends.
fn answer_http(port: u16, challenges: &Challenges) {
    let challenges = challenges.clone();
    listen(
        TcpListener::bind(("127.0.0.1", port)).unwrap(),
        move |mut stream| {
            let Some(asked) = CaRequest::read(&mut stream) else {
                return;
            };
            let token = asked
                .path
                .strip_prefix("/.well-known/acme-challenge/")
                .unwrap_or_default();
            match challenges.http(token) {
                Some(answer) => reply(&mut stream, 200, &[], &answer),
                None => reply(&mut stream, 404, &[], ""),
            }
        },
    );
}

/// An HTTP request, as far as tests look at it.
#[derive(Debug, Clone)]
struct CaRequest {
    method: String,
    path: String,
    agent: String,
    body: Vec<u8>,
}

impl CaRequest {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let (mut length, mut agent) = (0, String::new());
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(("user-agent", value)) => value.clone_into(&mut agent),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            method,
            path,
            agent,
            body,
        })
    }

    /// The payload of the signed request.
    fn payload(&self) -> serde_json::Value {
        let signed: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap());
        serde_json::from_slice(&payload.unwrap()).unwrap()
    }
}

fn reply(stream: &mut TcpStream, status: u16, fields: &[(&str, String)], body: &str) {
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = write!(stream, "{head}\r\n{body}");
}

/// Serves each connection on a thread, until the process ends.
fn listen(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            let _ = stream.set_read_timeout(Some(DEADLINE));
            std::thread::spawn(move || serve(stream));
        }
    });
}

#[derive(Debug)]
struct ChallengeResolver(Challenges);

impl ResolvesServerCert for ChallengeResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.tls_alpn(hello.server_name()?)
    }
}
