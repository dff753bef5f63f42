//! The state directory and the options of the certificate manager.

use std::sync::Arc;

use certmgr::{CertificateConfig, Event, Options, Source, State, StateError};

use crate::config::Resolved;
use crate::counters::Events;

/// Opens the state directory. One that cannot be used is only logged where nothing is lost without it:
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

/// The manager's options: its defaults, within the limits and with this state, and every event is counted.
pub(super) fn options(resolved: &Resolved, events: &Events, state: Option<State>) -> Options {
    let events = events.clone();
    Options {
        state,
        max_orders: resolved.max_orders,
        observer: Some(Arc::new(move |event: &Event| events.count(event))),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_orders_no_more_at_once_than_the_file_says() {
        let with = |limits: &str| {
            let text = format!("listeners: [{{ name: l, address: '127.0.0.1:1' }}]\n{limits}");
            let resolved = crate::config::parse("h2gate.yaml".as_ref(), &text).expect("it is valid");
            options(&resolved, &Events::default(), None).max_orders
        };
        assert_eq!(with(""), Options::default().max_orders);
        assert_eq!(with("limits: { max_orders: 1 }"), 1);
        assert_eq!(with("limits: { max_orders: 64 }"), 64);
    }
}
