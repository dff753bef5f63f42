//! The gateway of the demo: the assembly that `h2gate run` runs, reading the demo's file.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::config;
use crate::run::{self, Running};

/// For the first read of the certificate.
const STARTING: Duration = Duration::from_secs(10);

/// For connections of others when the demo ends; our own clients are gone by then.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Gateway {
    running: Running,
    address: SocketAddr,
}

impl Gateway {
    /// Returns when clients are welcome.
    pub(super) async fn start(config: &Path) -> anyhow::Result<Self> {
        let running = run::start(config::load(config)?).await?;
        let ready = tokio::time::timeout(STARTING, running.ready()).await;
        ready.context("the gateway did not read its certificate in time")?;
        let listeners = running.listeners();
        let (_, address) = *listeners.first().context("the gateway has no listener")?;
        Ok(Self { running, address })
    }

    /// Where it really listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin interface really listens.
    pub(super) fn admin(&self) -> SocketAddr {
        self.running.admin_address()
    }

    pub(super) async fn stop(self) {
        self.running.drain(GRACE).await;
    }
}
