//! The certificate manager's side of the assembly: what it is told, and the counts of what it tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use certmgr::{CertificateConfig, Event, Options};

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
