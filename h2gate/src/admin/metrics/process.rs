//! Figures of the process, under the names that Prometheus clients share.

use std::fmt::Error;

use super::exposition::{Families, Labels};
use crate::process::Figures;

pub(super) fn families(families: &mut Families<'_>, process: &Figures) -> Result<(), Error> {
    families.seconds_counter(
        "process_cpu_seconds",
        "User and system CPU time spent, in seconds",
        process.cpu.as_secs_f64(),
    )?;
    families.gauge(
        "process_resident_memory_bytes",
        "Resident memory size, in bytes",
        one(process.resident_bytes),
    )?;
    families.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size, in bytes",
        one(process.virtual_bytes),
    )?;
    families.gauge("process_open_fds", "Open file descriptors", one(process.open_fds))?;
    families.gauge(
        "process_max_fds",
        "Open file descriptors that the system allows",
        one(process.max_fds),
    )?;
    families.gauge("process_threads", "Threads", one(process.threads))?;
    families.gauge(
        "process_start_time_seconds",
        "Start of the process, in seconds since the Unix epoch",
        one(process.started_at.map(|at| at.as_secs_f64())),
    )
}

/// A sample without labels, if there is one.
pub(super) fn one<'l, Number>(number: Option<Number>) -> Option<(Labels<'l>, Number)> {
    number.map(|number| (Vec::new(), number))
}
