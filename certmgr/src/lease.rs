//! Rights of one process at a time: to order a certificate, change the ledger, or have a certificate revoked.

pub(crate) mod local;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::store::{BoxFuture, StoreError};

/// Gives out rights that one process at a time may have, or several that share it.
///
/// A right belongs to its guard: dropping the guard returns it, and so does the end of the process, also by a crash.
/// No call waits for the holder of a right; the caller tries again. After acquiring one, the caller must look again at
/// the kept documents before it acts: another process may just have acted. An error means that the right could not
/// be looked up, and nothing was acquired. A call that is cancelled may finish in the background, and releases the
/// right then.
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
