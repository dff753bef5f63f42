//! A chain and a key on disk, read in their state at one instant.
//!
//! Three ways of replacing them are in use: writing in place, renaming a new file over the old one, and
//! swapping a directory symlink (`..data` in Kubernetes volumes). One procedure serves all: resolve both
//! paths to the end, read both from there, resolve and look again. If nothing moved, both were in place
//! together. If something did, try again at once.
//!
//! Every poll reads the whole content, for a writer in place can keep size and time stamp; two small files
//! from the page cache cost microseconds.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use certstore::bundle::MAX_PEM_BYTES;
use certstore::{BundleError, Part, PemError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::rate_limit::jittered;
use crate::blocking::{Seat, Work, WorkError, within};
use crate::clock::Random;
use crate::config::FileSource;
use crate::error::{Error, Reason, RemoteFault};
use crate::pair::Pair;
use crate::secret::read_file;
use crate::watch::{Subscription, Watcher};

/// Wait after a sign of change: a writer of two files gets this long before they are read.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// Least time between signs of change, but for a few at once: content that is written all the time is not read all the
/// time.
const SIGN_INTERVAL: Duration = Duration::from_millis(100);

/// Number of signs that may come at once.
const MAX_SIGNS_AT_ONCE: u32 = 30;

/// More links than this are a loop (ELOOP).
const MAX_LINKS: u32 = 40;

/// Time after which a reading is reported hanging. It is not given up, and no second one is begun beside it.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Time after which a reading no longer delays others.
const MAX_LANE_TIME: Duration = Duration::from_secs(1);

/// Time between two looks at a reading that was reported hanging.
const HANGING_PERIOD: Duration = Duration::from_millis(100);

/// Attempts of a reading that was overtaken by a change, before it is given up until the next turn.
const READ_ATTEMPTS: u32 = 5;

/// Time between two of them: long enough for a writer to end its two renames.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(2);

/// Reads a pair of files on the blocking pool, for a network file system may hang.
#[derive(Debug)]
pub(crate) struct FileReader {
    files: Arc<FileSource>,
    max_bytes: usize,
    poll: Duration,
    changed: Arc<Notify>,
    /// Instant at which the change that is not read yet was seen.
    seen_at: Option<Instant>,
    /// Instant until which the handled signs are paid for.
    paid_until: Instant,
    /// Away while a reading is running.
    subscription: Option<Subscription>,
    running: Option<Work<Reading>>,
    /// `None` before the first reading.
    seat: Option<Seat>,
}

/// Result of the blocking part.
#[derive(Debug)]
struct Reading {
    subscription: Option<Subscription>,
    outcome: Result<Pair, Error>,
}

impl FileReader {
    pub(crate) fn new(
        files: FileSource,
        max_bytes: usize,
        poll: Duration,
        watcher: Option<&Arc<Watcher>>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        Self {
            files: Arc::new(files),
            max_bytes,
            poll,
            subscription: watcher.map(|watcher| watcher.subscribe(Arc::clone(&changed))),
            changed,
            seen_at: None,
            paid_until: Instant::now(),
            running: None,
            seat: None,
        }
    }

    pub(crate) async fn read(&mut self) -> Result<Pair, Error> {
        self.seen_at = None;
        let by = Instant::now() + READ_DEADLINE;
        let running = self.running.take().unwrap_or_else(|| self.begin());
        let running = self.running.insert(running);
        let ended = loop {
            match timeout(MAX_LANE_TIME, running.ended()).await {
                Ok(ended) => break ended,
                Err(_) if Instant::now() >= by => return Err(hanging(&self.files)),
                Err(_) => running.hangs(),
            }
        };
        self.running = None;
        match ended {
            Ok(reading) => {
                self.subscription = reading.subscription;
                reading.outcome
            }
            // The runtime is shutting down, and this task with it.
            Err(WorkError::Gone) => pending().await,
            // The next turn begins anew, by polling alone.
            Err(ended @ WorkError::Panicked) => {
                Err(of_both(&self.files, Reason::Internal(ended.to_string())))
            }
        }
    }

    /// Resolves after a sign of change of the files, or when a hanging reading is done.
    pub(crate) async fn hint(&mut self) -> Instant {
        let seen_at = match self.seen_at {
            Some(seen_at) => seen_at,
            None => {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = finished(self.running.as_ref()) => return Instant::now(),
                }
                *self.seen_at.insert(Instant::now())
            }
        };
        let free_at = self
            .paid_until
            .checked_sub(SIGN_INTERVAL * (MAX_SIGNS_AT_ONCE - 1));
        sleep_until(free_at.unwrap_or(seen_at).max(seen_at + DEBOUNCE)).await;
        self.paid_until = self.paid_until.max(Instant::now()) + SIGN_INTERVAL;
        seen_at
    }

    pub(crate) fn poll(&self, random: &Random) -> Duration {
        match self.seat.as_ref().map(|seat| seat.poll(self.poll)) {
            // Spreads the polls of tasks that began together.
            Some(spread) if spread > self.poll => jittered(spread, random()),
            Some(_) | None => self.poll,
        }
    }

    pub(crate) fn places_of(&self, part: Part) -> Vec<String> {
        places_of(&self.files, part)
    }

    fn begin(&mut self) -> Work<Reading> {
        let (files, max_bytes) = (Arc::clone(&self.files), self.max_bytes);
        let mut subscription = self.subscription.take();
        self.seat.get_or_insert_with(Seat::take).read(move || {
            // Before the reading, so that no change falls between the two.
            if let Some(subscription) = &mut subscription {
                subscription.set_paths(&entries(&files));
            }
            let outcome = read_up_to(&files, max_bytes);
            Reading {
                subscription,
                outcome,
            }
        })
    }
}

