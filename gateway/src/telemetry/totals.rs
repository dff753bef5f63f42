//! The counts of all workers, added up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::worker::WorkerMetrics;
use super::{HandshakeFailure, HttpRequest, Label, SentAway, TlsLabel, lock};

/// One reading of all counters. Counts never go down while the process lives; what is *open*, *active* or
/// *held* is a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ended RPCs by route, backend and status; only combinations that occurred.
    pub rpcs: Vec<RpcTotals>,
    /// Every route that ever was configured.
    pub routes: Vec<RouteTotals>,
    /// Every backend that ever was configured.
    pub backends: Vec<BackendTotals>,
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Client connections closed; the rest is open.
    pub connections_closed: u64,
    /// Open HTTP/2 connections by TLS version and install of the certificate.
    pub connections: Vec<ConnectionTotals>,
    /// TLS handshakes that were done, by version.
    pub handshakes: Vec<HandshakeTotals>,
    /// Connections that did not get to HTTP/2; all classes.
    pub handshake_failures: Vec<(HandshakeFailure, u64)>,
    /// Handshakes of `acme-tls/1` in which a CA saw the answer to its challenge.
    pub challenges_answered: u64,
    /// Connected clients that were sent away; all reasons.
    pub clients_sent_away: Vec<(SentAway, u64)>,
    /// Requests of plain HTTP; all kinds.
    pub http_requests: Vec<(HttpRequest, u64)>,
    /// The count of each limit that was reached; only those that were, by name.
    pub limits: Vec<(&'static str, u64)>,
    /// Bytes in the queues of all workers.
    pub held_bytes: u64,
    /// Passes of the workers' loops.
    pub turns: u64,
    /// Panics, each of which ended a connection or a worker.
    pub panics: u64,
    /// Times that a worker was started again after a panic.
    pub worker_restarts: u64,
}

/// RPCs that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcTotals {
    /// Name of the route.
    pub route: &'static str,
    /// Name of the backend.
    pub backend: &'static str,
    /// gRPC status, 0 to 16.
    pub status: u8,
    /// The number of them.
    pub count: u64,
}

/// The RPCs of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTotals {
    /// Name of the route.
    pub route: &'static str,
    /// RPCs that are running.
    pub active: u64,
    /// The durations of those that have ended.
    pub took: Histogram,
}

/// Connections to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTotals {
    /// Name of the backend.
    pub backend: &'static str,
    /// Connections made.
    pub connected: u64,
    /// Connects that failed.
    pub failed: u64,
    /// Connections closed.
    pub closed: u64,
    /// Connections open.
    pub open: u64,
}

/// Open connections of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// TLS version.
    pub version: TlsLabel,
    /// Which certificate they were shown; 0 without one.
    pub install: u64,
    /// The number of them.
    pub open: u64,
}

/// Handshakes of one TLS version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeTotals {
    /// TLS version.
    pub version: TlsLabel,
    /// With a key exchange signed by our certificate.
    pub full: u64,
    /// From a session ticket.
    pub resumed: u64,
    /// The durations from accept on.
    pub took: Histogram,
}

/// Counts by duration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// One count for each of [`super::HISTOGRAM_BOUNDS`] (not cumulative), then one for all that took
    /// longer. Empty if nothing could be counted yet.
    pub counts: Vec<u64>,
    /// Time of all together.
    pub sum: Duration,
}

