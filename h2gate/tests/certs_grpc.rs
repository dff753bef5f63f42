//! `h2gate.certs.v1.CertificateService` on the admin port of a running program, by the generated client.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod certs_support;
mod run_support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use certs_support::{LONG, TestPair};
use proto::certs::v1 as pb;
use proto::certs::v1::certificate_service_client::CertificateServiceClient;
use proto::certs::v1::watch_response::Item;
use run_support::{Folder, Running, config, nobody};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

const SERVICE: &str = "h2gate.certs.v1.CertificateService";

fn serving() -> Running {
    Running::start(Folder::new(), &config(nobody()))
}

impl Running {
    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.admin)).unwrap();
        timeout(LONG, endpoint.connect()).await.unwrap().unwrap()
    }

    async fn client(&self) -> CertificateServiceClient<Channel> {
        CertificateServiceClient::new(self.channel().await)
    }
}

fn named(name: &str) -> pb::WatchRequest {
    pb::WatchRequest {
        name: name.to_owned(),
    }
}

async fn next(items: &mut Streaming<pb::WatchResponse>) -> Item {
    let item = timeout(LONG, items.message())
        .await
        .unwrap_or_else(|_| panic!("nothing came"));
    item.unwrap().unwrap().item.unwrap()
}

#[tokio::test]
async fn reflection_lists_the_service_and_has_its_file() {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;

    let it = serving();
    let channel = it.channel().await;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let ask = |message| reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ];
    let answers = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap();
    let mut answers = answers.into_inner();
    let mut answer = async || {
        let answer = timeout(LONG, answers.message()).await.unwrap();
        answer.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = answer().await else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert!(
        names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.contains("RouteGuide")), "{names:?}");
    let MessageResponse::FileDescriptorResponse(file) = answer().await else {
        panic!("no file")
    };
    let file = String::from_utf8_lossy(&file.file_descriptor_proto[0]).into_owned();
    assert!(file.contains("RollAccountKey") && file.contains("CertificateService"));
}

#[tokio::test]
async fn health_is_on_the_same_port() {
    let it = serving();
    let mut client = HealthClient::new(it.channel().await);
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_watcher_is_told_what_is_and_then_of_a_promotion() {
    let it = serving();
    let mut items = it
        .client()
        .await
        .watch(named("local"))
        .await
        .unwrap()
        .into_inner();
    let Item::Certificate(before) = next(&mut items).await else {
        panic!("no certificate first")
    };
    assert_eq!((&*before.name, &*before.source), ("local", "files"));
    assert_eq!(next(&mut items).await, Item::SnapshotEnd(pb::SnapshotEnd {}));
    let pair = TestPair::new();
    assert_ne!(before.serving.unwrap().fingerprint, pair.fingerprint());
    it.folder.put_pair(&pair.chain, &pair.key);
    let promoted = loop {
        match next(&mut items).await {
            Item::Event(event) if event.kind == "promoted" => break event,
            Item::Event(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(
        promoted.message.contains(&pair.fingerprint()[..12]),
        "{promoted:?}"
    );
    assert!(!promoted.is_error && promoted.time.is_some());
    let now = it
        .client()
        .await
        .get(pb::GetRequest {
            name: "local".to_owned(),
        })
        .await;
    let now = now.unwrap().into_inner();
    assert_eq!(now.serving.unwrap().fingerprint, pair.fingerprint());
}

#[tokio::test]
async fn what_changes_something_is_logged_with_who_asked_and_what_looks_is_not() {
    let mut it = serving();
    let mut client = it.client().await;
    let name = || "local".to_owned();
    client.list(pb::ListRequest {}).await.unwrap();
    client.plan(pb::PlanRequest::default()).await.unwrap();
    client.renew(pb::RenewRequest { name: name() }).await.unwrap();
    let rollback = pb::RollbackRequest {
        name: name(),
        fingerprint: String::new(),
    };
    client.rollback(rollback).await.unwrap_err();
    for command in ["renew", "rollback"] {
        let line = it.program.says(&[&format!("asks for {command}")]);
        for words in [" INFO ", "local: 127.0.0.1:", "peer=\"127.0.0.1:"] {
            assert!(line.contains(words), "{words:?} is missing: {line}");
        }
    }
    it.program.signal(rustix::process::Signal::TERM);
    it.program.ends();
    assert_eq!(it.program.all_it_said().matches(" asks for ").count(), 2);
}

/// A request as a form on a web page can send it to a port of the machine that shows it.
fn form(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: https://evil.example\r\nconnection: close\r\n\
         content-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a_web_page_in_a_browser_on_this_machine_commands_nothing() {
    let mut it = serving();
    // A message of gRPC: not compressed, 7 bytes, field 1 is `local`.
    let message = b"\0\0\0\0\x07\x0a\x05local";
    for command in ["Renew", "Rollback", "Revoke", "RollAccountKey", "Get"] {
        let mut stream = TcpStream::connect(it.admin).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
            .write_all(&form(&format!("/{SERVICE}/{command}"), message))
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 "), "{command}: {answer}");
    }
    it.program.signal(rustix::process::Signal::TERM);
    it.program.ends();
    let said = it.program.all_it_said();
    assert!(!said.contains(" asks for "), "{said}");
}

#[tokio::test]
async fn a_name_that_is_not_configured_is_not_written_into_the_log() {
    let mut it = serving();
    let mut client = it.client().await;
    let name = "x\n2026-01-01T00:00:00Z ERROR forged".to_owned();
    let unknown = client.renew(pb::RenewRequest { name }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    it.program.signal(rustix::process::Signal::TERM);
    it.program.ends();
    let said = it.program.all_it_said();
    assert!(!said.contains("forged"), "{said}");
}

#[tokio::test]
async fn refusals_have_the_code_that_programs_go_by() {
    let it = serving();
    let mut client = it.client().await;
    let unknown = client.watch(named("other")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.message(), "no certificate is named other; there is local");
    let revoke = |reason| pb::RevokeRequest {
        name: "local".to_owned(),
        reason,
    };
    // RFC 5280 §5.3.1: 2 says that a CA is compromised, which no subscriber may say.
    let reason = client.revoke(revoke(2)).await.unwrap_err();
    assert_eq!(reason.code(), Code::InvalidArgument);
    let files = client.revoke(revoke(0)).await.unwrap_err();
    assert_eq!(files.code(), Code::FailedPrecondition);
    let long = "x".repeat(20 << 10);
    let large = client.get(pb::GetRequest { name: long }).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large:?}");
    let horizon = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let past = client.plan(pb::PlanRequest { horizon }).await.unwrap_err();
    assert_eq!(past.code(), Code::InvalidArgument);
}
