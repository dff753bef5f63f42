//! Backends that end connections, break rules or read nothing, while RPCs are under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e::{
    Frame, FrameConn, H2Client, TestBackend, TestCa, TestGateway, eventually, flags, kind, literal_block,
    pack, request, setting, within,
};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::endpoints::{SOON, answer};

/// A backend that has windows for more than it reads. It is given its first requests up to the first DATA, answers by
/// `answer`, and closes with bytes unread: TCP resets the connection.
async fn closing<F>(
    answer: impl Fn(FrameConn, u32, usize) -> F + Clone + Send + Sync + 'static,
) -> TestBackend
where
    F: Future<Output = FrameConn> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    TestBackend::frames(move |mut connection| {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let answer = answer.clone();
        async move {
            connection.serve(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)]).await;
            let window = (1_u32 << 30).to_be_bytes();
            connection.send(kind::WINDOW_UPDATE, 0, 0, &window).await;
            let first = connection
                .expect_politely("DATA", SOON, |frame| frame.kind == kind::DATA)
                .await;
            drop(answer(connection, first.stream, number).await);
        }
    })
    .await
}

/// The ends of large answers are written at once. A client that is lost by that takes its RPCs with it, in the middle of
/// the backend's event.
#[tokio::test]
async fn a_client_that_is_lost_while_its_answers_end_harms_no_backend_connection() {
    const RPCS: usize = 8;
    let ca = TestCa::new();
    let (asked, answered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let go = Arc::new(Semaphore::new(0));
    let (all, done, may) = (Arc::clone(&asked), Arc::clone(&answered), Arc::clone(&go));
    let backend = TestBackend::frames(move |mut connection| {
        let (all, done, may) = (Arc::clone(&all), Arc::clone(&done), Arc::clone(&may));
        async move {
            connection.serve(&[(setting::MAX_CONCURRENT_STREAMS, 100)]).await;
            let mut base = 0;
            loop {
                let mut windows = BTreeMap::<u32, u32>::new();
                while windows.len() < RPCS {
                    let Some(frame) = connection.read().await else {
                        return;
                    };
                    let number =
                        |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
                    match frame.kind {
                        kind::SETTINGS if frame.asks() => {
                            let all = (0..frame.payload.len()).step_by(6);
                            let window =
                                all.filter(|at| frame.payload[*at + 1] == setting::INITIAL_WINDOW_SIZE as u8);
                            base = window.map(|at| number(at + 2)).next().unwrap_or(base);
                            connection.send(kind::SETTINGS, flags::ACK, 0, &[]).await;
                        }
                        kind::HEADERS => drop(windows.insert(frame.stream, base)),
                        kind::WINDOW_UPDATE => {
                            if let Some(window) = windows.get_mut(&frame.stream) {
                                *window += number(0);
                            }
                        }
                        _ => {}
                    }
                }
                all.add_permits(1);
                may.acquire().await.unwrap().forget();
                let mut answers = Vec::new();
                for &stream in windows.keys() {
                    let head = literal_block(&[(":status", "200"), ("content-type", "application/grpc")]);
                    answers.extend(Frame::bytes(kind::HEADERS, flags::END_HEADERS, stream, &head));
                }
                for (&stream, &window) in &windows {
                    for from in (0..window).step_by(16_384) {
                        let length = (window - from).min(16_384);
                        let end = if from + length == window {
                            flags::END_STREAM
                        } else {
                            0
                        };
                        answers.extend(Frame::bytes(kind::DATA, end, stream, &vec![7; length as usize]));
                    }
                }
                assert!(
                    answers.len() > 65_536,
                    "more than is written later: {}",
                    answers.len()
                );
                connection.write(&answers).await.unwrap();
                done.add_permits(1);
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .plaintext_listener()
        .start()
        .await;
    for _ in 0..5 {
        let mut client = FrameConn::tcp(gateway.listener(1)).await;
        client.write(FrameConn::preface()).await.unwrap();
        client.settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]).await;
        client
            .send(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes())
            .await;
        for number in 0..RPCS as u32 {
            client.request(2 * number + 1, "/test.Echo/Upload", false).await;
        }
        within("all requests at the backend", SOON, asked.acquire())
            .await
            .unwrap()
            .forget();
        // Stopped, the program finds both at once: the answers, and the reset that unread SETTINGS bring.
        gateway.pause();
        go.add_permits(1);
        within("answers in the socket", SOON, answered.acquire())
            .await
            .unwrap()
            .forget();
        drop(client);
        gateway.resume();
        eventually("the client is gone", SOON, async || {
            (gateway.metrics().await.sum("h2gate_connections", &[]) == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(gateway.metrics().await.sum("h2gate_panics_total", &[]), 0.0);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn what_a_backend_said_before_it_reset_the_connection_is_heard() {
    let ca = TestCa::new();
    let backend = closing(async |mut connection: FrameConn, stream, _| {
        let block = literal_block(&[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "9"),
        ]);
        let whole = flags::END_HEADERS | flags::END_STREAM;
        connection.send(kind::HEADERS, whole, stream, &block).await;
        connection
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let body = pack(&vec![7; 4 << 20]);
    for number in 0..10 {
        let asked = client.ask(request("/test.Echo/Upload").body(()).unwrap(), body.clone());
        let answer = within("an answer", SOON, asked).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(9), "RPC {number}: {answer:?}");
    }
}

#[tokio::test]
async fn a_goaway_before_a_reset_lets_what_nobody_saw_be_sent_again() {
    let ca = TestCa::new();
    let backend = closing(async |mut connection: FrameConn, upload, number| {
        if number == 0 {
            let another = |frame: &Frame| frame.kind == kind::HEADERS && frame.stream != upload;
            connection.expect_politely("another RPC", SOON, another).await;
            // NO_ERROR, and nothing above the upload was seen.
            let goaway = [&upload.to_be_bytes()[..], &[0; 4]].concat();
            connection.send(kind::GOAWAY, 0, 0, &goaway).await;
            return connection;
        }
        answer(&mut connection, upload).await;
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS {
                answer(&mut connection, frame.stream).await;
            }
        }
        connection
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let uploading = tokio::spawn({
        let client = client.clone();
        async move {
            let asked = request("/test.Echo/Upload").body(()).unwrap();
            client.ask(asked, Bytes::from(vec![7; 64 << 20])).await
        }
    });
    eventually("the upload has begun", SOON, async || {
        (gateway.metrics().await.sum("h2gate_rpcs_active", &[]) == 1.0).then_some(())
    })
    .await;
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"small"));
    let answer = within("an answer", SOON, asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    uploading.abort();
}

/// The client has used up its window by then: without credit for what was passed on it would wait for ever.
#[tokio::test]
async fn a_body_that_came_while_its_rpc_waited_a_second_time_is_passed_on_and_paid_for() {
    const WINDOW: usize = 80 << 10;
    const FRAME: usize = 16 << 10;
    const WHOLE: usize = 256 << 10;
    let ca = TestCa::new();
    let (connections, greets) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let backend = TestBackend::frames({
        let greets = greets.clone();
        move |mut connection| {
            let (number, greets) = (connections.fetch_add(1, Ordering::SeqCst), greets.clone());
            async move {
                if number == 0 {
                    connection.serve(&[]).await;
                    let head = |frame: &Frame| frame.kind == kind::HEADERS;
                    connection.expect_politely("a request", SOON, head).await;
                    // NO_ERROR, and nothing was seen.
                    connection.send(kind::GOAWAY, 0, 0, &[0; 8]).await;
                    while connection.read().await.is_some() {}
                    return;
                }
                greets.acquire().await.unwrap().forget();
                connection.serve(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)]).await;
                let window = (1_u32 << 30).to_be_bytes();
                connection.send(kind::WINDOW_UPDATE, 0, 0, &window).await;
                let (mut received, mut ended) = (0, false);
                while !ended {
                    let data = |frame: &Frame| frame.kind == kind::DATA;
                    let frame = connection.expect_politely("DATA", SOON, data).await;
                    received += frame.payload.len();
                    ended = frame.flags & flags::END_STREAM != 0;
                    if ended {
                        assert_eq!(received, WHOLE);
                        answer(&mut connection, frame.stream).await;
                    }
                }
                while connection.read().await.is_some() {}
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let mut client = FrameConn::client(&gateway, &ca, &[]).await;
    client.request(1, "/test.Echo/Upload", false).await;
    eventually("the RPC waits for another connection", SOON, async || {
        (backend.connections() == 2).then_some(())
    })
    .await;
    let body = [7; FRAME];
    for _ in 0..WINDOW / FRAME {
        client.send(kind::DATA, 0, 1, &body).await;
    }
    client.send(kind::PING, 0, 0, b"read it?").await;
    let pong = |frame: &Frame| frame.kind == kind::PING && frame.flags & flags::ACK != 0;
    client.expect_politely("an answer to PING", SOON, pong).await;
    greets.add_permits(1);
    let (mut sent, mut credit) = (WINDOW, 0);
    while sent < WHOLE {
        let update = |frame: &Frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == 1;
        let frame = client
            .expect_politely("credit for the stream", SOON, update)
            .await;
        credit += u32::from_be_bytes(frame.payload[..4].try_into().unwrap()) as usize;
        while credit >= FRAME && sent < WHOLE {
            sent += FRAME;
            credit -= FRAME;
            let end = if sent == WHOLE { flags::END_STREAM } else { 0 };
            client.send(kind::DATA, end, 1, &body).await;
        }
    }
    let head = |frame: &Frame| frame.kind == kind::HEADERS;
    client.expect_politely("an answer", SOON, head).await;
}

/// A short `max_connection_age`: GOAWAY comes before the first answer, and the RPC goes on.
#[tokio::test]
async fn connections_that_are_young_when_they_go_away_and_still_answer_get_no_pauses() {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[]).await;
        let head = |frame: &Frame| frame.kind == kind::HEADERS;
        let first = connection.expect_politely("a request", SOON, head).await;
        let goaway = [&first.stream.to_be_bytes()[..], &[0; 4]].concat();
        connection.send(kind::GOAWAY, 0, 0, &goaway).await;
        connection.send(kind::PING, 0, 0, b"heard it").await;
        let pong = |frame: &Frame| frame.kind == kind::PING && frame.flags & flags::ACK != 0;
        connection.expect_politely("an answer to PING", SOON, pong).await;
        answer(&mut connection, first.stream).await;
        while connection.read().await.is_some() {}
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for round in 0..10 {
        let ask = || client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        let answers = within("answers", SOON, join_all((0..3).map(|_| ask()))).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!(answer.grpc_status(), Some(0), "round {round}: {answer:?}");
        }
    }
}

/// RFC 9113 §8.1: the answer is whole, and nobody reads the rest of the request.
#[tokio::test]
async fn a_client_is_to_stop_when_its_answer_is_whole_and_its_upload_waits() {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]).await;
        let first = connection
            .expect_politely("DATA", SOON, |frame| frame.kind == kind::DATA)
            .await;
        answer(&mut connection, first.stream).await;
        while connection.read().await.is_some() {}
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let mut client = FrameConn::client(&gateway, &ca, &[]).await;
    client.request(1, "/test.Echo/Upload", false).await;
    for _ in 0..4 {
        client.send(kind::DATA, 0, 1, &[7; 16 << 10]).await;
    }
    let head = |frame: &Frame| frame.kind == kind::HEADERS && frame.flags & flags::END_STREAM != 0;
    client.expect_politely("the whole answer", SOON, head).await;
    let reset = |frame: &Frame| frame.kind == kind::RST_STREAM && frame.stream == 1;
    let reset = client.expect_politely("an end of the upload", SOON, reset).await;
    assert_eq!(reset.code(), Some(0));
}

#[tokio::test]
async fn what_a_backend_breaks_on_a_stream_is_a_line_of_the_log() {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[]).await;
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS {
                let block = literal_block(&[(":status", "200"), ("X-Upper", "no")]);
                connection
                    .send(kind::HEADERS, flags::END_HEADERS, frame.stream, &block)
                    .await;
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    let answer = within("an answer", SOON, asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(13), "{answer:?}");
    gateway
        .logs(&["a backend breaks HTTP/2 on a stream", "name"])
        .await;
}

/// The end of an upload to a backend that lives and reads nothing, if it ends within `limit`.
async fn upload_to_who_reads_nothing(user_timeout: &str, limit: Duration) -> Option<Option<u32>> {
    let ca = TestCa::new();
    let backend = TestBackend::frames(async |mut connection| {
        connection.serve(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)]).await;
        let window = (1_u32 << 30).to_be_bytes();
        connection.send(kind::WINDOW_UPDATE, 0, 0, &window).await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/backends/0/tcp_user_timeout", user_timeout)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = client.ask(
        request("/test.Echo/Upload").body(()).unwrap(),
        Bytes::from(vec![7; 32 << 20]),
    );
    let answer = tokio::time::timeout(limit, asked).await.ok()?;
    Some(answer.ok().and_then(|answer| answer.grpc_status()))
}

#[tokio::test]
async fn a_backend_that_reads_nothing_is_given_up_after_tcp_user_timeout_and_only_then() {
    let cut = upload_to_who_reads_nothing("1s", Duration::from_secs(10)).await;
    assert_eq!(cut, Some(Some(14)));
    assert_eq!(
        upload_to_who_reads_nothing("0s", Duration::from_secs(3)).await,
        None
    );
}
