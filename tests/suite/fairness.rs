//! Lawful bursts are delivered, and who does not read costs its bound and nobody else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    FrameConn, H2Client, TestBackend, TestCa, TestGateway, echo_body, eventually, flags, kind, pack, request,
    scaled, setting, within,
};

use crate::scripted;

const TINY: usize = 10_000;

/// `count` messages of five octets.
fn burst(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| pack(&[&(number as u32).to_be_bytes()[..], &[7]].concat()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tiny_messages_go_up_and_come_down() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        // Each piece goes back as it came: tiny frames downstream as well.
        while let Some(piece) = exchange.data().await {
            exchange.send(piece.unwrap()).await.unwrap();
        }
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let messages = burst(TINY);
    let (response, mut stream) = client
        .open(request("/test.Echo/Chat").body(()).unwrap(), false)
        .await
        .unwrap();
    for message in &messages {
        stream.send_data(message.clone(), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    let answer = within(
        "the echo",
        Duration::from_secs(30),
        e2e::Answer::collect(response),
    )
    .await
    .unwrap();
    assert_eq!(answer.grpc_status(), Some(0));
    assert!(
        answer.body == messages.concat(),
        "the echo differs: {} octets",
        answer.body.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tiny_messages_come_down_in_one_burst() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        for message in burst(TINY) {
            exchange.send(message).await.unwrap();
        }
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = client.ask(request("/test.Echo/List").body(()).unwrap(), Bytes::new());
    let answer = within("all of them", Duration::from_secs(30), asked)
        .await
        .unwrap();
    assert_eq!((answer.messages().len(), answer.grpc_status()), (TINY, Some(0)));
}

#[tokio::test]
async fn a_thousand_empty_data_frames_are_no_attack() {
    let (ca, _backend, gateway) = scripted(echo_body).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    connection.request(1, "/test.Echo/Unary", false).await;
    for _ in 0..1_000 {
        connection.send(kind::DATA, 0, 1, &[]).await;
    }
    connection
        .send(kind::DATA, flags::END_STREAM, 1, &pack(b"after all"))
        .await;
    let answered = |frame: &e2e::Frame| frame.kind == kind::DATA && frame.payload.ends_with(b"after all");
    connection
        .expect_politely("the echo", Duration::from_secs(5), answered)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chatty_stream_that_nobody_reads_harms_no_other_on_the_same_backend_connection() {
    let ca = TestCa::new();
    let backend = TestBackend::h2(|mut exchange| async move {
        if exchange.path() == "/test.Echo/Chatty" {
            exchange.head(&[]);
            for message in burst(1_000).iter().cycle() {
                if exchange.send(message.clone()).await.is_err() {
                    return;
                }
                // A frame each, and not all of the machine.
                tokio::task::yield_now().await;
            }
        }
        echo_body(exchange).await;
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let good = H2Client::tls(&gateway, &ca).await;
    let (response, mut stream) = good
        .open(request("/test.Echo/Unary").body(()).unwrap(), false)
        .await
        .unwrap();
    stream.send_data(pack(b"first"), false).unwrap();
    eventually(
        "the good stream is at the backend",
        Duration::from_secs(3),
        async || (backend.requests() == 1).then_some(()),
    )
    .await;

    // Two kinds of deaf client: one whose windows stay shut, one that leaves its socket unread.
    let mut shut = FrameConn::client(&gateway, &ca, &[(setting::INITIAL_WINDOW_SIZE, 100)]).await;
    shut.request(1, "/test.Echo/Chatty", true).await;
    let mut unread = FrameConn::client(&gateway, &ca, &[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]).await;
    unread
        .send(kind::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())
        .await;
    unread.request(1, "/test.Echo/Chatty", true).await;

    let until = Instant::now() + Duration::from_secs(scaled(3, 20) as u64);
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let began = Instant::now();
        let asked = good.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"ping"));
        let answer = within("an RPC beside it", Duration::from_secs(5), asked)
            .await
            .unwrap();
        assert_eq!(answer.grpc_status(), Some(0));
        slowest = slowest.max(began.elapsed());
    }
    stream.send_data(pack(b"second"), true).unwrap();
    let answer = within(
        "the first RPC ends well",
        Duration::from_secs(5),
        e2e::Answer::collect(response),
    )
    .await
    .unwrap();
    assert_eq!(answer.messages(), [&b"first"[..], b"second"]);
    assert_eq!(backend.connections(), 1, "all of it was on one connection");
    assert!(
        slowest < Duration::from_secs(1),
        "an RPC beside it took {slowest:?}"
    );
}
