//! The history of orders, which is asked and written before each order.
//!
//! There is one document for all certificates of a state directory. It survives restarts, so that a process which
//! dies in the middle of each order does not use up the limits of the CA. An attempt without an outcome counts as a
//! failed one.
//!
//! - `history.rs` has the contents and their changes, without I/O;
//! - `in_a_row.rs` counts how often a name has failed without a success, for which a CA pauses it;
//! - `limits.rs` has the limits of the CAs.

mod history;
mod in_a_row;
mod limits;

use std::fmt;
use std::time::Duration;

use certstore::{Name, UnixTime};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::acme::Registrar;
use crate::clock::{Clock, Random};
use crate::config::{Ca, KeyType};
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};
use crate::event::{EventKind, Reporter};
use crate::schedule::{Jitter, MonotonicTime, Now, OrderRecord};
use crate::state::State;
use crate::store::{BoxFuture, Document, DocumentError, StoreError};

pub(crate) use history::{History, Noted, Stamps, lease_of};
pub(crate) use limits::peaks;
pub use limits::{Counted, Limit, Published, Wait};

/// The lease under which processes change the ledger. It is no host name, so no certificate is likely to have this
/// name.
const LEASE: &str = "/ledger";

/// Longest wait for the lease: a process holds it for one read and one write of the disk.
const LEASE_DEADLINE: Duration = Duration::from_secs(10);

/// Number of outcomes that could not be written and are kept: more than orders can be in progress.
const MAX_UNWRITTEN: usize = 256;

/// Name of the ledger in errors.
const PLACE: &str = "the ledger of orders in the state directory";

/// The ledger of a state directory. There is one in a process, shared by all certificates.
///
/// Every order is noted on disk before it is placed: the caller orders only with the [`Attempt`] of
/// [`Ledger::intend`], and reports its outcome. Other processes may use the same state directory: a call reads the
/// document before it decides, and changes it under a lease.
///
/// Errors: [`Wait`], if a limit forbids the order; [`StoreError`], if the document cannot be read or written, or was
/// written by a newer version. Then nothing may be ordered. The wait for the lease and each call of the store are
/// bounded.
///
/// A call that is dropped may or may not have written its note. An attempt that was noted that way counts as
/// interrupted. An outcome that was not written counts in this process from the moment at which its call had the
/// lock, and is written with the next note.
pub(crate) struct Ledger {
    state: State,
    clock: Clock,
    random: Random,
    reporter: Reporter,
    began: (Instant, Duration),
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    on_disk: OnDisk,
    history: History,
    stamps: Stamps,
    unwritten: Vec<UnwrittenOutcome>,
}

/// The document as it was last read or written.
#[derive(Default, PartialEq, Eq)]
enum OnDisk {
    /// Nothing was read yet, or an outcome waits to be written: the next use reads it.
    #[default]
    Unknown,
    Missing,
    Bytes(Vec<u8>),
}

/// The outcome of an attempt.
#[derive(Clone)]
struct UnwrittenOutcome {
    noted: Noted,
    result: Result<UnixTime, IssueError>,
    at: Now,
}

/// An order that is about to be placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) domains: &'a [Name],
    pub(crate) key: KeyType,
    pub(crate) ca: &'a Ca,
    pub(crate) kind: OrderKind,
    /// A person asks for the order: the waits that are only our own choice do not count.
    pub(crate) by_hand: bool,
}

/// Kind of an order, by which the CA counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKind {
    /// The order names no earlier certificate.
    New,
    /// The order names the certificate that it replaces (RFC 9773 §5).
    Replacing,
    /// The noted order goes on: no new order for the CA, but an attempt all the same.
    Resumed,
}

/// Permission to order once. The caller reports its outcome with [`Ledger::issued`] or [`Ledger::failed`]; if it is
/// dropped, it stays noted as an attempt that was interrupted.
#[derive(Debug)]
#[must_use = "its outcome must be noted"]
pub(crate) struct Attempt(Noted);

impl Attempt {
    pub(crate) fn noted(&self) -> Noted {
        self.0
    }
}

