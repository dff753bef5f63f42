//! What the admin interface shows: written by the program, read by the pages.

use std::fmt::Error;
use std::sync::Arc;

use gateway::telemetry::Metrics;
use serde_json::Value;
use tokio::sync::watch;

use super::grpc::Services;
use super::metrics::exposition::Format;
use super::readiness::Readiness;
use super::{certificates, metrics};
use crate::process::{Figures, unix_now};
use crate::run::certificates::Events;
use crate::run::reloads::Reloads;

/// What the admin interface shows.
#[derive(Debug)]
pub struct View {
    readiness: Readiness,
    reloads: Reloads,
    effective: watch::Sender<Arc<Value>>,
    services: watch::Sender<Services>,
    gateway: Option<Arc<Metrics>>,
    certificates: certstore::Reader,
    certificate_events: Events,
}

impl View {
    /// At the start. Without a `gateway` its figures are left out: a process may only manage certificates.
    pub fn new(
        gateway: Option<Arc<Metrics>>,
        certificates: certstore::Reader,
        certificate_events: Events,
        effective: Value,
        services: Services,
    ) -> Self {
        Self {
            readiness: Readiness::default(),
            reloads: Reloads::new(unix_now()),
            effective: watch::Sender::new(Arc::new(effective)),
            services: watch::Sender::new(services),
            gateway,
            certificates,
            certificate_events,
        }
    }

    /// Shows another configuration from now on.
    pub fn reconfigured(&self, effective: Value, services: Services) {
        self.effective.send_replace(Arc::new(effective));
        self.services.send_replace(services);
    }

    /// Whether new connections are welcome.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The reloads so far.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    pub(super) fn watch_services(&self) -> watch::Receiver<Services> {
        self.services.subscribe()
    }

    pub(super) fn effective(&self) -> Arc<Value> {
        Arc::clone(&self.effective.borrow())
    }

    pub(super) fn certificates(&self) -> Value {
        certificates::page(&self.certificates.list(), unix_now())
    }

    pub(super) fn metrics(&self, format: Format) -> Result<String, Error> {
        metrics::page(
            metrics::Snapshot {
                gateway: self.gateway.as_ref().map(|metrics| metrics.totals()),
                certificates: self.certificates.list(),
                certificate_events: self.certificate_events.totals(),
                ready: self.readiness.phase().is_ready(),
                reloads: self.reloads.totals(),
                process: Figures::read(),
            },
            format,
        )
    }
}
