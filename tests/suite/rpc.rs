//! The contents of RPCs arrive unchanged.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    BackendOptions, H2Client, TestBackend, TestCa, TestClient, TestGateway, echo_body, pack, request, scaled,
    within,
};
use futures_util::future::try_join_all;
use proto::routeguide::{Point, Rectangle, RouteNote};
use tokio::sync::mpsc;
use tonic::Request;

use crate::{guide, scripted};

const WORLD: Rectangle = Rectangle {
    lo: Some(Point {
        latitude: -900_000_000,
        longitude: -1_800_000_000,
    }),
    hi: Some(Point {
        latitude: 900_000_000,
        longitude: 1_800_000_000,
    }),
};

#[tokio::test]
async fn all_four_kinds_pass_through() {
    let (ca, _backend, gateway) = guide().await;
    let mut guide = TestClient::connect(&gateway, &ca).await.guide();

    let mut stream = guide.list_features(WORLD).await.unwrap().into_inner();
    let mut features = Vec::new();
    while let Some(feature) = stream.message().await.unwrap() {
        features.push(feature);
    }
    assert!(features.len() >= 2, "{features:?}");

    let first = features[0].clone();
    let place = first.location.unwrap();
    assert_eq!(guide.get_feature(place).await.unwrap().into_inner(), first);

    let way = [
        place,
        features[1].location.unwrap(),
        Point {
            latitude: 11,
            longitude: 13,
        },
    ];
    let summary = guide
        .record_route(futures_util::stream::iter(way))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((summary.point_count, summary.feature_count), (3, 2));

    let (notes, outbound) = mpsc::channel(1);
    let outbound =
        futures_util::stream::unfold(outbound, async |mut notes| Some((notes.recv().await?, notes)));
    let mut answers = guide.route_chat(outbound).await.unwrap().into_inner();
    let note = |text: &str| RouteNote {
        location: Some(place),
        message: text.to_owned(),
    };
    notes.send(note("first")).await.unwrap();
    notes.send(note("second")).await.unwrap();
    // The stream is open both ways: an answer comes before the client has ended.
    assert_eq!(answers.message().await.unwrap(), Some(note("first")));
    notes.send(note("third")).await.unwrap();
    drop(notes);
    assert_eq!(answers.message().await.unwrap(), Some(note("first")));
    assert_eq!(answers.message().await.unwrap(), Some(note("second")));
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn metadata_passes_both_ways_binary_and_repeated_included() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        let sent: Vec<String> = (exchange.request.headers.get_all("x-list").iter())
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(sent, ["one", "two"]);
        let (text, binary) = (
            exchange.header("x-text").to_owned(),
            exchange.header("x-data-bin").to_owned(),
        );
        exchange.body().await.unwrap();
        exchange.head(&[
            ("x-text", &text),
            ("x-data-bin", &binary),
            ("x-list", "a"),
            ("x-list", "b"),
        ]);
        exchange.trailers(&[("grpc-status", "0"), ("x-late-bin", &binary), ("x-late", &text)]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let binary = "AAECAwT/+g"; // without padding, as gRPC allows
    let asked = request("/test.Echo/Unary")
        .header("x-text", "some text, with; signs")
        .header("x-data-bin", binary)
        .header("x-list", "one")
        .header("x-list", "two");
    let answer = client.ask(asked.body(()).unwrap(), pack(b"")).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    assert_eq!(answer.header("x-text"), "some text, with; signs");
    assert_eq!(answer.header("x-data-bin"), binary);
    assert_eq!(
        answer.headers.get_all("x-list").iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(answer.trailer("x-late-bin"), binary);
    assert_eq!(answer.trailer("x-late"), "some text, with; signs");
}

#[tokio::test]
async fn the_head_of_a_request_reaches_the_backend_as_it_was() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        let seen = format!(
            "{} {} {} te={} type={} agent={} encoding={}",
            exchange.request.method,
            exchange.request.uri.authority().unwrap(),
            exchange.path(),
            exchange.header("te"),
            exchange.header("content-type"),
            exchange.header("user-agent"),
            exchange.header("grpc-accept-encoding"),
        );
        exchange.trailers_only(&[("grpc-status", "0"), ("x-seen", &seen)]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary")
        .header("user-agent", "suite/1")
        .header("grpc-accept-encoding", "gzip");
    let answer = client.ask(asked.body(()).unwrap(), Bytes::new()).await.unwrap();
    assert_eq!(
        answer.trailer("x-seen"),
        "POST localhost /test.Echo/Unary te=trailers type=application/grpc agent=suite/1 encoding=gzip"
    );
}

#[tokio::test]
async fn trailers_only_stays_one_header_block() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.trailers_only(&[
            ("grpc-status", "5"),
            ("grpc-message", "no such%20thing"),
            ("x-more", "yes"),
        ]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, _stream) = client
        .open(request("/test.Echo/Unary").body(()).unwrap(), true)
        .await
        .unwrap();
    let response = response.await.unwrap();
    assert!(response.body().is_end_stream(), "the head itself ends the stream");
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.headers()["grpc-message"], "no such%20thing");
    assert_eq!(response.headers()["x-more"], "yes");
}

