//! The vocabulary of the end-to-end tests.
//!
//! A test reads as a sentence: a [`TestBackend`] answers, a [`TestGateway`] (the real program, in a process of its own)
//! stands in front of it with a certificate of a [`TestCa`], and clients ask: [`TestClient`] like a person with tonic,
//! [`H2Client`] with the whole of HTTP/2 in view, [`FrameConn`] frame by frame and as badly as it likes, or many at
//! once: [`Load`]. A [`DelayProxy`] puts a distance between two of them. Its certificates come from a [`TestPebble`]
//! with its [`TestDns`], or from a [`TestMoto`], each behind a [`FaultProxy`].
//!
//! Every wait is for a fact and has a deadline ([`within`], [`eventually`]). Whatever goes wrong here is a failed test,
//! so everything panics with what was expected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure in the vocabulary is a failed test"
)]

mod backend;
mod ca;
mod client;
mod delay_proxy;
mod dns;
mod dns_question;
mod fault_proxy;
mod files;
mod frames;
mod gateway;
mod grpc;
mod h2_client;
mod http;
mod load;
mod memory_group;
mod metrics;
mod moto;
mod pebble;
mod ports;
mod process;
mod program;
mod sources;
mod tls;
mod tools;
mod wait;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use backend::{BackendOptions, Exchange, TestBackend, Unreachable};
pub use ca::{KeyKind, Leaf, Pair, TestCa, Trust, Validity};
pub use client::TestClient;
pub use delay_proxy::DelayProxy;
pub use dns::TestDns;
pub use fault_proxy::{Call, Edit, Fault, FaultProxy};
pub use files::PairFiles;
pub use frames::{Ending, Frame, FrameConn, flags, kind, literal_block, setting};
pub use gateway::{TestGateway, TestGatewayBuilder};
pub use grpc::{echo_body, messages_of, pack, request};
pub use h2_client::{Answer, H2Client};
pub use load::{Harm, Load};
pub use memory_group::MemoryGroup;
pub use metrics::Metrics;
pub use moto::{HostedZone, Queue, TestMoto};
pub use pebble::{PebbleOptions, TestPebble};
pub use ports::free_port;
pub use program::h2gate;
pub use tls::{Handshake, Refusal, Signatures, TlsOptions, pem, serial_of};
pub use tools::{run_tool, tool};
pub use wait::{eventually, within};

/// Full counts are asked for (`make proof`).
pub fn proof() -> bool {
    std::env::var_os("H2GATE_PROOF").is_some_and(|value| value == "1")
}

/// `full` in a proof, `small` otherwise.
pub fn scaled(small: usize, full: usize) -> usize {
    if proof() { full } else { small }
}

/// The lock on the machine, held by one test that measures, or by any number of those that keep it busy.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Tests that measure time or memory run neither beside each other nor beside the [`busy`] ones: hold this while
/// measuring.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// Tests that start dozens of processes hold this, so that nothing is measured beside them.
pub async fn busy() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}
