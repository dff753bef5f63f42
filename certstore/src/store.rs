//! The store: one [`Writer`] changes it, any number of [`Reader`]s see a snapshot.
//!
//! A bundle that serves is only ever replaced by another [`Proved`] bundle. A refusal is noted beside it and takes
//! nothing away, and neither does expiry. `Writer::remove` exists for one case alone: the configuration no
//! longer names the certificate.

mod trust;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use rustls_pki_types::UnixTime;

use crate::bundle::{Fingerprint, KeyKind, Name, Warning};
use crate::challenge::Challenges;
use crate::prove::Proved;
use crate::resolver::{Resolver, Table};
use crate::serving::{Refusal, Serving};

pub use self::trust::{ClientTrust, TrustStatus};

/// Makes an empty store. There is one writer for its whole life.
pub fn store() -> (Writer, Reader) {
    let shared = Arc::new(Shared {
        entries: ArcSwap::default(),
        tables: Mutex::default(),
        challenges: Challenges::default(),
        trust: trust::Book::default(),
    });
    (
        Writer {
            shared: Arc::clone(&shared),
            last_install: 0,
        },
        Reader { shared },
    )
}

/// The result of an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The version that serves now.
    pub fingerprint: Fingerprint,
    /// The number of its install.
    pub install: u64,
    /// False if exactly this bundle was serving already: then nothing happened.
    pub changed: bool,
}

/// The state of one certificate, for an admin page.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The bundle that serves; `None` until the first install.
    pub serving: Option<ServingStatus>,
    /// The refusal of the newest candidate; `None` if it serves.
    pub refusal: Option<Refusal>,
}

/// The facts about the bundle that serves. No secret among them.
#[derive(Debug, Clone)]
pub struct ServingStatus {
    /// The fingerprint of the bundle.
    pub fingerprint: Fingerprint,
    /// The number of the install, which grows with each.
    pub install: u64,
    /// The names that the certificate is good for.
    pub names: Vec<Name>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Oddities that are valid but worth knowing.
    pub warnings: Vec<Warning>,
}

#[derive(Debug, Default, Clone)]
struct Entry {
    serving: Option<Arc<Serving>>,
    refusal: Option<Refusal>,
}

type Entries = BTreeMap<Arc<str>, Entry>;

#[derive(Debug)]
struct Shared {
    entries: ArcSwap<Entries>,
    /// The look-up tables of all living resolvers. Locked while entries change and while a table is added,
    /// so that no table can miss an install. Handshakes never touch it.
    tables: Mutex<Vec<Weak<Table>>>,
    challenges: Challenges,
    trust: trust::Book,
}

impl Shared {
    fn tables(&self) -> MutexGuard<'_, Vec<Weak<Table>>> {
        // Nothing that can be left half-done happens under the lock: a list of weak pointers is always whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The only handle that can change which bundles serve; one for each store, and not to be cloned. A change is complete
/// when its call returns: each later handshake sees it, and none is interrupted.
pub struct Writer {
    shared: Arc<Shared>,
    last_install: u64,
}

impl Writer {
    /// Declares a certificate that is expected, so that `Reader::list` shows it before its first install.
    pub fn declare(&mut self, name: &str) {
        self.change(|entries| {
            entries.entry(name.into()).or_default();
        });
    }

    /// Makes a proved bundle the one that serves. Each handshake that starts after this returns sees it.
    ///
    /// Installing the version that already serves changes nothing. Any noted refusal is cleared.
    pub fn install(&mut self, name: &str, proved: Proved) -> Installed {
        let bundle = proved.into_bundle();
        let fingerprint = bundle.fingerprint();
        let current = self
            .shared
            .entries
            .load()
            .get(name)
            .and_then(|entry| entry.serving.clone());
        if let Some(current) = current.filter(|current| current.fingerprint() == fingerprint) {
            self.clear_refusal(name);
            return Installed {
                fingerprint,
                install: current.install(),
                changed: false,
            };
        }
        self.last_install = self.last_install.saturating_add(1);
        let install = self.last_install;
        let name: Arc<str> = name.into();
        let serving = Some(Arc::new(Serving::new(Arc::clone(&name), install, bundle)));
        self.change(|entries| {
            entries.insert(
                name,
                Entry {
                    serving,
                    refusal: None,
                },
            );
        });
        Installed {
            fingerprint,
            install,
            changed: true,
        }
    }

