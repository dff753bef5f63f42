//! Headers in which an untrusted client describes itself are dropped; the gateway adds its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use e2e::{H2Client, TestBackend, TestCa, TestGateway, TestGatewayBuilder, request};
use serde_json::json;

const FORGED: [(&str, &str); 6] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-client-cert", "Subject=root"),
    ("x-forwarded-anything", "yes"),
    ("x-request-id", "forged"),
];

/// The values of these headers at the backend when a client forges all of them.
async fn seen(build: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder) -> BTreeMap<String, String> {
    let ca = TestCa::new();
    let backend = TestBackend::h2(|mut exchange| async move {
        let headers = exchange.request.headers.clone();
        let seen = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-"));
        let seen: Vec<_> = seen
            .map(|(name, value)| (format!("saw-{name}"), value.to_str().unwrap()))
            .collect();
        let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        exchange.trailers_only(&[&[("grpc-status", "0")], &seen[..]].concat());
    })
    .await;
    let gateway = build(TestGateway::builder(&ca, &backend)).start().await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut asked = request("/test.Echo/Unary").header("x-own", "kept");
    for (name, value) in FORGED {
        asked = asked.header(name, value);
    }
    let answer = client.ask(asked.body(()).unwrap(), Bytes::new()).await.unwrap();
    assert_eq!(answer.trailer("saw-x-own"), "kept");
    let mut seen = BTreeMap::new();
    for (name, value) in &answer.headers {
        if let Some(name) = name.as_str().strip_prefix("saw-") {
            let twice = seen.insert(name.to_owned(), value.to_str().unwrap().to_owned());
            assert_eq!(twice, None, "{name} comes once");
        }
    }
    seen.remove("x-own");
    seen
}

#[tokio::test]
async fn a_strangers_word_is_replaced_by_what_the_gateway_knows() {
    let seen = seen(|gateway| gateway).await;
    let names: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, ["x-forwarded-for", "x-forwarded-proto", "x-request-id"]);
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "https");
    assert!(is_uuid(&seen["x-request-id"]), "{seen:?}");
}

#[tokio::test]
async fn backends_see_the_scheme_of_their_own_connection() {
    let (ca, _backend, gateway) = crate::scripted(async |mut exchange| {
        let scheme = exchange.request.uri.scheme_str().unwrap_or_default().to_owned();
        let proto = exchange.request.headers["x-forwarded-proto"].clone();
        let told = [
            ("saw-scheme", scheme.as_str()),
            ("saw-proto", proto.to_str().unwrap()),
        ];
        exchange.trailers_only(&[&[("grpc-status", "0")], &told[..]].concat());
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary").body(()).unwrap();
    assert_eq!(asked.uri().scheme_str(), Some("https"));
    let answer = client.ask(asked, Bytes::new()).await.unwrap();
    assert_eq!(
        (answer.trailer("saw-scheme"), answer.trailer("saw-proto")),
        ("http", "https")
    );
}

#[tokio::test]
async fn nothing_is_added_where_that_is_switched_off() {
    let off = json!({ "forwarded_for": false, "forwarded_proto": false, "request_id": false });
    let seen = seen(|gateway| gateway.set("/listeners/0/add_headers", off)).await;
    assert_eq!(seen, BTreeMap::new());
}

#[tokio::test]
async fn a_trusted_peer_is_believed_and_its_list_grows() {
    let seen = seen(|gateway| gateway.set("/listeners/0/trusted_peers", json!(["127.0.0.0/8"]))).await;
    assert_eq!(seen["x-forwarded-for"].replace(' ', ""), "6.6.6.6,127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "gopher");
    assert_eq!(seen["x-request-id"], "forged");
    assert_eq!(seen["x-forwarded-host"], "evil.example");
}

#[tokio::test]
async fn trust_in_others_is_no_trust_in_this_one() {
    let seen =
        seen(|gateway| gateway.set("/listeners/0/trusted_peers", json!(["10.0.0.0/8", "::1/128"]))).await;
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_ne!(seen["x-request-id"], "forged");
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// RFC 9113 §8.2.1 forbids to forward blanks around a value, and servers and clients of gRPC send them.
#[tokio::test]
async fn blanks_around_values_harm_no_rpc() {
    let (ca, _backend, gateway) = crate::scripted(|mut exchange| async move {
        let seen = exchange.request.headers["x-meta"].to_str().unwrap().to_owned();
        exchange.trailers_only(&[
            ("grpc-status", "5"),
            ("grpc-message", " no such thing "),
            ("x-seen", &format!("<{seen}>")),
            ("x-meta", "from the backend  "),
        ]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    for _ in 0..200 {
        let asked = request("/test.Echo/Unary").header("x-meta", " from the client ");
        let answer = client.ask(asked.body(()).unwrap(), Bytes::new()).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(5));
        assert_eq!(answer.trailer("grpc-message"), "%20no such thing%20");
        assert_eq!(answer.trailer("x-seen"), "<from the client>");
        assert_eq!(answer.trailer("x-meta"), "from the backend");
    }
}

/// gRFC A41.
#[tokio::test]
async fn host_beside_authority_reaches_no_backend() {
    let (ca, _backend, gateway) = crate::scripted(|mut exchange| async move {
        let host = exchange.request.headers.contains_key("host").to_string();
        exchange.trailers_only(&[("grpc-status", "0"), ("x-host", &host)]);
    })
    .await;
    let client = H2Client::tls(&gateway, &ca).await;
    let asked = request("/test.Echo/Unary").header("host", "another.example");
    let answer = client.ask(asked.body(()).unwrap(), Bytes::new()).await.unwrap();
    assert_eq!(
        (answer.grpc_status(), answer.trailer("x-host")),
        (Some(0), "false")
    );
}
