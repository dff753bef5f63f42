//! The certificate manager's side of the assembly: what it is told, and the counts of what it tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use certmgr::{CertificateConfig, Event, FileSource, Options, Source};
use certstore::Name;

use crate::config::Resolved;

/// A domain of the configuration is none.
#[derive(Debug, thiserror::Error)]
#[error("certificate {certificate}: {domain:?} is not a domain")]
pub struct BadDomain {
    certificate: String,
    domain: String,
}

/// The certificates of a configuration, as the manager wants them.
pub(super) fn configured(resolved: &Resolved) -> Result<Vec<CertificateConfig>, BadDomain> {
    resolved.certificates.iter().map(one).collect()
}

fn one(certificate: &crate::config::Certificate) -> Result<CertificateConfig, BadDomain> {
    let domain = |domain: &String| {
        Name::parse(domain).map_err(|_| BadDomain {
            certificate: certificate.name.clone(),
            domain: domain.clone(),
        })
    };
    Ok(CertificateConfig {
        name: certificate.name.clone(),
        domains: certificate.domains.iter().map(domain).collect::<Result<_, _>>()?,
        source: Source::Files(FileSource {
            chain: certificate.chain.clone(),
            key: certificate.key.clone(),
        }),
        allow_rollback: false,
        trust: None,
    })
}

/// What runs, and those of the new ones whose names are not among it.
pub(super) fn with_new_names(
    before: &[CertificateConfig],
    after: &[CertificateConfig],
) -> Vec<CertificateConfig> {
    let is_new = |one: &&CertificateConfig| before.iter().all(|known| known.name != one.name);
    before
        .iter()
        .chain(after.iter().filter(is_new))
        .cloned()
        .collect()
}

/// How the manager works: as it likes, and every event is counted.
pub(super) fn options(events: &Events) -> Options {
    let events = events.clone();
    Options {
        observer: Some(Arc::new(move |event: &Event| events.count(event))),
        ..Options::default()
    }
}

/// Counts events by certificate and kind.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<EventTotals>>);

/// Events since the start, by certificate and kind.
pub type EventTotals = BTreeMap<(Arc<str>, &'static str), u64>;

impl Events {
    /// Counts one.
    pub fn count(&self, event: &Event) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = totals
            .entry((Arc::clone(event.name()), event.kind()))
            .or_default();
        *count = count.saturating_add(1);
    }

    /// All counts now.
    pub fn totals(&self) -> EventTotals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
