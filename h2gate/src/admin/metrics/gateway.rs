//! Metrics of the data path.

use std::fmt::Error;
use std::time::Duration;

use gateway::telemetry::{BackendTotals, HISTOGRAM_BOUNDS, Histogram, Totals, grpc_status_name};

use super::exposition::{Distribution, Families, Labels, labels, unlabelled};

pub(super) fn families(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    rpcs(families, totals)?;
    connections(families, totals)?;
    handshakes(families, totals)?;
    backends(families, totals)?;
    workers(families, totals)
}

fn rpcs(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    families.counter(
        "h2gate_rpcs",
        "RPCs that ended, by gRPC status",
        totals.rpcs.iter().map(|rpcs| {
            let (route, backend) = (("route", &rpcs.route as _), ("backend", &rpcs.backend as _));
            let status = ("grpc_status", &grpc_status_name(rpcs.status) as _);
            (labels([route, backend, status]), rpcs.count)
        }),
    )?;
    let routes = &totals.routes;
    families.gauge(
        "h2gate_rpcs_active",
        "RPCs that are running",
        routes
            .iter()
            .map(|route| (labels([("route", &route.route)]), route.active)),
    )?;
    families.histogram(
        "h2gate_rpc_duration_seconds",
        "From the request's head to the end of the RPC, for RPCs that ended",
        routes
            .iter()
            .map(|route| (labels([("route", &route.route)]), distribution(&route.took))),
    )
}

fn connections(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    families.counter(
        "h2gate_connections_accepted",
        "Connections of clients that were accepted",
        unlabelled(totals.connections_accepted),
    )?;
    families.counter(
        "h2gate_connections_closed",
        "Connections of clients that were closed",
        unlabelled(totals.connections_closed),
    )?;
    families.gauge(
        "h2gate_connections",
        "Open HTTP/2 connections, by TLS version and by the install of the certificate that was shown",
        totals.connections.iter().map(|open| {
            let version = ("tls_version", &open.version.name() as _);
            (
                labels([version, ("certificate_install", &open.install)]),
                open.open,
            )
        }),
    )
}

fn handshakes(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    families.counter(
        "h2gate_handshakes",
        "Handshakes that were done, by TLS version, and whether from a session ticket",
        totals.handshakes.iter().flat_map(|done| {
            let labels =
                |resumed: &str| labels([("tls_version", &done.version.name()), ("resumed", &resumed)]);
            [(labels("false"), done.full), (labels("true"), done.resumed)]
        }),
    )?;
    families.histogram(
        "h2gate_handshake_duration_seconds",
        "From accept to the end of the handshake",
        totals.handshakes.iter().map(|done| {
            let labels = labels([("tls_version", &done.version.name())]);
            (labels, distribution(&done.took))
        }),
    )?;
    families.counter(
        "h2gate_handshake_failures",
        "Connections that did not get to HTTP/2, by class",
        counts("class", &totals.handshake_failures, |class| class.name()),
    )?;
    families.counter(
        "h2gate_tls_alpn_challenges_answered",
        "Handshakes of acme-tls/1 in which a CA saw the answer to its challenge",
        unlabelled(totals.challenges_answered),
    )?;
    families.counter(
        "h2gate_clients_sent_away",
        "Connected clients that were sent away, by reason: their certificate is not accepted any more, or their listener asks for more",
        counts("reason", &totals.clients_sent_away, |reason| reason.name()),
    )?;
    families.counter(
        "h2gate_http_requests",
        "Requests on listeners that speak plain HTTP, by what became of them",
        counts("kind", &totals.http_requests, |kind| kind.name()),
    )
}

fn backends(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    let by_backend = |of: fn(&BackendTotals) -> u64| {
        let backends = totals.backends.iter();
        backends.map(move |backend| (labels([("backend", &backend.backend)]), of(backend)))
    };
    families.gauge(
        "h2gate_backend_connections",
        "Open connections to a backend",
        by_backend(|backend| backend.open),
    )?;
    families.counter(
        "h2gate_backend_connects",
        "Connections made to a backend",
        by_backend(|backend| backend.connected),
    )?;
    families.counter(
        "h2gate_backend_connect_failures",
        "Connects to a backend that failed",
        by_backend(|backend| backend.failed),
    )?;
    families.counter(
        "h2gate_backend_disconnects",
        "Connections to a backend that were closed",
        by_backend(|backend| backend.closed),
    )
}

fn workers(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    families.counter(
        "h2gate_limits_reached",
        "How often a limit was reached, by its name",
        counts("limit", &totals.limits, |limit| limit),
    )?;
    families.gauge(
        "h2gate_held_bytes",
        "Bytes that peers make the process keep: all that counts against limits.process_memory",
        unlabelled(totals.held_bytes),
    )?;
    families.counter(
        "h2gate_worker_turns",
        "Passes of the workers' loops",
        unlabelled(totals.turns),
    )?;
    families.counter(
        "h2gate_panics",
        "Panics, each of which ended a connection or a worker",
        unlabelled(totals.panics),
    )?;
    families.counter(
        "h2gate_worker_restarts",
        "Workers that were started again after a panic",
        unlabelled(totals.worker_restarts),
    )
}

/// Samples by one label.
fn counts<T>(
    key: &'static str,
    counts: &[(T, u64)],
    name: fn(&T) -> &'static str,
) -> impl Iterator<Item = (Labels, u64)> {
    counts
        .iter()
        .map(move |(value, count)| (labels([(key, &name(value))]), *count))
}

fn distribution(histogram: &Histogram) -> Distribution {
    let bounds = HISTOGRAM_BOUNDS
        .iter()
        .map(Duration::as_secs_f64)
        .chain([f64::INFINITY]);
    // Nothing counted yet: the buckets are shown all the same, so that a series does not begin with its first RPC.
    let counts = histogram.counts.iter().copied().chain(std::iter::repeat(0));
    Distribution {
        sum: histogram.sum.as_secs_f64(),
        buckets: bounds.zip(counts).collect(),
    }
}
