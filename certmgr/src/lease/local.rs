//! Leases among the processes of one machine that share a state directory: a lock on a file for each name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Guard, Lease, Standby};
use crate::blocking;
use crate::store::disk::{call, file_name};
use crate::store::{BoxFuture, StoreError};

/// Directory of the lock files, in the state directory. They stay: removing one while another process is about
/// to lock it would give two of them the right.
pub(crate) const DIRECTORY: &str = "locks";

/// `flock(2)`: the system releases a lock when the process dies.
#[derive(Debug)]
pub(crate) struct Local {
    directory: Arc<Path>,
}

/// An open lock file.
#[derive(Debug)]
struct StandbyFile {
    file: Arc<File>,
    place: PathBuf,
}

impl Local {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            directory: state.join(DIRECTORY).into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(file_name(name))
    }

    async fn lock(
        &self,
        name: &str,
        open: fn(&Path) -> io::Result<File>,
        lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<Guard>, StoreError> {
        let path = self.path(name);
        let place = path.clone();
        let work = move || {
            let file = open(&path)?;
            Ok(is_locked(lock(&file))?.then_some(file))
        };
        let locked = call(&place, blocking::call_state(work)).await?;
        Ok(locked.map(Guard::new))
    }
}

impl Lease for Local {
    fn try_acquire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        Box::pin(self.lock(name, open_to_write, File::try_lock))
    }

    fn try_share<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Guard>, StoreError>> {
        Box::pin(self.lock(name, open_to_share, File::try_lock_shared))
    }

    fn stand_by<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Standby>, StoreError>> {
        Box::pin(async move {
            let path = self.path(name);
            let place = path.clone();
            let file = call(&place, blocking::call_state(move || open_to_share(&path))).await?;
            let file = Arc::new(file);
            Ok(Arc::new(StandbyFile { file, place }) as Arc<dyn Standby>)
        })
    }
}

impl Standby for StandbyFile {
    fn hold(&self, hold: bool) -> BoxFuture<'_, Result<bool, StoreError>> {
        let file = Arc::clone(&self.file);
        let work = move || match hold {
            true => is_locked(file.try_lock_shared()),
            false => file.unlock().map(|()| false),
        };
        Box::pin(call(&self.place, blocking::call_state(work)))
    }
}

/// `false`: another holder has a lock that excludes it.
fn is_locked(locked: Result<(), TryLockError>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A share is held for as long as a process runs: a file that is open for writing would keep the disk from being
/// mounted read-only.
fn open_to_share(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            drop(open_to_write(path)?);
            File::open(path)
        }
        opened => opened,
    }
}

/// For the whole right NFS wants a file that is open for writing.
fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
