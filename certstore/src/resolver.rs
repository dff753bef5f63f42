//! SNI → certificate, for rustls. The resolver looks up and never waits.
//!
//! The table is rebuilt by the writer on each install, so a handshake does one atomic load and at most two
//! hash look-ups. Order: the exact name, then the wildcard of the parent, then the default, which is the
//! first certificate of the listener and whatever shares a name with it. Of several certificates for one
//! name the first ECDSA (or Ed25519) one that the client can verify is taken, then RSA.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::bundle::{Fingerprint, Name};
use crate::host;
use crate::serving::Serving;

/// The result of the last look-up on this thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// This bundle was handed to the handshake.
    Serving {
        /// The certificate's name in the configuration.
        name: Arc<str>,
        /// The number of the install.
        install: u64,
        /// The fingerprint of the bundle.
        fingerprint: Fingerprint,
    },
    /// Refused: the client offered no ALPN and the listener demands one.
    NoAlpn,
    /// Refused: no certificate of this listener is there yet.
    NoCertificate,
}

thread_local! {
    static LAST: Cell<Option<Resolution>> = const { Cell::new(None) };
}

/// Takes the result of the last look-up of a [`Resolver`] on this thread. To be called right after the handshake step
/// that called the resolver: rustls has no other way to pass it.
pub fn take_resolution() -> Option<Resolution> {
    LAST.take()
}

/// A rustls certificate resolver over some certificates of the store. Clones share the table. It follows each install,
/// does no I/O and never waits; a name without a certificate of its own gets the default, or none.
#[derive(Debug, Clone)]
pub struct Resolver {
    table: Arc<Table>,
    refuse_without_alpn: bool,
}

impl Resolver {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            refuse_without_alpn: false,
        }
    }

    /// Sets whether a ClientHello without ALPN is refused. rustls then sends `access_denied`; a caller that wants
    /// `no_application_protocol` on the wire asks [`take_resolution`] and writes that alert first.
    #[must_use]
    pub fn refuse_without_alpn(mut self, refuse: bool) -> Self {
        self.refuse_without_alpn = refuse;
        self
    }

    /// The bundle that a client with this SNI and these signature schemes is served now. RFC 6066 §3 has no dot at the
    /// end of a name, but gRPC clients that dial an absolute name send it, and rustls passes it on.
    pub fn pick(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<Serving>> {
        let view = self.table.view.load();
        let by_name = server_name.and_then(|name| {
            host::with_normal(name.as_bytes(), |name| {
                view.pick(str::from_utf8(name).ok(), schemes).cloned()
            })
        });
        by_name.unwrap_or_else(|| view.pick(None, schemes).cloned())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.refuse_without_alpn && client_hello.alpn().is_none() {
            LAST.set(Some(Resolution::NoAlpn));
            return None;
        }
        let Some(serving) = self.pick(client_hello.server_name(), client_hello.signature_schemes()) else {
            LAST.set(Some(Resolution::NoCertificate));
            return None;
        };
        LAST.set(Some(Resolution::Serving {
            name: Arc::clone(serving.name()),
            install: serving.install(),
            fingerprint: serving.fingerprint(),
        }));
        Some(Arc::clone(serving.bundle().certified_key()))
    }
}

/// The certificates that one listener may serve, and the view of them that handshakes read.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<Arc<str>>,
    view: ArcSwap<View>,
}

impl Table {
    pub(crate) fn new(names: Vec<Arc<str>>) -> Self {
        Self {
            names,
            view: ArcSwap::default(),
        }
    }

    /// Builds the view anew. Called by the writer, never by a handshake.
    pub(crate) fn rebuild(&self, serving_of: impl Fn(&str) -> Option<Arc<Serving>>) {
        let servings: Vec<Option<Arc<Serving>>> = self.names.iter().map(|name| serving_of(name)).collect();
        self.view.store(Arc::new(View::build(&servings)));
    }
}

/// Candidates for each name, the preferred first.
#[derive(Debug, Default)]
struct View {
    exact: HashMap<Box<str>, Vec<Arc<Serving>>>,
    wildcard: HashMap<Box<str>, Vec<Arc<Serving>>>,
    default: Vec<Arc<Serving>>,
}

impl View {
    fn build(servings: &[Option<Arc<Serving>>]) -> Self {
        let mut view = Self::default();
        for serving in servings.iter().flatten() {
            for name in serving.bundle().names() {
                let candidates = match name {
                    Name::Dns(host) => view.exact.entry(host.clone()).or_default(),
                    Name::Wildcard(parent) => view.wildcard.entry(parent.clone()).or_default(),
                    // RFC 6066 §3: an address is never sent as SNI, so these are reached as the default.
                    Name::Ip(_) => continue,
                };
                candidates.push(Arc::clone(serving));
            }
        }
        if let Some(Some(first)) = servings.first() {
            let shares_a_name = |other: &&Arc<Serving>| {
                first
                    .bundle()
                    .names()
                    .iter()
                    .any(|name| other.bundle().names().contains(name))
            };
            let others = servings.iter().skip(1).flatten().filter(shares_a_name).cloned();
            view.default = std::iter::once(Arc::clone(first)).chain(others).collect();
        }
        for candidates in view.exact.values_mut().chain(view.wildcard.values_mut()) {
            prefer(candidates);
        }
        prefer(&mut view.default);
        view
    }

    fn pick(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Serving>> {
        let exact = name.and_then(|name| self.exact.get(name));
        let wildcard = name
            .and_then(|name| name.split_once('.'))
            .and_then(|(_, parent)| self.wildcard.get(parent));
        let tiers = [exact, wildcard, Some(&self.default)];
        let usable = |serving: &&Arc<Serving>| serving.bundle().key_kind().usable_with(schemes);
        let mut candidates = tiers.into_iter().flatten().flatten();
        // If the client can verify none of them, the best fit by name lets rustls name the true reason
        // (no signature scheme in common) instead of "no certificate".
        candidates.clone().find(usable).or_else(|| candidates.next())
    }
}

/// ECDSA and Ed25519 signatures cost a fraction of RSA's. The order of the configuration decides the rest.
fn prefer(candidates: &mut [Arc<Serving>]) {
    candidates.sort_by_key(|serving| serving.bundle().key_kind().is_rsa());
}

#[cfg(test)]
mod tests;
