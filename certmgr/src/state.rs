//! The state directory: what must outlive the process, on the local disk.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::lease::Lease;
use crate::store::Store;

/// The opened state. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lease: Arc<dyn Lease>,
}

/// The state directory cannot be used. The message names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    message: String,
}

impl State {
    /// Opens the directory, makes it if it is not there (0700), brings an older format up to date and refuses a
    /// newer one. Blocks.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        Err(StateError {
            message: format!("{}: cannot be used", directory.display()),
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
