//! `h2gate version`: what this binary is.

use std::process::ExitCode;

/// The version alone, for `-V`.
pub const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Version, target and TLS provider, for `--version` and `h2gate version`.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ntarget        ",
    env!("H2GATE_TARGET"),
    "\nprofile       ",
    env!("H2GATE_PROFILE"),
    "\nTLS provider  rustls with aws-lc-rs",
);

/// Prints version, target and TLS provider.
pub fn version() -> anyhow::Result<ExitCode> {
    super::print(&format!("h2gate {LONG}\n"))?;
    Ok(ExitCode::SUCCESS)
}
