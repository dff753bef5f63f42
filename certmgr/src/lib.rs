//! Where certificates come from, and the story of each one from its source to the store.
//!
//! [`start`] runs one task for each configured certificate. A task reads its source, hands the bytes through
//! `certstore`'s one door, and installs what is proved; every turn of events is an [`Event`]. Whatever goes
//! wrong, what serves goes on serving.
//!
//! - `certificate.rs` tells the story;
//! - `source/` knows how to read one consistent pair from somewhere;
//! - `supervisor.rs` starts, stops and replaces the tasks when the configuration changes.

#![warn(missing_docs)]

mod certificate;
mod config;
mod error;
mod event;
mod source;
mod supervisor;
mod watch;

pub use certificate::{Summary, check};
pub use config::{CertificateConfig, Clock, FileSource, Observer, Options, Source};
pub use error::{Error, Reason};
pub use event::Event;
pub use supervisor::{Handle, start};

#[cfg(test)]
mod tests;
