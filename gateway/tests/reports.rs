//! The log when clients come before the first certificate or the first trust bundle, and when a swap sends some away. A
//! binary of its own: such lines are written once a minute for the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so by panicking"
)]

#[expect(
    dead_code,
    reason = "shared with the tests of the edge, which need more of it"
)]
#[path = "edge/support.rs"]
mod support;

use std::fmt::Write;
use std::sync::{Arc, LazyLock, Mutex};

use certstore::TrustBundle;
use gateway::settings::{ClientAuth, ClientAuthMode, Redirect, Tls};
use gateway::telemetry::{HandshakeFailure, SentAway};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::ClientConfig;
use rustls_pki_types::PrivateKeyDer;
use support::{TestCa, TestGateway, eventually, shake};

/// Keeps the lines of level WARN and above.
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("gateway")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

static LINES: LazyLock<Arc<Mutex<Vec<String>>>> = LazyLock::new(|| {
    let lines = Arc::default();
    tracing::subscriber::set_global_default(Lines(Arc::clone(&lines))).unwrap();
    lines
});

/// The log lines with these words.
fn logged(words: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    lines
        .iter()
        .filter(|line| line.contains(words))
        .cloned()
        .collect()
}

fn asking() -> Tls {
    Tls {
        client_auth: Some(ClientAuth {
            mode: ClientAuthMode::Required,
            trust: "partners".to_owned(),
        }),
        ..support::tls()
    }
}

/// A client with a certificate of this CA.
fn client(gateway: &TestGateway, ca: &TestCa) -> ClientConfig {
    let mut params = CertificateParams::new(vec!["client.example.com".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (chain, key) = ca.issue(&params);
    let chain = support::certified(&chain, &key).cert.clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ClientConfig::builder_with_provider(support::provider());
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(gateway.ca.trusted())
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[test]
fn many_handshakes_before_the_first_certificate_are_one_line() {
    LazyLock::force(&LINES);
    let gateway = TestGateway::without_certificate(support::tls(), Redirect::Https);
    for _ in 0..5 {
        shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap_err();
    }
    eventually("five handshakes without a certificate", || {
        (gateway.failures(HandshakeFailure::NoCertificate) == 5).then_some(())
    });
    let lines = logged("class=\"no_certificate\"");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("listener=\"public\"") && lines[0].contains("has not been loaded yet"),
        "{lines:?}"
    );
}

#[test]
fn a_bundle_is_named_by_one_line_before_it_is_there_and_by_another_when_it_sends_clients_away() {
    LazyLock::force(&LINES);
    let mut gateway = TestGateway::with(asking());
    let (ca, other) = (TestCa::new("clients"), TestCa::new("others"));
    let config = Arc::new(client(&gateway, &ca));
    let enters = |gateway: &TestGateway| {
        let stream = support::shake_over(support::connect(gateway.address()), &config, "localhost");
        stream.and_then(|mut stream| support::speaks_http2(&mut stream).map(|()| stream))
    };
    for _ in 0..3 {
        enters(&gateway).unwrap_err();
    }
    eventually("three handshakes without a bundle", || {
        (gateway.failures(HandshakeFailure::NoTrustBundle) == 3).then_some(())
    });
    let lines = logged("class=\"no_trust_bundle\"");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("listener=\"public\"")
            && lines[0].contains("trust bundle `partners` has not been loaded"),
        "{lines:?}"
    );
    let bundle = |ca: &TestCa| TrustBundle::parse(ca.0.pem().as_bytes(), b"", false, support::now()).unwrap();
    gateway.writer.install("partners", bundle(&ca));
    let _open = [(); 2].map(|()| enters(&gateway).unwrap());
    assert!(logged("sent away").is_empty());
    gateway.writer.install("partners", bundle(&other));
    eventually("two clients are sent away", || {
        (gateway.sent_away(SentAway::Certificate) == 2).then_some(())
    });
    let lines = logged("sent away");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("identity=\"client.example.com\"")
            && lines[0].contains("of no CA in the trust bundle"),
        "{lines:?}"
    );
}
