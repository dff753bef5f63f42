//! Pebble and its DNS server as child processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::super::http::Http;
use super::{DEADLINE, TestPlace, answer_http, answer_tls_alpn};
use crate::config::Ca;
use crate::ports::{free_address, free_port};

/// Settings of Pebble.
#[derive(Default)]
pub(super) struct PebbleSettings {
    /// Number of nonces out of a hundred that are refused.
    pub(super) bad_nonces: u8,
    /// Key identifier and HMAC key: if set, only bound accounts are accepted.
    pub(super) external_account: Option<(&'static str, &'static str)>,
    pub(super) alternate_roots: u8,
    /// Certificates of issuers below the root, beside the first.
    pub(super) further_issuers: u8,
    pub(super) caa_identities: Vec<&'static str>,
    /// A name that was validated once is not validated again.
    pub(super) trusts_earlier_proofs: bool,
}

/// A running Pebble, and a place that orders from it.
pub(super) struct Pebble {
    pub(super) dns: Arc<PebbleDns>,
    ca_file: PathBuf,
    api: SocketAddr,
    management: SocketAddr,
    tls_port: u16,
    http_port: u16,
    settings: PebbleSettings,
    folder: TempDir,
    process: Child,
}

/// `pebble-challtestsrv`: every name leads to 127.0.0.1.
pub(super) struct PebbleDns {
    pub(super) address: SocketAddr,
    management: SocketAddr,
    http: Http,
    _process: Child,
}

impl Pebble {
    pub(super) async fn start() -> Self {
        Self::with(PebbleSettings::default()).await
    }

    pub(super) async fn with(settings: PebbleSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = certificates(folder.path());
        let dns = Arc::new(PebbleDns::start(folder.path(), &ca_file).await);
        let (api, management) = (free_address(), free_address());
        let (tls_port, http_port) = (free_port(), free_port());
        let external = settings.external_account;
        let keys: serde_json::Map<String, Value> = external
            .iter()
            .map(|(kid, key)| ((*kid).to_owned(), json!(key)))
            .collect();
        let config = json!({ "pebble": {
            "listenAddress": api.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": folder.path().join("api.pem"),
            "privateKey": folder.path().join("api.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": external.is_some(),
            "externalAccountMACKeys": keys,
            "caaIdentities": settings.caa_identities,
            "domainBlocklist": ["blocked.example"],
            "retryAfter": { "authz": 0, "order": 0 },
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": { "description": "ninety days", "validityPeriod": 7_776_000 },
                "shortlived": { "description": "six days", "validityPeriod": 518_400 },
            },
        }});
        fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let process = spawn(folder.path(), dns.address, &settings);
        let pebble = Self {
            dns,
            ca_file,
            api,
            management,
            tls_port,
            http_port,
            settings,
            folder,
            process,
        };
        pebble.answers().await;
        pebble
    }

    pub(super) async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Restarts Pebble: it has forgotten all accounts and orders.
    pub(super) async fn restart(&mut self) {
        self.stop().await;
        self.process = spawn(self.folder.path(), self.dns.address, &self.settings);
        self.answers().await;
    }

    /// Makes a place with a state directory of its own, and answers on both ports. There is one for each Pebble.
    pub(super) fn place(&self) -> TestPlace {
        let place = TestPlace::new(&self.dns);
        answer_tls_alpn(self.tls_port, &place.challenges);
        answer_http(self.http_port, &place.challenges);
        place
    }

    pub(super) fn ca(&self) -> Ca {
        Ca {
            name: "pebble".to_owned(),
            directory: format!("https://localhost:{}/dir", self.api.port()),
            ca_file: Some(self.ca_file.clone()),
            contact: vec!["ops@example.com".to_owned()],
            profile: None,
            external_account: None,
        }
    }

    /// Number of orders that exist at Pebble.
    pub(super) fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// Number of accounts that were registered.
    pub(super) fn accounts(&self) -> usize {
        self.log().matches("accounts in memory").count()
    }

