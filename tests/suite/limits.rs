//! Limits of HTTP/2 as a client and its neighbours see them: traffic over a limit is refused by its name, honest
//! traffic near it is not harmed, and no other traffic raises it.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{
    Answer, Frame, FrameConn, H2Client, TestBackend, TestCa, TestGateway, TlsOptions, echo_body, eventually,
    flags, kind, literal_block, pack, request, within,
};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;

const ENHANCE_YOUR_CALM: u32 = 11;
const PATIENCE: Duration = Duration::from_secs(10);
const RESOURCE_EXHAUSTED: u32 = 8;

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_by_the_limits_name_in_the_clients_language() {
    let (ca, _backend, gateway) = crate::scripted(echo_body).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let big = "x".repeat(70_000);
    let ask = |method: Method, content_type: Option<&str>| {
        // The content type comes last, as tonic writes it.
        let asked = Request::builder()
            .method(method)
            .uri("https://localhost/test.Echo/Unary");
        let asked = asked.header("x-big", &big);
        let asked = match content_type {
            Some(content_type) => asked.header("content-type", content_type),
            None => asked,
        };
        let asked = asked.body(()).unwrap();
        let client = &client;
        async move {
            within("an answer", PATIENCE, client.ask(asked, Bytes::new()))
                .await
                .unwrap()
        }
    };
    let answer: Answer = ask(Method::POST, Some("application/grpc")).await;
    assert_eq!(
        (answer.status, answer.grpc_status()),
        (StatusCode::OK, Some(RESOURCE_EXHAUSTED))
    );
    let message = answer.trailer("grpc-message");
    assert!(
        message.contains("limits.client.max_header_list_size"),
        "{message}"
    );
    for method in [Method::GET, Method::POST] {
        let answer = ask(method, Some("application/json")).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert!(answer.body.ends_with(b"send less of it\n"), "{answer:?}");
    }
    let answer = ask(Method::HEAD, None).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // The connection goes on.
    let asked = request("/test.Echo/Unary").body(()).unwrap();
    assert_eq!(
        client.ask(asked, pack(b"ping")).await.unwrap().messages(),
        [&b"ping"[..]]
    );
}

