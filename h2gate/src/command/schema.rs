//! `h2gate schema`: what editors need to complete and check the configuration file.

use std::process::ExitCode;

use crate::config;

/// Prints the JSON Schema of the configuration file.
pub fn schema() -> anyhow::Result<ExitCode> {
    super::print(&format!("{:#}\n", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}
