//! HTTPS calls to a CA, bounded in time and size.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::iter;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LINK, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::timeout;

use super::home::{Home, Resolver};
use super::problem::{bounded, named};
use crate::failpoint;

/// Timeout for the TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for a call: from connecting to the last byte of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for reading the file with the CA certificates, or those of the system: it may lie on a share that hangs.
const ROOTS_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer: directories, orders and chains have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The largest answer with an authorization, which is kept as long as its order: they have one or two kilobytes, with
/// the records of the CA's validations.
const MAX_AUTHORIZATION_BYTES: usize = 64 * 1024;

/// The longest URL of a CA that is asked for or kept. CAs' own have a few hundred octets at most.
const MAX_URL_BYTES: usize = 2_048;

/// Time for which idle connections are kept: shorter than CAs keep them, so that none is closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Longest wait that is accepted from a CA: a clock may be wrong on either side.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 86_400);

const AGENT_NAME: HeaderValue = HeaderValue::from_static(concat!("h2gate/", env!("CARGO_PKG_VERSION")));

/// The media type of signed requests (RFC 8555 §6.2).
const JOSE: HeaderValue = HeaderValue::from_static("application/jose+json");

/// HTTP client for one CA. Its connections live as long as the client.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    home: Arc<Home>,
}

/// A call without an answer of the CA. The CA may have acted, except for [`HttpError::Roots`] and
/// [`HttpError::NotAllowed`], with which nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The CA certificates, of the file or of the system, cannot be read.
    #[error("{0}")]
    Roots(String),
    /// Nothing was sent: only HTTPS is spoken, except with this machine itself.
    #[error("{0} is not an https:// URL")]
    NotAllowed(String),
    /// The CA gave a URL that it may not send us to. It is not used.
    #[error("the CA sends us to {url}, which {why}")]
    ForbiddenUrl { url: String, why: &'static str },
    #[error("{host}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout { host: String },
    #[error("{host}: {text}")]
    Broken {
        host: String,
        text: String,
        certificate: Option<CertificateError>,
    },
    /// A redirect. ACME knows none.
    #[error("{host} redirects to {target} (HTTP status {}), which is not followed", status.as_u16())]
    Redirected {
        host: String,
        status: StatusCode,
        target: String,
    },
}

impl Http {
    /// Reads the CA certificates that the chain of the CA must lead to; connects nowhere. `directory` is the URL of
    /// the directory of the CA.
    pub(super) async fn new(directory: &str, ca_file: Option<&Path>) -> Result<Self, HttpError> {
        let ca_file = ca_file.map(PathBuf::from);
        let read = tokio::task::spawn_blocking(move || tls(ca_file.as_deref()));
        let read = timeout(ROOTS_TIMEOUT, read).await.map_err(|_| {
            let limit = ROOTS_TIMEOUT.as_secs();
            HttpError::Roots(format!("the CA certificates could not be read within {limit} s"))
        })?;
        let config = read.map_err(|panicked| HttpError::Roots(panicked.to_string()))??;
        let home = Arc::new(Home::of(directory));
        let mut tcp = HttpConnector::new_with_resolver(Resolver(Arc::clone(&home)));
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.enforce_http(false);
        // HTTP/1.1: a call that hangs then ends its connection, and no other call waits on it.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self { client, home })
    }

    /// Sends a request and reads the whole answer, whatever its status but for redirects. `kind` names the endpoint:
    /// for failpoints, and for the size of the answer. A dropped call closes its connection; the CA may have acted.
    pub(super) async fn call(
        &self,
        kind: &str,
        method: Method,
        url: &str,
        body: String,
    ) -> Result<CaResponse, HttpError> {
        let (uri, host) = self.permitted(url)?;
        let max_bytes = match kind {
            "authorization" => MAX_AUTHORIZATION_BYTES,
            _ => MAX_ANSWER_BYTES,
        };
        let mut request = Request::new(Full::from(body));
        if method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, JOSE);
        }
        request.headers_mut().insert(USER_AGENT, AGENT_NAME);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        failpoint::hit("acme.before", kind);
        #[cfg(test)]
        super::tests::step().await;
        let exchange = Box::pin(self.exchange(request, &host, max_bytes));
        let response = timeout(CALL_TIMEOUT, exchange).await;
        failpoint::hit("acme.after", kind);
        #[cfg(test)]
        super::tests::step().await;
        let response = response.map_err(|_| HttpError::Timeout { host: host.clone() })??;
        let ResponseHead { status, location, .. } = &response.head;
        match location {
            _ if status.is_redirection() => Err(HttpError::Redirected {
                host,
                status: *status,
                target: named(location.as_deref().unwrap_or("nowhere")),
            }),
            Some(url) if url.len() > MAX_URL_BYTES => Err(too_long(url)),
            _ => Ok(response),
        }
    }

    /// Returns a URL that requests may be sent to, with its host.
    fn permitted(&self, url: &str) -> Result<(Uri, String), HttpError> {
        if url.len() > MAX_URL_BYTES {
            return Err(too_long(url));
        }
        let uri = url.parse::<Uri>().map_err(|_| forbidden(url, "is no URL"))?;
        if !is_allowed(&uri) {
            return Err(HttpError::NotAllowed(named(url)));
        }
        if let Some(why) = self.home.forbids(&uri) {
            return Err(forbidden(url, why));
        }
        let host = uri.host().unwrap_or_default().to_owned();
        Ok((uri, host))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
        max_bytes: usize,
    ) -> Result<CaResponse, HttpError> {
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| broken(host, &error))?;
        let (parts, body) = response.into_parts();
        let read = Limited::new(body, max_bytes).collect().await;
        let body = read.map_err(|error| match error.is::<LengthLimitError>() {
            true => HttpError::Broken {
                host: host.to_owned(),
                text: format!("an answer of more than {max_bytes} octets"),
                certificate: None,
            },
            false => broken(host, &*error),
        })?;
        let body = body.to_bytes();
        let head = ResponseHead::new(parts.status, &parts.headers, &body);
        Ok(CaResponse { head, body })
    }
}

