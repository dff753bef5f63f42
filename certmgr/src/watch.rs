//! Wakes tasks when the files and links that they subscribed to change.
//!
//! Only a hint: a woken task looks for itself, and polls in any case. Directories are watched, never
//! files, for a file that is replaced by a rename takes its watch away with it. Other files in such a directory (a
//! log, the pairs of others) wake nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::event::{self, Reporter};

/// One watch descriptor for the whole process: the kernel gives few.
pub(crate) struct Watcher {
    watches: Mutex<Watches>,
    /// Apart from `watches`, since the thread that delivers events takes this lock, and adding a watch waits
    /// for that thread.
    listeners: Arc<Mutex<Listeners>>,
    reporter: Reporter,
}

struct Watches {
    notify: RecommendedWatcher,
    directories: BTreeMap<PathBuf, WatchedDirectory>,
}

struct WatchedDirectory {
    /// Its device and inode. With another one it is another directory: a watch does not follow a replaced one.
    inode: (u64, u64),
    users: usize,
}

/// The tasks to wake for each path, and the directories that went away under their watch.
#[derive(Default)]
struct Listeners {
    /// By the path of a file, a link, or a watched directory itself.
    by_path: HashMap<PathBuf, Vec<Arc<Notify>>>,
    /// Watched directories that went away; only paths of `by_path`.
    gone: HashSet<PathBuf>,
}

impl Listeners {
    fn add(&mut self, path: &Path, changed: &Arc<Notify>) {
        let waiting = self.by_path.entry(path.to_owned()).or_default();
        waiting.push(Arc::clone(changed));
    }

    fn remove(&mut self, path: &Path, changed: &Arc<Notify>) {
        if let Some(waiting) = self.by_path.get_mut(path) {
            waiting.retain(|other| !Arc::ptr_eq(other, changed));
            if waiting.is_empty() {
                self.by_path.remove(path);
                self.gone.remove(path);
            }
        }
    }
}

impl Watcher {
    /// `None` if the system has no more watches to give: then polling has to do.
    pub(crate) fn new(reporter: Reporter) -> Option<Arc<Self>> {
        let listeners = Arc::new(Mutex::new(Listeners::default()));
        let deliver = {
            let listeners = Arc::clone(&listeners);
            move |event: notify::Result<notify::Event>| wake(&mut lock(&listeners), event)
        };
        match notify::recommended_watcher(deliver) {
            Ok(notify) => {
                let watches = Mutex::new(Watches {
                    notify,
                    directories: BTreeMap::new(),
                });
                Some(Arc::new(Self {
                    watches,
                    listeners,
                    reporter,
                }))
            }
            Err(error) => {
                let error = error.to_string();
                reporter.of_manager(event::EventKind::WatchFailed { error });
                None
            }
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, changed: Arc<Notify>) -> Subscription {
        Subscription {
            watcher: Arc::clone(self),
            changed,
            directories: BTreeSet::new(),
            paths: BTreeSet::new(),
        }
    }

    fn add(&self, directory: &Path) -> bool {
        let Some(inode) = inode(directory) else {
            return false;
        };
        let mut watches = lock(&self.watches);
        let Watches { notify, directories } = &mut *watches;
        if let Some(known) = directories.get_mut(directory) {
            known.users += 1;
            return true;
        }
        if let Err(error) = notify.watch(directory, RecursiveMode::NonRecursive) {
            let error = format!("{}: {error}", directory.display());
            self.reporter
                .of_manager(event::EventKind::DirectoryUnwatched { error });
            return false;
        }
        directories.insert(directory.to_owned(), WatchedDirectory { inode, users: 1 });
        true
    }

    /// Watches a directory anew if another one has taken its place.
    fn refresh(&self, directory: &Path) {
        let Some(now) = inode(directory) else { return };
        // The number of a removed directory is soon given to the next one, so it alone proves nothing.
        let gone = lock(&self.listeners).gone.remove(directory);
        let mut watches = lock(&self.watches);
        let Watches { notify, directories } = &mut *watches;
        let Some(known) = directories.get_mut(directory) else {
            return;
        };
        if gone || known.inode != now {
            // The old watch may be gone already, together with its directory.
            let _ = notify.unwatch(directory);
            match notify.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => known.inode = now,
                Err(_) => {
                    drop(watches);
                    lock(&self.listeners).gone.insert(directory.to_owned());
                }
            }
        }
    }

