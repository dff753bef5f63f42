//! Listeners, TLS, routing and the relay of RPCs: the data path of h2gate.
//!
//! A [`Gateway`] is started with [`settings::Settings`] and a [`certstore::Reader`]; see the
//! project's `ARCHITECTURE.md` for the way of an RPC through it.

#![warn(missing_docs)]

pub mod access_log;
mod backend;
mod bridge;
mod connection;
pub mod failpoint;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway;
mod listener;
mod pool;
mod relay;
pub mod route;
mod rpc;
mod serve;
pub mod settings;
mod slab;
mod snapshot;
mod status;
pub mod telemetry;
mod thread;
mod worker;

pub use gateway::{Applied, BindError, Drained, Gateway, ReloadError, StartError};
