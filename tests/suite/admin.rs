//! The admin interface from outside: metrics, readiness, the effective configuration, health and reflection.

use std::time::Duration;

use bytes::Bytes;
use e2e::{H2Client, TestClient, eventually, pack, request, run_tool, tool};
use proto::routeguide::Point;

use crate::{guide, scripted};

#[tokio::test]
async fn rpcs_are_counted_by_route_backend_and_status() {
    let (ca, _backend, gateway) = guide().await;
    let client = TestClient::connect(&gateway, &ca).await;
    for _ in 0..7 {
        client.ping().await.unwrap();
    }
    for _ in 0..3 {
        client
            .guide()
            .get_feature(Point {
                latitude: i32::MAX,
                longitude: 0,
            })
            .await
            .unwrap_err();
    }
    let counted = async |status: &str| {
        let labels = [("route", "all"), ("backend", "guide"), ("grpc_status", status)];
        gateway.metrics().await.sum("h2gate_rpcs_total", &labels)
    };
    eventually("seven are OK", Duration::from_secs(2), async || {
        ((counted("OK").await - 7.0).abs() < 0.5).then_some(())
    })
    .await;
    eventually("three are not", Duration::from_secs(2), async || {
        ((counted("INVALID_ARGUMENT").await - 3.0).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_page_of_metrics_has_everything_that_is_promised() {
    let (ca, _backend, gateway) = guide().await;
    let client = TestClient::connect(&gateway, &ca).await;
    client.ping().await.unwrap();
    let metrics = gateway.metrics().await;
    for name in [
        "h2gate_rpcs_total",
        "h2gate_rpc_duration_seconds_bucket",
        "h2gate_connections",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ] {
        assert!(metrics.has(name), "{name} {}", metrics.page());
    }
}

#[tokio::test]
async fn the_effective_configuration_is_shown_without_secrets() {
    let (_ca, _backend, gateway) = guide().await;
    let (status, page) = gateway.get("/config").await.unwrap();
    assert_eq!(status, 200);
    for word in ["listeners", "public", "guide", "max_concurrent_streams", "drain"] {
        assert!(page.contains(word), "{word}: defaults are filled in: {page}");
    }
    assert!(!page.contains("PRIVATE KEY"), "{page}");
}

#[tokio::test]
async fn ready_is_told_and_unknown_pages_are_not_found() {
    let (_ca, _backend, gateway) = guide().await;
    assert_eq!(gateway.get("/ready").await.unwrap().0, 200);
    assert_eq!(gateway.get("/no-such-page").await.unwrap().0, 404);
}

#[tokio::test]
async fn health_and_reflection_answer_grpcurl() {
    let (_ca, _backend, gateway) = guide().await;
    let admin = gateway.admin().to_string();
    let listed = run_tool(tool("bin/grpcurl"), &["-plaintext", &admin, "list"]).await;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.status.success() && names.contains("grpc.health.v1.Health"),
        "{listed:?}"
    );
    let checked = run_tool(
        tool("bin/grpcurl"),
        &["-plaintext", &admin, "grpc.health.v1.Health/Check"],
    )
    .await;
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("SERVING"),
        "{checked:?}"
    );
}

#[tokio::test]
async fn the_access_log_tells_each_rpc_once() {
    let ca = e2e::TestCa::new();
    let backend = e2e::TestBackend::guide("one").await;
    let gateway = e2e::TestGateway::builder(&ca, &backend)
        .set("/access_log", serde_json::json!({ "path": "-" }))
        .start()
        .await;
    let client = TestClient::connect(&gateway, &ca).await;
    client.ping().await.unwrap();
    client
        .guide()
        .get_feature(Point {
            latitude: i32::MAX,
            longitude: 0,
        })
        .await
        .unwrap_err();
    let lines = eventually("two lines", Duration::from_secs(3), async || {
        let lines: Vec<serde_json::Value> = gateway
            .output()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() == 2).then_some(lines)
    })
    .await;
    for line in &lines {
        let text = line.to_string();
        for word in ["routeguide.RouteGuide", "GetFeature", "guide", "127.0.0.1"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[tokio::test]
async fn a_stranger_cannot_add_labels() {
    let (ca, _backend, gateway) = scripted(e2e::echo_body).await;
    let client = H2Client::tls(&gateway, &ca).await;
    for number in 0..50 {
        let asked = request(&format!("/made.Up{number}/Method{number}"))
            .body(())
            .unwrap();
        client.ask(asked, pack(b"x")).await.unwrap();
        client
            .ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new())
            .await
            .unwrap();
    }
    let page = gateway.metrics().await.page().to_owned();
    assert!(!page.contains("made.Up") && !page.contains("Method7"), "{page}");
}
