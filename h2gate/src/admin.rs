//! The admin interface: one small port for probes, scrapers and people.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge, gRPC among it, on one listener of its own; nothing here is on
//! the data path. Nothing here changes what runs, but for the commands of the certificate service.

mod certificates;
mod grpc;
mod hosts;
pub(crate) mod metrics;
mod page;
mod readiness;
mod server;
mod view;
mod yaml;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use self::grpc::Services;
pub use self::hosts::Hosts;
pub(crate) use self::page::PENDING_RESTART;
pub use self::readiness::{Phase, Readiness};
pub use self::server::ConnectionBounds;
pub use self::view::{Sources, View};

/// The admin port, bound but silent: a second process on the same address is found out before anything else
/// has begun.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds the address. Port 0 lets the system choose.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer those who ask by an IP address, `localhost` or one of `hosts`. Fails if the built-in descriptors
    /// of the port's own services cannot be read: a mistake in the build.
    pub async fn serve(
        self,
        view: Arc<View>,
        bounds: ConnectionBounds,
        hosts: Hosts,
    ) -> Result<AdminPort, tonic_reflection::server::Error> {
        let reporter = HealthReporter::new();
        // A new reporter calls the whole healthy.
        reporter.set_service_status("", ServingStatus::NotServing).await;
        let router = page::router(Arc::clone(&view), grpc::routes(&reporter, view.control())?, hosts);
        let mut tasks = JoinSet::new();
        tasks.spawn(grpc::report(
            reporter,
            view.readiness().watch(),
            view.watch_services(),
        ));
        tasks.spawn(async move { match server::serve(self.listener, router, bounds).await {} });
        Ok(AdminPort {
            address: self.address,
            _tasks: tasks,
        })
    }
}

/// The admin port at work. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct AdminPort {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl AdminPort {
    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