fn of_both(source: &FileSource, reason: Reason) -> Error {
    Error {
        places: source.both(),
        reason,
    }
}

fn hanging(source: &FileSource) -> Error {
    of_both(source, Reason::Hanging(READ_DEADLINE))
}

/// Ends when a reading that had been reported hanging is done after all; never, if there is none.
async fn finished(running: Option<&Work<Reading>>) {
    match running {
        Some(running) => {
            while !running.has_ended() {
                sleep(HANGING_PERIOD).await;
                running.hangs();
            }
        }
        None => pending().await,
    }
}

/// Reads both files in their state at one instant. Blocks on the file system.
pub(crate) fn read(source: &FileSource) -> Result<Pair, Error> {
    read_up_to(source, MAX_PEM_BYTES)
}

/// Calls [`read`], for [`READ_DEADLINE`] at most.
pub(crate) fn read_in_time(source: &FileSource) -> Result<Pair, Error> {
    let files = source.clone();
    within(READ_DEADLINE, move || read(&files)).unwrap_or_else(|| Err(hanging(source)))
}

/// Reads both files, of at most `max_bytes` each.
fn read_up_to(source: &FileSource, max_bytes: usize) -> Result<Pair, Error> {
    let moving = of_both(source, Reason::Moving);
    let states = || [&source.chain, &source.key].map(|path| FileState::of(path));
    let mut failure = None;
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(ATTEMPT_INTERVAL);
        }
        let before = states();
        let pair = read_pair(source, max_bytes, &before);
        match pair {
            // A failure counts only if it is true of one instant, too: a symlink swap removes the old files.
            _ if before != states() => failure = Some(moving.clone()),
            // One swap before each look, and a file that always existed seems to be missing.
            Err(error) if is_missing(&error) => failure = failure.or(Some(error)),
            pair => return pair,
        }
    }
    Err(failure.unwrap_or(moving))
}

fn is_missing(error: &Error) -> bool {
    matches!(
        error.reason,
        Reason::Io {
            kind: io::ErrorKind::NotFound,
            ..
        }
    )
}

/// All files and links whose change can mean another pair: those that the paths lead through, and those at their ends.
fn entries(source: &FileSource) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::new();
    for path in [&source.chain, &source.key] {
        // Absolute paths: the system reports changes by them.
        if let Ok(path) = std::path::absolute(path) {
            resolve(&path, &mut entries);
        }
    }
    entries
}

/// Resolves an absolute path in the way of the system (path_resolution(7)), up to its end or to a missing part.
fn resolve(path: &Path, entries: &mut BTreeSet<PathBuf>) {
    let parts = |path: &Path| -> Vec<PathBuf> {
        let parts = path.components().rev();
        parts.map(|part| PathBuf::from(part.as_os_str())).collect()
    };
    let (mut at, mut rest, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        // The root's path takes the place of all before it.
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                rest.extend(parts(&target));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // It is no link.
                at.clone_from(&next);
                if !rest.is_empty() {
                    continue;
                }
            }
            Ok(_) | Err(_) => rest.clear(),
        }
        entries.insert(next);
    }
}

/// The end of a path and the state of its file, as far as a change could be seen from it.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    resolved: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(path: &Path) -> Result<Self, Error> {
        let resolved = path.canonicalize();
        let looked = resolved.and_then(|resolved| Ok((std::fs::metadata(&resolved)?, resolved)));
        let (metadata, resolved) = looked.map_err(|error| Error::io(path, &error))?;
        Ok(Self {
            resolved,
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn read_pair(
    source: &FileSource,
    max_bytes: usize,
    [chain, key]: &[Result<FileState, Error>; 2],
) -> Result<Pair, Error> {
    let read = |part, path, state: &Result<FileState, Error>| {
        let resolved = &state.as_ref().map_err(Clone::clone)?.resolved;
        match read_file(resolved, max_bytes) {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(bytes)) => Err(too_large(source, max_bytes, part, bytes)),
            Err(error) => Err(Error::io(path, &error)),
        }
    };
    Ok(Pair {
        chain: read(Part::Chain, &source.chain, chain)?,
        key: read(Part::Key, &source.key, key)?,
    })
}

fn too_large(source: &FileSource, max_bytes: usize, part: Part, bytes: usize) -> Error {
    if max_bytes == MAX_PEM_BYTES {
        let error = PemError::TooLarge {
            bytes,
            max: max_bytes,
        };
        return Error::bundle(source, BundleError::Pem { part, error });
    }
    Error {
        places: places_of(source, part),
        reason: Reason::Remote {
            fault: RemoteFault::TooLarge,
            text: format!("it has {bytes} bytes; at most {max_bytes} are read"),
        },
    }
}

fn places_of(source: &FileSource, part: Part) -> Vec<String> {
    match part {
        Part::Chain => vec![source.chain.display().to_string()],
        Part::Key => vec![source.key.display().to_string()],
        Part::Both => source.both(),
    }
}

#[cfg(test)]
mod tests;
