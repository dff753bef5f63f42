//! Trust bundles in the store: a slot for each name, which verifiers look into at each handshake.
//!
//! The bundle that serves is only ever replaced by another [`ProvedTrust`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Installed, Reader, Writer};
use crate::serving::Refusal;
use crate::trust::slot::{ServingTrust, State, TrustSlot};
use crate::trust::{ProvedTrust, Verifier};

/// The state of one trust bundle, for an admin page.
#[derive(Debug, Clone)]
pub struct TrustStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The bundle that serves; `None` until the first install.
    pub serving: Option<ServingTrust>,
    /// The refusal of the newest candidate; `None` if it serves.
    pub refusal: Option<Refusal>,
}

/// All trust bundles of a store.
#[derive(Debug, Default)]
pub(super) struct Book {
    slots: Mutex<BTreeMap<Arc<str>, Arc<TrustSlot>>>,
    /// Number of times that one bundle was replaced by another.
    swaps: AtomicU64,
}

/// The trust bundle of one name: each call asks the one that serves at that moment.
#[derive(Debug, Clone)]
pub struct ClientTrust {
    slot: Arc<TrustSlot>,
}

impl ClientTrust {
    /// The number of the install of the bundle that serves; 0 before the first.
    pub fn install(&self) -> u64 {
        let state = self.slot.state.load();
        state.serving.as_ref().map_or(0, |serving| serving.install)
    }

    /// Verifies this chain, the client's own certificate first, against the bundle that serves. The dates in the chain
    /// are compared with `at`, those of revocation lists with nothing. A missing bundle and an empty chain refuse
    /// nobody.
    pub fn accepts(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), rustls::Error> {
        let (Some(bundle), Some((end_entity, intermediates))) = (self.slot.bundle(), chain.split_first())
        else {
            return Ok(());
        };
        let verified = bundle
            .verifier()
            .verify_client_cert(end_entity, intermediates, at);
        verified.map(|_| ())
    }
}

impl Book {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<TrustSlot>>> {
        // The map is whole at every moment.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of this name, made if it is not there: a listener may come before its bundle.
    fn slot(&self, name: &str) -> Arc<TrustSlot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(name) {
            return Arc::clone(slot);
        }
        let name: Arc<str> = name.into();
        let slot = Arc::new(TrustSlot::new(Arc::clone(&name)));
        slots.insert(name, Arc::clone(&slot));
        slot
    }
}

impl Writer {
    /// Declares a trust bundle that is expected, so that `Reader::trust_list` shows it before its first install.
    pub fn declare_trust(&mut self, name: &str) {
        self.shared.trust.slot(name).change(|state| state.declared = true);
    }

    /// Makes a proved bundle the one that peers are verified against, from the next handshake on.
    ///
    /// Installing the version that already serves changes nothing. Any noted refusal is cleared.
    pub fn install_trust(&mut self, name: &str, proved: ProvedTrust) -> Installed {
        let slot = self.shared.trust.slot(name);
        let bundle = proved.bundle;
        let fingerprint = bundle.fingerprint();
        let known = slot.state.load().serving.clone();
        let known = known.filter(|known| known.bundle.fingerprint() == fingerprint);
        let changed = known.is_none();
        if changed {
            self.last_install = self.last_install.saturating_add(1);
        }
        let serving = known.unwrap_or(ServingTrust {
            install: self.last_install,
            bundle,
        });
        let install = serving.install;
        slot.change(|state| {
            *state = State {
                declared: true,
                serving: Some(serving),
                refusal: None,
            };
        });
        if changed {
            // After the bundle is there: a reader of the new count sees the new bundle.
            self.shared.trust.swaps.fetch_add(1, Ordering::Release);
        }
        Installed {
            fingerprint,
            install,
            changed,
        }
    }

    /// Notes that a candidate was refused, and the reason. The bundle that serves goes on serving.
    pub fn refuse_trust(&mut self, name: &str, refusal: Refusal) {
        let slot = self.shared.trust.slot(name);
        slot.change(|state| state.refusal = Some(refusal));
    }

    /// Forgets a noted refusal: the source is well again.
    pub fn clear_trust_refusal(&mut self, name: &str) {
        let slot = self.shared.trust.slot(name);
        if slot.state.load().refusal.is_some() {
            slot.change(|state| state.refusal = None);
        }
    }

    /// Forgets a bundle that the configuration no longer names. Connections and listeners that still use it
    /// go on with what they have.
    pub fn remove_trust(&mut self, name: &str) {
        let mut slots = self.shared.trust.slots();
        // Verifiers are made under the same lock, so nobody can begin to look into it meanwhile.
        let in_use = slots.get(name).is_some_and(|slot| Arc::strong_count(slot) > 1);
        if !in_use {
            slots.remove(name);
        } else if let Some(slot) = slots.get(name) {
            slot.change(|state| state.declared = false);
        }
    }
}

impl Reader {
    /// The CAs of the bundle that serves under this name, for `Profile::anchors`. `None`: it is not there yet.
    pub fn anchors(&self, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        let slot = self.shared.trust.slots().get(name).map(Arc::clone)?;
        Some(slot.bundle()?.anchors().to_vec())
    }

    /// The rustls verifier of client certificates: each handshake is verified against the bundle that serves then. As
    /// long as there is none, every certificate is refused.
    ///
    /// `optional` lets a client in that presents no certificate at all.
    pub fn client_verifier(&self, name: &str, optional: bool) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Verifier::new(self.shared.trust.slot(name), optional))
    }

    /// The bundle of this name, for questions about clients that were let in by an earlier one.
    pub fn client_trust(&self, name: &str) -> ClientTrust {
        ClientTrust {
            slot: self.shared.trust.slot(name),
        }
    }

    /// Grows whenever a trust bundle is replaced. One load.
    pub fn trust_swaps(&self) -> u64 {
        self.shared.trust.swaps.load(Ordering::Acquire)
    }

    /// All declared trust bundles, by name.
    pub fn trust_list(&self) -> Vec<TrustStatus> {
        let status = |slot: &Arc<TrustSlot>| {
            let state = slot.state.load();
            state.declared.then(|| TrustStatus {
                name: Arc::clone(slot.name()),
                serving: state.serving.clone(),
                refusal: state.refusal.clone(),
            })
        };
        self.shared.trust.slots().values().filter_map(status).collect()
    }
}
