//! A reset of one side reaches the other side, with its error code.

use std::time::Duration;

use bytes::Bytes;
use e2e::{H2Client, pack, request, within};
use h2::Reason;
use tokio::sync::mpsc;

use crate::scripted;

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn the_clients_reset_code_reaches_the_backend() {
    let (seen, mut seen_by_backend) = mpsc::channel(1);
    let (ca, _backend, gateway) = scripted(move |mut exchange| {
        let seen = seen.clone();
        async move {
            exchange.head(&[]);
            exchange.send(pack(b"begun")).await.unwrap();
            seen.send(exchange.reset_by_peer().await).await.unwrap();
        }
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for code in [Reason::CANCEL, Reason::ENHANCE_YOUR_CALM, Reason::INTERNAL_ERROR] {
        let (response, mut stream) = client
            .open(request("/test.Echo/Stream").body(()).unwrap(), false)
            .await
            .unwrap();
        let mut body = response.await.unwrap().into_body();
        body.data().await.unwrap().unwrap();
        stream.send_reset(code);
        assert_eq!(
            within("the backend is told", SOON, seen_by_backend.recv()).await,
            Some(code)
        );
    }
}

#[tokio::test]
async fn a_client_that_cancels_before_any_answer_is_heard() {
    let (seen, mut seen_by_backend) = mpsc::channel(1);
    let (ca, _backend, gateway) = scripted(move |mut exchange| {
        let seen = seen.clone();
        async move {
            seen.send(None).await.unwrap();
            seen.send(Some(exchange.reset_by_peer().await)).await.unwrap();
        }
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, stream) = client
        .open(request("/test.Echo/Unary").body(()).unwrap(), true)
        .await
        .unwrap();
    assert_eq!(
        within("the backend has it", SOON, seen_by_backend.recv()).await,
        Some(None)
    );
    drop((response, stream));
    assert_eq!(
        within("the backend is told", SOON, seen_by_backend.recv()).await,
        Some(Some(Reason::CANCEL))
    );
}

#[tokio::test]
async fn the_backends_reset_code_reaches_the_client() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        exchange.send(pack(b"begun")).await.unwrap();
        // The client says with which code; it has the first message by then.
        let code = exchange.data().await.unwrap().unwrap()[0];
        exchange.reset(u32::from(code).into());
        exchange.reset_by_peer().await;
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for code in [
        Reason::CANCEL,
        Reason::ENHANCE_YOUR_CALM,
        Reason::INTERNAL_ERROR,
        Reason::REFUSED_STREAM,
    ] {
        let (response, mut stream) = client
            .open(request("/test.Echo/Stream").body(()).unwrap(), false)
            .await
            .unwrap();
        let mut body = within("a head", SOON, response).await.unwrap().into_body();
        body.data().await.unwrap().unwrap();
        stream
            .send_data(Bytes::from(vec![u32::from(code) as u8]), false)
            .unwrap();
        let error = within("the reset", SOON, body.data())
            .await
            .expect("not an orderly end")
            .unwrap_err();
        assert_eq!(error.reason(), Some(code), "{error}");
    }
}

#[tokio::test]
async fn a_backend_that_resets_instead_of_answering_is_an_error_and_no_hang() {
    let (ca, _backend, gateway) =
        scripted(|mut exchange| async move { exchange.reset(Reason::INTERNAL_ERROR) }).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary").body(()).unwrap();
    match within("an answer", SOON, client.ask(asked, Bytes::new())).await {
        Err(error) => assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}"),
        Ok(answer) => assert!(matches!(answer.grpc_status(), Some(13 | 14)), "{answer:?}"),
    }
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_all_its_streams() {
    let (seen, mut seen_by_backend) = mpsc::channel(16);
    let (ca, _backend, gateway) = scripted(move |mut exchange| {
        let seen = seen.clone();
        async move {
            exchange.head(&[]);
            seen.send(exchange.reset_by_peer().await).await.unwrap();
        }
    })
    .await;
    let shaken = e2e::TlsOptions::default()
        .connect(gateway.address(), &ca)
        .await
        .unwrap();
    let (client, connection) = H2Client::over(shaken.0, &h2::client::Builder::new()).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let (response, stream) = client
            .open(request("/test.Echo/Stream").body(()).unwrap(), false)
            .await
            .unwrap();
        open.push((within("a head", SOON, response).await.unwrap(), stream));
    }
    connection.abort();
    for _ in 0..10 {
        assert_eq!(
            within("the backend is told", SOON, seen_by_backend.recv()).await,
            Some(Reason::CANCEL)
        );
    }
}

#[tokio::test]
async fn an_answer_before_the_request_has_ended_is_whole() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        exchange.send(pack(b"enough")).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
        // Dropped with the request still open: h2 resets with NO_ERROR (RFC 9113 §8.1).
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..20 {
        let (response, _stream) = client
            .open(request("/test.Echo/Stream").body(()).unwrap(), false)
            .await
            .unwrap();
        let answer = within("an answer", SOON, e2e::Answer::collect(response))
            .await
            .unwrap();
        assert_eq!(
            (answer.messages().len(), answer.grpc_status()),
            (1, Some(0)),
            "{answer:?}"
        );
    }
}
