//! The state directory: documents that must outlive the process, on the local disk.
//!
//! ```text
//! format                        the number of the layout
//! certificates/<name>.json      the serving pair, and those that served before it; with keys
//! accounts/<directory>.json     accounts at CAs; with keys
//! orders/<name>.json            orders in progress; with keys
//! ledger.json                   past orders with their times
//! revocations/<hash>.json       certificates to be revoked, and revoked ones
//! trust/<name>.json             CA certificates and revocation lists that are in force
//! locks/<name>                  locks of leases
//! ```

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::lease::Lease;
use crate::lease::local::{self, Local};
use crate::store::Store;
use crate::store::disk::{self, Disk};

/// The layout that this program writes. Version 0 had no `format` file, and the same layout otherwise.
const FORMAT: u64 = 1;

/// The file that holds the number of the layout.
const FORMAT_FILE: &str = "format";

/// Longest content of that file: a number and a line's end have far less.
const MAX_FORMAT_BYTES: u64 = 32;

/// Entries that a fresh volume may have before our first.
const NOT_OURS: [&str; 1] = ["lost+found"];

/// The opened state. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lease: Arc<dyn Lease>,
}

/// Reason why the state directory cannot be used. The message names it, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    message: String,
}

impl State {
    /// Opens the directory, makes it if it is not there (0700), brings an older format up to date and refuses a
    /// newer one. Blocks.
    ///
    /// A directory of ours that is full or read-only opens all the same: its kept versions can serve.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        make(directory).map_err(|error| StateError::io(directory, "cannot be made", &error))?;
        let metadata = fs::metadata(directory)
            .map_err(|error| StateError::io(directory, "cannot be looked at", &error))?;
        secure(directory, &metadata)?;
        match format(directory)? {
            Some(FORMAT) => {
                // Each write reports an error of the disk.
                let _ = prepare(directory);
            }
            Some(newer) if newer > FORMAT => {
                return Err(StateError::new(
                    directory,
                    format!(
                        "was written by a newer h2gate (format {newer}; this one knows up to {FORMAT}): run that \
                         h2gate again, or give this one another `state_dir`"
                    ),
                ));
            }
            Some(_) | None => prepare(directory)
                .and_then(|()| disk::replace(&directory.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes()))
                .map_err(|error| StateError::io(directory, "cannot be written", &error))?,
        }
        Ok(Self {
            store: Arc::new(Disk::new(directory)),
            lease: Arc::new(Local::new(directory)),
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

impl StateError {
    fn new(directory: &Path, text: impl fmt::Display) -> Self {
        Self {
            message: format!("state directory {}: {text}", directory.display()),
        }
    }

    fn io(directory: &Path, text: &str, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "let the user that h2gate runs as write there, or set `state_dir`"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
            _ => "check the path, or set `state_dir`",
        };
        Self::new(directory, format_args!("{text}: {error} ({remedy})"))
    }
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Checks that nobody else may write there: another user could put a key in place.
fn secure(directory: &Path, metadata: &Metadata) -> Result<(), StateError> {
    let (us, owner, mode) = (
        rustix::process::geteuid().as_raw(),
        metadata.uid(),
        metadata.mode() & 0o7777,
    );
    let refuse = |text: String| Err(StateError::new(directory, text));
    if !metadata.is_dir() {
        return refuse("is no directory: give the path of one".to_owned());
    }
    if owner != us && owner != 0 {
        return refuse(format!(
            "belongs to user {owner}, and h2gate runs as user {us}: give it to user {us} (chown)"
        ));
    }
    // A volume in Kubernetes belongs to root and is written through its group (fsGroup).
    let writable_by_others = if owner == us { 0o022 } else { 0o002 };
    if mode & writable_by_others != 0 {
        return refuse(format!(
            "others may write there (mode {mode:03o}), and it holds private keys: chmod 0700 it, or give a \
             directory of its own"
        ));
    }
    if owner == us && mode & 0o077 != 0 {
        // Its files are 0600 in any case.
        let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    }
    Ok(())
}

/// The layout's number; `None` for a directory that is new.
fn format(directory: &Path) -> Result<Option<u64>, StateError> {
    let no_number = |holds: &str| {
        let remedy = "write 1 into it, if the rest was not touched";
        StateError::new(
            directory,
            format_args!("its file `format` holds {holds}: {remedy}"),
        )
    };
    match read_format(&directory.join(FORMAT_FILE)) {
        Ok(None) => Err(no_number("more than a number")),
        Ok(Some(text)) => text.trim().parse().map(Some).map_err(|_| no_number("no number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match foreign(directory) {
            Ok(None) => Ok(None),
            Ok(Some(name)) => Err(StateError::new(
                directory,
                format_args!("holds what is not h2gate's ({name:?}): give it a directory of its own"),
            )),
            Err(error) => Err(StateError::io(directory, "cannot be read", &error)),
        },
        Err(error) => Err(StateError::io(
            directory,
            "its file `format` cannot be read",
            &error,
        )),
    }
}

/// `None`: it is longer than any that we write.
fn read_format(file: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = File::open(file)?
        .take(MAX_FORMAT_BYTES + 1)
        .read_to_string(&mut text)?;
    Ok((read as u64 <= MAX_FORMAT_BYTES).then_some(text))
}

/// An entry in the directory that we would never have made.
fn foreign(directory: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = disk::DIRECTORIES.contains(&name.as_str())
            || [local::DIRECTORY, "ledger.json"].contains(&name.as_str())
            || NOT_OURS.contains(&name.as_str())
            || name.starts_with('.');
        if !known {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn prepare(directory: &Path) -> io::Result<()> {
    for name in disk::DIRECTORIES.into_iter().chain([local::DIRECTORY]) {
        make(&directory.join(name))?;
    }
    // A document survives a crash of the machine only if its directory does.
    File::open(directory)?.sync_all()?;
    disk::remove_leftovers(directory)?;
    disk::DIRECTORIES
        .into_iter()
        .try_for_each(|name| disk::remove_leftovers(&directory.join(name)))
}

#[cfg(test)]
mod tests;
