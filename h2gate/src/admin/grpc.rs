//! gRPC on the admin port: health of the whole and of each routed service, the certificates, and reflection.

use std::collections::BTreeSet;
use std::sync::Arc;

use certmgr::Control;
use certstore::UnixTime;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder;

use super::readiness::Phase;

/// Longest request message; a health check has a service name, reflection a file name.
const MAX_MESSAGE: usize = 16 << 10;

/// Only these two are listed: the file set holds the demo's service too, which nobody serves here.
const HEALTH: &str = "grpc.health.v1.Health";
const CERTIFICATES: &str = "h2gate.certs.v1.CertificateService";

/// The services that routes name; they are healthy while the gateway is.
pub type Services = BTreeSet<String>;

/// The gRPC services of the admin port.
pub(super) fn routes(
    reporter: &HealthReporter,
    control: Option<&Control>,
) -> Result<Routes, tonic_reflection::server::Error> {
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let descriptors = || {
        let builder =
            Builder::configure().register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        match control {
            Some(_) => builder
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .with_service_name(HEALTH)
                .with_service_name(CERTIFICATES),
            None => builder,
        }
    };
    let routes = match control {
        Some(control) => Routes::new(certmgr::service(control.clone(), Arc::new(UnixTime::now))),
        None => Routes::default(),
    };
    Ok(routes
        .add_service(health.max_decoding_message_size(MAX_MESSAGE))
        .add_service(descriptors().build_v1()?.max_decoding_message_size(MAX_MESSAGE))
        .add_service(
            descriptors()
                .build_v1alpha()?
                .max_decoding_message_size(MAX_MESSAGE),
        ))
}

/// Keeps the reported health true until one of the watched values is gone.
pub(super) async fn report(
    mut reporter: HealthReporter,
    mut phase: watch::Receiver<Phase>,
    mut services: watch::Receiver<Services>,
) {
    let mut reported = Services::new();
    loop {
        let status = match phase.borrow_and_update().is_ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        let wanted = services.borrow_and_update().clone();
        for gone in reported.difference(&wanted) {
            reporter.clear_service_status(gone).await;
        }
        for service in std::iter::once("").chain(wanted.iter().map(String::as_str)) {
            reporter.set_service_status(service, status).await;
        }
        reported = wanted;
        let changed = tokio::select! {
            changed = phase.changed() => changed,
            changed = services.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
