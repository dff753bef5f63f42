//! A chain and a key on disk, read as they were at one instant.
//!
//! Three ways of replacing them are in use: writing in place, renaming a new file over the old one, and
//! swapping a directory symlink (`..data` in Kubernetes volumes). One procedure serves all: resolve both
//! paths to the end, read both from there, resolve and look again. If nothing moved, both were in place
//! together. If something did, try again at once.
//!
//! Every poll reads the whole content, for a writer in place can keep size and time stamp; two small files
//! from the page cache cost microseconds.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certstore::bundle::MAX_PEM_BYTES;
use certstore::{BundleError, Part};
use zeroize::Zeroizing;

use super::Pair;
use crate::config::FileSource;
use crate::error::{Error, Reason};

/// How often a reading that was overtaken by a change is repeated before it is given up until the next turn.
const READ_ATTEMPTS: u32 = 5;

/// Between two of them: long enough for a writer to end its two renames.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);

/// Reads both files as they were together at one instant. Blocks on the file system.
pub(crate) fn read(source: &FileSource) -> Result<Pair, Error> {
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(BETWEEN_ATTEMPTS);
        }
        let before = (Place::of(&source.chain), Place::of(&source.key));
        let pair = read_places(source, &before);
        let after = (Place::of(&source.chain), Place::of(&source.key));
        // A failure counts only if it is the truth of one instant, too: a symlink swap removes the old files.
        if same(&before.0, &after.0) && same(&before.1, &after.1) {
            return pair;
        }
    }
    Err(Error {
        places: source.both(),
        reason: Reason::Moving,
    })
}

/// All directories in which a change can mean another pair: where the paths lead through a symlink, and
/// where they end.
pub(crate) fn directories(source: &FileSource) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for path in [&source.chain, &source.key] {
        // Absolute, for that is how the system names what changed.
        let Ok(path) = std::path::absolute(path) else {
            continue;
        };
        let ends = [Some(path.clone()), path.canonicalize().ok()];
        directories.extend(
            ends.iter()
                .flatten()
                .filter_map(|path| path.parent())
                .map(Path::to_owned),
        );
        let links = path.ancestors().filter(|ancestor| ancestor.is_symlink());
        directories.extend(links.filter_map(Path::parent).map(Path::to_owned));
    }
    directories
}

/// Where a path leads and what is there, as far as a change could be told from it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    resolved: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let resolved = path.canonicalize()?;
        let metadata = std::fs::metadata(&resolved)?;
        Ok(Self::at(resolved, &metadata))
    }

    fn at(resolved: PathBuf, metadata: &Metadata) -> Self {
        Self {
            resolved,
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn same(before: &io::Result<Place>, after: &io::Result<Place>) -> bool {
    match (before, after) {
        (Ok(before), Ok(after)) => before == after,
        (Err(before), Err(after)) => before.kind() == after.kind(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

fn read_places(
    source: &FileSource,
    (chain, key): &(io::Result<Place>, io::Result<Place>),
) -> Result<Pair, Error> {
    let chain = read_place(source, Part::Chain, &source.chain, chain)?;
    let key = read_place(source, Part::Key, &source.key, key)?;
    Ok(Pair { chain, key })
}

fn read_place(
    source: &FileSource,
    part: Part,
    path: &Path,
    place: &io::Result<Place>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |error: &io::Error| Error::io(path, error);
    let place = place.as_ref().map_err(failed)?;
    let metadata = std::fs::metadata(&place.resolved).map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its writer.
        let (kind, text) = if metadata.is_dir() {
            (io::ErrorKind::IsADirectory, "it is a directory")
        } else {
            (io::ErrorKind::InvalidInput, "it is not a regular file")
        };
        return Err(failed(&io::Error::new(kind, text)));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > MAX_PEM_BYTES {
        return Err(Error::bundle(source, BundleError::TooLarge { part, bytes: size }));
    }
    let file = File::open(&place.resolved).map_err(|error| failed(&error))?;
    // Room for one byte more than expected: a buffer that had to grow would leave a copy of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(metadata.len())
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
