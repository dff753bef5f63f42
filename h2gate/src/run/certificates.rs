//! The certificate manager's side of the assembly: what it is told, and the counts of what it tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use certmgr::{CertificateConfig, Event, Options, Source, State, StateError};

use crate::config::Resolved;

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

/// Opens the state directory. One that cannot be used is only told of where nothing is lost without it:
/// certificates of other sources serve all the same, but a cold start needs those sources.
pub(super) async fn open_state(resolved: &Resolved) -> Result<Option<State>, StateError> {
    let Some(directory) = resolved.state_dir.clone() else {
        return Ok(None);
    };
    let opened = tokio::task::spawn_blocking(move || State::open(&directory)).await;
    let is_acme = |one: &CertificateConfig| matches!(one.source, Source::Acme(_));
    match opened {
        Ok(Ok(state)) => Ok(Some(state)),
        Ok(Err(error)) if resolved.certificates.iter().any(is_acme) => Err(error),
        Ok(Err(error)) => {
            tracing::warn!("nothing is kept for a cold start: {error}; `state_dir: none` if that is meant");
            Ok(None)
        }
        // The runtime is ending.
        Err(_) => Ok(None),
    }
}

/// How the manager works: as it likes, with this state, and every event is counted.
pub(super) fn options(events: &Events, state: Option<State>) -> Options {
    let events = events.clone();
    Options {
        state,
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
