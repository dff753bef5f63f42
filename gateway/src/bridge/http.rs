//! Plain HTTP/1.1: the answers of ACME's HTTP-01 (RFC 8555 §8.3), and the way to `https:` for all else.
//!
//! Nothing of it reaches a backend. What is decided about a request is [`answer`], without I/O.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use certstore::{Challenges, host};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use crate::connection::socket;
use crate::serve::Accepted;
use crate::settings::Redirect;
use crate::telemetry::{HandshakeFailure, HttpRequest};
use crate::worker::WorkerHandle;
use crate::worker::scheduler::Stranger;

/// Bytes of a request's head, and of what hyper reads ahead.
const MAX_HEAD: usize = 8 << 10;
/// Lines of a head. A browser sends about twenty.
const MAX_FIELDS: usize = 64;
/// From accept to close.
const MAX_LIFE: Duration = Duration::from_secs(10);
/// For the answer that is under way when a drain begins.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// RFC 8555 §8.3.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// From accept to close. One request is answered: hyper would handle pipelined ones in one go, and whoever wants more
/// connects again.
pub(crate) async fn serve(handle: Rc<WorkerHandle>, accepted: Accepted, redirect: Redirect) {
    let Accepted {
        stream,
        peer,
        listener,
        place,
        ..
    } = accepted;
    let gives_way = place.gives_way();
    let _ = stream.set_nodelay(true);
    socket::keep_alive(&stream);
    let challenges = &listener.challenges;
    let service = service_fn(|request| {
        let (kind, response) = respond(&request, challenges, redirect);
        handle.http_request(kind);
        ready(Ok::<_, Infallible>(response))
    });
    let mut http1 = http1::Builder::new();
    http1
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS);
    let mut talk = http1.serve_connection(TokioIo::new(stream), service);
    let life = pin!(async {
        let ended = tokio::select! {
            ended = poll_fn(|context| talk.poll_without_shutdown(context)) => ended,
            () = handle.drained() => {
                std::pin::Pin::new(&mut talk).graceful_shutdown();
                let last = poll_fn(|context| talk.poll_without_shutdown(context));
                tokio::time::timeout(LAST_ANSWER, last).await.unwrap_or(Ok(()))
            }
        };
        if ended.is_err_and(|error| error.is_parse()) {
            handle.http_request(HttpRequest::Malformed);
        }
        // RFC 9112 §9.6: requests behind the last one that is answered are read away.
        socket::linger(&mut talk.into_parts().io.into_inner()).await;
    });
    let all = tokio::time::timeout(MAX_LIFE, handle.scheduler.by_turns(Stranger::Http1, life));
    tokio::select! {
        biased;
        () = gives_way.notified() => handle.handshake_failed(HandshakeFailure::TooMany, None, &listener, peer),
        _ = all => {}
    }
}

/// The kind of a request, and the response to it.
fn respond<B>(
    request: &Request<B>,
    challenges: &Challenges,
    redirect: Redirect,
) -> (HttpRequest, Response<String>) {
    let path = request.uri().path();
    if let Some(token) = path.strip_prefix(CHALLENGES)
        && matches!(*request.method(), Method::GET | Method::HEAD)
    {
        return match challenges.http(token) {
            Some(key_authorization) => (
                HttpRequest::Challenge,
                text(StatusCode::OK, &key_authorization, "application/octet-stream"),
            ),
            None => (
                HttpRequest::UnknownChallenge,
                plain(StatusCode::NOT_FOUND, "no such challenge\n"),
            ),
        };
    }
    match redirect {
        Redirect::None => (HttpRequest::NotFound, plain(StatusCode::NOT_FOUND, "not found\n")),
        Redirect::Https => match location(request) {
            Some(location) => {
                let mut response = plain(StatusCode::PERMANENT_REDIRECT, "");
                response.headers_mut().insert(LOCATION, location);
                (HttpRequest::Redirected, response)
            }
            None => (
                HttpRequest::Malformed,
                plain(StatusCode::BAD_REQUEST, "a request needs one valid host\n"),
            ),
        },
    }
}

/// The request's host and path by `https:`, on its usual port: the port that a balancer has open is not known here, and
/// 443 is the one that clients of `http:` without a port mean. It always leads to the host that the client
/// itself named.
fn location<B>(request: &Request<B>) -> Option<HeaderValue> {
    let host = asked_host(request)?;
    // RFC 9112 §3.2.4: `OPTIONS *` asks about no path.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    HeaderValue::try_from(format!("https://{host}{path}")).ok()
}

