//! The fuzz target as ordinary test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it stands"
)]

#[path = "../fuzz/bodies/configuration.rs"]
mod configuration;
#[path = "../../http2/fuzz/replay.rs"]
mod replay;

#[test]
fn configuration_takes_any_text() {
    replay::replay("configuration", configuration::run, 500);
}
