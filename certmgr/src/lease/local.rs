//! Leases among the processes of one machine that share a state directory: a lock on a file for each name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::{Guard, Lease};
use crate::blocking;
use crate::store::disk::file_name;
use crate::store::{BoxFuture, StoreError};

/// Where the lock files are, in the state directory. They stay: removing one while another process is about
/// to lock it would give two of them the right.
pub(crate) const DIRECTORY: &str = "locks";

/// `flock(2)`: the system gives a lock back when the process dies.
#[derive(Debug)]
pub(crate) struct Local {
    directory: Arc<Path>,
}

/// Of the whole right, or of a share.
type Lock = fn(&File) -> Result<(), TryLockError>;

impl Local {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            directory: state.join(DIRECTORY).into(),
        }
    }

    async fn lock(&self, name: &str, how: Lock) -> Result<Option<Guard>, StoreError> {
        let path = self.directory.join(file_name(name));
        let place = path.display().to_string();
        let ended = blocking::call_state(move || lock(&path, how)).await;
        ended
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map(|held| held.map(Guard::new))
            .map_err(|error| StoreError::new(place, error))
    }
}

impl Lease for Local {
    fn try_acquire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        Box::pin(self.lock(name, File::try_lock))
    }

    fn try_share<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        Box::pin(self.lock(name, File::try_lock_shared))
    }
}

fn lock(path: &Path, how: Lock) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match how(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
