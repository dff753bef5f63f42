//! Reload and end of `h2gate run` while clients are there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod run_support;

use std::net::SocketAddr;
use std::sync::Arc;

use h2gate::admin::{AdminPort, Bound, ConnectionBounds, Hosts, Phase, Services, Sources, View};
use h2gate::counters::Events;
use run_support::{Folder, Program, SOON, config, get, holds, shows};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// A gRPC backend with a stream that lasts: the health service of an admin port.
struct Backend {
    admin: AdminPort,
    view: Arc<View>,
}

impl Backend {
    async fn start() -> Self {
        let (_, certificates) = certstore::store();
        let sources = Sources {
            gateway: None,
            access_log: None,
            certificates,
            certificate_events: Events::default(),
            control: None,
        };
        let view = Arc::new(View::new(sources, Value::Null, Services::new()));
        let bound = Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let admin = bound
            .serve(view.clone(), ConnectionBounds::default(), Hosts::default())
            .await
            .unwrap();
        Self { admin, view }
    }
}

/// A stream through the gateway that has brought its first message, and stays open.
async fn open_stream(gateway: SocketAddr) -> Streaming<HealthCheckResponse> {
    let channel = Channel::from_shared(format!("http://{gateway}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let request = HealthCheckRequest::default();
    let mut stream = HealthClient::new(channel)
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
    stream
}

/// A program with one stream open through it.
struct Busy {
    backend: Backend,
    folder: Folder,
    program: Program,
    plain: SocketAddr,
    admin: SocketAddr,
    stream: Streaming<HealthCheckResponse>,
}

/// `extra` is more of the configuration.
async fn busy(extra: &str) -> Busy {
    let backend = Backend::start().await;
    let folder = Folder::new();
    folder.config(&format!("{}{extra}", config(backend.admin.address())));
    let mut program = folder.run(&[]);
    let (plain, _, admin) = program.started();
    // A start says 503, too: who looks for a drain must not take the one for the other.
    apart(move || shows(admin, "/ready", |status, _| status == 200)).await;
    let stream = open_stream(plain).await;
    Busy {
        backend,
        folder,
        program,
        plain,
        admin,
        stream,
    }
}

/// Exit code and everything that was said on the way.
async fn end_of(mut program: Program) -> (Option<i32>, String) {
    apart(move || (program.ends().code(), program.all_it_said())).await
}

/// Runs work that blocks on a thread of its own, so that the backend of the same test goes on.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_streams_finish() {
    let Busy {
        backend,
        folder: _folder,
        program,
        admin,
        mut stream,
        ..
    } = busy("").await;
    program.signal(Signal::TERM);
    let is_draining = |status, body: &str| status == 503 && body.starts_with("draining");
    apart(move || shows(admin, "/ready", is_draining)).await;
    // The stream still carries messages after the clients got GOAWAY.
    backend.view.readiness().advance(Phase::Ready);
    timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(apart(move || get(admin, "/live").0).await, 200);
    drop(stream);
    let (code, said) = end_of(program).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("drained; every stream has ended"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_newcomers_at_once() {
    let busy = busy("").await;
    busy.program.signal(Signal::TERM);
    let deadline = std::time::Instant::now() + SOON;
    while std::net::TcpStream::connect(busy.plain).is_ok() {
        assert!(std::time::Instant::now() < deadline, "still welcome");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(busy.stream);
    assert_eq!(end_of(busy.program).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_touch_an_open_stream() {
    let mut busy = busy("").await;
    let text = config(busy.backend.admin.address());
    busy.folder.config(
        &text
            .replace("name: one", "name: two")
            .replace("backend: one", "backend: two"),
    );
    busy.program.signal(Signal::HUP);
    busy.program.says(&["reload applied", "listeners_kept=2"]);
    busy.backend.view.readiness().advance(Phase::Ready);
    timeout(SOON, busy.stream.next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_ends_a_drain() {
    let mut busy = busy("timeouts: { drain: 300ms }\n").await;
    busy.program.signal(Signal::TERM);
    let error = timeout(SOON, busy.stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
    let (code, said) = end_of(busy.program).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the grace is over") && said.contains("connections=1"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigint_ends_it_at_once() {
    let busy = busy("").await;
    busy.program.signal(Signal::INT);
    apart(move || shows(busy.admin, "/ready", |status, _| status == 503)).await;
    busy.program.signal(Signal::INT);
    let (code, said) = end_of(busy.program).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("drain ended by SIGINT"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signals_during_a_drain_change_nothing() {
    let busy = busy("").await;
    busy.program.signal(Signal::TERM);
    apart(move || shows(busy.admin, "/ready", |status, _| status == 503)).await;
    for signal in [Signal::TERM, Signal::HUP, Signal::USR1] {
        busy.program.signal(signal);
    }
    assert_eq!(apart(move || get(busy.admin, "/ready").0).await, 503);
    drop(busy.stream);
    assert_eq!(end_of(busy.program).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_is_reopened_by_sigusr1() {
    let busy = busy("access_log: { path: \"$DIR/access.log\" }\n").await;
    let (log, moved) = (busy.folder.path("access.log"), busy.folder.path("access.log.1"));
    let watch = "/grpc.health.v1.Health/Watch";
    drop(busy.stream);
    holds(&log, watch);
    std::fs::rename(&log, &moved).unwrap();
    busy.program.signal(Signal::USR1);
    // Made anew before there is anything to write.
    holds(&log, "");
    drop(open_stream(busy.plain).await);
    holds(&log, watch);
    busy.program.signal(Signal::TERM);
    assert_eq!(end_of(busy.program).await.0, Some(0));
    for file in [&log, &moved] {
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
        assert!(lines.len() == 1 && lines.iter().all(Result::is_ok), "{text}");
    }
}
