//! SIGTERM ends the program in order: what runs may finish, what is new goes elsewhere.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    Answer, FrameConn, H2Client, TestBackend, TestCa, TestGateway, TlsOptions, eventually, flags, kind, pack,
    request, within,
};

use crate::{guide, scripted};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn without_streams_it_ends_at_once_with_exit_code_zero() {
    let (ca, _backend, mut gateway) = guide().await;
    let idle = H2Client::tls(&gateway, &ca).await;
    let began = Instant::now();
    gateway.terminate();
    let status = gateway.exit(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(idle);
}

#[tokio::test]
async fn a_running_stream_finishes_and_a_new_connection_is_not_taken() {
    let (ca, _backend, mut gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        let body = exchange.body().await.unwrap();
        exchange.send(body).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, mut stream) = client
        .open(request("/test.Echo/Unary").body(()).unwrap(), false)
        .await
        .unwrap();
    stream.send_data(pack(b"before"), false).unwrap();
    let response = within("a head", SOON, response).await.unwrap();

    gateway.terminate();
    eventually("new connections are refused", SOON, async || {
        TlsOptions::default().connect(gateway.address(), &ca).await.err()
    })
    .await;
    assert!(gateway.is_running(), "a stream is open");
    assert_ne!(gateway.get("/ready").await.map(|(status, _)| status), Some(200));

    stream.send_data(pack(b"after"), true).unwrap();
    let (_, mut body) = response.into_parts();
    let mut whole = Vec::new();
    while let Some(piece) = within("the rest", SOON, body.data()).await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole, [pack(b"before"), pack(b"after")].concat());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn clients_are_told_by_goaway_that_loses_no_request() {
    let (ca, _backend, mut gateway) = scripted(e2e::echo_body).await;
    let mut connection = FrameConn::client(&gateway, &ca, &[]).await;
    connection.request(1, "/test.Echo/Unary", false).await;
    connection
        .expect_politely("SETTINGS are acknowledged", SOON, |frame| {
            frame.kind == kind::SETTINGS && frame.flags == flags::ACK
        })
        .await;
    gateway.terminate();
    let goaway = connection
        .expect_politely("GOAWAY", SOON, |frame| frame.kind == kind::GOAWAY)
        .await;
    assert_eq!(goaway.code(), Some(0));
    // RFC 9113 §6.8: the first one names the highest id, for requests that are on their way.
    assert_eq!(goaway.payload[..4], 0x7fff_ffff_u32.to_be_bytes());
    connection.request(3, "/test.Echo/Unary", false).await;
    for stream in [1, 3] {
        connection
            .send(kind::DATA, flags::END_STREAM, stream, &pack(b"well"))
            .await;
    }
    for _ in 0..2 {
        let echo = |frame: &e2e::Frame| frame.kind == kind::DATA && frame.payload.ends_with(b"well");
        connection.expect_politely("both are answered", SOON, echo).await;
    }
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn a_stream_beyond_the_grace_is_told_and_the_exit_code_is_zero() {
    let ca = TestCa::new();
    let backend = TestBackend::h2(|mut exchange| async move {
        exchange.head(&[]);
        exchange.reset_by_peer().await;
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).set("/timeouts", serde_json::json!({ "drain": "1s" }));
    let mut gateway = gateway.start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, _stream) = client
        .open(request("/test.Echo/Hang").body(()).unwrap(), false)
        .await
        .unwrap();
    let answer = tokio::spawn(Answer::collect(response));
    eventually("the stream is open", SOON, async || {
        (backend.requests() == 1).then_some(())
    })
    .await;
    let began = Instant::now();
    gateway.terminate();
    match within("the stream ends", SOON, answer).await.unwrap() {
        Ok(answer) => assert_eq!(answer.grpc_status(), Some(14), "{answer:?}"),
        // A reset that gRPC libraries read as UNAVAILABLE or CANCELLED; never a mere end of the connection.
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unary_rpcs_in_flight_all_end_well() {
    let (ca, backend, mut gateway) = scripted(|mut exchange| async move {
        let body = exchange.body().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        exchange.head(&[]);
        exchange.send(body).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"x"))
                    .await
            })
        })
        .collect();
    eventually("all are at the backend", SOON, async || {
        (backend.requests() == 100).then_some(())
    })
    .await;
    gateway.terminate();
    for answer in asked {
        assert_eq!(
            within("an answer", SOON, answer)
                .await
                .unwrap()
                .unwrap()
                .grpc_status(),
            Some(0)
        );
    }
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn a_repeated_sigterm_cuts_nothing() {
    let (ca, _backend, mut gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        let body = exchange.body().await.unwrap();
        exchange.send(body).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, mut stream) = client
        .open(request("/test.Echo/Unary").body(()).unwrap(), false)
        .await
        .unwrap();
    let mut answer = tokio::spawn(Answer::collect(response));
    for _ in 0..3 {
        gateway.terminate();
        // A platform that repeats itself is no person at a keyboard.
        let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "the stream was cut: {early:?}");
    }
    stream.send_data(pack(b"late"), true).unwrap();
    let answer = within("an answer", SOON, answer).await.unwrap().unwrap();
    assert_eq!((answer.grpc_status(), answer.messages().len()), (Some(0), 1));
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn the_access_log_is_whole_at_the_end() {
    let ca = TestCa::new();
    let backend = TestBackend::h2(e2e::echo_body).await;
    let mut gateway = TestGateway::builder(&ca, &backend)
        .set("/access_log", serde_json::json!({ "path": "-" }))
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..50 {
        client
            .ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new())
            .await
            .unwrap();
    }
    drop(client);
    gateway.terminate();
    assert_eq!(gateway.exit(SOON).await.code(), Some(0), "{}", gateway.log());
    let lines = eventually("all lines are read", SOON, async || {
        let output = gateway.output();
        (output.lines().count() >= 50).then_some(output)
    })
    .await;
    assert_eq!(lines.lines().count(), 50);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("one JSON object a line");
        assert!(
            line.to_string().contains("/test.Echo/Unary") || line.to_string().contains("test.Echo"),
            "{line}"
        );
    }
}
