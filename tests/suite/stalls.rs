//! A client that stalls before its first request is sent away after ten seconds; one that may wait is not.

use std::time::Duration;

use e2e::{FrameConn, H2Client, TestCa, TestGateway, TlsOptions, flags, kind, literal_block, request};
use rustls::pki_types::ServerName;
use tokio::time::{interval, timeout};

use crate::guide;

const LIMIT: Duration = Duration::from_secs(10);
const LEEWAY: Duration = Duration::from_secs(1);

async fn closed_in_time(mut connection: FrameConn, stalled_since: Duration) {
    let ending = connection
        .ending(LIMIT + 3 * LEEWAY)
        .await
        .expect("the connection is closed");
    let after = ending.after - stalled_since;
    assert!(
        after >= LIMIT - LEEWAY && after <= LIMIT + LEEWAY,
        "closed after {after:?}"
    );
}

fn client_hello(ca: &TestCa) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = rustls::ClientConnection::new(TlsOptions::default().config(ca), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed_after_ten_seconds() {
    let (_ca, _backend, gateway) = guide().await;
    closed_in_time(FrameConn::tcp(gateway.address()).await, Duration::ZERO).await;
}

#[tokio::test]
async fn half_a_client_hello_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::tcp(gateway.address()).await;
    let hello = client_hello(&ca);
    connection.write(&hello[..hello.len() / 2]).await.unwrap();
    closed_in_time(connection, Duration::ZERO).await;
}

#[tokio::test]
async fn silence_after_the_tls_handshake_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    closed_in_time(FrameConn::tls(&gateway, &ca).await, Duration::ZERO).await;
}

#[tokio::test]
async fn half_a_preface_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::tls(&gateway, &ca).await;
    connection.write(FrameConn::half_preface()).await.unwrap();
    closed_in_time(connection, Duration::ZERO).await;
}

#[tokio::test]
async fn a_preface_without_settings_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::tls(&gateway, &ca).await;
    connection.write(FrameConn::preface()).await.unwrap();
    closed_in_time(connection, Duration::ZERO).await;
}

#[tokio::test]
async fn half_a_headers_frame_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    let block = literal_block(&[
        (":method", "POST"),
        (":path", "/routeguide.RouteGuide/GetFeature"),
    ]);
    let whole = e2e::Frame::bytes(kind::HEADERS, flags::END_HEADERS, 1, &block);
    let since = connection.age();
    connection.write(&whole[..whole.len() / 2]).await.unwrap();
    closed_in_time(connection, since).await;
}

#[tokio::test]
async fn a_header_block_that_is_never_continued_is_closed_after_ten_seconds() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    let since = connection.age();
    connection
        .send(kind::HEADERS, 0, 1, &literal_block(&[(":method", "POST")]))
        .await;
    closed_in_time(connection, since).await;
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_buy_time() {
    let (ca, _backend, gateway) = guide().await;
    let mut connection = FrameConn::tcp(gateway.address()).await;
    let hello = client_hello(&ca);
    let mut beat = interval(Duration::from_millis(300));
    for byte in &hello {
        beat.tick().await;
        if connection.write(std::slice::from_ref(byte)).await.is_err()
            || connection.age() > LIMIT + 3 * LEEWAY
        {
            break;
        }
    }
    // A closed connection is found by the second write after it.
    let after = connection.age();
    assert!(
        after >= LIMIT - LEEWAY && after <= LIMIT + LEEWAY,
        "closed after {after:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_and_a_quiet_stream_are_left_alone() {
    let ca = TestCa::new();
    let backend = e2e::TestBackend::h2(|mut exchange| async move {
        exchange.head(&[]);
        let body = exchange.body().await.unwrap();
        exchange.send(body).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let gateway = TestGateway::start(&ca, &backend).await;
    let quiet = H2Client::tls(&gateway, &ca).await;
    let (response, mut stream) = quiet
        .open(request("/test.Echo/Stream").body(()).unwrap(), false)
        .await
        .unwrap();
    let mut idle = FrameConn::client(&gateway, &ca, &[]).await;
    // Longer than every deadline of a connection that has not begun.
    let silence = timeout(LIMIT + 3 * LEEWAY, async { while idle.read().await.is_some() {} }).await;
    assert!(silence.is_err(), "an idle connection was closed");
    stream.send_data(e2e::pack(b"late"), true).unwrap();
    let answer = e2e::within(
        "an answer",
        Duration::from_secs(3),
        e2e::Answer::collect(response),
    )
    .await
    .unwrap();
    assert_eq!(answer.messages(), [&b"late"[..]]);
}
