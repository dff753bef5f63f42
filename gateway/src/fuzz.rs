//! The bodies of the fuzz targets: inside the crate, because what they try is private.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may stop where it stands"
)]

#[path = "../fuzz/bodies/forger.rs"]
mod forger;
#[path = "../fuzz/bodies/grpc_timeout.rs"]
pub mod grpc_timeout;
#[cfg(test)]
#[path = "../../http2/fuzz/replay.rs"]
mod replay;
#[path = "../fuzz/bodies/session.rs"]
pub mod session;

#[test]
fn grpc_timeouts_may_be_any_bytes() {
    replay::replay("grpc_timeout", grpc_timeout::run, 4000);
}

#[test]
fn session_takes_any_records() {
    replay::replay("session", session::run, 2000);
}
