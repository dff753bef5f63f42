//! Endpoints that are out of order cost their neighbours nothing, and the streams of those that have few are shared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    Answer, BackendOptions, Frame, FrameConn, H2Client, TestBackend, TestCa, TestClient, TestGateway,
    Unreachable, eventually, flags, free_port, kind, literal_block, request, setting, within,
};
use futures_util::future::join_all;
use proto::routeguide::Point;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// The deadline of RPCs that are to reach the living endpoint.
const DEADLINE: Duration = Duration::from_secs(1);

fn answer_block() -> Bytes {
    literal_block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
    ])
}

pub(crate) async fn answer(connection: &mut FrameConn, stream: u32) {
    let whole = flags::END_HEADERS | flags::END_STREAM;
    connection
        .send(kind::HEADERS, whole, stream, &answer_block())
        .await;
}

/// A thousand RPCs before two endpoints, one of which is out of order: all of them are answered by the other.
async fn nobody_notices(out_of_order: SocketAddr) {
    let ca = TestCa::new();
    let living = TestBackend::guide("one").await;
    let gateway = TestGateway::before(&ca, &[out_of_order, living.address()])
        .start()
        .await;
    let client = TestClient::connect(&gateway, &ca).await;
    let one_after_another = async |_| {
        let mut failed = Vec::new();
        for _ in 0..100 {
            let mut asked = tonic::Request::new(Point::default());
            asked.set_timeout(DEADLINE);
            failed.extend(client.guide().get_feature(asked).await.err());
        }
        failed
    };
    let failed = join_all((0..10).map(one_after_another)).await.concat();
    assert!(
        failed.is_empty(),
        "{} of 1,000 failed: {:?}",
        failed.len(),
        failed.first()
    );
}

