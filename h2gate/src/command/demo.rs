//! `h2gate demo`.

use std::process::ExitCode;

use crate::cli::DemoArguments;

/// Runs the demonstration.
pub fn demo(_arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`demo` is not built yet")
}
