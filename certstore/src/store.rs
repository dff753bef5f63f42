//! The store: one [`Writer`] changes it, any number of [`Reader`]s see a snapshot.
//!
//! A bundle that serves is only ever replaced by another [`Proved`] bundle. A refusal is noted beside it and takes
//! nothing away, and neither does expiry. `Writer::remove` exists for one case alone: the configuration no
//! longer names the certificate or trust bundle.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bundle::{CertBundle, Fingerprint};
use crate::challenge::Challenges;
use crate::resolver::{Resolver, Table};
use crate::serving::{Proved, Rejection, Serving, Status};
use crate::slot::{Slot, SlotState, Slots};
use crate::trust::{TrustBundle, Verifier};

/// Makes an empty store. There is one writer for its whole life.
pub fn store() -> (Writer, Reader) {
    let state = Arc::new(StoreState::default());
    (
        Writer {
            state: Arc::clone(&state),
            last_install: 0,
        },
        Reader { state },
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

/// The state of one trust bundle.
pub type TrustStatus = Status<TrustBundle>;

/// A kind of bundle that the store swaps.
pub trait Bundle: fmt::Debug + Send + Sync + Sized + 'static {
    #[doc(hidden)]
    fn slots(state: &StoreState) -> &Slots<Self>;
}

impl Bundle for CertBundle {
    fn slots(state: &StoreState) -> &Slots<Self> {
        &state.certificates
    }
}

impl Bundle for TrustBundle {
    fn slots(state: &StoreState) -> &Slots<Self> {
        &state.trust
    }
}

/// The content of a store.
#[derive(Debug, Default)]
pub struct StoreState {
    certificates: Slots<CertBundle>,
    trust: Slots<TrustBundle>,
    /// The look-up tables of all living resolvers. Locked while bundles change and while a table is added,
    /// so that no table can miss an install. Handshakes never touch it.
    tables: Mutex<Vec<Weak<Table>>>,
    challenges: Challenges,
}

impl StoreState {
    fn tables(&self) -> MutexGuard<'_, Vec<Weak<Table>>> {
        // Nothing that can be left half-done happens under the lock: a list of weak pointers is always whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The only handle that can change which bundles serve; one for each store, and not to be cloned. A change is complete
/// when its call returns: each later handshake sees it, and none is interrupted.
pub struct Writer {
    state: Arc<StoreState>,
    last_install: u64,
}

impl Writer {
    /// Declares a bundle that is expected, so that the lists of [`Reader`] show it before its first install.
    pub fn declare<B: Bundle>(&mut self, name: &str) {
        self.change::<B>(|slots| slots.slot(name).change(|state| state.declared = true));
    }

    /// Makes a proved bundle the one that serves, or that peers are verified against. Each handshake that starts after
    /// this returns sees it.
    ///
    /// Installing the version that already serves changes nothing. Any noted refusal is cleared.
    pub fn install<B: Bundle>(&mut self, name: &str, proved: Proved<B>) -> Installed {
        let slot = B::slots(&self.state).slot(name);
        let fingerprint = proved.fingerprint();
        let known = slot.serving().filter(|known| known.fingerprint() == fingerprint);
        let changed = known.is_none();
        let serving = known.unwrap_or_else(|| {
            self.last_install = self.last_install.saturating_add(1);
            Arc::new(Serving::new(Arc::clone(slot.name()), self.last_install, proved))
        });
        let install = serving.install();
        self.change::<B>(|slots| {
            slot.change(|state| {
                *state = SlotState {
                    declared: true,
                    serving: Some(serving),
                    refusal: None,
                };
            });
            if changed {
                slots.count_swap();
            }
        });
        Installed {
            fingerprint,
            install,
            changed,
        }
    }

    /// Notes that a candidate was refused, and the reason. The bundle that serves goes on serving.
    pub fn refuse<B: Bundle>(&mut self, name: &str, refusal: Rejection) {
        self.note::<B>(name, Some(refusal));
    }

    /// Forgets a noted refusal: the source is well again.
    pub fn clear_refusal<B: Bundle>(&mut self, name: &str) {
        self.note::<B>(name, None);
    }

    fn note<B: Bundle>(&mut self, name: &str, refusal: Option<Rejection>) {
        B::slots(&self.state)
            .slot(name)
            .change(|state| state.refusal = refusal);
    }

    /// Forgets a bundle that the configuration no longer names. Never to be called for another reason. Connections and
    /// listeners that still use a trust bundle go on with it.
    pub fn remove<B: Bundle>(&mut self, name: &str) {
        self.change::<B>(|slots| slots.remove(name));
    }

    /// The place where responses to a CA's challenges are published.
    pub fn challenges(&self) -> &Challenges {
        &self.state.challenges
    }

    /// A reader of this store.
    pub fn reader(&self) -> Reader {
        Reader {
            state: Arc::clone(&self.state),
        }
    }

    fn change<B: Bundle>(&mut self, edit: impl FnOnce(&Slots<B>)) {
        let mut tables = self.state.tables();
        edit(B::slots(&self.state));
        tables.retain(|table| match table.upgrade() {
            Some(table) => {
                table.rebuild(|name| self.state.certificates.serving(name));
                true
            }
            None => false,
        });
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
    state: Arc<StoreState>,
}

impl Reader {
    /// The certificate that serves under this name now.
    pub fn current(&self, name: &str) -> Option<Arc<Serving>> {
        self.serving(name)
    }

    /// The bundle that serves under this name now.
    pub fn serving<B: Bundle>(&self, name: &str) -> Option<Arc<Serving<B>>> {
        B::slots(&self.state).serving(name)
    }

    /// All declared certificates, by name.
    pub fn list(&self) -> Vec<Status> {
        self.state.certificates.list()
    }

    /// All declared trust bundles, by name.
    pub fn trust_list(&self) -> Vec<TrustStatus> {
        self.state.trust.list()
    }

    /// The CAs of the trust bundle that serves under this name, for `Requirements::anchors`. `None`: it is not there
    /// yet.
    pub fn anchors(&self, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        let serving = self.state.trust.serving(name)?;
        Some(serving.bundle().anchors().to_vec())
    }

    /// The rustls verifier of client certificates: each handshake is verified against the bundle that serves then. As
    /// long as there is none, every certificate is refused.
    ///
    /// `optional` lets a client in that presents no certificate at all.
    pub fn client_verifier(&self, name: &str, optional: bool) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Verifier::new(self.state.trust.slot(name), optional))
    }

    /// The trust bundle of this name, for questions about clients that were let in by an earlier one.
    pub fn client_trust(&self, name: &str) -> ClientTrust {
        ClientTrust {
            slot: self.state.trust.slot(name),
        }
    }

    /// Grows whenever a trust bundle is replaced. One load.
    pub fn trust_swaps(&self) -> u64 {
        self.state.trust.swaps()
    }

    /// The place where responses to a CA's challenges are published and found.
    pub fn challenges(&self) -> &Challenges {
        &self.state.challenges
    }

    /// A rustls resolver over these certificates, in the order of the listener's configuration; the first is
    /// the default. It follows every later install. Names that are not (yet) in the store are accepted.
    pub fn resolver(&self, names: &[String]) -> Resolver {
        let mut tables = self.state.tables();
        let table = Arc::new(Table::new(
            names.iter().map(|name| name.as_str().into()).collect(),
        ));
        table.rebuild(|name| self.state.certificates.serving(name));
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

/// The trust bundle of one name: each call asks the one that serves at that moment.
#[derive(Debug, Clone)]
pub struct ClientTrust {
    slot: Arc<Slot<TrustBundle>>,
}

impl ClientTrust {
    /// The number of the install of the bundle that serves; 0 before the first.
    pub fn install(&self) -> u64 {
        self.slot.serving().map_or(0, |serving| serving.install())
    }

    /// Verifies this chain, the client's own certificate first, against the bundle that serves. The dates in the chain
    /// are compared with `at`, those of revocation lists with nothing. A missing bundle and an empty chain refuse
    /// nobody.
    pub fn accepts(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), rustls::Error> {
        let (Some(serving), Some((end_entity, intermediates))) = (self.slot.serving(), chain.split_first())
        else {
            return Ok(());
        };
        let verified = serving
            .bundle()
            .verifier()
            .verify_client_cert(end_entity, intermediates, at);
        verified.map(|_| ())
    }
}

#[cfg(test)]
mod tests;
