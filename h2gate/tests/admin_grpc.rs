//! gRPC on the admin port, by the clients that tonic generates.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod admin_support;

use admin_support::{SOON, TestAdmin};
use h2gate::admin::{Phase, Services};
use serde_json::Value;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

async fn channel(admin: &TestAdmin) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", admin.address())).unwrap();
    timeout(SOON, endpoint.connect()).await.unwrap().unwrap()
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// Follows one service until it has this status.
async fn becomes(client: &mut HealthClient<Channel>, service: &str, status: ServingStatus) {
    let follow = async {
        let mut statuses = client.watch(of(service)).await.unwrap().into_inner();
        while statuses.next().await.unwrap().unwrap().status() != status {}
    };
    timeout(SOON, follow)
        .await
        .unwrap_or_else(|_| panic!("{service:?} never became {status:?}"));
}

#[tokio::test]
async fn health_follows_the_phase_for_the_whole_and_for_each_routed_service() {
    let admin = TestAdmin::start().await;
    let mut client = HealthClient::new(channel(&admin).await);
    let first = client.check(of("")).await.unwrap().into_inner();
    assert_eq!(
        first.status(),
        NotServing,
        "before the first certificate was read"
    );
    for (phase, status) in [(Phase::Ready, Serving), (Phase::Draining, NotServing)] {
        admin.view.readiness().advance(phase);
        becomes(&mut client, "", status).await;
        becomes(&mut client, "routeguide.RouteGuide", status).await;
    }
    let unknown = client.check(of("no.Such")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn health_knows_the_services_of_the_newest_configuration() {
    let admin = TestAdmin::start().await;
    admin.view.readiness().advance(Phase::Ready);
    let mut client = HealthClient::new(channel(&admin).await);
    becomes(&mut client, "routeguide.RouteGuide", Serving).await;
    admin
        .view
        .reconfigured(Value::Null, Services::from(["other.Service".to_owned()]));
    becomes(&mut client, "other.Service", Serving).await;
    let gone = client.check(of("routeguide.RouteGuide")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_v1_lists_the_services_of_the_port() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let admin = TestAdmin::start().await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(&admin).await);
    let ask = |message| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "grpc.health.v1.Health".to_owned(),
        )),
    ];
    let mut answers = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut next = async || answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(
        names.contains(&"grpc.reflection.v1.ServerReflection"),
        "{names:?}"
    );
    let MessageResponse::FileDescriptorResponse(file) = next().await else {
        panic!("no file")
    };
    assert!(!file.file_descriptor_proto.is_empty());
}

#[tokio::test]
async fn reflection_v1alpha_answers_older_clients() {
    use v1alpha::server_reflection_request::MessageRequest;

    let admin = TestAdmin::start().await;
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&admin).await);
    let list = MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    assert!(answers.into_inner().next().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_unknown_grpc_service_is_unimplemented() {
    let admin = TestAdmin::start().await;
    let answer = admin
        .ask("POST", "/no.Such/Method", "content-type: application/grpc\r\n")
        .await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("12")));
}
