//! Counters of the data path: written per worker, added up when somebody asks.
//!
//! Each worker is the only writer of its [`WorkerMetrics`], so counting is a plain load and store. The
//! reader ([`Metrics::totals`]) may see one counter a moment older than another, never a wrong one.
//! The choice and the format of what is shown are the program's business.

mod by_index;
mod counter;
pub mod event;
mod histogram;
mod totals;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::histogram::HISTOGRAM_BOUNDS;
pub use self::totals::{
    BackendTotals, ConnectionTotals, HandshakeTotals, Histogram, RouteTotals, RpcTotals, Totals,
};
pub use self::worker::WorkerMetrics;

/// Name of a status as gRPC spells it. A number without a name is for clients the same as UNKNOWN.
#[must_use]
pub fn grpc_status_name(status: u8) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(status)).copied().unwrap_or("UNKNOWN")
}

/// A route's place in the counters. Its name keeps it for as long as the process lives, so counting
/// goes on over reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteLabel(&'static Label);

/// A backend's place in the counters, kept like a [`RouteLabel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendLabel(&'static Label);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Label {
    index: usize,
    name: String,
}

impl RouteLabel {
    /// Small and dense.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index
    }

    /// Name of the route in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.0.name
    }
}

impl BackendLabel {
    /// Small and dense.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index
    }

    /// Name of the backend in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.0.name
    }
}

/// The reason for which a connected client is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAway {
    /// The trust bundle does not accept its certificate any more.
    Certificate,
    /// Its listener asks for something that it does not fulfil, or is gone.
    Listener,
}

impl SentAway {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::Certificate, Self::Listener];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Listener => "listener",
        }
    }
}

/// The protection of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsLabel {
    /// h2c
    Plaintext,
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

impl TlsLabel {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Plaintext, Self::Tls12, Self::Tls13];

    /// The name in metrics and in the access log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A class of connections that did not get to HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HandshakeFailure {
    /// Closed without a byte: a port scan, or a load balancer's TCP health check.
    Probe,
    /// HTTP without TLS on a TLS listener.
    PlaintextOnTls,
    /// The listener refuses clients that do not offer ALPN, and this one did not.
    NoAlpnOffered,
    /// ALPN was offered, but not `h2`.
    NoCommonAlpn,
    /// There is no certificate to show yet.
    NoCertificate,
    /// No protocol version, cipher suite or group in common.
    VersionOrCipher,
    /// The client sent an alert; most often it does not trust our certificate.
    ClientAlert,
    /// The client presented no certificate where one is required, or not one that can be accepted.
    ClientCertificate,
    /// The client presented a certificate, and the trust bundle to verify it against is not there yet.
    NoTrustBundle,
    /// `acme-tls/1` for a name about which no challenge is out.
    UnknownChallenge,
    /// Not done within the handshake deadline.
    Timeout,
    /// TLS was done or is not spoken here, but no HTTP/2 preface and SETTINGS came.
    NotHttp2,
    /// A limit of connections or handshakes was reached.
    TooMany,
    /// Anything else, such as a connection that broke half-way.
    Other,
}

impl HandshakeFailure {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::Probe,
        Self::PlaintextOnTls,
        Self::NoAlpnOffered,
        Self::NoCommonAlpn,
        Self::NoCertificate,
        Self::VersionOrCipher,
        Self::ClientAlert,
        Self::ClientCertificate,
        Self::NoTrustBundle,
        Self::UnknownChallenge,
        Self::Timeout,
        Self::NotHttp2,
        Self::TooMany,
        Self::Other,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::PlaintextOnTls => "plaintext_on_tls",
            Self::NoAlpnOffered => "no_alpn_offered",
            Self::NoCommonAlpn => "no_common_alpn",
            Self::NoCertificate => "no_certificate",
            Self::VersionOrCipher => "version_or_cipher",
            Self::ClientAlert => "client_alert",
            Self::ClientCertificate => "client_certificate",
            Self::NoTrustBundle => "no_trust_bundle",
            Self::UnknownChallenge => "unknown_challenge",
            Self::Timeout => "timeout",
            Self::NotHttp2 => "not_http2",
            Self::TooMany => "too_many",
            Self::Other => "other",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The result of a request on a listener that speaks plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HttpRequest {
    /// A CA was given its key authorization (RFC 8555 §8.3).
    Challenge,
    /// A challenge was asked for that is not out.
    UnknownChallenge,
    /// Sent to `https:`.
    Redirected,
    /// Nothing is there, and the listener redirects nobody.
    NotFound,
    /// Not a request that can be answered.
    Malformed,
}

impl HttpRequest {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::Challenge,
        Self::UnknownChallenge,
        Self::Redirected,
        Self::NotFound,
        Self::Malformed,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::UnknownChallenge => "unknown_challenge",
            Self::Redirected => "redirected",
            Self::NotFound => "not_found",
            Self::Malformed => "malformed",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The counters of all workers, and the names that they count by.
#[derive(Debug)]
pub struct Metrics {
    began: Instant,
    workers: Vec<Arc<WorkerMetrics>>,
    routes: Mutex<Labels>,
    backends: Mutex<Labels>,
}

/// Labels by name. A label lives as long as the process and is never freed: so it can be copied
/// anywhere, and there are only as many as there ever were names in the configuration.
#[derive(Debug, Default)]
struct Labels {
    in_order: Vec<&'static Label>,
    by_name: HashMap<&'static str, &'static Label>,
}

impl Metrics {
    /// For this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            began: Instant::now(),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            routes: Mutex::default(),
            backends: Mutex::default(),
        }
    }

    /// The label of the route with this name, the same each time.
    pub fn route(&self, name: &str) -> RouteLabel {
        RouteLabel(lock(&self.routes).label(name))
    }

    /// The label of the backend with this name, the same each time.
    pub fn backend(&self, name: &str) -> BackendLabel {
        BackendLabel(lock(&self.backends).label(name))
    }

    /// The counters that worker number `index` writes, and nobody else. A worker that starts again
    /// after a panic asks again: its counters go on, and what was open with it is closed.
    ///
    /// A number without a worker gets counters that nobody reads.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        let metrics = self.workers.get(index).cloned().unwrap_or_default();
        metrics.begin();
        metrics
    }

    /// The counters of a worker that has begun, for whoever stands in for it on its thread.
    pub(crate) fn counters(&self, index: usize) -> Arc<WorkerMetrics> {
        self.workers.get(index).cloned().unwrap_or_default()
    }

    /// Since they were made.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time for which no worker has run. They do so ten times a second if they can.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = self.workers.iter().map(|worker| worker.alive_at.value()).max();
        self.age()
            .saturating_sub(Duration::from_millis(last.unwrap_or_default()))
    }

    /// Adds up what all workers have counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        totals::add_up(
            &self.workers,
            &lock(&self.routes).in_order,
            &lock(&self.backends).in_order,
        )
    }
}

impl Labels {
    fn label(&mut self, name: &str) -> &'static Label {
        if let Some(label) = self.by_name.get(name) {
            return label;
        }
        let label = &*Box::leak(Box::new(Label {
            index: self.in_order.len(),
            name: name.to_owned(),
        }));
        self.in_order.push(label);
        self.by_name.insert(&label.name, label);
        label
    }
}

/// Nothing in here can be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
