//! A session with one CA: its directory, and calls that survive refused nonces.

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

/// Number of times that one act is done while its nonce is refused, each with up to three requests by `instant_acme`.
/// A CA that refuses one nonce in two gets beyond this once in 10¹⁰ requests.
const MAX_NONCE_ROUNDS: u32 = 12;

/// Number of times that a request which we sign ourselves is sent while its nonce is refused.
const MAX_NONCES: u32 = 36;

/// The resources that a CA offers, with their URLs (RFC 8555 §7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    pub(super) key_change: Option<String>,
    /// URL of the renewal information (RFC 9773 §4.1).
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// The facts that a CA gives about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) terms_of_service: Option<String>,
    /// The domain names by which CAA records may allow the CA.
    pub(super) caa_identities: Vec<String>,
    pub(super) external_account_required: bool,
    /// Names of the profiles, with a sentence about each.
    pub(super) profiles: BTreeMap<String, String>,
}

/// A session with one CA.
///
/// It has the directory as it was when the session was opened. For an order it ends with the attempt: the next
/// attempt reads the directory again. The caller runs one [`act!`] at a time, because [`Session::head`] is that of
/// the last answer to `instant_acme`. [`Session::get`] and [`Session::post`] return their answers, and may run beside
/// each other.
///
/// Each request is bounded by [`Http`] in time and size, and is sent again only while the CA refuses its nonce. Every
/// other error is a [`Trouble`] at once. After a call without an answer, or one that was dropped, the CA may have
/// acted.
pub(super) struct Session {
    pub(super) ca: Ca,
    pub(super) directory: Directory,
    line: Arc<Line>,
}

/// The connection to the CA, with the head of the last answer, which `instant_acme` does not pass on.
struct Line {
    http: Http,
    /// Body of the directory, for `instant_acme`, which wants to read it itself.
    directory: Bytes,
    directory_url: String,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    kind: &'static str,
    head: Head,
}

/// Runs one act of `instant_acme`, again while the CA refuses our nonces. The second argument names the endpoint. A
/// macro, because the future of each round borrows anew what the act changes.
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

/// The HTTP client that `instant_acme` sends its requests by.
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

    /// Makes the HTTP client of `instant_acme`, whose calls run through this session.
    pub(super) fn sender(&self) -> Box<dyn HttpClient> {
        Box::new(Sender(Arc::clone(&self.line)))
    }

    /// Head of the last answer to `instant_acme`; the default if there was none.
    pub(super) fn head(&self) -> Head {
        self.line.last().head.clone()
    }

    /// Begins the rounds of an [`act!`].
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

    /// Sends a request without a signature.
    pub(super) async fn get(&self, kind: &'static str, url: &str) -> Result<Response<Bytes>, Trouble> {
        get(&self.line.http, url, kind).await
    }

    /// Sends a request that we sign ourselves, with another nonce while the CA refuses one.
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
    /// Returns the result of the act, or `None` if it is to be done again.
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

/// Parses the body of an answer as JSON. `what` names it in the error.
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

/// Returns the answer if its status is success; else the problem in it (RFC 8555 §6.7).
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
