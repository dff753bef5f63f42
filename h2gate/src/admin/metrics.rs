//! The metrics page: everything that is counted, added up at the moment of the scrape.
//!
//! `docs/metrics.md` lists every family; a test holds the two together.

mod certificates;
pub(crate) mod exposition;
mod gateway;
mod program;
mod trust_bundles;

use std::fmt::Error;
use std::time::Duration;

use ::gateway::access_log::AccessLogTotals;
use ::gateway::telemetry::Totals;
use certstore::store::TrustStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use self::exposition::Families;
use crate::counters::{EventTotals, ReloadTotals};
use crate::process::Figures;

/// All counts at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) gateway: Option<Totals>,
    pub(super) access_log: AccessLogTotals,
    pub(super) certificates: Vec<certstore::Status>,
    pub(super) certificate_views: Vec<certmgr::View>,
    pub(super) certificate_events: EventTotals,
    pub(super) trust_bundles: Vec<TrustStatus>,
    pub(super) ready: bool,
    pub(super) reloads: ReloadTotals,
    pub(super) process: Figures,
    /// Since the Unix epoch.
    pub(super) now: Duration,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families(encoder);
        program::families(&mut families, self)?;
        if let Some(totals) = &self.gateway {
            gateway::families(&mut families, totals)?;
        }
        certificates::families(&mut families, self)?;
        trust_bundles::families(&mut families, &self.trust_bundles, &self.certificate_events)?;
        program::process(&mut families, &self.process)
    }
}