/// The reason for which nothing may be ordered now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNow {
    /// The limits of the CA, or its `Retry-After`.
    #[error(transparent)]
    Wait(#[from] Wait),
    /// The order cannot be noted, so it must not be placed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Makes the ledger. Nothing is read yet.
    pub(crate) fn new(state: State, clock: Clock, random: Random, reporter: Reporter) -> Self {
        let wall = Duration::from_secs(clock().as_secs());
        Self {
            state,
            clock,
            random,
            reporter,
            began: (Instant::now(), wall),
            inner: Mutex::default(),
        }
    }

    /// Reports that an outcome is not written yet, if so.
    pub(crate) fn report_unwritten(&self, certificate: &str, noted: Result<(), StoreError>) {
        if let Err(error) = noted {
            let error = error.to_string();
            self.reporter
                .of_certificate(certificate, EventKind::LedgerUnwritten { error });
        }
    }

    /// Reads both clocks. This is the only source of [`Now`]: a certificate and its ledger must share the monotonic
    /// clock.
    pub(crate) fn now(&self) -> Now {
        let (began, wall) = self.began;
        Now {
            wall: (self.clock)(),
            monotonic: MonotonicTime(wall + began.elapsed()),
        }
    }

    /// Returns the record of a name set over these CAs, with the notes of other processes.
    pub(crate) async fn record(
        &self,
        domains: &[Name],
        key: KeyType,
        cas: &[Ca],
    ) -> Result<OrderRecord, StoreError> {
        let mut inner = self.inner.lock().await;
        self.refresh(&mut inner).await?;
        let now = self.now();
        Ok(inner.history.record(domains, key, cas, &inner.stamps, now))
    }

    /// Returns the whole history, for a plan.
    pub(crate) async fn history(&self) -> Result<(History, Stamps), StoreError> {
        let mut inner = self.inner.lock().await;
        self.refresh(&mut inner).await?;
        Ok((inner.history.clone(), inner.stamps.clone()))
    }

    /// Checks that the order may be placed and notes that it will be, in one step. After `Ok` the note survives a
    /// crash.
    pub(crate) async fn intend(&self, order: Order<'_>) -> Result<Attempt, NotNow> {
        self.change(|history, stamps, now| {
            history.may_order(&order, stamps, now)?;
            let jitter = Jitter::new(&mut || (self.random)());
            Ok(Attempt(history.intend(&order, jitter, stamps, now)))
        })
        .await
    }

    /// Checks that a noted attempt may be an order of this kind after all, and notes it as such.
    pub(crate) async fn note_as(&self, noted: Noted, order: Order<'_>) -> Result<(), NotNow> {
        if self.inner.lock().await.history.is_noted_as(noted, &order) {
            return Ok(());
        }
        self.change(|history, stamps, now| Ok(history.note_as(noted, &order, stamps, now)?))
            .await
    }

    /// Notes that a certificate came and may serve. If that cannot be written, it counts in this process all the
    /// same, and is written with the next note.
    pub(crate) async fn issued(&self, attempt: Attempt, not_before: UnixTime) -> Result<(), StoreError> {
        self.conclude(attempt, Ok(not_before)).await
    }

    /// Notes that no certificate came, or one that may not serve. If that cannot be written, it counts in this
    /// process all the same, and is written with the next note.
    pub(crate) async fn failed(&self, attempt: Attempt, error: &IssueError) -> Result<(), StoreError> {
        self.conclude(attempt, Err(error.clone())).await
    }

    /// Notes that the order failed which this attempt was to go on with.
    pub(crate) async fn has_failed(&self, noted: Noted, error: &IssueError) -> Result<(), StoreError> {
        self.change(|history, stamps, now| {
            history.has_failed(noted, error, stamps, now);
            Ok(())
        })
        .await
    }

    /// Changes the document in the store, with all other processes excluded. A change that cannot be written, or is
    /// refused, has not happened.
    async fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut History, &mut Stamps, Now) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut inner = self.inner.lock().await;
        let lease = self.state.lease.acquire_within(LEASE, LEASE_DEADLINE).await?;
        let lease = lease.ok_or_else(|| {
            let seconds = LEASE_DEADLINE.as_secs();
            let text =
                format!("another process has kept it locked for {seconds} s; end that process if it hangs");
            StoreError::new(PLACE, text)
        })?;
        self.refresh(&mut inner).await?;
        let (mut history, mut stamps) = (inner.history.clone(), inner.stamps.clone());
        let changed = change(&mut history, &mut stamps, self.now())?;
        let bytes = history.to_bytes();
        let write = self
            .state
            .store
            .write_holding(&Document::Ledger, &bytes, Some(Box::new(lease)));
        write.await?;
        inner.unwritten.clear();
        (inner.history, inner.stamps, inner.on_disk) = (history, stamps, OnDisk::Bytes(bytes));
        Ok(changed)
    }

    /// Warning for people, once a name of the order is close to being paused.
    pub(crate) async fn warning(&self, order: Order<'_>) -> Option<String> {
        self.inner.lock().await.history.warning(&order)
    }

    async fn conclude(
        &self,
        Attempt(noted): Attempt,
        result: Result<UnixTime, IssueError>,
    ) -> Result<(), StoreError> {
        {
            let mut inner = self.inner.lock().await;
            let at = self.now();
            if inner.unwritten.len() < MAX_UNWRITTEN {
                inner.unwritten.push(UnwrittenOutcome { noted, result, at });
            }
            // From here on the outcome counts, also if the writing fails.
            inner.on_disk = OnDisk::Unknown;
        }
        self.change(|_, _, _| Ok(())).await
    }

    /// Reads the document if it has changed, and adds the outcomes that are not written yet.
    async fn refresh(&self, inner: &mut Inner) -> Result<(), StoreError> {
        let on_disk = match self.state.store.read(&Document::Ledger).await? {
            Some(bytes) => OnDisk::Bytes(bytes.to_vec()),
            None => OnDisk::Missing,
        };
        if inner.on_disk == on_disk {
            return Ok(());
        }
        let now = self.now();
        let mut history = match &on_disk {
            OnDisk::Bytes(bytes) => read(bytes, now, &self.reporter)?,
            OnDisk::Unknown | OnDisk::Missing => History::default(),
        };
        inner.stamps.learn(&history, now);
        for UnwrittenOutcome { noted, result, at } in &inner.unwritten {
            match result {
                Ok(not_before) => history.issued(*noted, *not_before, &mut inner.stamps, *at),
                Err(error) => history.failed(*noted, error, &mut inner.stamps, *at),
            }
        }
        (inner.history, inner.on_disk) = (history, on_disk);
        Ok(())
    }
}

