//! Sources of certificates, and the story of each certificate from its source to the store.
//!
//! [`start`] runs one task for each configured certificate and trust bundle. A task reads its source or asks a
//! CA, passes the bytes through `certstore`'s one check, and installs the proved result; each event is an
//! [`Event`]. If anything fails, the serving bundle goes on serving.
//!
//! - `fetched.rs` is the story of what somebody else renews: certificates and trust bundles (`trust.rs`);
//! - `certificate.rs` has the steps of a certificate, and the story of one that is ordered;
//! - `source.rs` reads one consistent pair from a source;
//! - `acme.rs` orders from a CA, and `dns.rs` writes the TXT records that prove control;
//! - `schedule.rs` decides on the time of an order, `ledger.rs` knows the CA's limits, `plan.rs` looks ahead;
//! - `state.rs` and `store.rs` keep the documents that must outlive the process;
//! - `revocations.rs` carries out the wishes of operators to revoke;
//! - `view.rs` and `command.rs` are the view and the commands of operators, `service.rs` their gRPC service;
//! - `supervisor.rs` starts, stops and replaces the tasks when the configuration changes.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests draw seeds, look for tools, read the clock and collect events"
    )
)]

mod acme;
mod aws;
mod blocking;
mod certificate;
mod clock;
mod command;
mod config;
mod debounce;
mod dns;
mod error;
mod event;
mod failpoint;
mod fetched;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kept;
mod lease;
mod ledger;
mod options;
mod pair;
mod plan;
mod publish;
mod revocations;
mod schedule;
mod secret;
mod service;
mod source;
mod stage;
mod state;
mod store;
mod supervisor;
mod trust;
mod view;
mod watch;

pub use acme::RevocationReason;
pub use blocking::within;
pub use certificate::{Summary, Unread, check, unread};
pub use clock::{Clock, Random};
pub use command::CommandError;
pub use config::{
    AcmeSource, Aws, Ca, CertificateConfig, Challenge, DnsProvider, ExecHook, ExternalAccount, FileSource,
    KeyType, Route53, S3Object, S3Source, SecretFormat, SecretReference, SecretsManagerSource, Source,
    TrustConfig,
};
pub use error::{Error, ErrorClass, IssueError, IssueFault, Reason, RemoteFault, RetryAfter};
pub use event::{Event, EventKind, Observer, Subject, SubjectKind};
pub use ledger::{Counted, Limit, Published, Wait};
pub use options::Options;
pub use plan::{MAX_PLANNED, Plan, PlanError, PlannedLimit, PlannedOrder};
pub use schedule::Why;
pub use service::{list, service};
pub use source::file::READ_DEADLINE;
pub use state::{State, StateError};
pub use supervisor::{Control, Handle, start};
pub use trust::kept_trust;
pub use view::{AcmeView, Action, LastError, NextStep, Progress, Revocation, Version, View};

// One file for both: this crate's tests cannot depend on the end-to-end ones.
#[cfg(test)]
#[expect(unreachable_pub, reason = "it is public where the end-to-end tests show it")]
#[path = "../../tests/src/ports.rs"]
mod ports;
#[cfg(test)]
mod tests;
