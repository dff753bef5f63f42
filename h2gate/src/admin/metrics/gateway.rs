//! Metrics of the data path.

use std::fmt::Error;
use std::time::Duration;

use gateway::telemetry::{HISTOGRAM_BOUNDS, Histogram, Totals, grpc_status_name};

use super::exposition::{Distribution, Families};
use super::process::one;

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
            let (route, backend) = (("route", rpcs.route), ("backend", rpcs.backend));
            (
                vec![route, backend, ("grpc_status", grpc_status_name(rpcs.status))],
                rpcs.count,
            )
        }),
    )?;
    families.gauge(
        "h2gate_rpcs_active",
        "RPCs that are running",
        totals
            .routes
            .iter()
            .map(|route| (vec![("route", route.route)], route.active)),
    )?;
    families.histogram(
        "h2gate_rpc_duration_seconds",
        "From the request's head to the end of the RPC, for RPCs that ended",
        totals
            .routes
            .iter()
            .map(|route| (vec![("route", route.route)], distribution(&route.took))),
    )
}

fn connections(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    families.counter(
        "h2gate_connections_accepted",
        "Connections of clients that were accepted",
        [(vec![], totals.connections_accepted)],
    )?;
    families.counter(
        "h2gate_connections_closed",
        "Connections of clients that were closed",
        [(vec![], totals.connections_closed)],
    )?;
    let installs: Vec<_> = totals
        .connections
        .iter()
        .map(|open| open.install.to_string())
        .collect();
    families.gauge(
        "h2gate_connections",
        "Open HTTP/2 connections, by TLS version and by the install of the certificate that was shown",
        totals.connections.iter().zip(&installs).map(|(open, install)| {
            (
                vec![
                    ("tls_version", open.version.name()),
                    ("certificate_install", install),
                ],
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
            let labels = |resumed| vec![("tls_version", done.version.name()), ("resumed", resumed)];
            [(labels("false"), done.full), (labels("true"), done.resumed)]
        }),
    )?;
    families.histogram(
        "h2gate_handshake_duration_seconds",
        "From accept to the end of the handshake",
        totals.handshakes.iter().map(|done| {
            (
                vec![("tls_version", done.version.name())],
                distribution(&done.took),
            )
        }),
    )?;
    families.counter(
        "h2gate_handshake_failures",
        "Connections that did not get to HTTP/2, by class",
        totals
            .handshake_failures
            .iter()
            .map(|(class, count)| (vec![("class", class.name())], *count)),
    )?;
    families.counter(
        "h2gate_tls_alpn_challenges_answered",
        "Handshakes of acme-tls/1 in which a CA saw the answer to its challenge",
        [(vec![], totals.challenges_answered)],
    )?;
    families.counter(
        "h2gate_clients_sent_away",
        "Connected clients that were told to go, by reason: their certificate is not accepted any more, or their listener asks for more",
        totals
            .clients_sent_away
            .iter()
            .map(|(why, count)| (vec![("reason", why.name())], *count)),
    )?;
    families.counter(
        "h2gate_http_requests",
        "Requests on listeners that speak plain HTTP, by what became of them",
        totals
            .http_requests
            .iter()
            .map(|(kind, count)| (vec![("kind", kind.name())], *count)),
    )
}

fn backends(families: &mut Families<'_>, totals: &Totals) -> Result<(), Error> {
    let by_backend = |of: fn(&gateway::telemetry::BackendTotals) -> u64| {
        totals
            .backends
            .iter()
            .map(move |backend| (vec![("backend", backend.backend)], of(backend)))
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
        totals
            .limits
            .iter()
            .map(|(limit, count)| (vec![("limit", *limit)], *count)),
    )?;
    families.gauge(
        "h2gate_held_bytes",
        "Bytes that peers make the process keep: all that counts against limits.process_memory",
        one(Some(totals.held_bytes)),
    )?;
    families.counter(
        "h2gate_worker_turns",
        "Passes of the workers' loops",
        [(vec![], totals.turns)],
    )?;
    families.counter(
        "h2gate_panics",
        "Panics, each of which ended a connection or a worker",
        [(vec![], totals.panics)],
    )?;
    families.counter(
        "h2gate_worker_restarts",
        "Workers that were started again after a panic",
        [(vec![], totals.worker_restarts)],
    )
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
