//! The statuses that a client sees when the gateway itself ends an RPC: every refusal, mapped once.
//!
//! A gRPC client gets a status in trailers (or in a head that is all there is), anybody else an HTTP
//! status and a line of text. The words name the cause and the remedy, and of our own side only what
//! the configuration calls things: no addresses.

use std::time::Duration;

use certstore::RemoteText;
use http2::{ErrorCode, Field, Indexing, Name};

use crate::telemetry::SentAway;

/// The name of [`Limits::max_starved`](crate::settings::Limits::max_starved).
pub(crate) const MAX_STARVED: &str = "max_starved";

pub(crate) const OK: u8 = 0;
pub(crate) const CANCELLED: u8 = 1;
pub(crate) const UNKNOWN: u8 = 2;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
pub(crate) const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// A reason for the gateway to answer in place of a backend, or to break off a backend's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No route takes this host, service and method.
    NoRoute,
    /// The header list is over a limit of `limits.client`.
    RequestTooLarge { limit: &'static str },
    /// The backend's response is over a limit of `limits.backend`.
    ResponseOverLimit { backend: String, limit: &'static str },
    /// The request has more fields than its backend wants (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
    RequestOverBackendsLimit { backend: String },
    /// So much waits for the RPC that it gives way to others, or to the rest of its connection.
    GaveWay { limit: &'static str },
    /// Others wait for a stream of the backend and have none, while its client has more of them than anybody else.
    GaveStream { backend: String },
    /// The backend has no address: its name was never resolved.
    NoEndpoints { backend: String },
    /// No endpoint of the backend could be connected to of late.
    ConnectFailed { backend: String },
    /// The queue of RPCs that wait for a connection to the backend is full.
    TooManyWaiting { backend: String },
    /// The RPC has waited for a connection or a stream for as long as it may.
    WaitedTooLong { backend: String, max_wait: Duration },
    /// The backend's endpoints speak something else than HTTP/2, which has a name if it is known.
    NotHttp2 {
        backend: String,
        instead: Option<&'static str>,
    },
    /// The backend's connection broke; the RPC may have been processed.
    BackendClosed { backend: String },
    /// The backend does not speak HTTP/2.
    BackendBroke { backend: String },
    /// The time of `grpc-timeout` is over.
    DeadlineExceeded,
    /// The gateway shuts down.
    Draining,
    /// The client was sent away, and its time is over.
    SentAway(SentAway),
    /// A gRPC request whose path backends may read as another one.
    AmbiguousPath,
    /// A gRPC request with a binary field of this name that is no base64: some backends end the connection by it, which
    /// others share.
    MiscodedField { name: String },
}

impl Refusal {
    /// The refusal for this field of a gRPC request.
    pub(crate) fn miscoded(field: &Field) -> Self {
        let name = RemoteText::new(field.name()).at_most(64).to_string();
        Self::MiscodedField { name }
    }

    /// Name for the access log.
    pub(crate) fn reason(&self) -> &'static str {
        self.row().0
    }

    /// Status for a gRPC client.
    pub(crate) fn grpc_status(&self) -> u8 {
        self.row().1
    }

    /// Status for anybody else.
    pub(crate) fn http_status(&self) -> u16 {
        self.row().2
    }

    /// The limit behind it, for the access log.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::RequestTooLarge { limit }
            | Self::ResponseOverLimit { limit, .. }
            | Self::GaveWay { limit } => Some(limit),
            Self::GaveStream { .. } => Some(MAX_STARVED),
            Self::TooManyWaiting { .. } => Some("max_waiting"),
            Self::WaitedTooLong { .. } => Some("max_wait"),
            _ => None,
        }
    }

    fn row(&self) -> (&'static str, u8, u16) {
        match self {
            Self::NoRoute => ("no_route", UNIMPLEMENTED, 404),
            Self::RequestTooLarge { .. } => ("request_too_large", RESOURCE_EXHAUSTED, 431),
            Self::ResponseOverLimit { .. } => ("response_over_limit", RESOURCE_EXHAUSTED, 502),
            Self::RequestOverBackendsLimit { .. } => ("request_over_backend_limit", RESOURCE_EXHAUSTED, 431),
            Self::GaveWay { .. } => ("limit", RESOURCE_EXHAUSTED, 503),
            Self::GaveStream { .. } => ("gave_stream", UNAVAILABLE, 503),
            Self::NoEndpoints { .. } => ("no_endpoints", UNAVAILABLE, 503),
            Self::ConnectFailed { .. } => ("connect_failed", UNAVAILABLE, 503),
            Self::TooManyWaiting { .. } => ("too_many_waiting", UNAVAILABLE, 503),
            Self::WaitedTooLong { .. } => ("max_wait", UNAVAILABLE, 503),
            Self::NotHttp2 { .. } => ("not_http2", UNAVAILABLE, 502),
            Self::BackendClosed { .. } => ("backend_closed", UNAVAILABLE, 502),
            Self::BackendBroke { .. } => ("backend_broke_protocol", INTERNAL, 502),
            Self::DeadlineExceeded => ("deadline_exceeded", DEADLINE_EXCEEDED, 504),
            Self::Draining => ("draining", UNAVAILABLE, 503),
            Self::SentAway(SentAway::Certificate) => ("client_certificate", UNAUTHENTICATED, 403),
            Self::SentAway(SentAway::Listener) => ("listener_changed", UNAVAILABLE, 503),
            Self::AmbiguousPath => ("ambiguous_path", UNIMPLEMENTED, 404),
            Self::MiscodedField { .. } => ("miscoded_field", INTERNAL, 400),
        }
    }

    /// The cause and the remedy, in words for the client.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::NoRoute => "no route of the gateway takes this host and method; \
                check the authority that the client sends and the routes in the configuration"
                .into(),
            Self::RequestTooLarge { limit } => {
                format!(
                    "the request's metadata is over the gateway's limit `limits.client.{limit}`; send less of it"
                )
            }
            Self::ResponseOverLimit { backend, limit } => format!(
                "the response of backend `{backend}` is over the gateway's limit `limits.backend.{limit}`; \
                 let it send less, or raise the limit"
            ),
            Self::RequestOverBackendsLimit { backend } => format!(
                "the request's metadata is more than backend `{backend}` takes (its SETTINGS_MAX_HEADER_LIST_SIZE); send less \
                 of it, or raise the limit there"
            ),
            Self::GaveWay { limit } => format!(
                "the gateway's limit `{limit}` is reached, and for this RPC most is kept; send or ask for less at a time, \
                 or try again after a pause"
            ),
            Self::GaveStream { backend } => format!(
                "all streams of backend `{backend}` are taken, this client has most of them, and others have waited for one \
                 (limits.max_starved); the RPC may have been processed. Allow more streams there, or run more of it"
            ),
            Self::NoEndpoints { backend } => {
                format!("backend `{backend}` has no address: its name does not resolve; check its endpoints")
            }
            Self::ConnectFailed { backend } => {
                format!(
                    "no endpoint of backend `{backend}` can be used now; check that it runs, listens and keeps its connections"
                )
            }
            Self::TooManyWaiting { backend } => {
                format!("too many RPCs wait for a connection to backend `{backend}`; try again after a pause")
            }
            Self::WaitedTooLong { backend, max_wait } => format!(
                "the RPC has waited {max_wait:?} (limits.max_wait) for a stream of backend `{backend}`, of whose streams one \
                 connection has at most eight times as many as are free; nobody has seen it: try again after a pause, or on \
                 another connection"
            ),
            Self::NotHttp2 { backend, instead } => {
                let instead = instead.unwrap_or("something else");
                format!(
                    "backend `{backend}` speaks {instead}, not HTTP/2 without TLS (h2c); check the port of its endpoints"
                )
            }
            Self::BackendClosed { backend } => {
                format!("backend `{backend}` closed its connection; the RPC may have been processed")
            }
            Self::BackendBroke { backend } => {
                format!("backend `{backend}` sent what is not valid HTTP/2; the gateway's log says more")
            }
            Self::DeadlineExceeded => "the deadline passed before the backend had answered".into(),
            Self::Draining => "this gateway is shutting down; connect again and try again".into(),
            Self::SentAway(SentAway::Certificate) => {
                "the client's certificate is not accepted any more; connect again with one that is".into()
            }
            Self::SentAway(SentAway::Listener) => {
                "this listener of the gateway asks for more than the connection fulfils; connect again".into()
            }
            Self::MiscodedField { name } => format!(
                "the metadata `{name}` is no base64, which gRPC demands of names in `-bin`: send it as binary metadata of the \
                 client's library, or as base64 without blanks"
            ),
            Self::AmbiguousPath => "the path of a gRPC request is /package.Service/Method, without query, \
                fragment, percent-encoding, `.` and `..`"
                .into(),
        }
    }

    /// The response head. For a gRPC client it is the whole answer and ends the stream; anybody else
    /// gets [`Self::body`] after it, or only the head, which is valid for HEAD.
    pub(crate) fn head(&self, grpc: bool) -> Vec<Field> {
        if !grpc {
            return vec![
                Field::new(b":status", decimal(self.http_status()).as_bytes()),
                Field::new(b"content-type", b"text/plain; charset=utf-8"),
            ];
        }
        let mut fields = vec![
            Field::new(b":status", b"200"),
            Field::new(b"content-type", b"application/grpc"),
        ];
        fields.extend(self.trailers());
        fields
    }

    /// The end of an answer to a gRPC client.
    pub(crate) fn trailers(&self) -> Vec<Field> {
        vec![
            Field::new(b"grpc-status", decimal(self.grpc_status().into()).as_bytes()),
            Field::with_indexing(
                b"grpc-message",
                percent_encoded(&self.message()).as_bytes(),
                Indexing::Without,
            ),
        ]
    }

    /// The text for who does not speak gRPC.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut text = self.message();
        text.push('\n');
        text.into_bytes()
    }
}

