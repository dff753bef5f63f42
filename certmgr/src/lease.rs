//! One process at a time: who may order a certificate, change the ledger, or have a certificate revoked.

pub(crate) mod local;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::store::{BoxFuture, StoreError};

/// Gives out rights that one process at a time may have, or several that share it.
pub(crate) trait Lease: Send + Sync + fmt::Debug {
    /// The right of this name until the guard is dropped; `None` if another process, or another task of this one,
    /// has it now. Whoever gets it looks again at what is kept, then acts: another one may just have acted.
    fn try_acquire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>>;

    /// A share in the right of this name until the guard is dropped: while anybody has one, nobody has the whole right.
    /// `None` if somebody has that now.
    fn try_share<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>>;

    /// A share that can be taken and given back whatever has run out by then. It is not taken yet.
    fn stand_by<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Standby>, StoreError>>;
}

/// A lock file that is already open: its share is taken and given back without a descriptor.
pub(crate) trait Standby: Send + Sync + fmt::Debug {
    /// Takes it, or gives it back. Whether it is held then: somebody may have the whole right.
    fn hold(&self, hold: bool) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// A right, given back when dropped.
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