    fn remove(&self, directory: &Path) {
        let mut watches = lock(&self.watches);
        let Watches { notify, directories } = &mut *watches;
        let Some(known) = directories.get_mut(directory) else {
            return;
        };
        known.users -= 1;
        if known.users == 0 {
            directories.remove(directory);
            let _ = notify.unwatch(directory);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

/// The paths that wake one task. Dropping it ends its watches.
#[derive(Debug)]
pub(crate) struct Subscription {
    watcher: Arc<Watcher>,
    changed: Arc<Notify>,
    /// The watched directories.
    directories: BTreeSet<PathBuf>,
    /// The paths that wake the task.
    paths: BTreeSet<PathBuf>,
}

impl Subscription {
    /// Makes these the files and links that wake the task; each directory that holds one of them does, too, when it is
    /// moved or removed. Cheap when nothing changed. A path that cannot be watched now is tried again at the next call.
    /// Does blocking system calls.
    pub(crate) fn set_paths(&mut self, entries: &BTreeSet<PathBuf>) {
        let directories = entries.iter().filter_map(|entry| entry.parent());
        let wanted: BTreeSet<PathBuf> = directories.map(Path::to_owned).collect();
        // Before the watches, so that no event of a watch is missed.
        self.listen(wanted.union(entries).cloned().collect());
        for directory in self.directories.intersection(&wanted) {
            self.watcher.refresh(directory);
        }
        for directory in self.directories.difference(&wanted) {
            self.watcher.remove(directory);
        }
        let watcher = &self.watcher;
        let is_watched = |directory: &PathBuf| self.directories.contains(directory) || watcher.add(directory);
        self.directories = wanted.into_iter().filter(is_watched).collect();
    }

    fn listen(&mut self, paths: BTreeSet<PathBuf>) {
        if paths == self.paths {
            return;
        }
        let mut listeners = lock(&self.watcher.listeners);
        for path in self.paths.difference(&paths) {
            listeners.remove(path, &self.changed);
        }
        for path in paths.difference(&self.paths) {
            listeners.add(path, &self.changed);
        }
        drop(listeners);
        self.paths = paths;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.set_paths(&BTreeSet::new());
    }
}

fn wake(listeners: &mut Listeners, event: notify::Result<notify::Event>) {
    let Listeners { by_path, gone } = listeners;
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        // Events were lost: all tasks look.
        Ok(_) | Err(_) => {
            return by_path
                .values()
                .flatten()
                .for_each(|changed| changed.notify_one());
        }
    };
    match event.kind {
        // Opening and reading is done by the tasks themselves: waking on it would never end.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return,
        _ => {}
    }
    let is_gone = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    for path in &event.paths {
        let Some(waiting) = by_path.get(path) else {
            continue;
        };
        if is_gone {
            // The mark of a file is never asked for.
            gone.insert(path.clone());
        }
        waiting.iter().for_each(|changed| changed.notify_one());
    }
}

fn inode(directory: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is a single step, so the state is whole after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::FutureExt as _;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn what_else_is_written_to_a_folder_wakes_nobody() {
        let directory = TempDir::new().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let watcher = Watcher::new(Reporter::new(None)).unwrap();
        let subscribed = |name: &str| {
            let changed = Arc::new(Notify::new());
            let mut subscription = watcher.subscribe(Arc::clone(&changed));
            subscription.set_paths(&BTreeSet::from([root.join(name)]));
            (changed, subscription)
        };
        let ((changed, _own), (marked, mut other)) = (subscribed("tls.crt"), subscribed("mark"));
        for line in 0..1_000 {
            fs::write(root.join("h2gate.log"), line.to_string()).unwrap();
        }
        // Events come in order: this is the last.
        fs::write(root.join("mark"), "").unwrap();
        marked.notified().await;
        assert!(changed.notified().now_or_never().is_none());
        fs::write(root.join("tls.crt"), "").unwrap();
        changed.notified().await;
        // A task that subscribes to another file is woken for that one alone.
        other.set_paths(&BTreeSet::from([root.join("h2gate.log")]));
        fs::write(root.join("h2gate.log"), "").unwrap();
        marked.notified().await;
    }
}