/// The host that the client asks for, without its port, if it names exactly one.
fn asked_host<B>(request: &Request<B>) -> Option<String> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next();
    // RFC 9112 §3.2: a request of HTTP/1.1 has one Host field; §3.2.2: a whole URI overrules it.
    if named.next().is_some() || (header.is_none() && request.version() == Version::HTTP_11) {
        return None;
    }
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(header?.as_bytes()).ok()?,
    };
    // RFC 9110 §4.2.4: a user in an authority is there to deceive.
    if authority.as_str().contains('@') || *request.method() == Method::CONNECT {
        return None;
    }
    let host = host::normal(authority.host())?;
    if host::is_name(host.as_bytes()) {
        return Some(host);
    }
    match host.parse().ok()? {
        IpAddr::V4(_) => Some(host),
        IpAddr::V6(address) => Some(format!("[{address}]")),
    }
}

fn plain(status: StatusCode, body: &str) -> Response<String> {
    text(status, body, "text/plain")
}

fn text(status: StatusCode, body: &str, kind: &'static str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response to a request: its status, and its location or its text.
    fn asked(method: &str, target: &str, hosts: &[&str], redirect: Redirect) -> (u16, String) {
        let challenges = Challenges::default();
        let _published = challenges.publish_http("token", "token.thumbprint");
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (_, response) = respond(&request.body(()).unwrap(), &challenges, redirect);
        let location = response.headers().get(LOCATION);
        let said = location.map_or(response.body().clone(), |location| {
            location.to_str().unwrap().to_owned()
        });
        (response.status().as_u16(), said)
    }

    #[test]
    fn a_known_token_gets_its_key_authorization_and_others_nothing() {
        let path = "/.well-known/acme-challenge/token";
        for redirect in [Redirect::Https, Redirect::None] {
            assert_eq!(
                asked("GET", path, &["a"], redirect),
                (200, "token.thumbprint".to_owned())
            );
            for other in ["other", "token/", "", "Token", "token%20", "../token"] {
                let path = format!("/.well-known/acme-challenge/{other}");
                assert_eq!(asked("GET", &path, &["a"], redirect).0, 404, "{other}");
            }
        }
        assert_eq!(asked("POST", path, &["a.example.com"], Redirect::Https).0, 308);
    }

    #[test]
    fn all_else_is_sent_to_the_same_place_by_https() {
        for (target, host, location) in [
            ("/", "example.com", "https://example.com/"),
            ("/a/b?c=d&e", "Example.COM", "https://example.com/a/b?c=d&e"),
            ("/", "example.com:8080", "https://example.com/"),
            ("/", "Example.com.:80", "https://example.com/"),
            ("/", "192.0.2.7:80", "https://192.0.2.7/"),
            ("/x", "[2001:db8::1]:80", "https://[2001:db8::1]/x"),
            (
                "//evil.example/x",
                "example.com",
                "https://example.com//evil.example/x",
            ),
            (
                "/\\evil.example",
                "example.com",
                "https://example.com/\\evil.example",
            ),
            (
                "/?to=https://evil.example",
                "example.com",
                "https://example.com/?to=https://evil.example",
            ),
            (
                "http://whole.example/p?q",
                "example.com",
                "https://whole.example/p?q",
            ),
        ] {
            let expected = (308, location.to_owned());
            assert_eq!(
                asked("GET", target, &[host], Redirect::Https),
                expected,
                "{target} {host}"
            );
        }
        assert_eq!(
            asked("OPTIONS", "*", &["a.example"], Redirect::Https).1,
            "https://a.example/"
        );
    }

    #[test]
    fn a_request_without_one_valid_host_is_refused() {
        for hosts in [
            &[][..],
            &[""],
            &["a.example", "b.example"],
            &["user@evil.example"],
            &["example.com@evil.example"],
            &["evil.example/path"],
            &["evil.example\\path"],
            &["evil.example?x"],
            &["evil.example#x"],
            &["a b"],
            &["[::1"],
            &["[zz]"],
            &[":80"],
            &["ex\u{e4}mple"],
            &["<script>"],
            &["1.2.3.999"],
            &["a..example"],
        ] {
            assert_eq!(asked("GET", "/", hosts, Redirect::Https).0, 400, "{hosts:?}");
        }
        assert_eq!(
            asked("GET", "http://u@evil.example/", &["a"], Redirect::Https).0,
            400
        );
        assert_eq!(
            asked("CONNECT", "evil.example:443", &["a"], Redirect::Https).0,
            400
        );
    }

    #[test]
    fn without_a_redirect_nothing_is_there() {
        assert_eq!(asked("GET", "/", &["example.com"], Redirect::None).0, 404);
    }
}
