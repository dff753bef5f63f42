//! Servers end a connection over what one client does, and others share it: what of it never reaches them.

use std::time::Duration;

use bytes::Bytes;
use e2e::{BackendOptions, H2Client, TestBackend, TestCa, TestGateway, eventually, pack, request, within};
use h2::Reason;
use http::HeaderMap;

const SOON: Duration = Duration::from_secs(5);

/// With the library's own patience: 20 streams that are reset before they were taken up end the connection.
fn impatient() -> BackendOptions {
    BackendOptions {
        impatient: true,
        ..BackendOptions::default()
    }
}

#[tokio::test]
async fn calls_that_are_cancelled_at_once_do_not_end_the_connection_of_others() {
    let ca = TestCa::new();
    let backend = TestBackend::h2_with(impatient(), async |mut exchange| {
        if exchange.path() == "/test.Echo/Chat" {
            exchange.head(&[]);
            while let Some(message) = exchange.data().await {
                exchange.send(message.unwrap()).await.unwrap();
            }
            exchange.trailers(&[("grpc-status", "0")]);
        } else {
            exchange.reset_by_peer().await;
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let neighbour = H2Client::tls(&gateway, &ca).await;
    let chat = request("/test.Echo/Chat").body(()).unwrap();
    let (response, mut chat) = neighbour.open(chat, false).await.unwrap();
    chat.send_data(pack(b"one"), false).unwrap();
    let mut answers = within("the head", SOON, response).await.unwrap().into_body();
    let one = within("an echo", SOON, answers.data()).await.unwrap().unwrap();
    assert_eq!(one, pack(b"one"));

    let fickle = H2Client::tls(&gateway, &ca).await;
    for round in 1..=5 {
        for _ in 0..100 {
            let call = request("/test.Echo/Unary").body(()).unwrap();
            let (_response, mut call) = fickle.open(call, true).await.unwrap();
            call.send_reset(Reason::CANCEL);
        }
        eventually("all are ended", SOON, async || {
            let metrics = gateway.metrics().await;
            let cancelled = metrics.sum("h2gate_rpcs_total", &[("grpc_status", "CANCELLED")]);
            (cancelled == f64::from(round * 100)).then_some(())
        })
        .await;
    }
    chat.send_data(pack(b"two"), true).unwrap();
    let two = within("an echo", SOON, answers.data()).await.unwrap().unwrap();
    assert_eq!(two, pack(b"two"));
    assert_eq!(backend.connections(), 1, "it is the same connection");
}

#[tokio::test]
async fn trailers_of_a_request_end_it_and_go_no_further() {
    let ca = TestCa::new();
    let backend = TestBackend::h2_with(impatient(), async |mut exchange| {
        let message = exchange.body().await.unwrap();
        let trailers = exchange.request_trailers().await.unwrap();
        exchange.head(&[]);
        exchange.send(message).await.unwrap();
        let seen = if trailers.is_some() { "13" } else { "0" };
        exchange.trailers(&[("grpc-status", seen)]);
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-late", "1".parse().unwrap());
    for body in [pack(b"a message"), Bytes::new()] {
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        let (response, mut stream) = client.open(asked, false).await.unwrap();
        if !body.is_empty() {
            stream.send_data(body, false).unwrap();
        }
        stream.send_trailers(trailers.clone()).unwrap();
        let mut answer = within("an answer", SOON, response).await.unwrap().into_body();
        while let Some(data) = answer.data().await {
            data.unwrap();
        }
        let status = answer.trailers().await.unwrap().unwrap();
        assert_eq!(status["grpc-status"], "0");
    }
}
