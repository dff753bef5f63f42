//! Backends come, go, refuse and hang; clients get an answer in time, and nothing is delivered twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    Answer, BackendOptions, Frame, FrameConn, H2Client, TestBackend, TestCa, TestClient, TestGateway,
    eventually, flags, free_port, kind, literal_block, pack, request, within,
};
use futures_util::future::join_all;
use proto::routeguide::{Point, RouteNote};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::scripted;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn nobody_listening_is_unavailable_at_once_and_names_the_backend() {
    let ca = TestCa::new();
    let nobody = ([127, 0, 0, 1], free_port()).into();
    let gateway = TestGateway::before(&ca, &[nobody]).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..3 {
        let began = Instant::now();
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        let answer = within("an answer", SOON, client.ask(asked, pack(b"x")))
            .await
            .unwrap();
        assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
        assert!(answer.trailer("grpc-message").contains("guide"), "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn rpcs_go_round_the_endpoints() {
    let ca = TestCa::new();
    let backends = [TestBackend::guide("one").await, TestBackend::guide("two").await];
    let gateway = TestGateway::before(&ca, &backends.each_ref().map(TestBackend::address))
        .start()
        .await;
    let served = served_by(&TestClient::connect(&gateway, &ca).await, 40).await;
    for name in ["one", "two"] {
        assert!((15..=25).contains(&served[name]), "{served:?}");
    }
}

async fn served_by(client: &TestClient, count: usize) -> HashMap<String, usize> {
    let mut served = HashMap::new();
    for _ in 0..count {
        let answer = client
            .guide()
            .get_feature(Point {
                latitude: 1,
                longitude: 1,
            })
            .await
            .unwrap();
        let name = answer
            .metadata()
            .get("x-served-by")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        *served.entry(name).or_default() += 1;
    }
    served
}

#[tokio::test]
async fn a_dead_endpoint_beside_a_living_one_is_passed_over() {
    let ca = TestCa::new();
    let living = TestBackend::guide("one").await;
    let dead = ([127, 0, 0, 1], free_port()).into();
    let gateway = TestGateway::before(&ca, &[dead, living.address()]).start().await;
    let client = TestClient::connect(&gateway, &ca).await;
    // A connection refused is proof that nothing was sent, so even the first RPC may go elsewhere.
    for _ in 0..40 {
        client.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_backend_that_comes_back_serves_again() {
    let ca = TestCa::new();
    let backend = TestBackend::guide("one").await;
    let address = backend.address();
    let gateway = TestGateway::start(&ca, &backend).await;
    let client = TestClient::connect(&gateway, &ca).await;
    client.ping().await.unwrap();
    within("the backend stops", SOON, backend.stop()).await;
    let status = within("an answer", SOON, client.ping()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let _again = demo::route_guide::Backend::start_at("one", address)
        .await
        .unwrap();
    eventually("the backend serves again", SOON, async || {
        client.ping().await.ok()
    })
    .await;
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn goaway_lets_open_streams_finish_and_new_ones_go_elsewhere() {
    let ca = TestCa::new();
    let (one, two) = (TestBackend::guide("one").await, TestBackend::guide("two").await);
    let gateway = TestGateway::before(&ca, &[one.address(), two.address()])
        .set("/workers", 1)
        .start()
        .await;
    let client = TestClient::connect(&gateway, &ca).await;

    let mut chats = HashMap::new();
    while chats.len() < 2 {
        let (name, chat) = Chat::open(&client).await;
        chats.insert(name, chat);
    }
    let stopping = tokio::spawn(one.stop());
    let mut chat = chats.remove("one").unwrap();
    for _ in 0..5 {
        chat.say_and_hear().await;
        let served = served_by(&client, 4).await;
        assert_eq!(served.get("two"), Some(&4), "{served:?}");
    }
    chat.end().await;
    within("the backend has ended in order", SOON, stopping)
        .await
        .unwrap();
}

struct Chat {
    notes: mpsc::Sender<RouteNote>,
    answers: tonic::Streaming<RouteNote>,
    said: i32,
}

impl Chat {
    async fn open(client: &TestClient) -> (String, Self) {
        let (notes, outbound) = mpsc::channel(1);
        let outbound =
            futures_util::stream::unfold(outbound, async |mut notes| Some((notes.recv().await?, notes)));
        let answer = client.guide().route_chat(outbound).await.unwrap();
        let name = answer
            .metadata()
            .get("x-served-by")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (
            name,
            Self {
                notes,
                answers: answer.into_inner(),
                said: 0,
            },
        )
    }

    async fn say_and_hear(&mut self) {
        self.said += 1;
        let place = Some(Point {
            latitude: self.said,
            longitude: 1,
        });
        for text in ["question", "again"] {
            self.notes
                .send(RouteNote {
                    location: place,
                    message: text.to_owned(),
                })
                .await
                .unwrap();
        }
        let heard = within("an answer", SOON, self.answers.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((heard.location, heard.message.as_str()), (place, "question"));
    }

    async fn end(mut self) {
        drop(self.notes);
        assert_eq!(
            within("the end", SOON, self.answers.message()).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn streams_above_the_last_id_of_a_goaway_are_sent_elsewhere_or_told_and_the_others_finish() {
    let connections = Arc::new(AtomicUsize::new(0));
    let ca = TestCa::new();
    let counted = Arc::clone(&connections);
    let backend = TestBackend::frames(move |mut connection| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            connection.serve(&[]).await;
            if first {
                let mut streams = Vec::new();
                while streams.len() < 3 {
                    let frame = connection
                        .expect_politely("a request", SOON, |frame| frame.kind == kind::HEADERS)
                        .await;
                    streams.push(frame.stream);
                }
                let last = streams[0].to_be_bytes();
                connection
                    .send(kind::GOAWAY, 0, 0, &[&last[..], &[0; 4]].concat())
                    .await;
                answer(&mut connection, streams[0]).await;
            }
            while let Some(frame) = connection.read().await {
                if frame.kind == kind::HEADERS && !first {
                    answer(&mut connection, frame.stream).await;
                }
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked =
        join_all((0..3).map(|_| client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new())));
    let answers = within("three answers", SOON, asked).await;
    let mut finished = 0;
    for answer in answers {
        match answer {
            Ok(answer) if answer.grpc_status() == Some(0) => finished += 1,
            Ok(answer) => assert_eq!(answer.grpc_status(), Some(14), "{answer:?}"),
            Err(error) => assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "{error}"),
        }
    }
    assert!(finished >= 1, "the stream up to the last id finishes");
    let after = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    assert_eq!(
        within("an answer", SOON, after).await.unwrap().grpc_status(),
        Some(0)
    );
}

/// A response that is one head.
async fn answer(connection: &mut FrameConn, stream: u32) {
    let block = literal_block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
    ]);
    connection
        .send(
            kind::HEADERS,
            flags::END_HEADERS | flags::END_STREAM,
            stream,
            &block,
        )
        .await;
}

#[tokio::test]
async fn a_full_connection_gets_a_second_one_beside_it() {
    let release = Arc::new(Notify::new());
    let waiting = Arc::clone(&release);
    let ca = TestCa::new();
    let narrow = BackendOptions {
        max_concurrent_streams: Some(2),
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(narrow, move |mut exchange| {
        let release = Arc::clone(&waiting);
        async move {
            release.notified().await;
            exchange.trailers_only(&[("grpc-status", "0")]);
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(
            client
                .open(request("/test.Echo/Unary").body(()).unwrap(), true)
                .await
                .unwrap(),
        );
    }
    eventually("all six are at the backend at once", SOON, async || {
        (backend.requests() == 6).then_some(())
    })
    .await;
    assert!(backend.connections() >= 3, "{}", backend.connections());
    release.notify_waiters();
    for (response, _stream) in open {
        assert_eq!(
            within("an answer", SOON, Answer::collect(response))
                .await
                .unwrap()
                .grpc_status(),
            Some(0)
        );
    }
}

#[tokio::test]
async fn a_backend_that_accepts_and_says_nothing_costs_no_more_than_the_deadline() {
    let ca = TestCa::new();
    let mute =
        TestBackend::frames(|mut connection| async move { while connection.read().await.is_some() {} }).await;
    let gateway = TestGateway::builder(&ca, &mute).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary")
        .header("grpc-timeout", "500m")
        .body(())
        .unwrap();
    let answer = within(
        "an answer",
        Duration::from_secs(3),
        client.ask(asked, Bytes::new()),
    )
    .await
    .unwrap();
    assert!(matches!(answer.grpc_status(), Some(4 | 14)), "{answer:?}");
}

#[tokio::test]
async fn a_backend_that_dies_in_the_middle_is_unavailable_and_is_not_asked_twice() {
    let (ca, backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        exchange.send(pack(b"begun")).await.unwrap();
        exchange.reset_by_peer().await;
    })
    .await;
    let client = TestClient::connect(&gateway, &ca).await;
    let mut stream = client
        .guide()
        .list_features(proto::routeguide::Rectangle::default())
        .await
        .unwrap()
        .into_inner();
    let requests = backend.requests();
    drop(backend);
    // The message is no Feature; what matters is how the stream ends after it.
    let status = loop {
        match within("the end", SOON, stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream that was cut does not end in order"),
            Err(status) if status.message().contains("decode") => break None,
            Err(status) => break Some(status),
        }
    };
    if let Some(status) = status {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    }
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn endpoints_may_be_ipv6_or_names() {
    let ca = TestCa::new();
    let six = demo::route_guide::Backend::start_at("six", "[::1]:0".parse().unwrap())
        .await
        .unwrap();
    let four = TestBackend::guide("four").await;
    let gateway = TestGateway::before(&ca, &[six.address()]).start().await;
    assert_eq!(
        served_by(&TestClient::connect(&gateway, &ca).await, 2).await["six"],
        2
    );

    let named = json!([format!("localhost:{}", four.address().port())]);
    let gateway = TestGateway::before(&ca, &[])
        .set("/backends/0/endpoints", named)
        .start()
        .await;
    assert_eq!(
        served_by(&TestClient::connect(&gateway, &ca).await, 2).await["four"],
        2
    );
}

#[tokio::test]
async fn a_dead_backend_is_not_hammered() {
    let ca = TestCa::new();
    let nobody = ([127, 0, 0, 1], free_port()).into();
    let gateway = TestGateway::before(&ca, &[nobody])
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..500 {
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        let answer = within("an answer", SOON, client.ask(asked, Bytes::new()))
            .await
            .unwrap();
        assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
    }
    let connects = gateway
        .metrics()
        .await
        .sum("h2gate_backend_connect_failures_total", &[]);
    assert!(
        (1.0..=100.0).contains(&connects),
        "{connects} connects for 500 RPCs"
    );
}

#[tokio::test]
async fn an_rpc_that_may_have_been_seen_is_never_sent_again() {
    let heads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heads);
    let ca = TestCa::new();
    // Takes a whole request, says nothing, and is gone.
    let backend = TestBackend::frames(move |mut connection| {
        let counted = Arc::clone(&counted);
        async move {
            connection.serve(&[]).await;
            while let Some(frame) = connection.read().await {
                if frame.kind == kind::HEADERS {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                if frame.kind != kind::SETTINGS && frame.flags & flags::END_STREAM != 0 {
                    return;
                }
            }
        }
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut sent = 0;
    for _ in 0..10 {
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        match within("an answer", SOON, client.ask(asked, pack(b"once"))).await {
            Ok(answer) => assert_eq!(answer.grpc_status(), Some(14), "{answer:?}"),
            Err(error) => assert!(error.is_reset(), "{error}"),
        }
        sent += 1;
    }
    let seen = heads.load(Ordering::SeqCst);
    assert!(
        (1..=sent).contains(&seen),
        "{seen} requests at the backend for {sent} of the client"
    );
}

#[tokio::test]
async fn a_backend_that_breaks_the_protocol_harms_only_its_own_streams() {
    let ca = TestCa::new();
    // DATA before HEADERS, on each stream: RFC 9113 §8.1.
    let broken = TestBackend::frames(|mut connection| async move {
        connection.serve(&[]).await;
        while let Some(frame) = connection.read().await {
            if frame.kind == kind::HEADERS {
                connection
                    .send(kind::DATA, flags::END_STREAM, frame.stream, b"what")
                    .await;
            }
        }
    })
    .await;
    let good = TestBackend::guide("one").await;
    let gateway = TestGateway::builder(&ca, &good)
        .add(
            "/backends",
            json!({ "name": "broken", "endpoints": [broken.address().to_string()] }),
        )
        .add(
            "/routes",
            json!({ "match": { "service": "test.Broken" }, "backend": "broken" }),
        )
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let ordinary = TestClient::connect(&gateway, &ca).await;
    for _ in 0..10 {
        let asked = client.ask(request("/test.Broken/Unary").body(()).unwrap(), Bytes::new());
        match within("an answer", SOON, asked).await {
            Ok(answer) => assert!(matches!(answer.grpc_status(), Some(13 | 14)), "{answer:?}"),
            Err(error) => assert!(error.is_reset(), "{error}"),
        }
        ordinary.ping().await.unwrap();
    }
    assert_eq!(ordinary.connects(), 1);
}

#[tokio::test]
async fn what_a_backend_says_in_goaway_is_one_line_of_the_log_whatever_is_in_it() {
    /// A log line of gRPC's C core about a connection that was idle is no error.
    static FIRST: AtomicBool = AtomicBool::new(true);
    let ca = TestCa::new();
    let angry = TestBackend::frames(|mut connection| async move {
        connection.serve(&[]).await;
        let asked = |frame: &Frame| frame.kind == kind::HEADERS;
        connection.expect_politely("a request", SOON, asked).await;
        let code = 2_u32.to_be_bytes();
        let said = match FIRST.swap(false, Ordering::Relaxed) {
            true => b"connection idle".to_vec(),
            false => [
                b"\n2026 ERROR forged \x1b[2J\xe2\x80\xae".as_slice(),
                &[b'x'; 4_000],
            ]
            .concat(),
        };
        connection
            .send(kind::GOAWAY, 0, 0, &[&[0; 4], &code[..], &said].concat())
            .await;
        while connection.read().await.is_some() {}
    })
    .await;
    let gateway = TestGateway::builder(&ca, &angry).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..3 {
        let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        let _ = within("an answer", SOON, asked).await;
    }
    let ends = ["ends a connection with an error", "guide", "INTERNAL_ERROR"];
    let line = gateway.logs(&ends).await;
    assert!(
        line.contains(r"\n2026 ERROR forged \u{1b}[2J\u{202e}xxx"),
        "{line}"
    );
    assert!(line.len() < 1_000, "{} octets", line.len());
    assert_eq!(gateway.log_count(&["ends a connection"]), 1);
    assert_eq!(gateway.log_count(&["connection idle"]), 0);
    assert!(!gateway.log().lines().any(|line| line.starts_with("2026 ERROR")));
}
