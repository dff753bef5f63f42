//! `h2gate check`.

use std::process::ExitCode;

use crate::cli::CheckArguments;

/// Checks a configuration file.
pub fn check(_arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`check` is not built yet")
}
