//! The paths of the admin port.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use certstore::RemoteText;
use serde_json::Value;
use tonic::service::Routes;

use super::metrics::exposition::Format;
use super::yaml;
use super::{Hosts, View};
use crate::remote_text::json_lines;

/// The answer to `/` and to every unknown path.
const INDEX: &str = "\
h2gate admin interface

/metrics        Prometheus text format; OpenMetrics if asked for by accept
/ready          200 while new connections are welcome, else 503 with the reason
/live           200, or 503 when no worker has run for half a minute
/config         what runs, with defaults filled in and secrets redacted (YAML; ?format=json)
/certificates   what serves, from where, what was refused, what happens next; trust bundles (JSON)

gRPC, same port: grpc.health.v1.Health, grpc.reflection.v1.ServerReflection (and v1alpha),
h2gate.certs.v1.CertificateService (h2gate certs speaks to it)
";

/// Key of the settings that the file changes and that wait for a restart.
pub(crate) const PENDING_RESTART: &str = "pending_restart";

/// A request may say that it brings this much; nothing here needs a body.
const MAX_BODY: u64 = 64 << 10;

const JSON: &str = "application/json";

/// All paths, with the gRPC services beside them.
pub(super) fn router(view: Arc<View>, services: Routes, hosts: Hosts) -> Router {
    let pages = Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/live", get(live))
        .route("/config", get(config))
        .route("/certificates", get(certificates))
        .with_state(view);
    services
        .into_axum_router()
        .reset_fallback()
        .route_layer(middleware::from_fn(not_from_a_browser))
        .merge(pages)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(hosts, guard))
}

/// The rules for every answer: none by strange names, no long bodies, no caches, no guessing of types by browsers.
async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if let Some(stranger) = hosts.stranger(request.uri(), request.headers()) {
        return unknown_host(&stranger, request.headers());
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY) {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// RFC 9110 §15.5.20. A gRPC client would take an HTTP status for UNKNOWN.
fn unknown_host(host: &str, headers: &HeaderMap) -> Response {
    let why = format!(
        "the admin interface is asked by an IP address, by `localhost` or by a name of `admin.hosts`, not by {:?}",
        RemoteText::new(host)
    );
    match is_grpc(headers) {
        true => tonic::Status::permission_denied(why).into_http(),
        false => (StatusCode::MISDIRECTED_REQUEST, format!("{why}\n")).into_response(),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Commands are done for whoever asks from this machine, and so does every web page in a browser on it: a form
/// reaches any loopback port. Browsers speak HTTP/2 over TLS alone, and gRPC over nothing but HTTP/2.
async fn not_from_a_browser(request: Request, next: Next) -> Response {
    if request.version() < Version::HTTP_2 {
        let why = "gRPC is spoken here over HTTP/2 with prior knowledge only\n";
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, why).into_response();
    }
    next.run(request).await
}

async fn metrics(State(view): State<Arc<View>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    match view.metrics(format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Probes of liveness start the process again; a worker that is busy, or rests after a panic, does not ask for that.
const MAX_SILENCE: Duration = Duration::from_secs(30);

async fn live(State(view): State<Arc<View>>) -> Response {
    liveness(view.silence()).into_response()
}

fn liveness(silence: Duration) -> (StatusCode, &'static str) {
    if silence < MAX_SILENCE {
        return (StatusCode::OK, "live\n");
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no worker runs\n")
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    let phase = view.readiness().phase();
    let status = match phase.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{phase}\n")).into_response()
}

async fn config(State(view): State<Arc<View>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let effective = view.effective();
    let pending = effective.get(PENDING_RESTART).and_then(Value::as_array);
    match query.get("format").map(String::as_str) {
        None | Some("yaml") => (
            [(header::CONTENT_TYPE, "application/yaml")],
            match pending {
                Some(names) => with_comment(names, &effective),
                None => yaml::document(&effective),
            },
        )
            .into_response(),
        Some("json") => json(&effective),
        Some(_) => (StatusCode::BAD_REQUEST, "format is `yaml` or `json`\n").into_response(),
    }
}

/// The configuration that runs. Settings that wait for a restart are a comment, so that the page can be loaded as a
/// file.
fn with_comment(pending: &[Value], effective: &Value) -> String {
    let names = pending
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let mut rest = effective.clone();
    if let Some(map) = rest.as_object_mut() {
        map.remove(PENDING_RESTART);
    }
    format!(
        "# {PENDING_RESTART}: {names} (the file says otherwise; these are the values in force)\n{}",
        yaml::document(&rest)
    )
}

async fn certificates(State(view): State<Arc<View>>) -> Response {
    json(&view.certificates())
}

fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, JSON)], json_lines(value)).into_response()
}

async fn not_allowed() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET and HEAD are served here\n",
    )
        .into_response()
}

async fn unknown(headers: HeaderMap) -> Response {
    if is_grpc(&headers) {
        // An HTTP status would reach a gRPC client as UNKNOWN or worse.
        return tonic::Status::unimplemented(
            "the admin port serves health, certificates and reflection only",
        )
        .into_http();
    }
    (StatusCode::NOT_FOUND, format!("no such path\n\n{INDEX}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_alive_while_a_worker_has_run_within_half_a_minute() {
        assert_eq!(liveness(Duration::from_millis(29_999)).0, StatusCode::OK);
        assert_eq!(liveness(MAX_SILENCE).0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
