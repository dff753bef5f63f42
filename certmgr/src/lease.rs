//! Rights of one process at a time: to order a certificate, change the ledger, or have a certificate revoked.

pub(crate) mod local;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::{BoxFuture, StoreError};

/// Time between two attempts to acquire a right that another process has.
pub(crate) const RETRY_PERIOD: Duration = Duration::from_millis(20);

/// Gives out rights that one process at a time may have, or several that share it.
///
/// A right belongs to its guard: dropping the guard returns it, and so does the end of the process, also by a crash.
/// These calls do not wait for the holder of a right (`acquire_within` does),
/// and each ends within the deadline of the [`Store`](crate::store::Store). After acquiring a right, the caller must
/// look again at the kept documents before it acts: another process may just have acted. An error means that the
/// right could not be looked up, and nothing was acquired. A call that is cancelled may finish in the background, and
/// releases the right then.
pub(crate) trait Lease: Send + Sync + fmt::Debug {
    /// The right of this name until the guard is dropped; `None` if another process, or another task of this one,
    /// has it now.
    fn try_acquire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>>;

    /// A share in the right of this name until the guard is dropped: while a share is held, nobody has the whole right.
    /// `None` if the whole right is held now.
    fn try_share<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>>;

    /// A share that can be taken and returned even if file descriptors have run out by then. It is not taken yet.
    fn stand_by<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Standby>, StoreError>>;
}

/// A lock file that is already open: its share is taken and returned without a new descriptor.
pub(crate) trait Standby: Send + Sync + fmt::Debug {
    /// Takes the share, or returns it. True if it is held then: the whole right may be held by another process. A
    /// cancelled call may still take effect.
    fn hold(&self, hold: bool) -> BoxFuture<'_, Result<bool, StoreError>>;
}

impl dyn Lease {
    /// The right of this name, for which the caller waits that long at most; `None` if another process, or another
    /// task of this one, has it even then.
    pub(crate) async fn acquire_within(
        &self,
        name: &str,
        wait: Duration,
    ) -> Result<Option<Guard>, StoreError> {
        let until = Instant::now() + wait;
        loop {
            match self.try_acquire(name).await? {
                None if Instant::now() < until => sleep(RETRY_PERIOD).await,
                acquired => return Ok(acquired),
            }
        }
    }
}

impl dyn Standby {
    /// Takes the share, for which the caller waits that long at most. True if it is held then.
    pub(crate) async fn take_within(&self, wait: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + wait;
        loop {
            match self.hold(true).await? {
                false if Instant::now() < until => sleep(RETRY_PERIOD).await,
                is_held => return Ok(is_held),
            }
        }
    }
}

/// A right, returned when dropped.
#[must_use = "dropping it gives the lease back"]
pub(crate) struct Guard {
    _held: Box<dyn Any + Send + Sync>,
}

impl Guard {
    pub(crate) fn new(held: impl Any + Send + Sync) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
