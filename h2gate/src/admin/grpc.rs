//! gRPC on the admin port: health of the whole and of each routed service, and reflection.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder;

use super::readiness::Phase;

/// Longest request message; a health check has a service name, reflection a file name.
const MAX_MESSAGE: usize = 16 << 10;

/// The services that routes name; they are healthy while the gateway is.
pub type Services = BTreeSet<String>;

/// The gRPC services of the admin port.
pub(super) fn routes(reporter: &HealthReporter) -> Result<Routes, tonic_reflection::server::Error> {
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let descriptors =
        || Builder::configure().register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    Ok(Routes::default()
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