#[tokio::test]
async fn an_endpoint_that_drops_syns_costs_no_rpc() {
    let unreachable = Unreachable::new().await;
    nobody_notices(unreachable.address()).await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_costs_no_rpc() {
    nobody_notices(([127, 0, 0, 1], free_port()).into()).await;
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_closes_costs_no_rpc_and_is_not_hammered() {
    let closing = TestBackend::frames(async |connection| drop(connection)).await;
    nobody_notices(closing.address()).await;
    let connections = closing.connections();
    assert!((1..=40).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_says_nothing_costs_no_rpc() {
    let mute = TestBackend::frames(async |mut connection| while connection.read().await.is_some() {}).await;
    nobody_notices(mute.address()).await;
}

#[tokio::test]
async fn an_endpoint_that_greets_and_closes_costs_no_rpc_and_is_not_hammered() {
    let closing = TestBackend::frames(async |mut connection| {
        connection.serve(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await;
    })
    .await;
    nobody_notices(closing.address()).await;
    let connections = closing.connections();
    assert!((1..=40).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn a_backend_that_never_sends_settings_is_unavailable_after_connect_timeout() {
    let ca = TestCa::new();
    let mute = TestBackend::frames(async |mut connection| while connection.read().await.is_some() {}).await;
    let gateway = TestGateway::builder(&ca, &mute)
        .set("/backends/0/connect_timeout", "500ms")
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    let answer = within("an answer", Duration::from_secs(3), asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
    gateway.logs(&["endpoint cannot be used", "SETTINGS"]).await;
}

#[tokio::test]
async fn a_burst_on_a_fresh_connection_loses_no_rpc_to_the_backends_stream_limit() {
    let ca = TestCa::new();
    let narrow = BackendOptions {
        max_concurrent_streams: Some(10),
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(narrow, async |mut exchange| {
        exchange.trailers_only(&[("grpc-status", "0")]);
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ask = || client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    let answers = within("200 answers", SOON, join_all((0..200).map(|_| ask()))).await;
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.as_ref().ok().and_then(Answer::grpc_status) != Some(0))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of 200 failed: {:?}",
        failed.len(),
        failed[0]
    );
}

#[tokio::test]
async fn a_limit_of_no_streams_is_obeyed_until_it_is_raised() {
    const BEFORE_IT_WAS_ALLOWED: &str = "a request while the limit was 0";
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await;
        connection.send(kind::PING, 0, 0, b"obeyed? ").await;
        let head_or_pong = |frame: &Frame| matches!(frame.kind, kind::HEADERS | kind::PING);
        let frame = connection
            .expect_politely("an answer to PING", SOON, head_or_pong)
            .await;
        assert_eq!(frame.kind, kind::PING, "{BEFORE_IT_WAS_ALLOWED}");
        connection
            .settings(&[(setting::MAX_CONCURRENT_STREAMS, 100)])
            .await;
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS {
                answer(&mut connection, frame.stream).await;
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ask = || client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    let answers = within("five answers", SOON, join_all((0..5).map(|_| ask()))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().grpc_status(), Some(0));
    }
    assert_eq!(
        backend.connections(),
        1,
        "who allows no stream is not asked by more connections"
    );
}

#[tokio::test]
async fn who_waits_longer_than_max_wait_is_refused_and_who_does_not_is_served() {
    let ca = TestCa::new();
    let release = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&release);
    let one = BackendOptions {
        max_concurrent_streams: Some(1),
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(one, move |mut exchange| {
        let held = Arc::clone(&held);
        async move {
            held.acquire().await.unwrap().forget();
            exchange.trailers_only(&[("grpc-status", "0")]);
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .set("/limits", json!({ "max_wait": "1s" }))
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ask = || {
        let client = client.clone();
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        tokio::spawn(async move { client.ask(asked, Bytes::new()).await.unwrap() })
    };
    let asked: Vec<_> = (0..30).map(|_| ask()).collect();
    let ended = |status| ("h2gate_rpcs_total", [("grpc_status", status)]);
    let (total, unavailable) = ended("UNAVAILABLE");
    let refused = eventually("those without a stream are refused", SOON, async || {
        let refused = gateway.metrics().await.sum(total, &unavailable);
        (refused > 0.0).then_some(refused as usize)
    })
    .await;
    assert!(
        refused <= 16,
        "{refused} of 30 refused, with 16 connections of one stream each"
    );
    // One that comes now waits for less than the second.
    let late = ask();
    release.add_permits(100);
    assert_eq!(
        within("an answer", SOON, late).await.unwrap().grpc_status(),
        Some(0)
    );
    let mut told = 0;
    for asked in asked {
        let answer = within("an answer", SOON, asked).await.unwrap();
        if answer.grpc_status() != Some(0) {
            let message = answer.trailer("grpc-message");
            assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
            assert!(message.contains("1s (limits.max_wait)"), "{message}");
            told += 1;
        }
    }
    assert_eq!(told, refused);
}

/// The client's message and the log's, about a backend whose first bytes are these.
async fn diagnosis(first_words: &'static [u8]) -> (String, String) {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.write(first_words).await.ok();
        connection.close_writing().await;
        while connection.read().await.is_some() {}
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..2 {
        let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        let answer = within("an answer", SOON, asked).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
        if answer.trailer("grpc-message").contains("speaks") {
            let line = gateway.logs(&["endpoint cannot be used", "guide"]).await;
            assert_eq!(gateway.log_count(&["endpoint cannot be used"]), 1);
            return (answer.trailer("grpc-message").to_owned(), line);
        }
    }
    panic!("no word of what it speaks: {}", gateway.log());
}

#[tokio::test]
async fn a_backend_that_speaks_something_else_is_reported_as_such() {
    for (first_words, name) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
            "HTTP/1.1",
        ),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6p1\r\n", "SSH"),
    ] {
        let (message, line) = diagnosis(first_words).await;
        assert!(
            message.contains(&format!("speaks {name}, not HTTP/2")),
            "{message}"
        );
        assert!(line.contains(&format!("it speaks {name}")), "{line}");
    }
    let (message, line) = diagnosis(b"220 mail.example.com \x1b[2J\r\n").await;
    assert!(message.contains("something else"), "{message}");
    assert!(line.contains(r"220 mail.example.com \u{1b}[2J"), "{line}");
}

#[tokio::test]
async fn http_statuses_of_a_backend_are_counted_by_the_mapping_of_grpc() {
    const STATUSES: [(&str, &str); 6] = [
        ("503", "UNAVAILABLE"),
        ("401", "UNAUTHENTICATED"),
        ("403", "PERMISSION_DENIED"),
        ("404", "UNIMPLEMENTED"),
        ("400", "INTERNAL"),
        ("500", "UNKNOWN"),
    ];
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[]).await;
        let mut statuses = STATUSES.iter();
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS
                && let Some((status, _)) = statuses.next()
            {
                let block = literal_block(&[(":status", status), ("content-type", "text/html")]);
                let whole = flags::END_HEADERS | flags::END_STREAM;
                connection.send(kind::HEADERS, whole, frame.stream, &block).await;
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for (http, grpc) in STATUSES {
        let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        let answer = within("an answer", SOON, asked).await.unwrap();
        assert_eq!(
            answer.status.as_str(),
            http,
            "the client's library maps it itself"
        );
        eventually(format!("{http} is counted as {grpc}"), SOON, async || {
            let page = gateway.metrics().await;
            (page.sum("h2gate_rpcs_total", &[("grpc_status", grpc)]) == 1.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_backend_hears_what_is_left_of_the_timeout() {
    let ca = TestCa::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::before(&ca, &[listener.local_addr().unwrap()])
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ask = || {
        let client = client.clone();
        let asked = request("/test.Echo/Unary").header("grpc-timeout", "5S");
        let asked = asked.body(()).unwrap();
        tokio::spawn(async move { client.ask(asked, Bytes::new()).await })
    };
    let _waits = ask();
    let (stream, _) = within("a connection", SOON, listener.accept()).await.unwrap();
    let began = Instant::now();
    // The gateway has its RPC, and is let wait for SETTINGS.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let waited = began.elapsed();
    let mut backend = within("a greeting", SOON, h2::server::handshake(stream))
        .await
        .unwrap();
    let mut timeouts = Vec::new();
    while timeouts.len() < 2 {
        let (asked, mut answer) = within("a request", SOON, backend.accept())
            .await
            .unwrap()
            .unwrap();
        timeouts.push(asked.headers()["grpc-timeout"].to_str().unwrap().to_owned());
        answer.send_response(http::Response::new(()), true).unwrap();
        ask();
    }
    let left = timeouts[0].strip_suffix('u').expect("microseconds");
    let left = Duration::from_micros(left.parse().unwrap());
    assert!(
        left <= Duration::from_secs(5) - waited && left > Duration::from_secs(3),
        "{left:?}"
    );
    assert_eq!(
        timeouts[1], "5S",
        "an RPC that did not wait tells what it was told"
    );
}

/// grpc-java and grpc-core announce such a bound, and end the connection of a client that sends more.
#[tokio::test]
async fn a_request_over_the_backends_bound_of_metadata_never_reaches_the_connection_that_others_share() {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[(setting::MAX_HEADER_LIST_SIZE, 8_192)]).await;
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS {
                assert!(frame.payload.len() < 9_000, "it came");
                answer(&mut connection, frame.stream).await;
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for (size, status) in [(10, 0), (12_000, 8), (7_000, 0), (9_000, 8), (10, 0)] {
        let metadata = "v".repeat(size);
        let asked = request("/test.Echo/Unary").header("x-metadata", metadata);
        let asked = client.ask(asked.body(()).unwrap(), Bytes::new());
        let answer = within("an answer", SOON, asked).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(status), "{size}: {answer:?}");
    }
    assert_eq!(backend.connections(), 1);
}
