//! The identity of this binary.

/// The version alone, for `-V`.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Version, target and TLS provider, for `--version` and `h2gate version`.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ntarget        ",
    env!("H2GATE_TARGET"),
    "\nprofile       ",
    env!("H2GATE_PROFILE"),
    "\nTLS provider  rustls with aws-lc-rs",
);
