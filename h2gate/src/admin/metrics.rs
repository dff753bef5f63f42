//! The metrics page: everything that is counted, added up at the moment of the scrape.
//!
//! `docs/metrics.md` lists every family; a test holds the two together.

mod certificates;
pub(crate) mod exposition;
mod gateway;
mod process;
mod program;

use std::fmt::Error;

use ::gateway::access_log::AccessLogTotals;
use ::gateway::telemetry::Totals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use self::exposition::{Families, Format};
use crate::process::Figures;
use crate::run::certificates::EventTotals;
use crate::run::reloads::ReloadTotals;

/// All counts at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) gateway: Option<Totals>,
    pub(super) access_log: AccessLogTotals,
    pub(super) certificates: Vec<certstore::Status>,
    pub(super) certificate_events: EventTotals,
    pub(super) ready: bool,
    pub(super) reloads: ReloadTotals,
    pub(super) process: Figures,
}

/// The page in the format that was asked for.
pub(super) fn page(snapshot: Snapshot, format: Format) -> Result<String, Error> {
    exposition::page(snapshot, format)
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families(encoder);
        program::families(&mut families, self.ready, &self.reloads, &self.access_log)?;
        if let Some(totals) = &self.gateway {
            gateway::families(&mut families, totals)?;
        }
        certificates::families(&mut families, &self.certificates, &self.certificate_events)?;
        process::families(&mut families, &self.process)
    }
}