    /// Number of requests for this path.
    pub(super) fn posts(&self, path: &str) -> usize {
        self.log().matches(&format!("POST {path}")).count()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pebble.log")).unwrap()
    }

    pub(super) async fn manage(&self, method: Method, path: &str, body: &str) -> String {
        let http = Http::new(&self.ca().directory, Some(&self.ca_file))
            .await
            .unwrap();
        send(&http, method, &format!("https://{}{path}", self.management), body).await
    }

    async fn answers(&self) {
        let http = Http::new(&self.ca().directory, Some(&self.ca_file))
            .await
            .unwrap();
        until_answers(&http, &self.ca().directory).await;
        until_answers(&http, &format!("https://{}/roots/0", self.management)).await;
    }
}

impl PebbleDns {
    async fn start(folder: &Path, ca_file: &Path) -> Self {
        let (address, management) = (free_address(), free_address());
        let process = Command::new(tool("pebble-challtestsrv"))
            .args(["-dnsserver", &address.to_string()])
            .args(["-management", &management.to_string()])
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-doh",
                "",
                "-defaultIPv6",
                "",
            ])
            .stdin(Stdio::null())
            .stdout(log(folder, "dns.log"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let dns = Self {
            address,
            management,
            http: Http::new(&format!("http://{management}"), Some(ca_file))
                .await
                .unwrap(),
            _process: process,
        };
        until_answers(&dns.http, &format!("http://{management}/")).await;
        dns
    }

    pub(super) async fn add_txt(&self, name: &str, value: &str) {
        self.post("/set-txt", &json!({ "host": format!("{name}."), "value": value }))
            .await;
    }

    pub(super) async fn clear_txt(&self, name: &str) {
        self.post("/clear-txt", &json!({ "host": format!("{name}.") }))
            .await;
    }

    pub(super) async fn post(&self, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.management);
        send(&self.http, Method::POST, &url, &body.to_string()).await;
    }
}

fn spawn(folder: &Path, dns: SocketAddr, settings: &PebbleSettings) -> Child {
    Command::new(tool("pebble"))
        .arg("-config")
        .arg(folder.join("pebble.json"))
        .args(["-strict", "-dnsserver", &dns.to_string()])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env(
            "PEBBLE_AUTHZREUSE",
            if settings.trusts_earlier_proofs {
                "100"
            } else {
                "0"
            },
        )
        .env("PEBBLE_WFE_NONCEREJECT", settings.bad_nonces.to_string())
        .env("PEBBLE_ALTERNATE_ROOTS", settings.alternate_roots.to_string())
        .env("PEBBLE_CHAIN_LENGTH", (1 + settings.further_issuers).to_string())
        .stdin(Stdio::null())
        .stdout(log(folder, "pebble.log"))
        .stderr(log(folder, "pebble.err"))
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn log(folder: &Path, name: &str) -> fs::File {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(name))
        .unwrap()
}

fn tool(name: &str) -> PathBuf {
    let tools = match std::env::var_os("H2GATE_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools"),
    };
    let path = tools.join("bin").join(name);
    assert!(
        path.exists(),
        "{}: not there; scripts/install-tools installs it",
        path.display()
    );
    path
}

/// Makes a CA, and a certificate of it for the interface of Pebble.
fn certificates(folder: &Path) -> PathBuf {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    fs::write(folder.join("api.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("api.key"), key.serialize_pem()).unwrap();
    let file = folder.join("ca.pem");
    fs::write(&file, ca.as_ref().pem()).unwrap();
    file
}

async fn until_answers(http: &Http, url: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match http.call("test", Method::GET, url, String::new()).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "{url} does not answer: {error}"),
        }
        sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn send(http: &Http, method: Method, url: &str, body: &str) -> String {
    let answer = http.call("test", method, url, body.to_owned()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let status = answer.head.status;
    assert!(status.is_success(), "{url}: {status} {text}");
    text
}
