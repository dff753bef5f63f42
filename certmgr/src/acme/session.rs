//! A conversation with one CA: its directory, and calls that survive refused nonces.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response};
use http_body_util::Full;
use instant_acme::{BytesResponse, HttpClient};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::http::{Body, Head, Http};
use super::jws::Signer;
use super::problem::{Cause, Trouble, quoted};
use crate::config::Ca;

/// How often one request is sent again because its nonce was refused, each with up to three by `instant_acme`.
/// A CA that refuses one in two gets through more than this once in 10¹⁰ requests.
const MAX_NONCE_ROUNDS: u32 = 12;

/// As above, for requests that we sign ourselves.
const MAX_NONCES: u32 = 36;

/// What a CA offers, and where (RFC 8555 §7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    pub(super) key_change: Option<String>,
    /// RFC 9773 §4.1.
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// What a CA says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) terms_of_service: Option<String>,
    /// The names by which CAA records may allow it.
    pub(super) caa_identities: Vec<String>,
    pub(super) external_account_required: bool,
    /// Names, with a sentence about each.
    pub(super) profiles: BTreeMap<String, String>,
}

/// A conversation. It ends with the attempt that it serves: the next one reads the directory again.
pub(super) struct Session {
    pub(super) ca: Ca,
    pub(super) directory: Directory,
    line: Arc<Line>,
}

/// The way to the CA, and what the last answer said that `instant_acme` does not pass on. One call at a time.
struct Line {
    http: Http,
    /// What the directory says, for `instant_acme`, which wants to read it itself.
    directory: Bytes,
    directory_url: String,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    kind: &'static str,
    head: Head,
}

/// One act of `instant_acme`, done again while the CA refuses our nonces. The second argument names the
/// endpoint. A macro, because the future of each round borrows anew what the act changes.
macro_rules! act {
    ($session:expr, $kind:literal, $act:expr) => {{
        let mut tries = $session.tries($kind);
        loop {
            if let Some(ended) = tries.judge($act.await) {
                break ended;
            }
        }
    }};
}
pub(super) use act;

/// The rounds of one act.
pub(super) struct Tries<'a> {
    session: &'a Session,
    rounds: u32,
}

/// What `instant_acme` sends its requests by.
struct Sender(Arc<Line>);

impl Session {
    pub(super) async fn open(ca: &Ca) -> Result<Self, Trouble> {
        let http = Http::new(&ca.directory, ca.ca_file.as_deref()).await?;
        let answer = get(&http, &ca.directory, "directory").await?;
        let bytes = answer.body().clone();
        let directory = parse(&answer, "the directory")?;
        let line = Line {
            http,
            directory: bytes,
            directory_url: ca.directory.clone(),
            last: Mutex::default(),
        };
        Ok(Self {
            ca: ca.clone(),
            directory,
            line: Arc::new(line),
        })
    }

    /// A client for `instant_acme` whose calls run through this session.
    pub(super) fn sender(&self) -> Box<dyn HttpClient> {
        Box::new(Sender(Arc::clone(&self.line)))
    }

    /// The head of the last answer.
    pub(super) fn head(&self) -> Head {
        self.line.last().head.clone()
    }

