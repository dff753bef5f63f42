//! What the gateway runs with: resolved, valid, and free of any file format.
//!
//! The program builds a [`Settings`] from its configuration file; nothing here is parsed or
//! checked again. A reload is a new `Settings` (see [`crate::Gateway::reload`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

/// Everything the data path needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that own connections; one per core of the CPU quota is right. Fixed after start.
    pub workers: NonZeroUsize,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Which RPC goes where; order does not matter, the most specific match wins.
    pub routes: Vec<Route>,
    /// Groups of endpoints that routes name by position in this list.
    pub backends: Vec<Backend>,
    /// Deadlines of connections.
    pub timeouts: Timeouts,
    /// Bounds of memory and of what a client may ask for.
    pub limits: Limits,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in the configuration; a metric label.
    pub name: String,
    /// Address to bind. `[::]` accepts IPv4 as well. Port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS with ALPN `h2`, or plaintext HTTP/2 with prior knowledge (h2c).
    pub tls: Option<Tls>,
    /// Peers whose `x-forwarded-*` and `x-request-id` are believed and kept.
    pub trusted_peers: Vec<IpNet>,
    /// Which headers about the client are added to requests.
    pub add_headers: AddHeaders,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Names of the certificates served here; the first is the default when SNI matches none.
    pub certificates: Vec<String>,
    /// What a client gets that offers no ALPN at all.
    pub without_alpn: WithoutAlpn,
    /// Lowest protocol version.
    pub min_version: TlsVersion,
}

/// Answer to a ClientHello without the ALPN extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutAlpn {
    /// Finish the handshake and speak HTTP/2 (old gRPC clients).
    Serve,
    /// Alert `no_application_protocol` (RFC 7301 §3.2).
    Refuse,
}

/// TLS protocol versions that can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246
    V1_2,
    /// RFC 8446
    V1_3,
}

/// Headers about the client, added to each request that goes to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddHeaders {
    /// `x-forwarded-for`: the client's address, appended to what a trusted peer sent.
    pub forwarded_for: bool,
    /// `x-forwarded-proto`: `https` or `http`.
    pub forwarded_proto: bool,
    /// `x-request-id`: a random UUID unless a trusted peer sent one.
    pub request_id: bool,
}

/// One rule: requests that match go to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name in the configuration or made from the match; a metric label.
    pub name: String,
    /// Hosts that match; empty matches all. Lower case, without port, `*.example.com` for one label or more.
    pub hosts: BTreeSet<String>,
    /// Full gRPC service name (`package.Service`); `None` matches all.
    pub service: Option<String>,
    /// Method of that service; `None` matches all.
    pub method: Option<String>,
    /// Position in [`Settings::backends`].
    pub backend: usize,
}

/// A group of endpoints that serve the same thing over plaintext HTTP/2 (h2c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Name in the configuration; a metric label.
    pub name: String,
    /// Where it can be reached; never empty.
    pub endpoints: Vec<EndpointAddress>,
    /// How long a TCP connect may take.
    pub connect_timeout: Duration,
}

/// An endpoint as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// `ip:port`
    Address(SocketAddr),
    /// `host:port`, resolved at start and every 30 s; all addresses of the answer are used.
    Name {
        /// DNS name
        host: String,
        /// TCP port
        port: u16,
    },
}

/// Deadlines. None of them ever cuts a stream that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the client's preface and SETTINGS. Default 10 s.
    pub handshake: Duration,
    /// For one unfinished header block. Default 10 s.
    pub header_block: Duration,
    /// For a connection without streams. Default 1 h: gRPC clients connect early and wait.
    pub idle: Duration,
    /// How long streams may still run after a drain has begun. Default 30 s.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header_block: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}

/// Bounds. The flood counters of one connection are in [`http2::Limits`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Per-connection limits towards clients.
    pub client: http2::Limits,
    /// Per-connection limits towards backends.
    pub backend: http2::Limits,
    /// Connections of clients, all workers together. Default 100,000.
    pub max_connections: usize,
    /// Handshakes that may be unfinished at once, all workers together. Default 10,000.
    pub max_handshakes: usize,
    /// Bytes held for one client connection beyond the base windows. Default 4 MiB.
    pub connection_memory: usize,
    /// Bytes held in queues by the whole process. Default 256 MiB.
    pub process_memory: usize,
    /// Requests that wait for a backend connection, per worker and endpoint. Default 1,000.
    pub max_waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client: http2::Limits::edge(),
            backend: http2::Limits::backend(),
            max_connections: 100_000,
            max_handshakes: 10_000,
            connection_memory: 4 << 20,
            process_memory: 256 << 20,
            max_waiting: 1_000,
        }
    }
}
