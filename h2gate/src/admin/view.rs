//! The facts that the admin interface shows: written by the program, read by the pages.

use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use gateway::access_log::AccessLogSink;
use gateway::telemetry::Metrics;
use serde_json::Value;
use tokio::sync::watch;

use super::grpc::Services;
use super::metrics::exposition::{self, Format};
use super::readiness::Readiness;
use super::{certificates, metrics};
use crate::counters::{Events, Reloads};
use crate::process::{Figures, unix_now};

/// The source of the figures.
#[derive(Debug)]
pub struct Sources {
    /// The data path; `None` in a process that only manages certificates.
    pub gateway: Option<Arc<Metrics>>,
    /// The access log, if one is written.
    pub access_log: Option<AccessLogSink>,
    /// The certificates that serve.
    pub certificates: certstore::Reader,
    /// The events of certificates and trust bundles, counted.
    pub certificate_events: Events,
    /// The certificate manager, for operators; `None` in a process without one.
    pub control: Option<certmgr::Control>,
}

/// The facts that the admin interface shows.
#[derive(Debug)]
pub struct View {
    readiness: Readiness,
    reloads: Reloads,
    effective: watch::Sender<Arc<Value>>,
    services: watch::Sender<Services>,
    sources: Sources,
}

impl View {
    /// At the start.
    pub fn new(sources: Sources, effective: Value, services: Services) -> Self {
        Self {
            readiness: Readiness::default(),
            reloads: Reloads::new(unix_now()),
            effective: watch::Sender::new(Arc::new(effective)),
            services: watch::Sender::new(services),
            sources,
        }
    }

    /// Shows another configuration from now on.
    pub fn reconfigured(&self, effective: Value, services: Services) {
        self.effective.send_replace(Arc::new(effective));
        self.services.send_replace(services);
    }

    /// The readiness: says if new connections are welcome.
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

    pub(super) fn control(&self) -> Option<&certmgr::Control> {
        self.sources.control.as_ref()
    }

    pub(super) fn effective(&self) -> Arc<Value> {
        Arc::clone(&self.effective.borrow())
    }

    pub(super) fn certificates(&self) -> Value {
        let certificates = &self.sources.certificates;
        certificates::page(
            &certificates.list(),
            self.control().map(certmgr::list).unwrap_or_default(),
            &certificates.trust_list(),
        )
    }

    /// The manager's view of each certificate.
    fn certificate_views(&self) -> Vec<certmgr::View> {
        self.control().map(certmgr::Control::list).unwrap_or_default()
    }

    /// The time for which no worker of the gateway has run; zero if there is no gateway.
    pub(super) fn silence(&self) -> Duration {
        self.sources
            .gateway
            .as_ref()
            .map_or(Duration::ZERO, |metrics| metrics.silence())
    }

    pub(super) fn metrics(&self, format: Format) -> Result<String, Error> {
        let sources = &self.sources;
        let snapshot = metrics::Snapshot {
            gateway: sources.gateway.as_ref().map(|metrics| metrics.totals()),
            access_log: sources
                .access_log
                .as_ref()
                .map(AccessLogSink::totals)
                .unwrap_or_default(),
            certificates: sources.certificates.list(),
            certificate_views: self.certificate_views(),
            certificate_events: sources.certificate_events.totals(),
            trust_bundles: sources.certificates.trust_list(),
            ready: self.readiness.phase().is_ready(),
            reloads: self.reloads.totals(),
            process: Figures::read(),
            now: unix_now(),
        };
        exposition::page(snapshot, format)
    }
}
