//! Documents as files on a local disk: each is written beside the old one, flushed, and renamed over it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use tempfile::NamedTempFile;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    BoxFuture, CERTIFICATES, Document, Held, ORDERS, REVOCATIONS, STATE_DEADLINE, Stamp, Store, StoreError,
};
use crate::{blocking, failpoint};

/// Prefix of files that are being written. No document's name begins with a dot.
const TEMPORARY_PREFIX: &str = ".new-";

/// The subdirectories of the state directory that hold documents.
pub(crate) const DIRECTORIES: [&str; 5] = [CERTIFICATES, "accounts", ORDERS, REVOCATIONS, "trust"];

/// Largest document: a larger file is not one of ours.
const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Attempts of a write whose temporary file another process takes for the leftover of a crash.
const WRITE_ATTEMPTS: u32 = 3;

/// Longest name that is used unchanged; a longer one is cut, and made unique by its hash.
const MAX_PLAIN_NAME: usize = 120;

/// The local disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    directory: Arc<Path>,
    /// One lock for each file, locked while a call for it is in progress.
    locks: Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Disk {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.into(),
            locks: Arc::default(),
        }
    }

    fn path(&self, document: &Document) -> PathBuf {
        let (folder, name) = match document {
            Document::Certificate(name) => (CERTIFICATES, name),
            Document::Account(name) => ("accounts", name),
            Document::Order(name) => (ORDERS, name),
            Document::Revocation(fingerprint) => (REVOCATIONS, fingerprint),
            Document::Ledger => return self.directory.join("ledger.json"),
            Document::Trust(name) => ("trust", name),
        };
        let mut file = file_name(name);
        file.push_str(".json");
        self.directory.join(folder).join(file)
    }

    /// Acts on the file of a document, once no other call does.
    async fn run<T: Send + 'static>(
        &self,
        document: &Document,
        act: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path(document);
        let lock = self.lock_of(&path);
        call(&path.clone(), async {
            let locked = lock.lock_owned().await;
            let work = move || {
                let _locked = locked;
                act(&path)
            };
            blocking::call_state(work).await
        })
        .await
    }

    fn lock_of(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(path.to_owned()).or_default())
    }
}

/// The outcome of a call at this place, which ends within [`STATE_DEADLINE`] for the caller.
pub(crate) async fn call<T>(
    place: &Path,
    call: impl Future<Output = Result<io::Result<T>, blocking::WorkError>>,
) -> Result<T, StoreError> {
    let place = place.display().to_string();
    match timeout(STATE_DEADLINE, call).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(StoreError::new(place, error)),
        Ok(Err(panicked)) => Err(StoreError::new(place, panicked)),
        Err(_) => Err(StoreError::hanging(&place)),
    }
}

impl Store for Disk {
    fn read<'a>(
        &'a self,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        Box::pin(self.run(document, read))
    }

    fn stamp<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Option<Stamp>, StoreError>> {
        Box::pin(self.run(document, stamp))
    }

    fn names(&self, folder: &'static str) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let folder = self.directory.join(folder);
            call(&folder.clone(), blocking::call_state(move || names_in(&folder))).await
        })
    }

    fn write_holding<'a>(
        &'a self,
        document: &'a Document,
        bytes: &'a [u8],
        held: Held,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            failpoint::hit("store.write.before", document.kind());
            let bytes = Zeroizing::new(bytes.to_vec());
            let replace = move |path: &Path| {
                let _held = held;
                replace(path, &bytes)
            };
            self.run(document, replace).await?;
            failpoint::hit("store.write.after", document.kind());
            Ok(())
        })
    }

    fn remove<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            failpoint::hit("store.remove.before", document.kind());
            self.run(document, remove).await?;
            failpoint::hit("store.remove.after", document.kind());
            Ok(())
        })
    }
}

/// A document, without opening the state. Blocks.
pub(crate) fn read_now(directory: &Path, document: &Document) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    read(&Disk::new(directory).path(document))
}

/// The names of the documents of one of [`DIRECTORIES`], without opening the state. Blocks.
pub(crate) fn names_now(directory: &Path, of: &str) -> io::Result<Vec<String>> {
    names_in(&directory.join(of))
}

/// The path of a document.
pub(crate) fn path_of(directory: &Path, document: &Document) -> PathBuf {
    Disk::new(directory).path(document)
}

fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    if size > MAX_DOCUMENT_BYTES {
        return Err(io::Error::other(format!("{size} bytes are too many")));
    }
    // One buffer of the full size, so that no half of a key is left behind by a buffer that grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(size).unwrap_or(0).saturating_add(1),
    ));
    io::Read::read_to_end(&mut io::Read::take(file, MAX_DOCUMENT_BYTES), &mut bytes)?;
    Ok(Some(bytes))
}

fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(Stamp {
            file: file.ino(),
            time: (file.mtime(), file.mtime_nsec()),
            size: file.len(),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file so that a reader sees the old one or the new one at each instant, also after a crash.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut attempt = 0;
    loop {
        attempt += 1;
        match replace_once(directory, path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < WRITE_ATTEMPTS => {}
            ended => return ended,
        }
    }
}

fn replace_once(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Made with mode 0600.
    let new = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(directory);
    let new = new.map_err(|error| {
        // The name of the temporary file says nothing to people.
        let text = format!("no file can be made in {}: {}", directory.display(), error.kind());
        io::Error::new(error.kind(), text)
    })?;
    put(new, path, bytes)?;
    File::open(directory)?.sync_all()
}

fn put(mut new: NamedTempFile, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Shows a process that opens the same state that this file is no leftover. One that has just taken it for one
    // holds the lock for a moment.
    new.as_file().lock()?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(path).map(drop).map_err(|error| error.error)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the temporary files of writes that a crash ended. Those of a living process are locked, and stay.
pub(crate) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        if is_temporary && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // Another process may be removing it, too.
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The file name for a name of the configuration or a URL: no path, no surprise, one file for each name.
pub(crate) fn file_name(name: &str) -> String {
    use std::fmt::Write as _;

    let mut escaped = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_+".contains(&byte) || (byte == b'.' && index > 0);
        if plain {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    if escaped.len() > MAX_PLAIN_NAME {
        escaped.truncate(MAX_PLAIN_NAME);
        escaped.push('~');
        for byte in digest::digest(&digest::SHA256, name.as_bytes())
            .as_ref()
            .iter()
            .take(16)
        {
            let _ = write!(escaped, "{byte:02x}");
        }
    }
    escaped
}

/// The names behind [`file_name`]s. A name that was cut is left out.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(directory) {
        // The directory is missing in an older layout, on a disk that cannot be written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        names.extend(name.and_then(name_of));
    }
    names.sort_unstable();
    Ok(names)
}

fn name_of(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    // Only a name in the one form that we write is ours.
    String::from_utf8(bytes)
        .ok()
        .filter(|name| file_name(name) == escaped)
}

#[cfg(test)]
mod tests;
