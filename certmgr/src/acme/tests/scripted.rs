//! A CA that says what a test wants it to say.

use std::net::SocketAddr;

use serde_json::json;

use super::*;

type Answer = (u16, Vec<(&'static str, &'static str)>, String);

/// It answers on this machine, without TLS; `ORDER` and `AUTHORIZATION` in its answers are URLs.
pub(super) struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    folder: TempDir,
}

impl Scripted {
    /// What `script` does not answer is answered as by a CA where all is well.
    pub(super) fn start(script: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        listen(listener, move |mut stream| {
            let Some(asked) = Asked::read(&mut stream) else {
                return;
            };
            all.lock().unwrap().push(asked.clone());
            let (status, fields, body) = script(&asked).unwrap_or_else(|| well(&asked, address));
            let urls = |text: &str| {
                text.replace("ORDER", &format!("http://{address}/order"))
                    .replace("AUTHORIZATION", &format!("http://{address}/authorization"))
            };
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, urls(value))).collect();
            fields.push(("Replay-Nonce", "nonce".to_owned()));
            let body = if asked.method == "HEAD" {
                String::new()
            } else {
                urls(&body)
            };
            reply(&mut stream, status, &fields, &body);
        });
        Self {
            address,
            asked,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Orders a certificate for `a.example.com`. No DNS answers to the self-check, which only warns.
    pub(super) async fn issue(&self) -> Result<Issued, IssueError> {
        let authority = Authority {
            name: "scripted".to_owned(),
            directory: format!("http://{}/directory", self.address),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        let wishes = AcmeSource {
            authorities: vec![authority],
            challenge: Challenge::TlsAlpn01,
            key: KeyType::EcdsaP256,
            preferred_chain: None,
            resolvers: vec![self.address],
            min_interval: Duration::from_secs(3_600),
            first_retry: Duration::from_secs(60),
        };
        let shared = Shared::new(open(&self.folder), Challenges::default(), 1);
        Client::new(&wishes, &shared)
            .issue(&request("a", &["a.example.com"]))
            .await
    }

    /// How often this path was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == path).count()
    }
}

fn well(asked: &Asked, address: SocketAddr) -> Answer {
    let url = |path: &str| format!("http://{address}{path}");
    match asked.path.as_str() {
        "/directory" => {
            let body = json!({
                "newNonce": url("/new-nonce"), "newAccount": url("/new-account"), "newOrder": url("/new-order"),
            });
            (200, Vec::new(), body.to_string())
        }
        "/new-nonce" => (200, Vec::new(), String::new()),
        "/new-account" => (201, vec![("Location", "ORDER")], "{}".to_owned()),
        _ => (404, Vec::new(), String::new()),
    }
}
