//! Listeners as clients and CAs meet them, over real sockets with real TLS clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that fails says so by panicking"
)]

mod backend;
mod challenge;
mod client_auth;
#[path = "../../fuzz/bodies/forger.rs"]
mod forger;
mod gives_way;
mod hostile;
mod http;
mod many;
mod newcomers;
mod others;
mod own_admin;
mod reload;
mod sent_away;
mod support;
