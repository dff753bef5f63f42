//! An admin port of a test's own, and a client that speaks plain HTTP/1.1 to it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::telemetry::Metrics;
use h2gate::admin::{AdminPort, Bound, ConnectionBounds, Hosts, Services, Sources, View};
use h2gate::counters::Events;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for anything that does happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// An admin port without a gateway behind it.
pub(crate) struct TestAdmin {
    pub(crate) view: Arc<View>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) certificates: certstore::Writer,
    admin: AdminPort,
}

impl TestAdmin {
    pub(crate) async fn start() -> Self {
        Self::with_bounds(ConnectionBounds::default()).await
    }

    pub(crate) async fn with_bounds(bounds: ConnectionBounds) -> Self {
        Self::with(bounds, Hosts::new(vec!["h2gate.internal".to_owned()])).await
    }

    async fn with(bounds: ConnectionBounds, hosts: Hosts) -> Self {
        let (certificates, reader) = certstore::store();
        let metrics = Arc::new(Metrics::new(2));
        let services = Services::from(["routeguide.RouteGuide".to_owned()]);
        let effective = json!({"admin": {"address": "127.0.0.1:9901"}, "listeners": [{"name": "public"}]});
        let sources = Sources {
            gateway: Some(metrics.clone()),
            access_log: None,
            certificates: reader,
            certificate_events: Events::default(),
            control: None,
        };
        let view = Arc::new(View::new(sources, effective, services));
        let bound = Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let admin = bound.serve(view.clone(), bounds, hosts).await.unwrap();
        Self {
            view,
            metrics,
            certificates,
            admin,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.admin.address()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// `fields` are whole header lines, each with its end.
    pub(crate) async fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        self.say(&format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n"
        ))
        .await
    }

    /// A whole request.
    pub(crate) async fn say(&self, text: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }
}

/// An HTTP/1.1 answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the peer closes.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut text = String::new();
        timeout(SOON, stream.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
        Self {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// True once the peer has closed; what it said before does not matter.
pub(crate) async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end as well.
    timeout(SOON, stream.read_to_end(&mut rest)).await.is_ok()
}
