//! A bundle under its name, as handshakes are given it; and the refusal of a candidate.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::bundle::{CertBundle, Fingerprint};

/// A bundle that serves, or has served, under a name. A handshake that got it may use it after the next install.
#[derive(Debug)]
pub struct Serving {
    name: Arc<str>,
    install: u64,
    bundle: Arc<CertBundle>,
}

impl Serving {
    pub(crate) fn new(name: Arc<str>, install: u64, bundle: Arc<CertBundle>) -> Self {
        Self {
            name,
            install,
            bundle,
        }
    }

    /// A bundle for trial handshakes: in no store, and older than any that is in one.
    pub(crate) fn trial(name: Arc<str>, bundle: Arc<CertBundle>) -> Self {
        Self {
            name,
            install: 0,
            bundle,
        }
    }

    /// The certificate's name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The number of the install. It grows with each install in this store: of two, the greater is the newer.
    pub fn install(&self) -> u64 {
        self.install
    }

    /// The fingerprint of the bundle.
    pub fn fingerprint(&self) -> Fingerprint {
        self.bundle.fingerprint()
    }

    /// The bundle itself.
    pub fn bundle(&self) -> &Arc<CertBundle> {
        &self.bundle
    }
}

/// The refusal of the last candidate of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason, place and remedy, for a person.
    pub message: String,
    /// The time of the refusal.
    pub at: UnixTime,
}