#[tokio::test]
async fn status_details_arrive_unchanged() {
    // google.rpc.Status { code: 9, message: "later" }, base64 without padding
    const DETAILS: &str = "CAkSBWxhdGVy";
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        exchange.send(pack(b"half")).await.unwrap();
        exchange.trailers(&[
            ("grpc-status", "9"),
            ("grpc-message", "later"),
            ("grpc-status-details-bin", DETAILS),
        ]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let answer = client
        .ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new())
        .await
        .unwrap();
    assert_eq!(answer.messages(), [&b"half"[..]]);
    assert_eq!(answer.grpc_status(), Some(9));
    assert_eq!(answer.trailer("grpc-message"), "later");
    assert_eq!(answer.trailer("grpc-status-details-bin"), DETAILS);
}

#[tokio::test]
async fn an_error_status_keeps_its_message_for_an_ordinary_client() {
    let (ca, _backend, gateway) = guide().await;
    let mut guide = TestClient::connect(&gateway, &ca).await.guide();
    let status = guide
        .get_feature(Point {
            latitude: i32::MAX,
            longitude: 0,
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("no such place"), "{status:?}");
    assert_eq!(status.metadata().get("x-served-by").unwrap(), "one");
}

#[tokio::test]
async fn the_deadline_reaches_the_backend() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        let timeout = exchange.header("grpc-timeout").to_owned();
        exchange.trailers_only(&[("grpc-status", "0"), ("x-seen", &timeout)]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary")
        .header("grpc-timeout", "7S")
        .body(())
        .unwrap();
    let answer = client.ask(asked, Bytes::new()).await.unwrap();
    // The same time, or less by what has passed; never more, never none.
    let left = milliseconds(answer.trailer("x-seen"));
    assert!((6_000..=7_000).contains(&left), "{:?}", answer.trailer("x-seen"));
}

fn milliseconds(timeout: &str) -> u64 {
    let (digits, unit) = timeout.split_at(timeout.len() - 1);
    let value: u64 = digits.parse().unwrap();
    match unit {
        "S" => value * 1_000,
        "m" => value,
        "u" => value / 1_000,
        "n" => value / 1_000_000,
        _ => panic!("{timeout:?}"),
    }
}

#[tokio::test]
async fn a_backend_that_misses_the_deadline_is_cancelled_and_the_client_told() {
    let (seen, mut seen_by_backend) = mpsc::channel(1);
    let (ca, _backend, gateway) = scripted(move |mut exchange| {
        let seen = seen.clone();
        async move { seen.send(exchange.reset_by_peer().await).await.unwrap() }
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let began = Instant::now();
    let asked = request("/test.Echo/Unary")
        .header("grpc-timeout", "300m")
        .body(())
        .unwrap();
    let answer = within(
        "an answer",
        Duration::from_secs(3),
        client.ask(asked, Bytes::new()),
    )
    .await
    .unwrap();
    let took = began.elapsed();
    assert_eq!(answer.grpc_status(), Some(4), "{answer:?}");
    assert!(
        took >= Duration::from_millis(290) && took < Duration::from_millis(1_300),
        "{took:?}"
    );
    let reason = within(
        "the backend is told",
        Duration::from_secs(2),
        seen_by_backend.recv(),
    )
    .await;
    assert_eq!(reason, Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_deadline_also_ends_a_stream_that_has_begun() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.head(&[]);
        exchange.send(pack(b"one")).await.unwrap();
        exchange.reset_by_peer().await;
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Stream")
        .header("grpc-timeout", "400m")
        .body(())
        .unwrap();
    let answer = within(
        "an answer",
        Duration::from_secs(3),
        client.ask(asked, Bytes::new()),
    )
    .await;
    match answer {
        Ok(answer) => assert_eq!(answer.grpc_status(), Some(4), "{answer:?}"),
        Err(error) => assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}"),
    }
}

#[tokio::test]
async fn large_messages_pass_both_ways_under_small_windows() {
    let ca = TestCa::new();
    let small = BackendOptions {
        stream_window: 65_535,
        connection_window: 65_535,
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(small, echo_body).await;
    let gateway = TestGateway::start(&ca, &backend).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let size = scaled(8 << 20, 64 << 20);
    let message = Bytes::from_iter((0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    let asked = request("/test.Echo/Unary").body(()).unwrap();
    let answer = within(
        "the echo",
        Duration::from_secs(60),
        client.ask(asked, pack(&message)),
    )
    .await
    .unwrap();
    assert_eq!(answer.grpc_status(), Some(0));
    assert!(answer.messages() == [message], "the echo differs");
}

#[tokio::test]
async fn every_size_around_frame_and_window_limits_passes() {
    let (ca, _backend, gateway) = scripted(echo_body).await;
    let client = H2Client::tls(&gateway, &ca).await;
    for size in [
        0,
        1,
        4,
        8_187,
        16_378,
        16_379,
        16_380,
        16_384,
        65_529,
        65_530,
        65_531,
        65_535,
        65_536,
        1 << 20,
    ] {
        let message = Bytes::from(vec![7; size]);
        let asked = request("/test.Echo/Unary").body(()).unwrap();
        let answer = within(
            "the echo",
            Duration::from_secs(10),
            client.ask(asked, pack(&message)),
        )
        .await;
        let answer = answer.unwrap_or_else(|error| panic!("{size} octets: {error}"));
        assert!(answer.messages() == [message], "{size} octets");
    }
}

#[tokio::test]
async fn hundreds_of_rpcs_share_one_connection() {
    let (ca, _backend, gateway) = guide().await;
    let client = TestClient::connect(&gateway, &ca).await;
    for _ in 0..5 {
        try_join_all((0..400).map(|_| client.ping())).await.unwrap();
    }
    assert_eq!(client.connects(), 1);
}

#[tokio::test]
async fn compressed_messages_pass_unopened() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        assert_eq!(exchange.header("grpc-encoding"), "gzip");
        let body = exchange.body().await.unwrap();
        exchange.head(&[("grpc-encoding", "gzip")]);
        exchange.send(body).await.unwrap();
        exchange.trailers(&[("grpc-status", "0")]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    // The flag says compressed; what follows is not even gzip, and is none of the gateway's business.
    let body = Bytes::from_static(&[1, 0, 0, 0, 3, 0xff, 0xfe, 0xfd]);
    let asked = request("/test.Echo/Unary")
        .header("grpc-encoding", "gzip")
        .body(())
        .unwrap();
    let answer = client.ask(asked, body.clone()).await.unwrap();
    assert_eq!((answer.header("grpc-encoding"), &answer.body), ("gzip", &body));
}

#[tokio::test]
async fn an_ordinary_client_sees_its_own_deadline() {
    let (ca, _backend, gateway) = scripted(|mut exchange| async move {
        exchange.reset_by_peer().await;
    })
    .await;
    let client = TestClient::connect(&gateway, &ca).await;
    let mut asked = Request::new(Point {
        latitude: 1,
        longitude: 1,
    });
    asked.set_timeout(Duration::from_millis(200));
    let status = within(
        "an answer",
        Duration::from_secs(3),
        client.guide().get_feature(asked),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(
            status.code(),
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled
        ),
        "{status:?}"
    );
}
