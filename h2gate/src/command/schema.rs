//! `h2gate schema`.

use std::process::ExitCode;

/// Prints the JSON schema of the configuration file.
pub fn schema() -> anyhow::Result<ExitCode> {
    anyhow::bail!("`schema` is not built yet")
}