    /// For [`act!`].
    pub(super) fn tries(&self, kind: &'static str) -> Tries<'_> {
        *self.line.last() = Last {
            kind,
            head: Head::default(),
        };
        Tries {
            session: self,
            rounds: 0,
        }
    }

    /// A request without a signature.
    pub(super) async fn get(&self, kind: &'static str, url: &str) -> Result<Response<Bytes>, Trouble> {
        get(&self.line.http, url, kind).await
    }

    /// A request that we sign ourselves.
    pub(super) async fn post(
        &self,
        kind: &'static str,
        url: &str,
        signer: Signer<'_>,
        payload: Option<&Value>,
    ) -> Result<Response<Bytes>, Trouble> {
        let mut nonce = self.fresh_nonce().await?;
        let mut refused = 0;
        loop {
            let signed = signer
                .sign(url, Some(&nonce), payload)
                .map_err(|bad| Trouble::from(Cause::Key(bad)))?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(url)
                .header(CONTENT_TYPE, "application/jose+json")
                .body(Body::from(signed.to_string().into_bytes()))
                .map_err(|error| Trouble::from(Cause::Nonsense(error.to_string())))?;
            let answer = self.line.http.call(request, kind).await?;
            let next = nonce_of(answer.headers());
            let trouble = match checked(answer) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            refused += 1;
            if !trouble.is("badNonce") || refused == MAX_NONCES {
                return Err(trouble);
            }
            nonce = match next {
                Some(nonce) => nonce,
                None => self.fresh_nonce().await?,
            };
        }
    }

    async fn fresh_nonce(&self) -> Result<String, Trouble> {
        let request = Request::builder()
            .method(Method::HEAD)
            .uri(&self.directory.new_nonce)
            .body(Body::default())
            .map_err(|error| Trouble::from(Cause::Nonsense(error.to_string())))?;
        let answer = checked(self.line.http.call(request, "new-nonce").await?)?;
        nonce_of(answer.headers())
            .ok_or_else(|| Trouble::from(Cause::Nonsense("newNonce gave no nonce".to_owned())))
    }
}

impl Tries<'_> {
    /// The act's end, or `None` if it shall be done again.
    pub(super) fn judge<T>(&mut self, ended: Result<T, instant_acme::Error>) -> Option<Result<T, Trouble>> {
        let trouble = match ended {
            Ok(value) => return Some(Ok(value)),
            Err(error) => Trouble {
                cause: Cause::from(error),
                head: Box::new(self.session.head()),
            },
        };
        self.rounds += 1;
        let again = trouble.is("badNonce") && self.rounds < MAX_NONCE_ROUNDS;
        (!again).then_some(Err(trouble))
    }
}

impl Line {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Sender {
    fn request(
        &self,
        request: Request<Body>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let line = Arc::clone(&self.0);
        Box::pin(async move {
            if request.method() == Method::GET && *request.uri() == *line.directory_url {
                return Ok(BytesResponse::from(Response::new(Full::new(
                    line.directory.clone(),
                ))));
            }
            let kind = match *request.method() {
                Method::HEAD => "new-nonce",
                _ => line.last().kind,
            };
            line.last().head = Head::default();
            let answer = line
                .http
                .call(request, kind)
                .await
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            line.last().head = head(&answer);
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

async fn get(http: &Http, url: &str, kind: &str) -> Result<Response<Bytes>, Trouble> {
    let request = Request::builder()
        .uri(url)
        .body(Body::default())
        .map_err(|error| Trouble::from(Cause::Nonsense(format!("{url}: {error}"))))?;
    checked(http.call(request, kind).await?)
}

/// The body of an answer as the JSON that it should be.
pub(super) fn parse<T: DeserializeOwned>(answer: &Response<Bytes>, what: &str) -> Result<T, Trouble> {
    serde_json::from_slice(answer.body()).map_err(|error| Trouble {
        cause: Cause::Nonsense(format!(
            "{what} is not what it should be: {}",
            quoted(&error.to_string())
        )),
        head: Box::new(head(answer)),
    })
}

pub(super) fn head(answer: &Response<Bytes>) -> Head {
    Head::of(answer.status(), answer.headers(), SystemTime::now()).with_body(answer.body())
}

/// Only success is an answer (RFC 8555 §6.7).
fn checked(answer: Response<Bytes>) -> Result<Response<Bytes>, Trouble> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let cause = match serde_json::from_slice(answer.body()) {
        Ok(problem) => Cause::Problem(problem),
        Err(_) => Cause::Nonsense("an answer that is no problem document".to_owned()),
    };
    Err(Trouble {
        cause,
        head: Box::new(head(&answer)),
    })
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("replay-nonce")?.to_str().ok()?.to_owned())
}
