//! Metrics of the program itself: its build, its readiness, its reloads, its access log.

use std::fmt::Error;

use gateway::access_log::AccessLogTotals;

use super::exposition::Families;
use super::process::one;
use crate::counters::ReloadTotals;
use crate::version;

pub(super) fn families(
    families: &mut Families<'_>,
    ready: bool,
    reloads: &ReloadTotals,
    access_log: &AccessLogTotals,
) -> Result<(), Error> {
    families.info("h2gate_build", "What runs", [vec![("version", version::SHORT)]])?;
    families.gauge(
        "h2gate_ready",
        "1 while new connections are welcome",
        one(Some(u64::from(ready))),
    )?;
    families.counter(
        "h2gate_config_reloads",
        "Configuration reloads by result",
        [
            (vec![("result", "applied")], reloads.applied),
            (vec![("result", "refused")], reloads.refused),
        ],
    )?;
    families.gauge(
        "h2gate_config_last_reload_successful",
        "1 if the last reload was applied, or there was none",
        one(Some(u64::from(reloads.last_applied))),
    )?;
    families.gauge(
        "h2gate_config_last_reload_success_timestamp_seconds",
        "When the configuration that runs was applied, in seconds since the Unix epoch",
        one(Some(reloads.applied_at.as_secs_f64())),
    )?;
    families.counter(
        "h2gate_access_log_lines",
        "Lines of the access log by result; a line is dropped rather than an RPC delayed",
        [
            (vec![("result", "written")], access_log.written),
            (vec![("result", "dropped")], access_log.dropped),
            (vec![("result", "over_rate")], access_log.over_rate),
        ],
    )
}