impl Histogram {
    /// The number of values that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

pub(super) fn add_up(
    workers: &[Arc<WorkerMetrics>],
    routes: &[&'static Label],
    backends: &[&'static Label],
) -> Totals {
    let sum = |of: fn(&WorkerMetrics) -> u64| workers.iter().map(|worker| of(worker)).sum();
    Totals {
        rpcs: rpcs(workers, routes, backends),
        routes: routes.iter().map(|label| route(workers, label)).collect(),
        backends: backends.iter().map(|label| backend(workers, label)).collect(),
        connections_accepted: sum(|worker| worker.accepted.value()),
        connections_closed: sum(|worker| worker.closed.value()),
        connections: connections(workers),
        handshakes: TlsLabel::ALL.map(|version| handshakes(workers, version)).into(),
        handshake_failures: HandshakeFailure::ALL.map(|class| failures(workers, class)).into(),
        challenges_answered: sum(|worker| worker.challenges_answered.value()),
        clients_sent_away: SentAway::ALL.map(|why| sent_away(workers, why)).into(),
        http_requests: HttpRequest::ALL.map(|kind| http_requests(workers, kind)).into(),
        limits: limits(workers),
        held_bytes: sum(|worker| worker.held_bytes.value()),
        turns: sum(|worker| worker.turns.value()),
        panics: sum(|worker| worker.panics.value()),
        worker_restarts: sum(WorkerMetrics::restarts),
    }
}

fn rpcs(
    workers: &[Arc<WorkerMetrics>],
    routes: &[&'static Label],
    backends: &[&'static Label],
) -> Vec<RpcTotals> {
    let mut counts = BTreeMap::new();
    for worker in workers {
        for route in 0..routes.len() {
            let first = worker.routes.peek(route).and_then(|route| route.ended.get());
            for ended in std::iter::successors(first, |ended| ended.next.get()) {
                for (status, count) in (0..).zip(&ended.by_status).filter(|(_, count)| count.value() > 0) {
                    *counts.entry((route, ended.backend.index(), status)).or_default() += count.value();
                }
            }
        }
    }
    let named = counts
        .into_iter()
        .filter_map(|((route, backend, status), count)| {
            let (route, backend) = (&routes.get(route)?.name, &backends.get(backend)?.name);
            Some(RpcTotals {
                route,
                backend,
                status,
                count,
            })
        });
    named.collect()
}

fn route(workers: &[Arc<WorkerMetrics>], label: &'static Label) -> RouteTotals {
    let mut total = RouteTotals {
        route: &label.name,
        active: 0,
        took: Histogram::default(),
    };
    for route in workers
        .iter()
        .filter_map(|worker| worker.routes.peek(label.index))
    {
        total.active += route.active.value();
        route.took.add_to(&mut total.took);
    }
    total
}

fn backend(workers: &[Arc<WorkerMetrics>], label: &'static Label) -> BackendTotals {
    let mut total = BackendTotals {
        backend: &label.name,
        connected: 0,
        failed: 0,
        closed: 0,
        open: 0,
    };
    for backend in workers
        .iter()
        .filter_map(|worker| worker.backends.peek(label.index))
    {
        total.connected += backend.connected.value();
        total.failed += backend.failed.value();
        total.closed += backend.closed.value();
        total.open += backend.open.value();
    }
    total
}

fn connections(workers: &[Arc<WorkerMetrics>]) -> Vec<ConnectionTotals> {
    let mut counts = BTreeMap::<_, u64>::new();
    for worker in workers {
        for open in lock(&worker.open).iter() {
            *counts.entry((open.version, open.install)).or_default() += open.count;
        }
    }
    let totals = counts
        .into_iter()
        .map(|((version, install), open)| ConnectionTotals {
            version,
            install,
            open,
        });
    totals.collect()
}

fn handshakes(workers: &[Arc<WorkerMetrics>], version: TlsLabel) -> HandshakeTotals {
    let mut total = HandshakeTotals {
        version,
        full: 0,
        resumed: 0,
        took: Histogram::default(),
    };
    for counters in workers
        .iter()
        .filter_map(|worker| worker.handshakes.get(version.index()))
    {
        total.full += counters.full.value();
        total.resumed += counters.resumed.value();
        counters.took.add_to(&mut total.took);
    }
    total
}

fn failures(workers: &[Arc<WorkerMetrics>], class: HandshakeFailure) -> (HandshakeFailure, u64) {
    let counts = workers
        .iter()
        .filter_map(|worker| worker.handshake_failures.get(class.index()));
    (class, counts.map(|count| count.value()).sum())
}

fn sent_away(workers: &[Arc<WorkerMetrics>], why: SentAway) -> (SentAway, u64) {
    let counts = workers
        .iter()
        .filter_map(|worker| worker.clients_sent_away.get(why as usize));
    (why, counts.map(|count| count.value()).sum())
}

fn http_requests(workers: &[Arc<WorkerMetrics>], kind: HttpRequest) -> (HttpRequest, u64) {
    let counts = workers
        .iter()
        .filter_map(|worker| worker.http_requests.get(kind.index()));
    (kind, counts.map(|count| count.value()).sum())
}

fn limits(workers: &[Arc<WorkerMetrics>]) -> Vec<(&'static str, u64)> {
    let mut counts = BTreeMap::<_, u64>::new();
    for (name, count) in workers.iter().flat_map(|worker| worker.limits.iter()) {
        *counts.entry(name).or_default() += count;
    }
    counts.into_iter().collect()
}
