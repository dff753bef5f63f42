//! Which trust bundles are kept in force: those that a listener or a certificate names.

use certmgr::TrustConfig;
use gateway::settings::{Protocol, Settings};

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
    settings
        .listeners
        .iter()
        .filter_map(|listener| match &listener.protocol {
            Protocol::Http2(http2) => Some(http2.tls.as_ref()?.client_auth.as_ref()?.trust.as_str()),
            Protocol::Http1(_) => None,
        })
}

/// What runs, and those of the new ones whose names are not among it.
pub(super) fn with_new_names(before: &[TrustConfig], after: &[TrustConfig]) -> Vec<TrustConfig> {
    let is_new = |one: &&TrustConfig| before.iter().all(|known| known.name != one.name);
    before
        .iter()
        .chain(after.iter().filter(is_new))
        .cloned()
        .collect()
}
