//! What a person reads in the log when clients come before the first certificate. A binary of its own: lines
//! are told once a minute for the whole process.

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
use std::sync::{Arc, Mutex};

use gateway::settings::Redirect;
use gateway::telemetry::HandshakeFailure;
use support::{TestGateway, eventually, shake};

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

#[test]
fn many_handshakes_before_the_first_certificate_are_one_line() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Lines(lines.clone())).unwrap();
    let gateway = TestGateway::without_certificate(support::tls(), Redirect::Https);
    for _ in 0..5 {
        shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap_err();
    }
    eventually("five handshakes without a certificate", || {
        (gateway.failures(HandshakeFailure::NoCertificate) == 5).then_some(())
    });
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("listener=\"public\"") && lines[0].contains("has not been loaded yet"),
        "{lines:?}"
    );
}
