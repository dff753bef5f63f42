//! Every RPC that ends at the gateway's HTTP/2 is counted, and its line in the access log says why.

use std::time::Duration;

use bytes::Bytes;
use e2e::{
    Frame, FrameConn, TestBackend, TestCa, TestGateway, eventually, flags, kind, literal_block, within,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway whose access log can be read, before a backend that reports that it has a request (`None`) and then the
/// code by which that is reset.
async fn scene(
    limits: Value,
) -> (
    TestCa,
    TestBackend,
    TestGateway,
    mpsc::Receiver<Option<h2::Reason>>,
) {
    let ca = TestCa::new();
    let (tell, told) = mpsc::channel(8);
    let backend = TestBackend::h2(move |mut exchange| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(None).await;
            let _ = tell.send(Some(exchange.reset_by_peer().await)).await;
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/access_log", json!({ "path": "-" }))
        .set("/limits", json!({ "client": limits }))
        .start()
        .await;
    (ca, backend, gateway, told)
}

fn head(path: &str, more: &[(&str, &str)]) -> Bytes {
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    literal_block(&[&head, more].concat())
}

async fn ask(connection: &mut FrameConn, stream: u32, block: &[u8]) {
    connection
        .send(kind::HEADERS, flags::END_HEADERS, stream, block)
        .await;
}

async fn reset_of(connection: &mut FrameConn, stream: u32) -> u32 {
    let reset = |frame: &Frame| frame.kind == kind::RST_STREAM && frame.stream == stream;
    connection
        .expect("RST_STREAM", PATIENCE, reset)
        .await
        .code()
        .unwrap()
}

/// The line of the RPC with this path.
async fn line_of(gateway: &TestGateway, path: &str) -> Value {
    eventually("a line in the access log", PATIENCE, async || {
        let output = gateway.output();
        let mut lines = output
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["path"] == path)
    })
    .await
}

async fn ended_under_no_route(gateway: &TestGateway, status: &str) -> f64 {
    let labels = [("route", "-"), ("grpc_status", status)];
    gateway.metrics().await.sum("h2gate_rpcs_total", &labels)
}

#[tokio::test]
async fn a_malformed_request_is_counted_and_logged_with_the_rule_that_it_breaks() {
    let (ca, _backend, gateway, _) = scene(json!({})).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    ask(
        &mut connection,
        1,
        &head("/test.Echo/Bad", &[("connection", "close")]),
    )
    .await;
    assert_eq!(reset_of(&mut connection, 1).await, PROTOCOL_ERROR);
    let line = line_of(&gateway, "/test.Echo/Bad").await;
    assert_eq!(line["reason"], "malformed", "{line}");
    assert_eq!(line["detail"], "a connection-specific field", "{line}");
    assert_eq!(
        (&line["host"], &line["grpc_status_name"]),
        (&json!("localhost"), &json!("INTERNAL"))
    );
    assert!((ended_under_no_route(&gateway, "INTERNAL").await - 1.0).abs() < 0.1);
}

/// gRPC over HTTP/2, *Binary-Header*: grpc-java ends its connection by one that is no base64, with everybody's RPCs.
#[tokio::test]
async fn a_binary_field_without_base64_reaches_no_backend_of_grpc() {
    let (ca, _backend, gateway, mut told) = scene(json!({})).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    let whole = flags::END_HEADERS | flags::END_STREAM;
    for (number, value) in ["!!!!", "A", "_-_-", "AA, BB", "AB"].into_iter().enumerate() {
        let (stream, path) = (2 * number as u32 + 1, format!("/test.Echo/Bad{number}"));
        let block = head(&path, &[("x-good-bin", "AA=="), ("x-user-bin", value)]);
        connection.send(kind::HEADERS, whole, stream, &block).await;
        let answer = |frame: &Frame| frame.kind == kind::HEADERS && frame.stream == stream;
        let answer = connection.expect("the refusal", PATIENCE, answer).await;
        assert_eq!(answer.flags & flags::END_STREAM, flags::END_STREAM);
        let line = line_of(&gateway, &path).await;
        assert_eq!(
            (&line["reason"], &line["grpc_status_name"]),
            (&json!("miscoded_field"), &json!("INTERNAL")),
            "{value}: {line}"
        );
    }
    let plain = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/plain"),
        (":authority", "localhost"),
        ("content-type", "text/plain"),
        ("x-user-bin", "!!!!"),
    ];
    let valid = [
        ("x-user-bin", "AA,+/+/,,zw=="),
        ("x-empty-bin", ""),
        ("x-user", "!"),
    ];
    for (stream, block) in [
        (101, literal_block(&plain)),
        (103, head("/test.Echo/Good", &valid)),
    ] {
        ask(&mut connection, stream, &block).await;
        let arrived = within("the backend has the request", PATIENCE, told.recv()).await;
        assert_eq!(arrived, Some(None), "nothing came before it");
        connection
            .send(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
            .await;
        let code = within("the backend hears of it", PATIENCE, told.recv()).await;
        assert_eq!(code, Some(Some(h2::Reason::CANCEL)));
    }
}

/// RFC 9113 §8.3.1, RFC 3986: what decides where a request goes has one meaning.
#[tokio::test]
async fn an_authority_a_path_or_a_scheme_that_is_none_is_refused_with_the_reason() {
    let (ca, _backend, gateway, _) = scene(json!({})).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    let good = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/test.Echo/Good"),
        (":authority", "localhost"),
    ];
    for (number, (name, value, rule)) in [
        (
            ":authority",
            "evil.test?.example.com",
            ":authority is not host[:port]",
        ),
        (":authority", "localhost:80/", ":authority is not host[:port]"),
        (":path", "/test.Echo/Bad path", ":path is no path with a query"),
        (":scheme", "ht tp", ":scheme is no scheme"),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = good.map(|(n, v)| if n == name { (n, value) } else { (n, v) });
        let stream = 2 * number as u32 + 1;
        ask(&mut connection, stream, &literal_block(&bad)).await;
        assert_eq!(
            reset_of(&mut connection, stream).await,
            PROTOCOL_ERROR,
            "{name}: {value}"
        );
        let line = eventually("a line for it", PATIENCE, async || {
            let output = gateway.output();
            let mut lines = output
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.nth(number)
        })
        .await;
        assert_eq!(
            (&line["reason"], &line["detail"]),
            (&json!("malformed"), &json!(rule)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_request_over_the_stream_limit_is_counted_and_logged_with_the_limit() {
    let (ca, _backend, gateway, _) = scene(json!({ "max_concurrent_streams": 1 })).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    ask(&mut connection, 1, &head("/test.Echo/First", &[])).await;
    ask(&mut connection, 3, &head("/test.Echo/Second", &[])).await;
    assert_eq!(reset_of(&mut connection, 3).await, REFUSED_STREAM);
    let line = line_of(&gateway, "/test.Echo/Second").await;
    assert_eq!(
        (&line["reason"], &line["detail"]),
        (&json!("limit"), &json!("max_concurrent_streams"))
    );
    assert!((ended_under_no_route(&gateway, "UNAVAILABLE").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_stream_that_breaks_a_rule_is_logged_with_it_and_the_backend_hears_cancel() {
    let (ca, _backend, gateway, mut told) = scene(json!({})).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    ask(
        &mut connection,
        1,
        &head("/test.Echo/Late", &[("content-length", "1")]),
    )
    .await;
    let arrived = within("the backend has the request", PATIENCE, told.recv()).await;
    assert_eq!(arrived, Some(None));
    connection.send(kind::DATA, 0, 1, b"two").await;
    assert_eq!(reset_of(&mut connection, 1).await, PROTOCOL_ERROR);
    let code = within("the backend hears of it", PATIENCE, told.recv()).await;
    assert_eq!(code, Some(Some(h2::Reason::CANCEL)));
    let line = line_of(&gateway, "/test.Echo/Late").await;
    assert_eq!(line["reason"], "client_broke_protocol", "{line}");
    assert_eq!(line["detail"], "DATA does not add up to content-length", "{line}");
}

#[tokio::test]
async fn rpcs_of_a_client_that_passed_a_limit_are_logged_with_its_name() {
    let limits = json!({ "pings": { "burst": 5, "per_second": 1 } });
    let (ca, _backend, gateway, mut told) = scene(limits).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    ask(&mut connection, 1, &head("/test.Echo/Open", &[])).await;
    assert_eq!(within("the backend", PATIENCE, told.recv()).await, Some(None));
    for _ in 0..20 {
        if connection
            .write(&Frame::bytes(kind::PING, 0, 0, &[0; 8]))
            .await
            .is_err()
        {
            break;
        }
    }
    let line = line_of(&gateway, "/test.Echo/Open").await;
    assert_eq!(
        (&line["reason"], &line["detail"]),
        (&json!("limit"), &json!("pings")),
        "{line}"
    );
}
