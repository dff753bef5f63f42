//! Which trust bundles are kept in force: those that a listener or a certificate names.

use certmgr::TrustConfig;
use gateway::settings::{Listener, Settings};

use crate::config::Resolved;

/// The others are not even read. Nothing waits for them, and nobody is verified against them.
pub(super) fn in_use(resolved: &Resolved) -> Vec<TrustConfig> {
    let of_certificates = resolved
        .certificates
        .iter()
        .filter_map(|one| one.trust.as_deref());
    let names: Vec<_> = of_clients(&resolved.gateway).chain(of_certificates).collect();
    resolved
        .trust_bundles
        .iter()
        .filter(|bundle| names.contains(&bundle.name.as_str()))
        .cloned()
        .collect()
}

fn of_clients(settings: &Settings) -> impl Iterator<Item = &str> {
    let tls = settings.listeners.iter().filter_map(Listener::tls);
    tls.filter_map(|tls| Some(tls.client_auth.as_ref()?.trust.as_str()))
}
