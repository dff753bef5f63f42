//! `h2gate run`.

use std::process::ExitCode;

use crate::cli::RunArguments;

/// Runs until told to stop.
pub fn run(_arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`run` is not built yet")
}
