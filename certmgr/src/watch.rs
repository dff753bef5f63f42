//! Wakes tasks when something happens in the directories they care about.
//!
//! Only a hint: what is woken looks for itself, and polls in any case. Directories are watched, never
//! files, for a file that is replaced by a rename takes its watch away with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// One watch descriptor for the whole process: the kernel gives few.
pub(crate) struct Watcher {
    watches: Mutex<Watches>,
    /// Apart from `watches`, since the thread that delivers events takes this lock, and adding a watch waits
    /// for that thread.
    listeners: Arc<Mutex<Listeners>>,
}

struct Watches {
    notify: RecommendedWatcher,
    directories: BTreeMap<PathBuf, Directory>,
}

/// A directory is the same one only while its inode is: a watch does not follow a replaced one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

struct Directory {
    inode: Inode,
    users: usize,
}

/// Who is woken for which directory, and which directories went away under their watch.
#[derive(Default)]
struct Listeners {
    by_directory: HashMap<PathBuf, Vec<Arc<Notify>>>,
    gone: HashSet<PathBuf>,
}

impl Watcher {
    /// `None` if the system has no more watches to give: then polling has to do.
    pub(crate) fn new() -> Option<Arc<Self>> {
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
                Some(Arc::new(Self { watches, listeners }))
            }
            Err(error) => {
                tracing::warn!(%error, "directories cannot be watched; changed files are seen by polling alone");
                None
            }
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, changed: Arc<Notify>) -> Subscription {
        Subscription {
            watcher: Arc::clone(self),
            changed,
            directories: BTreeSet::new(),
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
            tracing::debug!(directory = %directory.display(), %error, "cannot be watched");
            return false;
        }
        directories.insert(directory.to_owned(), Directory { inode, users: 1 });
        true
    }

    /// Watches a directory anew if another one has taken its place.
    fn refresh(&self, directory: &Path) {
        let Some(now) = inode(directory) else { return };
        // The number of a removed directory is soon given to the next one, so it alone does not tell.
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
            drop(watches);
            lock(&self.listeners).gone.remove(directory);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

/// One task's set of directories. Dropping it ends its watches.
#[derive(Debug)]
pub(crate) struct Subscription {
    watcher: Arc<Watcher>,
    changed: Arc<Notify>,
    directories: BTreeSet<PathBuf>,
}

impl Subscription {
    /// Makes these the directories that wake the task. Cheap when nothing changed. Those that cannot be
    /// watched now are tried again at the next call. Does blocking system calls.
    pub(crate) fn follow(&mut self, wanted: &BTreeSet<PathBuf>) {
        for directory in self.directories.intersection(wanted) {
            self.watcher.refresh(directory);
        }
        let stale: Vec<PathBuf> = self.directories.difference(wanted).cloned().collect();
        for directory in stale {
            self.leave(&directory);
        }
        for directory in wanted {
            if !self.directories.contains(directory) && self.watcher.add(directory) {
                let mut listeners = lock(&self.watcher.listeners);
                listeners
                    .by_directory
                    .entry(directory.clone())
                    .or_default()
                    .push(Arc::clone(&self.changed));
                drop(listeners);
                self.directories.insert(directory.clone());
            }
        }
    }

    fn leave(&mut self, directory: &Path) {
        self.directories.remove(directory);
        let mut listeners = lock(&self.watcher.listeners);
        if let Some(waiting) = listeners.by_directory.get_mut(directory) {
            waiting.retain(|changed| !Arc::ptr_eq(changed, &self.changed));
            if waiting.is_empty() {
                listeners.by_directory.remove(directory);
            }
        }
        drop(listeners);
        self.watcher.remove(directory);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for directory in std::mem::take(&mut self.directories) {
            self.leave(&directory);
        }
    }
}

fn wake(listeners: &mut Listeners, event: notify::Result<notify::Event>) {
    let Listeners { by_directory, gone } = listeners;
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        // Events were lost: everybody looks.
        Ok(_) | Err(_) => {
            return by_directory
                .values()
                .flatten()
                .for_each(|changed| changed.notify_one());
        }
    };
    match event.kind {
        // Opening and reading is what the tasks themselves do: waking on it would never end.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return,
        _ => {}
    }
    let leaves = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    for path in &event.paths {
        if leaves && by_directory.contains_key(path) {
            gone.insert(path.clone());
        }
        let directories = [Some(path.as_path()), path.parent()];
        for changed in directories
            .into_iter()
            .flatten()
            .filter_map(|dir| by_directory.get(dir))
            .flatten()
        {
            changed.notify_one();
        }
    }
}

fn inode(directory: &Path) -> Option<Inode> {
    let metadata = std::fs::metadata(directory).ok()?;
    Some(Inode {
        device: metadata.dev(),
        number: metadata.ino(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is a single step, so what a panic elsewhere left behind is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
