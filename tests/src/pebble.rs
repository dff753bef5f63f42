use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::http::{self, Message};
use crate::ports::free_address;
use crate::process::Double;
use crate::{FaultProxy, TestCa, TestDns, eventually, free_port, tool};

/// The behaviour of the CA. The default: no bad nonces, no external account, nothing reused, every challenge validated
/// at once.
#[derive(Debug, Clone, Default)]
pub struct PebbleOptions {
    /// Nonces refused, in percent.
    pub bad_nonces: u8,
    /// Accounts must be bound to one of these: key identifier and MAC key.
    pub external_accounts: Vec<(String, String)>,
    /// Roots beside the default one.
    pub alternate_roots: u8,
    /// The names of the CA in CAA records.
    pub caa_identities: Vec<String>,
    /// Names it refuses.
    pub blocked: Vec<String>,
}

/// A CA that truly validates (Pebble, strict), with a [`TestDns`] and behind a [`FaultProxy`] that counts.
///
/// It looks for TLS-ALPN-01 at [`TestPebble::tls_port`] and for HTTP-01 at [`TestPebble::http_port`] of whatever
/// address the DNS names. Profiles: `default` (90 days) and `shortlived` (6 days).
#[derive(Debug)]
pub struct TestPebble {
    /// Its DNS server.
    pub dns: TestDns,
    /// The proxy in front of its ACME interface.
    pub proxy: FaultProxy,
    api: SocketAddr,
    management: SocketAddr,
    tls_port: u16,
    http_port: u16,
    https: Arc<ClientConfig>,
    ca: TestCa,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    double: Double,
}

impl TestPebble {
    /// The default CA.
    pub async fn start() -> Self {
        Self::with(PebbleOptions::default()).await
    }

    /// A CA as asked.
    pub async fn with(options: PebbleOptions) -> Self {
        let (api, management) = (free_address(), free_address());
        let (tls_port, http_port) = (free_port(), free_port());
        let ca = TestCa::new();
        let pair = ca.pair();
        let folder = tempfile::tempdir().unwrap();
        pair.write(folder.path(), "api");
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let keys: Map<String, Value> = options
            .external_accounts
            .iter()
            .map(|(kid, key)| (kid.clone(), key.as_str().into()))
            .collect();
        let config = json!({ "pebble": {
            "listenAddress": api,
            "managementListenAddress": management,
            "certificate": path("api.pem"),
            "privateKey": path("api.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "keyAlgorithm": "ecdsa",
            "externalAccountBindingRequired": !keys.is_empty(),
            "externalAccountMACKeys": keys,
            "caaIdentities": options.caa_identities,
            "domainBlocklist": options.blocked,
            "retryAfter": { "authz": 0, "order": 0 },
            "profiles": {
                "default": { "description": "ninety days", "validityPeriod": 7_776_000 },
                "shortlived": { "description": "six days", "validityPeriod": 518_400 },
            },
        }});
        std::fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let dns = TestDns::start().await;
        let environment = vec![
            ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
            ("PEBBLE_AUTHZREUSE", "0".to_owned()),
            ("PEBBLE_WFE_NONCEREJECT", options.bad_nonces.to_string()),
            ("PEBBLE_ALTERNATE_ROOTS", options.alternate_roots.to_string()),
        ];
        let double = spawn(&folder, &dns, &environment);
        let proxy = FaultProxy::before_tls(api, &pair, &ca).await;
        let pebble = Self {
            dns,
            proxy,
            api,
            management,
            tls_port,
            http_port,
            https: http::https(&ca),
            ca,
            folder,
            environment,
            double,
        };
        pebble.answers().await;
        pebble
    }

    /// URL of its directory, through the proxy.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.proxy.address().port())
    }

    /// URL of its directory, past the proxy.
    pub fn directory_past_the_proxy(&self) -> String {
        format!("https://localhost:{}/dir", self.api.port())
    }

    /// The authority of its own interface, and of the proxy's.
    pub fn ca_file(&self) -> PathBuf {
        self.ca.file()
    }

    /// The port at which it validates TLS-ALPN-01.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The port at which it validates HTTP-01.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The roots that its certificates lead to; others after each restart.
    pub async fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root(0).await).unwrap();
        Arc::new(roots)
    }

    /// One of its roots; 0 is the default one.
    pub async fn root(&self, position: u8) -> CertificateDer<'static> {
        let answer = self.manage("GET", &format!("/roots/{position}"), "").await;
        CertificateDer::from_pem_slice(&answer.body).unwrap()
    }

    /// Number of attempts to place an order. Those that the CA refused count too: bad nonces, for one.
    pub fn order_requests(&self) -> usize {
        self.proxy.count("POST /order-plz")
    }

    /// Number of orders that the CA has made.
    pub fn orders(&self) -> usize {
        self.double.log().count(&["Added order", "to the db"])
    }

    /// Number of certificates that the CA has issued.
    pub fn issued(&self) -> usize {
        self.double.log().count(&["Issued certificate serial"])
    }

    /// Makes the CA want this certificate (PEM) renewed at once, in each response from now on (RFC 9773).
    pub async fn advise_renewal_now(&self, certificate: &str) {
        let answer =
            r#"{"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}"#;
        let body = json!({ "Certificate": certificate, "ARIResponse": answer }).to_string();
        self.manage("POST", "/set-renewal-info/", &body).await;
    }

    /// The certificate of this serial number is valid, or revoked.
    pub async fn certificate_status(&self, serial: u64) -> String {
        let path = format!("/cert-status-by-serial/{serial:x}");
        let answer = self.manage("GET", &path, "").await;
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        status["Status"].as_str().unwrap().to_owned()
    }

    /// Ends it and starts it anew: it has forgotten everything, and has a new root.
    pub async fn restart(&mut self) {
        self.stop();
        self.double = spawn(&self.folder, &self.dns, &self.environment);
        self.answers().await;
    }

    /// Ends it; its proxy stays and resets every connection.
    pub fn stop(&mut self) {
        self.double.stop();
    }

    /// The log that it has written since its start.
    pub fn log(&self) -> String {
        self.double.log().text()
    }

    async fn answers(&self) {
        eventually("Pebble answers", Duration::from_secs(60), async || {
            let request = Message::request("GET", "/roots/0", "localhost", "");
            http::ask_tls(self.management, &self.https, &request).await.ok()?;
            let request = Message::request("GET", "/dir", "localhost", "");
            http::ask_tls(self.api, &self.https, &request).await.ok()
        })
        .await;
    }

    async fn manage(&self, method: &str, path: &str, body: &str) -> Message {
        // RFC 8555 §6.1 wants the field, and Pebble insists.
        let request = Message::request(method, path, "localhost", body).with("user-agent", "e2e");
        let answer = http::ask_tls(self.management, &self.https, &request)
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer
    }
}

impl Drop for TestPebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Pebble ---\n{}", self.double.log().tail(40));
        }
    }
}

fn spawn(folder: &TempDir, dns: &TestDns, environment: &[(&'static str, String)]) -> Double {
    let config = folder.path().join("pebble.json");
    let arguments = ["-strict", "-config", config.to_str().unwrap(), "-dnsserver"].map(str::to_owned);
    let arguments = arguments.into_iter().chain([dns.address().to_string()]);
    Double::start(&tool("bin/pebble"), arguments, environment)
}
