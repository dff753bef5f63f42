//! A backend's streams, where it has few, are for all clients.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{BackendOptions, H2Client, TestBackend, TestCa, TestGateway, eventually, request, within};
use serde_json::json;

const SOON: Duration = Duration::from_secs(5);

/// A backend of so many streams at a time on each connection, where `/test.Echo/Idle` takes one for as long as the test lasts.
async fn narrow(streams: u32) -> TestBackend {
    let narrow = BackendOptions {
        max_concurrent_streams: Some(streams),
        ..BackendOptions::default()
    };
    TestBackend::h2_with(narrow, async |mut exchange| {
        if exchange.path() == "/test.Echo/Idle" {
            exchange.reset_by_peer().await;
        } else {
            exchange.trailers_only(&[("grpc-status", "0")]);
        }
    })
    .await
}

#[tokio::test]
async fn clients_that_sit_on_a_backends_streams_leave_some_to_others() {
    // The backend has 1,600 streams for this worker, and these want 1,606.
    const SITTING: usize = 22;
    const EACH: usize = 73;
    let ca = TestCa::new();
    let backend = narrow(100).await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..SITTING {
        let client = H2Client::tls(&gateway, &ca).await;
        for _ in 0..EACH {
            let idle = request("/test.Echo/Idle").body(()).unwrap();
            open.push(client.open(idle, true).await.unwrap());
        }
    }
    eventually(
        "the gateway has all of them",
        Duration::from_secs(20),
        async || {
            let active = gateway.metrics().await.sum("h2gate_rpcs_active", &[]);
            (active == (SITTING * EACH) as f64).then_some(())
        },
    )
    .await;
    let honest = H2Client::tls(&gateway, &ca).await;
    for _ in 0..20 {
        let asked = request("/test.Echo/Unary")
            .header("grpc-timeout", "2S")
            .body(())
            .unwrap();
        let answer = within("an answer", SOON, honest.ask(asked, Bytes::new()))
            .await
            .unwrap();
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    }
    assert!(
        backend.requests() >= SITTING + 20,
        "those who sit have streams, too"
    );
}

#[tokio::test]
async fn a_single_client_may_use_nearly_all_streams_of_a_backend() {
    let ca = TestCa::new();
    let backend = narrow(10).await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .start()
        .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut open = Vec::new();
    for _ in 0..130 {
        let idle = request("/test.Echo/Idle").body(()).unwrap();
        open.push(client.open(idle, true).await.unwrap());
    }
    eventually("130 of 160 streams", SOON, async || {
        (backend.requests() == 130).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_has_no_stream_gets_one_of_whoever_has_most_and_keeps_its_place() {
    let ca = TestCa::new();
    let backend = narrow(1).await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .set("/limits", json!({ "max_starved": "1s", "max_wait": "20s" }))
        .start()
        .await;
    // One after the other: the first has most of 16, and nothing is left behind the last.
    let mut sitting = Vec::new();
    for taken in [14, 15, 16] {
        let client = H2Client::tls(&gateway, &ca).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let idle = request("/test.Echo/Idle").body(()).unwrap();
            open.push(client.open(idle, true).await.unwrap());
        }
        eventually("its share", SOON, async || {
            (backend.requests() == taken).then_some(())
        })
        .await;
        sitting.push((client, open));
    }
    let client = H2Client::tls(&gateway, &ca).await;
    let began = Instant::now();
    for asked in 0..20 {
        let ask = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        let answer = within("an answer", SOON, ask).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
        let waited = began.elapsed();
        assert!(
            waited >= Duration::from_secs(1),
            "a second for others to end: {waited:?}"
        );
        assert!(waited < Duration::from_secs(3), "{asked}: {waited:?}");
    }
    let metrics = gateway.metrics().await;
    let taken = metrics.sum("h2gate_limits_reached_total", &[("limit", "max_starved")]);
    assert_eq!(taken, 1.0, "one stream was taken, and its place goes round");
    let told = metrics.sum("h2gate_rpcs_total", &[("grpc_status", "UNAVAILABLE")]);
    assert_eq!(told, 1.0);
    assert_eq!(metrics.sum("h2gate_rpcs_active", &[]), 59.0);
}

#[tokio::test]
async fn short_rpcs_that_take_all_streams_lose_none() {
    let ca = TestCa::new();
    let slow = BackendOptions {
        max_concurrent_streams: Some(1),
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(slow, async |mut exchange| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        exchange.trailers_only(&[("grpc-status", "0")]);
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/workers", 1)
        .set("/limits", json!({ "max_starved": "500ms" }))
        .start()
        .await;
    // 60 clients at 16 streams: each waits for up to a second, and ends.
    let mut asked = Vec::new();
    for _ in 0..60 {
        let client = H2Client::tls(&gateway, &ca).await;
        asked.push(tokio::spawn(async move {
            for _ in 0..3 {
                let ask = client.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
                let answer = within("an answer", 4 * SOON, ask).await.unwrap();
                assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
            }
        }));
    }
    for client in asked {
        client.await.unwrap();
    }
}
