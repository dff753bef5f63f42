//! A bundle on its way into the store and under its name there, and the refusal of a candidate.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::bundle::{CertBundle, Fingerprint};

/// A bundle that passed its check: [`prove()`](crate::prove()), or `TrustBundle::parse`. Only `Writer::install` takes
/// it, and it takes nothing else.
#[derive(Debug)]
pub struct Proved<B = CertBundle> {
    bundle: Arc<B>,
    fingerprint: Fingerprint,
}

impl<B> Proved<B> {
    pub(crate) fn new(bundle: Arc<B>, fingerprint: Fingerprint) -> Self {
        Self { bundle, fingerprint }
    }

    /// The bundle that was proved.
    pub fn bundle(&self) -> &Arc<B> {
        &self.bundle
    }

    /// The fingerprint of the bundle.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A bundle that serves, or has served, under a name. A handshake that got it may use it after the next install.
#[derive(Debug)]
pub struct Serving<B = CertBundle> {
    name: Arc<str>,
    install: u64,
    proved: Proved<B>,
}

impl<B> Serving<B> {
    /// Install 0 is that of a bundle for trial handshakes: it is in no store, and older than any that is in one.
    pub(crate) fn new(name: Arc<str>, install: u64, proved: Proved<B>) -> Self {
        Self {
            name,
            install,
            proved,
        }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The number of the install. It grows with each install in this store: of two, the greater is the newer.
    pub fn install(&self) -> u64 {
        self.install
    }

    /// The fingerprint of the bundle.
    pub fn fingerprint(&self) -> Fingerprint {
        self.proved.fingerprint
    }

    /// The bundle itself.
    pub fn bundle(&self) -> &Arc<B> {
        &self.proved.bundle
    }
}

/// The refusal of the last candidate of a certificate or trust bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Reason, place and remedy, for a person.
    pub message: String,
    /// The time of the refusal.
    pub at: UnixTime,
}

/// The state of one certificate or trust bundle, for an admin page.
#[derive(Debug)]
pub struct Status<B = CertBundle> {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The bundle that serves; `None` until the first install.
    pub serving: Option<Arc<Serving<B>>>,
    /// The refusal of the newest candidate; `None` if it serves.
    pub refusal: Option<Rejection>,
}
