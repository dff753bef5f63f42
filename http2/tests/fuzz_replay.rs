//! The fuzz targets as ordinary tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "../fuzz/bodies/connection.rs"]
mod connection;
#[path = "../fuzz/bodies/frames.rs"]
mod frames;
#[path = "../fuzz/bodies/hpack.rs"]
mod hpack;
#[path = "../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn hpack_takes_any_bytes() {
    replay("hpack", hpack::run, 4000);
}

#[test]
fn connection_takes_any_bytes() {
    replay("frames", frames::run, 4000);
}

#[test]
fn connections_take_any_calls() {
    replay("connection", connection::run, 1000);
}