fn too_long(url: &str) -> HttpError {
    forbidden(url, "is longer than 2048 octets")
}

fn forbidden(url: &str, why: &'static str) -> HttpError {
    let url = named(url);
    HttpError::ForbiddenUrl { url, why }
}

fn broken(host: &str, error: &(dyn Error + 'static)) -> HttpError {
    HttpError::Broken {
        host: host.to_owned(),
        text: bounded(&with_causes(error)),
        certificate: certificate_error(error),
    }
}

/// The reason for which rustls refused the CA's own certificate, if that ended the call.
fn certificate_error(error: &(dyn Error + 'static)) -> Option<CertificateError> {
    causes(error).find_map(|error| match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(refused) => Some(refused.clone()),
        _ => None,
    })
}

/// The error, and its causes. hyper reports what went wrong only in the causes, and an error of I/O passes over the error
/// in it when it is asked for its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Roots(error.to_string()))?;
    let builder = match ca_file {
        Some(file) => builder.with_root_certificates(roots(file)?),
        None => builder
            .with_native_roots()
            .map_err(|error| HttpError::Roots(format!("the system's CA certificates: {error}")))?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots(file: &Path) -> Result<RootCertStore, HttpError> {
    let bad = |error: &(dyn Error + 'static)| {
        HttpError::Roots(format!("{}: {}", file.display(), with_causes(error)))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))? {
        let certificate = certificate.map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(HttpError::Roots(format!(
            "{}: holds no CA certificate",
            file.display()
        )));
    }
    Ok(roots)
}

/// True if requests may be sent to this URL: by HTTPS (RFC 8555 §6.1), or in the clear on the loopback interface,
/// where nobody can listen in.
fn is_allowed(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match uri.scheme_str() {
        Some("https") => true,
        // RFC 6761 §6.3: the name localhost leads nowhere else.
        Some("http") => {
            host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        _ => false,
    }
}

/// The text of an error with its causes.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).map(ToString::to_string) {
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct CaResponse {
    pub(super) head: ResponseHead,
    pub(super) body: Bytes,
}

/// The head of an answer: the facts that a document in its body does not have.
#[derive(Debug, Clone, Default)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The `Retry-After` (RFC 9110 §10.2.3).
    pub(super) retry_after: Option<Duration>,
    /// URL of the resource that the request made.
    pub(super) location: Option<String>,
    /// The nonce for the next request (RFC 8555 §6.5.1).
    pub(super) nonce: Option<String>,
    /// URLs of other chains for the same certificate (RFC 8555 §7.4.2).
    pub(super) alternates: Vec<String>,
    /// The body is HTML: a proxy answers in place of the CA, or the CA answers for people.
    pub(super) is_page: bool,
}

impl ResponseHead {
    #[expect(
        clippy::disallowed_methods,
        reason = "`Retry-After` may be a date: it becomes a wait at once"
    )]
    fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let links = headers.get_all(LINK).iter().filter_map(text);
        let body = body.trim_ascii_start();
        let begins = |tag: &[u8]| {
            let start = body.get(..tag.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(tag))
        };
        Self {
            status,
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(text)
                .and_then(|value| retry_after(&value, SystemTime::now())),
            location: headers.get(LOCATION).and_then(text),
            nonce: headers.get("replay-nonce").and_then(text),
            alternates: links.flat_map(|value| alternates(&value)).collect(),
            is_page: begins(b"<!doctype html") || begins(b"<html"),
        }
    }
}

/// Parses a `Retry-After` (RFC 9110 §10.2.3): seconds or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value.trim())
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The targets with `rel="alternate"` in the value of a `Link` field (RFC 8288 §3).
fn alternates(value: &str) -> Vec<String> {
    let is_alternate = |parameter: &str| {
        parameter.trim().split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "alternate"
        })
    };
    // A new link begins with `<`; a comma may also stand inside a URL.
    value
        .split('<')
        .filter_map(|link| link.split_once('>'))
        .filter(|(_, parameters)| {
            parameters
                .trim_end_matches([',', ' '])
                .split(';')
                .any(is_alternate)
        })
        .map(|(target, _)| target.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine_are_spoken_to() {
        for (url, allowed) in [
            ("https://ca.example/dir", true),
            ("http://127.0.0.1:4000/dir", true),
            ("http://[::1]:4000/dir", true),
            ("http://localhost:4000/dir", true),
            ("http://localhost.example:4000/dir", false),
            ("http://ca.example/dir", false),
            ("http://10.0.0.1/dir", false),
            ("/dir", false),
        ] {
            assert_eq!(is_allowed(&url.parse().unwrap()), allowed, "{url}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Fri, 01 Mar 2030 12:00:00 GMT").unwrap();
        for (value, wait) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 01 Mar 2030 12:01:00 GMT", Some(60)),
            ("Fri, 01 Mar 2030 11:00:00 GMT", Some(0)),
            ("99999999999", Some(7 * 86_400)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                retry_after(value, now),
                wait.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }

    #[test]
    fn alternates_are_found_among_other_links() {
        let value = r#"<https://ca/dir>;rel="index", <https://ca/cert/1,2/1>;rel="alternate", <https://ca/cert/2>; title=x; rel=alternate"#;
        assert_eq!(alternates(value), ["https://ca/cert/1,2/1", "https://ca/cert/2"]);
        assert!(alternates("rubbish").is_empty());
    }
}
