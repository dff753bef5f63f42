//! A CA whose answers a test gives.

use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use super::*;

/// Header fields of an answer.
type HeaderFields = [(&'static str, &'static str)];
type ScriptedResponse = (u16, Vec<(&'static str, &'static str)>, String);

/// A scripted CA on this machine, without TLS. `<ca>` in its answers is its own URL.
pub(super) struct Scripted {
    pub(super) folder: TempDir,
    address: SocketAddr,
    resolver: SocketAddr,
    asked: Arc<Mutex<Vec<CaRequest>>>,
}

impl Scripted {
    /// Starts the CA. Requests that `script` does not answer are answered as by a CA without errors: it issues
    /// [`CHAIN`] and asks for no validation.
    pub(super) fn start(
        script: impl Fn(&CaRequest) -> Option<ScriptedResponse> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        listen(listener, move |mut stream| {
            let Some(asked) = CaRequest::read(&mut stream) else {
                return;
            };
            all.lock().unwrap().push(asked.clone());
            let (status, fields, body) = script(&asked).unwrap_or_else(|| well(&asked));
            let here = |text: &str| text.replace("<ca>", &format!("http://{address}"));
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, here(value))).collect();
            fields.push(("Replay-Nonce", "nonce".to_owned()));
            let body = if asked.method == "HEAD" {
                String::new()
            } else {
                here(&body)
            };
            reply(&mut stream, status, &fields, &body);
        });
        Self {
            folder: tempfile::tempdir().unwrap(),
            address,
            resolver: answer_that_no_name_exists(),
            asked,
        }
    }

    /// Starts a CA that answers requests for `path` like this.
    pub(super) fn answering(path: &'static str, status: u16, fields: &HeaderFields, body: &str) -> Self {
        let (fields, body) = (fields.to_vec(), body.to_owned());
        Self::start(move |asked| (asked.path == path).then(|| (status, fields.clone(), body.clone())))
    }

    /// Starts a CA whose order for `a.example.com` has this status. Each of its authorizations is this one.
    pub(super) fn with_order(status: &'static str, authorizations: usize, authorization: &Value) -> Self {
        let authorization = authorization.to_string();
        Self::start(move |asked| {
            let urls: Vec<String> = (0..authorizations)
                .map(|number| format!("<ca>/authorization?{number}"))
                .collect();
            let order = json!({ "status": status, "finalize": "<ca>/finalize", "authorizations": urls });
            match asked.path.as_str() {
                "/new-order" => Some((201, vec![("Location", "<ca>/order")], order.to_string())),
                path if path.starts_with("/authorization") => Some((200, Vec::new(), authorization.clone())),
                _ => None,
            }
        })
    }

    pub(super) fn source(&self) -> AcmeSource {
        let ca = Ca {
            name: "scripted".to_owned(),
            directory: format!("http://{}/directory", self.address),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        AcmeSource {
            cas: vec![ca],
            challenge: Challenge::TlsAlpn01,
            key: KeyType::EcdsaP256,
            preferred_chain: None,
            resolvers: vec![self.resolver],
            min_interval: Duration::from_secs(3_600),
            first_retry: Duration::from_secs(60),
        }
    }

    /// Orders by this source and request.
    pub(super) async fn issue_as(
        &self,
        source: &AcmeSource,
        request: &Request,
    ) -> Result<Issued, IssueError> {
        let shared = shared(open(&self.folder), Challenges::default(), 1);
        let mut client = Client::new(source, &shared);
        client.max_wait = Duration::from_secs(1);
        client.issue(request).await
    }

    /// Orders a certificate for `a.example.com`. The name does not resolve, about which the self-check only warns.
    pub(super) async fn issue(&self) -> Result<Issued, IssueError> {
        self.issue_as(&self.source(), &request("a", &["a.example.com"]))
            .await
    }

    /// The error of [`Scripted::issue`].
    pub(super) async fn error(&self) -> IssueError {
        self.issue().await.err().unwrap()
    }

    /// Number of requests for this path.
    pub(super) fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path).count()
    }

    pub(super) fn asked(&self) -> Vec<CaRequest> {
        self.asked.lock().unwrap().clone()
    }
}

/// The chain that the CA issues: it is not proved here.
pub(super) const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn well(asked: &CaRequest) -> ScriptedResponse {
    match asked.path.as_str() {
        "/directory" => {
            let body = json!({
                "newNonce": "<ca>/new-nonce", "newAccount": "<ca>/new-account", "newOrder": "<ca>/new-order",
                "keyChange": "<ca>/key-change", "revokeCert": "<ca>/revoke", "renewalInfo": "<ca>/renewal-info",
                "meta": { "profiles": { "classic": "ninety days", "shortlived": "six days" } },
            });
            (200, Vec::new(), body.to_string())
        }
        "/new-nonce" => (200, Vec::new(), String::new()),
        "/new-account" => (201, vec![("Location", "<ca>/account")], "{}".to_owned()),
        // Some CAs repeat neither the profile nor the replaced certificate.
        "/new-order" | "/order" => {
            let order = json!({ "status": "ready", "finalize": "<ca>/finalize", "authorizations": [] });
            let status = if asked.path == "/order" { 200 } else { 201 };
            (status, vec![("Location", "<ca>/order")], order.to_string())
        }
        "/finalize" => {
            let order = json!({
                "status": "valid", "finalize": "<ca>/finalize", "authorizations": [],
                "certificate": "<ca>/certificate",
            });
            (200, Vec::new(), order.to_string())
        }
        "/certificate" => (200, Vec::new(), CHAIN.to_owned()),
        _ => (404, Vec::new(), String::new()),
    }
}

/// Answers DNS questions until the process ends. RFC 1035 §4.1.1: the question comes back with the response code 3.
fn answer_that_no_name_exists() -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut packet) {
            packet[2] |= 0x80;
            packet[3] = 0x83;
            let _ = socket.send_to(&packet[..length], asker);
        }
    });
    address
}