    /// Notes that a candidate was refused, and the reason. The bundle that serves goes on serving.
    pub fn refuse(&mut self, name: &str, refusal: Refusal) {
        self.change(|entries| {
            entries.entry(name.into()).or_default().refusal = Some(refusal);
        });
    }

    /// Forgets a noted refusal: the source is well again.
    pub fn clear_refusal(&mut self, name: &str) {
        let noted = self
            .shared
            .entries
            .load()
            .get(name)
            .is_some_and(|entry| entry.refusal.is_some());
        if noted {
            self.change(|entries| {
                entries.entry(name.into()).or_default().refusal = None;
            });
        }
    }

    /// Forgets a certificate that the configuration no longer names. Never to be called for another reason.
    pub fn remove(&mut self, name: &str) {
        self.change(|entries| {
            entries.remove(name);
        });
    }

    /// The place where responses to a CA's challenges are published.
    pub fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    /// A reader of this store.
    pub fn reader(&self) -> Reader {
        Reader {
            shared: Arc::clone(&self.shared),
        }
    }

    fn change(&mut self, edit: impl FnOnce(&mut Entries)) {
        let mut tables = self.shared.tables();
        let mut entries = Entries::clone(&self.shared.entries.load());
        edit(&mut entries);
        tables.retain(|table| match table.upgrade() {
            Some(table) => {
                table.rebuild(|name| serving_of(&entries, name));
                true
            }
            None => false,
        });
        self.shared.entries.store(Arc::new(entries));
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("last_install", &self.last_install)
            .finish_non_exhaustive()
    }
}

/// The view of the bundles that serve. Cheap to clone; it takes no part in a change.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// The bundle that serves under this name now.
    pub fn current(&self, name: &str) -> Option<Arc<Serving>> {
        self.shared
            .entries
            .load()
            .get(name)
            .and_then(|entry| entry.serving.clone())
    }

    /// All declared certificates, by name.
    pub fn list(&self) -> Vec<Status> {
        let status = |(name, entry): (&Arc<str>, &Entry)| Status {
            name: Arc::clone(name),
            serving: entry.serving.as_deref().map(ServingStatus::of),
            refusal: entry.refusal.clone(),
        };
        self.shared.entries.load().iter().map(status).collect()
    }

    /// The place where responses to a CA's challenges are published and found.
    pub fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    /// A rustls resolver over these certificates, in the order of the listener's configuration; the first is
    /// the default. It follows every later install. Names that are not (yet) in the store are accepted.
    pub fn resolver(&self, names: &[String]) -> Resolver {
        let mut tables = self.shared.tables();
        let table = Arc::new(Table::new(
            names.iter().map(|name| name.as_str().into()).collect(),
        ));
        let entries = self.shared.entries.load();
        table.rebuild(|name| serving_of(&entries, name));
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(&table));
        Resolver::new(table)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl ServingStatus {
    fn of(serving: &Serving) -> Self {
        let bundle = serving.bundle();
        Self {
            fingerprint: bundle.fingerprint(),
            install: serving.install(),
            names: bundle.names().to_vec(),
            not_before: bundle.not_before(),
            not_after: bundle.not_after(),
            key_kind: bundle.key_kind(),
            warnings: bundle.warnings().to_vec(),
        }
    }
}

fn serving_of(entries: &Entries, name: &str) -> Option<Arc<Serving>> {
    entries.get(name).and_then(|entry| entry.serving.clone())
}

#[cfg(test)]
mod tests;