#[tokio::test]
async fn response_headers_over_a_limit_are_resource_exhausted_with_its_name() {
    let (ca, _backend, gateway) = crate::scripted(|mut exchange| async move {
        let big = "x".repeat(300_000);
        match exchange.path() {
            "/test.Echo/Head" => exchange.trailers_only(&[("grpc-status", "0"), ("x-big", &big)]),
            _ => {
                exchange.head(&[]);
                exchange.send(pack(b"some")).await.unwrap();
                exchange.trailers(&[("grpc-status", "0"), ("x-big", &big)]);
            }
        }
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for path in ["/test.Echo/Head", "/test.Echo/Trailers"] {
        let asked = client.ask(request(path).body(()).unwrap(), Bytes::new());
        let answer = within("an answer", PATIENCE, asked).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(RESOURCE_EXHAUSTED), "{path}");
        let message = answer.trailer("grpc-message");
        assert!(
            message.contains("limits.backend.max_header_list_size"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn endless_interim_heads_of_a_backend_end_its_rpc_by_the_limits_name() {
    let ca = TestCa::new();
    let backend = TestBackend::frames(|mut connection| async move {
        connection.serve(&[]).await;
        let asked = |frame: &Frame| frame.kind == kind::HEADERS;
        let stream = connection
            .expect_politely("a request", PATIENCE, asked)
            .await
            .stream;
        let hint = literal_block(&[(":status", "103"), ("link", &"x".repeat(8_000))]);
        let hint = Frame::bytes(kind::HEADERS, flags::END_HEADERS, stream, &hint);
        while connection.write(&hint).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let gateway = TestGateway::start(&ca, &backend).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let before = gateway.memory();
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    let answer = within("an answer", PATIENCE, asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(RESOURCE_EXHAUSTED));
    let message = answer.trailer("grpc-message");
    assert!(message.contains("limits.backend.max_informational"), "{message}");
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown}");
}

fn block(path: &str, authority: &str, more: &[(&str, &str)]) -> Bytes {
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    literal_block(&[&head, more].concat())
}

/// A backend that answers everything but `/test.Echo/Hang`.
async fn mute_for_some() -> (TestCa, TestBackend) {
    let backend = TestBackend::h2(|mut exchange| async move {
        if exchange.path() == "/test.Echo/Hang" {
            exchange.reset_by_peer().await;
        } else {
            echo_body(exchange).await;
        }
    })
    .await;
    (TestCa::new(), backend)
}

#[tokio::test]
async fn requests_that_no_route_takes_buy_no_resets() {
    let (ca, backend) = mute_for_some().await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/routes/0/match", json!({ "host": "localhost" }))
        .start()
        .await;
    for more in [&[][..], &[("grpc-timeout", "1n")]] {
        let stranger = block("/test.Echo/Hang", "nobody.example", &[]);
        let hang = block("/test.Echo/Hang", "localhost", more);
        let flood = (0..50_000_u32).map(move |n| {
            let mut bytes = BytesMut::new();
            let whole = flags::END_HEADERS | flags::END_STREAM;
            bytes.put(Frame::bytes(kind::HEADERS, whole, 4 * n + 1, &stranger));
            bytes.put(Frame::bytes(kind::HEADERS, flags::END_HEADERS, 4 * n + 3, &hang));
            bytes.put(Frame::bytes(kind::RST_STREAM, 0, 4 * n + 3, &8_u32.to_be_bytes()));
            bytes.freeze()
        });
        let before = backend.requests();
        let attacker = FrameConn::client(&gateway, &ca, &[]).await;
        let ending = within(
            "the flood ends",
            Duration::from_secs(60),
            attacker.flood(flood, PATIENCE),
        )
        .await;
        let ending = ending.expect("the attacker is sent away");
        if let Some(code) = ending.goaway {
            assert_eq!(code, ENHANCE_YOUR_CALM, "{ending:?}");
        }
        assert!(
            backend.requests() - before <= 1_500,
            "{}",
            backend.requests() - before
        );
    }
    let metrics = gateway.metrics().await;
    let reached = |limit| metrics.sum("h2gate_limits_reached_total", &[("limit", limit)]);
    assert!(
        reached("rapid_resets") + reached("turned_away") > 1.5,
        "{}",
        metrics.page()
    );
}

#[tokio::test]
async fn calls_that_end_by_their_own_deadline_cost_no_stream_of_their_connection() {
    let (ca, backend) = mute_for_some().await;
    let limits = json!({ "rapid_resets": { "burst": 5, "per_second": 1 }, "rapid_reset_age": "10s" });
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/limits", json!({ "client": limits }))
        .set("/access_log", json!({ "path": "-" }))
        .start()
        .await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    let unary = block("/test.Echo/Unary", "localhost", &[]);
    connection
        .send(kind::HEADERS, flags::END_HEADERS, 1, &unary)
        .await;
    let hang = block("/test.Echo/Hang", "localhost", &[("grpc-timeout", "2S")]);
    let ids: Vec<u32> = (1..=100).map(|n| 2 * n + 1).collect();
    for &id in &ids {
        connection
            .send(kind::HEADERS, flags::END_HEADERS, id, &hang)
            .await;
    }
    // A client that cancels does it earlier.
    let cancelled = ids.len() as u32 * 2 + 3;
    connection
        .send(kind::HEADERS, flags::END_HEADERS, cancelled, &hang)
        .await;
    connection
        .send(kind::RST_STREAM, 0, cancelled, &8_u32.to_be_bytes())
        .await;
    // A little early: requests travel for longer than their resets, and the gateway's own deadline must not come first.
    tokio::time::sleep(Duration::from_millis(1_950)).await;
    for &id in &ids {
        connection
            .send(kind::RST_STREAM, 0, id, &8_u32.to_be_bytes())
            .await;
    }
    // The stream beside them still gets its answer.
    connection
        .send(kind::DATA, flags::END_STREAM, 1, &pack(b"ping"))
        .await;
    let answer = |frame: &Frame| frame.kind == kind::DATA && frame.stream == 1;
    let data = connection.expect_politely("the answer", PATIENCE, answer).await;
    assert_eq!(data.payload, pack(b"ping"));
    let metrics = gateway.metrics().await;
    assert!(!metrics.page().contains("rapid_resets"), "{}", metrics.page());
    // A backend that lets deadlines pass is seen as that.
    for (status, reason, count) in [
        ("DEADLINE_EXCEEDED", "deadline_exceeded", ids.len()),
        ("CANCELLED", "client_reset", 1),
    ] {
        let ended = metrics.sum("h2gate_rpcs_total", &[("grpc_status", status)]);
        assert!((ended - count as f64).abs() < 0.1, "{status}: {}", metrics.page());
        let (name, reason) = (format!("\"{status}\""), format!("\"{reason}\""));
        eventually("the lines of them", PATIENCE, async || {
            let output = gateway.output();
            let lines = output
                .lines()
                .filter(|line| line.contains(&name) && line.contains(&reason));
            (lines.count() == count).then_some(())
        })
        .await;
    }
}

/// Of who says nothing, as many as are allowed are waited for: for one more one of them ends, or it does not get in. A
/// client gets in beside them.
#[tokio::test]
async fn unfinished_handshakes_are_bounded_by_their_number_and_by_memory() {
    for limits in [
        json!({ "max_handshakes": 5 }),
        json!({ "process_memory": "120KiB", "connection_memory": "64KiB" }),
    ] {
        let ca = TestCa::new();
        let backend = TestBackend::h2(echo_body).await;
        let gateway = TestGateway::builder(&ca, &backend)
            .set("/workers", 1)
            .set("/limits", limits.clone())
            .start()
            .await;
        let is_open = |stream: &TcpStream| {
            let read = stream.try_read(&mut [0]);
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let mut silent = Vec::new();
        eventually("the end of one", Duration::from_secs(3), async || {
            silent.push(TcpStream::connect(gateway.address()).await.unwrap());
            (!silent.iter().all(is_open)).then_some(())
        })
        .await;
        assert!(silent.len() > 5, "{limits}: {}", silent.len());
        assert!(
            gateway
                .metrics()
                .await
                .sum("h2gate_limits_reached_total", &[("limit", "max_handshakes")])
                > 0.5
        );
        eventually("a place", PATIENCE, async || {
            let shaken = TlsOptions::default().connect(gateway.address(), &ca).await;
            shaken.is_ok().then_some(())
        })
        .await;
    }
}
