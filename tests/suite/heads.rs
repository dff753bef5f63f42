//! Heads of requests that are large, and heads that are broken: what is refused is one stream.

use std::time::Duration;

use bytes::Bytes;
use e2e::{Frame, FrameConn, H2Client, echo_body, flags, kind, literal_block, pack, request, within};

use crate::scripted;

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_large_but_valid_head_passes_and_a_larger_one_is_refused_alone() {
    let (ca, _backend, gateway) = scripted(echo_body).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ask = async |size: usize| {
        let asked = request("/test.Echo/Unary")
            .header("x-large", "v".repeat(size))
            .body(())
            .unwrap();
        within("an answer", SOON, client.ask(asked, pack(b"x"))).await
    };
    assert_eq!(ask(40 << 10).await.unwrap().grpc_status(), Some(0));
    match ask(100 << 10).await {
        Ok(answer) => assert!(
            answer.status.as_u16() == 431 || answer.grpc_status() == Some(8),
            "{answer:?}"
        ),
        Err(error) => assert!(error.is_reset(), "the stream alone is refused: {error}"),
    }
    assert_eq!(ask(1).await.unwrap().grpc_status(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_length_names_and_other_malformed_heads_reset_one_stream() {
    let (ca, _backend, gateway) = scripted(echo_body).await;
    let sound = [(":method", "POST"), (":scheme", "https"), (":path", "/a.B/C")];
    let unsound = [
        ("", "empty"),
        ("Upper", "case"),
        ("connection", "close"),
        ("x", "line\r\nbreak"),
        (":status", "200"),
    ];
    let mut heads: Vec<Bytes> = unsound
        .iter()
        .map(|field| literal_block(&[&sound[..], &[*field]].concat()))
        .collect();
    heads.push(literal_block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", ""),
    ]));
    let mut client = FrameConn::client(&gateway, &ca, &[]).await;
    for (number, head) in heads.iter().enumerate() {
        let stream = 2 * number as u32 + 1;
        let flags = flags::END_HEADERS | flags::END_STREAM;
        client.send(kind::HEADERS, flags, stream, head).await;
        let reset = |frame: &Frame| frame.stream == stream && frame.kind != kind::WINDOW_UPDATE;
        let reset = client.expect_politely("a reset", SOON, reset).await;
        let protocol_error = (kind::RST_STREAM, Some(1));
        assert_eq!((reset.kind, reset.code()), protocol_error, "head {number}");
    }
    // The connection goes on.
    client.request(101, "/test.Echo/Unary", false).await;
    client
        .send(kind::DATA, flags::END_STREAM, 101, &pack(b"well"))
        .await;
    let echo = |frame: &Frame| frame.kind == kind::DATA && frame.payload.ends_with(b"well");
    client.expect_politely("the echo", SOON, echo).await;
}
