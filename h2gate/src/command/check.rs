//! `h2gate check`.

use std::process::ExitCode;

use crate::cli::CheckArguments;

/// Checks a configuration file.
pub fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    match crate::config::load(&arguments.config) {
        Ok(r) => { print!("{}{}", r.warnings, r.effective_yaml()); Ok(ExitCode::SUCCESS) }
        Err(d) => { print!("{d}"); Ok(ExitCode::FAILURE) }
    }
}
