//! Metrics of the program itself: its build, its readiness, its reloads, its access log; and figures of the process,
//! under the names that Prometheus clients share.

use std::fmt::Error;

use super::Snapshot;
use super::exposition::{Families, labels, unlabelled};
use crate::process::Figures;
use crate::version;

pub(super) fn families(families: &mut Families<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let Snapshot {
        ready,
        reloads,
        access_log,
        ..
    } = snapshot;
    families.info(
        "h2gate_build",
        "What runs",
        [(labels([("version", &version::SHORT)]), 1)],
    )?;
    families.gauge(
        "h2gate_ready",
        "1 while new connections are welcome",
        unlabelled(u64::from(*ready)),
    )?;
    let by_result = |result: &str, count| (labels([("result", &result)]), count);
    families.counter(
        "h2gate_config_reloads",
        "Configuration reloads by result",
        [
            by_result("applied", reloads.applied),
            by_result("refused", reloads.refused),
        ],
    )?;
    families.gauge(
        "h2gate_config_last_reload_successful",
        "1 if the last reload was applied, or there was none",
        unlabelled(u64::from(reloads.last_applied)),
    )?;
    families.gauge(
        "h2gate_config_last_reload_success_timestamp_seconds",
        "When the configuration that runs was applied, in seconds since the Unix epoch",
        unlabelled(reloads.applied_at.as_secs_f64()),
    )?;
    families.counter(
        "h2gate_access_log_lines",
        "Lines of the access log by result; a line is dropped rather than an RPC delayed",
        [
            by_result("written", access_log.written),
            by_result("dropped", access_log.dropped),
            by_result("over_rate", access_log.over_rate),
        ],
    )
}

pub(super) fn process(families: &mut Families<'_>, process: &Figures) -> Result<(), Error> {
    families.counter(
        "process_cpu_seconds",
        "User and system CPU time spent, in seconds",
        unlabelled(process.cpu.as_secs_f64()),
    )?;
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory size, in bytes",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size, in bytes",
            process.virtual_bytes,
        ),
        ("process_open_fds", "Open file descriptors", process.open_fds),
        (
            "process_max_fds",
            "Open file descriptors that the system allows",
            process.max_fds,
        ),
        ("process_threads", "Threads", process.threads),
    ] {
        families.gauge(name, help, unlabelled::<u64>(value))?;
    }
    families.gauge(
        "process_start_time_seconds",
        "Start of the process, in seconds since the Unix epoch",
        unlabelled::<f64>(process.started_at.map(|at| at.as_secs_f64())),
    )
}