impl Registrar for Ledger {
    fn may_register<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move {
            let registered =
                self.change(|history, stamps, now| Ok::<_, NotNow>(history.register(ca, stamps, now)?));
            let error = match registered.await {
                Ok(()) => return Ok(()),
                Err(NotNow::Wait(wait)) => IssueError {
                    retry_after: Some(RetryAfter::new(wait.wait, SaidOf::Names)),
                    ..IssueError::new(
                        IssueFault::RateLimited,
                        format!("no account is made: {wait}"),
                        "let all certificates of a CA share one `external_account`; see whether the CA loses our account",
                    )
                },
                Err(NotNow::Store(error)) => IssueError::new(
                    IssueFault::State,
                    format!("no account is made: {error}"),
                    "check the state directory",
                ),
            };
            Err(error.at(ca))
        })
    }

    fn not_registered<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let unregistered = self.change(|history, _, _| {
                history.unregister(ca);
                Ok::<_, StoreError>(())
            });
            if let Err(error) = unregistered.await {
                let error = error.to_string();
                self.reporter.of_ca(&ca.name, EventKind::AccountCounted { error });
            }
        })
    }
}

/// Parses the document. A broken one is begun anew, as if everything had been ordered just now. One that a newer
/// version has written is left alone, and nothing is ordered.
fn read(bytes: &[u8], now: Now, reporter: &Reporter) -> Result<History, StoreError> {
    match History::parse(bytes) {
        Ok(history) => Ok(history),
        Err(broken @ DocumentError::Broken(_)) => {
            let error = format!("{PLACE}: it {broken}");
            reporter.of_manager(EventKind::LedgerBroken { error });
            Ok(History::after_loss(now))
        }
        Err(newer @ DocumentError::Newer { .. }) => Err(StoreError::new(
            PLACE,
            format!("it {newer}; run the newer version of h2gate again, or use another state directory"),
        )),
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
