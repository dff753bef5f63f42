//! The gateway of the demo: the assembly that `h2gate run` runs, reading the demo's file.

use std::net::SocketAddr;
use std::path::Path;

pub(super) struct Gateway {}

impl Gateway {
    pub(super) async fn start(_config: &Path) -> anyhow::Result<Self> {
        anyhow::bail!("`demo` is not built yet")
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    pub(super) fn admin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    pub(super) async fn stop(self) {}
}
