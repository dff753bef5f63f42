//! The fuzz target as ordinary test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "../fuzz/bodies/pem.rs"]
mod pem;
#[path = "../../http2/fuzz/replay.rs"]
mod replay;

#[test]
fn pem_takes_any_texts() {
    replay::replay("pem", pem::run, 1000);
}
