//! The most specific route wins; without one the answer comes at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{H2Client, TestBackend, TestCa, TestGateway, pack, within};
use http::Request;
use serde_json::{Value, json};

/// Each backend answers with its own name.
async fn named(name: &'static str) -> TestBackend {
    TestBackend::h2(move |mut exchange| async move {
        exchange.trailers_only(&[("grpc-status", "0"), ("x-backend", name)]);
    })
    .await
}

async fn routed(routes: Value) -> (TestCa, Vec<TestBackend>, TestGateway) {
    let ca = TestCa::new();
    let mut list = Vec::new();
    let mut backends = Vec::new();
    for route in routes.as_array().unwrap() {
        let name: &'static str = Box::leak(route["backend"].as_str().unwrap().to_owned().into_boxed_str());
        let backend = named(name).await;
        list.push(json!({ "name": name, "endpoints": [backend.address().to_string()] }));
        backends.push(backend);
    }
    let gateway = TestGateway::before(&ca, &[])
        .set("/backends", list)
        .set("/routes", routes)
        .start()
        .await;
    (ca, backends, gateway)
}

async fn backend_for(client: &H2Client, authority: &str, path: &str) -> String {
    let asked =
        Request::post(format!("https://{authority}{path}")).header("content-type", "application/grpc");
    let answer = client.ask(asked.header("te", "trailers").body(()).unwrap(), Bytes::new());
    let answer = within("an answer", Duration::from_secs(3), answer).await.unwrap();
    format!(
        "{}{}",
        answer.trailer("x-backend"),
        answer
            .grpc_status()
            .filter(|s| *s != 0)
            .map_or(String::new(), |s| s.to_string())
    )
}

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order() {
    let (ca, _backends, gateway) = routed(json!([
        { "match": {}, "backend": "any" },
        { "match": { "service": "a.Service" }, "backend": "service" },
        { "match": { "service": "a.Service", "method": "Get" }, "backend": "method" },
        { "match": { "host": "*.example.com" }, "backend": "wild" },
        { "match": { "host": "*.deep.example.com" }, "backend": "deep" },
        { "match": { "host": "api.example.com" }, "backend": "host" },
        { "match": { "host": "api.example.com", "service": "a.Service" }, "backend": "host-service" },
        { "match": { "host": ["api.example.com", "b.example.org"], "service": "a.Service", "method": "Get" }, "backend": "all" },
    ]))
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for (authority, path, expected) in [
        ("localhost", "/other.Service/Get", "any"),
        ("localhost", "/a.Service/Put", "service"),
        ("localhost", "/a.Service/Get", "method"),
        ("localhost", "/a.ServiceMore/Get", "any"),
        ("x.example.com", "/other.Service/Get", "wild"),
        ("x.y.example.com", "/other.Service/Get", "wild"),
        ("x.deep.example.com", "/other.Service/Get", "deep"),
        ("example.com", "/other.Service/Get", "any"),
        ("api.example.com", "/other.Service/Get", "host"),
        ("API.Example.COM:8443", "/other.Service/Get", "host"),
        ("api.example.com", "/a.Service/Put", "host-service"),
        ("api.example.com", "/a.Service/Get", "all"),
        ("b.example.org", "/a.Service/Get", "all"),
    ] {
        assert_eq!(
            backend_for(&client, authority, path).await,
            expected,
            "{authority}{path}"
        );
    }
}

#[tokio::test]
async fn without_a_route_grpc_gets_unimplemented_and_others_404_at_once() {
    let (ca, _backends, gateway) =
        routed(json!([{ "match": { "service": "a.Service" }, "backend": "one" }])).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let began = Instant::now();

    let asked = e2e::request("/b.Service/Get").body(()).unwrap();
    let answer = within("an answer", Duration::from_secs(3), client.ask(asked, pack(b"x")))
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.grpc_status()),
        (200, Some(12)),
        "{answer:?}"
    );
    assert!(!answer.trailer("grpc-message").is_empty(), "a message that helps");
    assert_eq!(answer.header("content-type"), "application/grpc");

    for path in ["/", "/b.Service/Get", "/index.html"] {
        let asked = Request::get(format!("https://localhost{path}")).body(()).unwrap();
        let answer = within(
            "an answer",
            Duration::from_secs(3),
            client.ask(asked, Bytes::new()),
        )
        .await
        .unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.grpc_status()),
            (404, None),
            "{path} {answer:?}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    // The connection goes on.
    assert_eq!(backend_for(&client, "localhost", "/a.Service/Get").await, "one");
}

#[tokio::test]
async fn an_unfinished_request_without_a_route_is_answered_too() {
    let (ca, _backends, gateway) =
        routed(json!([{ "match": { "service": "a.Service" }, "backend": "one" }])).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let (response, _open) = client
        .open(e2e::request("/b.Service/Chat").body(()).unwrap(), false)
        .await
        .unwrap();
    let answer = within(
        "an answer",
        Duration::from_secs(3),
        e2e::Answer::collect(response),
    )
    .await
    .unwrap();
    assert_eq!(answer.grpc_status(), Some(12), "{answer:?}");
}