fn decimal(number: u16) -> String {
    number.to_string()
}

/// gRPC over HTTP/2, *Status-Message*: all but printable ASCII is percent-encoded, and so is `%`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            b' '..=b'~' => encoded.push(byte.into()),
        }
    }
    encoded
}

/// gRPC over HTTP/2, *Errors*: what a stream that was reset with `code` ended with. STREAM_CLOSED and
/// HTTP_1_1_REQUIRED have no row there; grpc-go calls them INTERNAL.
pub(crate) fn of_reset(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::NO_ERROR
        | ErrorCode::PROTOCOL_ERROR
        | ErrorCode::INTERNAL_ERROR
        | ErrorCode::FLOW_CONTROL_ERROR
        | ErrorCode::SETTINGS_TIMEOUT
        | ErrorCode::STREAM_CLOSED
        | ErrorCode::FRAME_SIZE_ERROR
        | ErrorCode::COMPRESSION_ERROR
        | ErrorCode::CONNECT_ERROR
        | ErrorCode::HTTP_1_1_REQUIRED => INTERNAL,
        ErrorCode::REFUSED_STREAM => UNAVAILABLE,
        ErrorCode::CANCEL => CANCELLED,
        ErrorCode::ENHANCE_YOUR_CALM => RESOURCE_EXHAUSTED,
        ErrorCode::INADEQUATE_SECURITY => PERMISSION_DENIED,
        ErrorCode(14..) => UNKNOWN,
    }
}

