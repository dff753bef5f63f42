//! The end-to-end suite: the real program, real sockets, real peers. One binary; a module per subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure is a failed test"
)]

mod acme_issue;
mod admin;
mod arrows;
mod backend_faults;
mod backends;
mod bad_certificates;
mod bad_pairs;
mod cancel;
mod certs_cli;
mod crash;
mod demo;
mod disk_full;
mod doubles;
mod drain;
mod endpoints;
mod fairness;
mod flow_control;
#[path = "../conformance/h2spec.rs"]
mod h2spec;
mod headers;
mod heads;
#[path = "../conformance/interop.rs"]
mod interop;
mod limits;
mod many;
mod memory;
mod mtls;
mod neighbours;
mod no_secret_leaves;
mod nonces;
mod outsiders;
mod pairs;
mod refusals;
mod reload;
mod rotation;
mod routes;
mod rpc;
mod shares;
mod sources_down;
mod stalls;
mod stuck;
mod swap;
mod tempers;
mod tls;
mod upgrade;

use e2e::{Exchange, TestBackend, TestCa, TestGateway};

/// A gateway before the real RouteGuide service.
async fn guide() -> (TestCa, TestBackend, TestGateway) {
    let ca = TestCa::new();
    let backend = TestBackend::guide("one").await;
    let gateway = TestGateway::start(&ca, &backend).await;
    (ca, backend, gateway)
}

/// A gateway before a backend that answers by this handler.
async fn scripted<F>(
    handler: impl Fn(Exchange) -> F + Clone + Send + Sync + 'static,
) -> (TestCa, TestBackend, TestGateway)
where
    F: Future<Output = ()> + Send + 'static,
{
    let ca = TestCa::new();
    let backend = TestBackend::h2(handler).await;
    let gateway = TestGateway::start(&ca, &backend).await;
    (ca, backend, gateway)
}
