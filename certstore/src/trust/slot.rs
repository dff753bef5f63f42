//! The place of a trust bundle that verifiers look into.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::TrustBundle;
use crate::serving::Refusal;

/// A bundle that peers are verified against.
#[derive(Debug, Clone)]
pub struct ServingTrust {
    /// The number of the install, which grows with each in this store.
    pub install: u64,
    /// The bundle itself: its CAs, its revocation lists, its fingerprint.
    pub bundle: Arc<TrustBundle>,
}

/// The place of the bundle of one name. It lives as long as the configuration or a verifier uses it.
pub(crate) struct TrustSlot {
    name: Arc<str>,
    pub(crate) state: ArcSwap<State>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    /// The configuration names it.
    pub(crate) declared: bool,
    pub(crate) serving: Option<ServingTrust>,
    pub(crate) refusal: Option<Refusal>,
}

impl TrustSlot {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            state: ArcSwap::default(),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn bundle(&self) -> Option<Arc<TrustBundle>> {
        let state = self.state.load();
        state.serving.as_ref().map(|serving| Arc::clone(&serving.bundle))
    }

    pub(crate) fn change(&self, edit: impl FnOnce(&mut State)) {
        let mut state = State::clone(&self.state.load());
        edit(&mut state);
        self.state.store(Arc::new(state));
    }
}

impl fmt::Debug for TrustSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustSlot").field(&self.name).finish()
    }
}