/// The `grpc-status` in trailers or a trailers-only head. What is no number below 256 counts as
/// UNKNOWN, as it does for clients.
pub(crate) fn grpc_status_of(fields: &[Field]) -> Option<u8> {
    let field = fields
        .iter()
        .rev()
        .find(|field| field.known() == Name::GrpcStatus)?;
    Some(
        number(field.value())
            .and_then(|number| number.try_into().ok())
            .unwrap_or(UNKNOWN),
    )
}

/// The `:status` of a response head; 0 if there is none.
pub(crate) fn http_status_of(fields: &[Field]) -> u16 {
    let field = fields.iter().find(|field| field.known() == Name::Status);
    field
        .and_then(|field| number(field.value())?.try_into().ok())
        .unwrap_or(0)
}

/// gRPC, *HTTP to gRPC Status Code Mapping*: what clients make of an answer without `grpc-status`.
pub(crate) fn of_http(status: u16) -> u8 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// `Timeout → 1*8DIGIT unit`: hours, minutes, seconds, milli-, micro- or nanoseconds.
pub(crate) fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let count = number(digits)?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A `grpc-timeout` that is never longer than `left`, in the finest unit that eight digits allow; `None` once nothing is
/// left.
pub(crate) fn grpc_timeout(left: Duration) -> Option<Field> {
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    const MAX: u128 = 99_999_999;
    let nanos = left.as_nanos();
    let (size, unit) = UNITS.into_iter().find(|(size, _)| nanos / size <= MAX)?;
    let value = format!("{}{unit}", nanos / size);
    // The value hardly comes again, so no table should remember it.
    (nanos > 0).then(|| Field::with_indexing(b"grpc-timeout", value.as_bytes(), Indexing::Without))
}

/// `"application/grpc" [("+proto" / "+json" / {custom})]`, maybe with parameters; not gRPC-Web.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// One to eight digits.
fn number(digits: &[u8]) -> Option<u64> {
    let valid = matches!(digits.len(), 1..=8) && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
