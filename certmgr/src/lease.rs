//! Who may order a certificate: one manager at a time for each name.

pub(crate) mod local;

use std::any::Any;
use std::fmt;

use crate::store::{BoxFuture, StoreError};

/// Gives out the right to order.
pub(crate) trait Lease: Send + Sync + fmt::Debug {
    /// The right to order this certificate until the guard is dropped; `None` if another manager has it now.
    /// Whoever gets it looks again at what is kept, then acts: another manager may just have ordered.
    fn try_acquire<'a>(&'a self, certificate: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>>;
}

/// The right to order, given back when dropped.
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
