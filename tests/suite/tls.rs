//! The TLS edge: versions, ALPN, names and keys.

use std::time::Duration;

use bytes::Bytes;
use e2e::{
    FrameConn, H2Client, Handshake, KeyKind, Leaf, Refusal, Signatures, TestBackend, TestCa, TestClient,
    TestGateway, TlsOptions, echo_body, eventually, free_port, pack, request, within,
};
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, ProtocolVersion, SupportedProtocolVersion};

use crate::{guide, scripted};

const ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

async fn shake(gateway: &TestGateway, ca: &TestCa, options: TlsOptions) -> Result<Handshake, Refusal> {
    options.connect(gateway.address(), ca).await
}

#[tokio::test]
async fn alpn_h2_is_chosen_wherever_it_is_offered_and_nothing_else_ever() {
    let (ca, _backend, gateway) = guide().await;
    for versions in [ONLY_12, ONLY_13] {
        for offer in [
            &["h2"][..],
            &["h2", "http/1.1"],
            &["http/1.1", "h2"],
            &["spdy/3", "h2"],
        ] {
            let options = TlsOptions::default().alpn(offer).versions(versions);
            let shaken = shake(&gateway, &ca, options).await.unwrap();
            assert_eq!(shaken.alpn().as_deref(), Some("h2"), "{offer:?}");
        }
        for offer in [&["http/1.1"][..], &["spdy/3"], &["h2c", "http/1.0"]] {
            let options = TlsOptions::default().alpn(offer).versions(versions);
            let refusal = shake(&gateway, &ca, options).await.unwrap_err();
            assert!(
                refusal.0.contains("NoApplicationProtocol"),
                "{offer:?} {refusal:?}"
            );
        }
    }
    // A refusal is counted when the client has gone, which is a moment after it has heard.
    eventually("six refusals are counted", Duration::from_secs(3), async || {
        let failed = gateway
            .metrics()
            .await
            .sum("h2gate_handshake_failures_total", &[("class", "no_common_alpn")]);
        ((failed - 6.0).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_without_alpn_is_served_by_default() {
    let (ca, _backend, gateway) = scripted(echo_body).await;
    for versions in [ONLY_12, ONLY_13] {
        let shaken = shake(&gateway, &ca, TlsOptions::default().alpn(&[]).versions(versions))
            .await
            .unwrap();
        assert_eq!(shaken.alpn(), None);
        let (client, _) = H2Client::over(shaken.0, &h2::client::Builder::new()).await;
        let answer = client
            .ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"old"))
            .await
            .unwrap();
        assert_eq!(answer.messages(), [&b"old"[..]]);
    }
}

#[tokio::test]
async fn a_client_without_alpn_is_refused_by_alert_where_that_is_set() {
    let ca = TestCa::new();
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()]);
    let gateway = gateway
        .set("/listeners/0/tls/without_alpn", "refuse")
        .start()
        .await;
    for versions in [ONLY_12, ONLY_13] {
        let refusal = shake(&gateway, &ca, TlsOptions::default().alpn(&[]).versions(versions))
            .await
            .unwrap_err();
        assert!(refusal.0.contains("NoApplicationProtocol"), "{refusal:?}");
        shake(&gateway, &ca, TlsOptions::default().versions(versions))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn both_versions_serve_and_the_lowest_can_be_raised() {
    let (ca, backend, gateway) = guide().await;
    let old = shake(&gateway, &ca, TlsOptions::default().versions(ONLY_12))
        .await
        .unwrap();
    assert_eq!(old.version(), ProtocolVersion::TLSv1_2);
    let new = shake(&gateway, &ca, TlsOptions::default()).await.unwrap();
    assert_eq!(new.version(), ProtocolVersion::TLSv1_3);
    for versions in [ONLY_12, ONLY_13] {
        let options = TlsOptions::default().versions(versions);
        TestClient::connect_with(gateway.address(), &ca, options)
            .await
            .ping()
            .await
            .unwrap();
    }

    let gateway = TestGateway::builder(&ca, &backend)
        .set("/listeners/0/tls/min_version", "1.3")
        .start()
        .await;
    let refusal = shake(&gateway, &ca, TlsOptions::default().versions(ONLY_12))
        .await
        .unwrap_err();
    assert!(refusal.0.contains("ProtocolVersion"), "{refusal:?}");
    shake(&gateway, &ca, TlsOptions::default().versions(ONLY_13))
        .await
        .unwrap();
}

#[tokio::test]
async fn post_quantum_key_exchange_is_preferred() {
    let (ca, _backend, gateway) = guide().await;
    let shaken = shake(&gateway, &ca, TlsOptions::default()).await.unwrap();
    let group = shaken
        .0
        .get_ref()
        .1
        .negotiated_key_exchange_group()
        .unwrap()
        .name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn one_name_is_served_by_ecdsa_or_rsa_as_the_client_can() {
    let ca = TestCa::new();
    let rsa = ca.issue(&Leaf::default().key(KeyKind::Rsa2048));
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .certificate("rsa", &rsa)
        .start()
        .await;
    for versions in [ONLY_12, ONLY_13] {
        let asked = |only| TlsOptions::default().versions(versions).only(only);
        assert_eq!(
            shake(&gateway, &ca, asked(Signatures::Rsa))
                .await
                .unwrap()
                .serial(),
            rsa.serial
        );
        assert_ne!(
            shake(&gateway, &ca, asked(Signatures::Ecdsa))
                .await
                .unwrap()
                .serial(),
            rsa.serial
        );
    }
}

#[tokio::test]
async fn rsa_of_4096_bits_serves() {
    let ca = TestCa::new();
    let rsa = ca.issue(&Leaf::named(&["big.example.com"]).key(KeyKind::Rsa4096));
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .certificate("big", &rsa)
        .start()
        .await;
    let shaken = shake(&gateway, &ca, TlsOptions::name("big.example.com"))
        .await
        .unwrap();
    assert_eq!(shaken.serial(), rsa.serial);
}

#[tokio::test]
async fn sni_finds_the_exact_name_then_the_wildcard_then_the_first() {
    let ca = TestCa::new();
    let exact = ca.issue(&Leaf::named(&["api.example.com"]));
    let wildcard = ca.issue(&Leaf::named(&["*.example.com"]));
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .certificate("wildcard", &wildcard)
        .certificate("exact", &exact)
        .start()
        .await;
    let serial = async |name: &str| {
        shake(&gateway, &ca, TlsOptions::name(name))
            .await
            .map(|shaken| shaken.serial())
    };
    assert_eq!(serial("api.example.com").await.unwrap(), exact.serial);
    assert_eq!(serial("API.example.COM").await.unwrap(), exact.serial);
    assert_eq!(serial("other.example.com").await.unwrap(), wildcard.serial);
    // No SNI is sent for an address, and the first certificate covers it.
    let first = serial("127.0.0.1").await.unwrap();
    assert!(first != exact.serial && first != wildcard.serial);
    // The first, whatever it covers: the client finds that it is for another name (RFC 6066 §3 leaves it to us).
    for unknown in ["unknown.example.org", "a.b.example.com"] {
        let refusal = serial(unknown).await.unwrap_err();
        assert!(refusal.0.contains("not valid for name"), "{unknown} {refusal:?}");
    }
}

#[tokio::test]
async fn a_plaintext_listener_speaks_http2_with_prior_knowledge() {
    let ca = TestCa::new();
    let backend = TestBackend::h2(|mut exchange| async move {
        let proto = exchange.header("x-forwarded-proto").to_owned();
        exchange.trailers_only(&[("grpc-status", "0"), ("x-seen", &proto)]);
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .plaintext_listener()
        .start()
        .await;
    let client = H2Client::plain(gateway.listener(1)).await;
    let asked = request("/test.Echo/Unary").body(()).unwrap();
    let answer = within(
        "an answer",
        Duration::from_secs(3),
        client.ask(asked, Bytes::new()),
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.grpc_status(), answer.trailer("x-seen")),
        (Some(0), "http")
    );
}

#[tokio::test]
async fn http1_and_garbage_are_turned_away_without_delay() {
    let (ca, _backend, gateway) = guide().await;
    // Plain HTTP/1.1 to the TLS port.
    let mut connection = FrameConn::tcp(gateway.address()).await;
    connection
        .write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    connection.ending(Duration::from_secs(2)).await.expect("closed");
    // HTTP/1.1 inside TLS, from a client without ALPN.
    let shaken = shake(&gateway, &ca, TlsOptions::default().alpn(&[]))
        .await
        .unwrap();
    let mut connection = FrameConn::over(shaken.0);
    connection
        .write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    connection.ending(Duration::from_secs(2)).await.expect("closed");
    TestClient::connect(&gateway, &ca).await.ping().await.unwrap();
}

#[tokio::test]
async fn connections_are_counted_by_version_and_fingerprint_while_they_live() {
    let (ca, _backend, gateway) = guide().await;
    let open = async |version: &str| {
        gateway
            .metrics()
            .await
            .sum("h2gate_connections", &[("tls_version", version)])
    };
    let client = TestClient::connect(&gateway, &ca).await;
    client.ping().await.unwrap();
    eventually("one connection of TLS 1.3", Duration::from_secs(2), async || {
        (open("1.3").await > 0.5).then_some(())
    })
    .await;
    drop(client);
    eventually("none any more", Duration::from_secs(2), async || {
        (open("1.3").await < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ipv6_wildcard_address_takes_ipv4_as_well() {
    let ca = TestCa::new();
    let backend = TestBackend::guide("one").await;
    let port = free_port();
    let gateway = TestGateway::builder(&ca, &backend)
        .set("/listeners/0/address", format!("[::]:{port}"))
        .start()
        .await;
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let client = TestClient::connect_with(address.parse().unwrap(), &ca, TlsOptions::default()).await;
        client.ping().await.unwrap();
    }
    drop(gateway);
}
