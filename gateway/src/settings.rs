//! The settings of the gateway: resolved, valid, and free of any file format.
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
    /// Listeners, to which clients connect.
    pub listeners: Vec<Listener>,
    /// Which RPC goes where; order does not matter, the most specific match wins.
    pub routes: Vec<Route>,
    /// Groups of endpoints that routes name by position in this list.
    pub backends: Vec<Backend>,
    /// Where the admin interface of this process listens, which believes callers on this machine: no endpoint leads
    /// there, whatever its name resolves to.
    pub admin: Option<SocketAddr>,
    /// Deadlines of connections.
    pub timeouts: Timeouts,
    /// Bounds of memory and of what a client may ask for.
    pub limits: Limits,
    /// The process is this gateway's: what it really has in memory counts towards [`Limits::process_memory`]. Fixed after
    /// start.
    pub owns_process: bool,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in the configuration; a metric label.
    pub name: String,
    /// Address to bind. `[::]` accepts IPv4 as well. Port 0 lets the system choose.
    pub address: SocketAddr,
    /// The protocol that is spoken there.
    pub protocol: Protocol,
}

/// The protocol of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2: RPCs for backends.
    Http2(Http2),
    /// HTTP/1.1 without TLS: answers of ACME's HTTP-01, and nothing for backends.
    Http1(Http1),
}

/// A listener whose requests are routed to backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// TLS with ALPN `h2`, or plaintext HTTP/2 with prior knowledge (h2c).
    pub tls: Option<Tls>,
    /// Peers whose `x-forwarded-*` and `x-request-id` are believed and kept.
    pub trusted_peers: Vec<IpNet>,
    /// Which headers about the client are added to requests.
    pub add_headers: AddHeaders,
}

/// A listener for browsers that were given `http:`, and for CAs (RFC 8555 §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http1 {
    /// The response to everything that is no challenge.
    pub redirect: Redirect,
}

/// A redirect of plain HTTP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// 308 to the same host and path by `https:`, on its usual port.
    Https,
    /// Nowhere: 404.
    None,
}

impl Listener {
    /// Its settings if it takes RPCs.
    #[must_use]
    pub fn http2(&self) -> Option<&Http2> {
        match &self.protocol {
            Protocol::Http2(http2) => Some(http2),
            Protocol::Http1(_) => None,
        }
    }

    /// Its TLS, if it has any.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.http2()?.tls.as_ref()
    }
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Names of the certificates served here; the first is the default when SNI matches none.
    pub certificates: Vec<String>,
    /// The treatment of a client that offers no ALPN at all.
    pub without_alpn: WithoutAlpn,
    /// Lowest protocol version.
    pub min_version: TlsVersion,
    /// Certificates of clients; `None` asks for none.
    pub client_auth: Option<ClientAuth>,
}

/// The demands of a listener on its clients' certificates. Such a listener never resumes a session: a resumed one would
/// skip the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// The mode: required, or optional.
    pub mode: ClientAuthMode,
    /// Name of the trust bundle that client certificates must lead to.
    pub trust: String,
}

/// The demand for a certificate that a listener makes of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// No certificate, no connection.
    Required,
    /// One that is presented must be good; none is fine.
    Optional,
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
    /// `x-forwarded-client-cert`: who the client proved to be by its certificate, in Envoy's format.
    pub client_certificate: bool,
}

/// One rule: requests that match go to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name in the configuration or made from the match; a metric label.
    pub name: String,
    /// Names of the listeners whose requests may take it; empty is all of them.
    pub listeners: BTreeSet<String>,
    /// Hosts that match; empty matches all. Without port, `*.example.com` for one label or more.
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
    /// The endpoints at which it can be reached; never empty.
    pub endpoints: Vec<EndpointAddress>,
    /// The time that an endpoint may take from TCP's connect to its SETTINGS.
    pub connect_timeout: Duration,
    /// The time for which sent octets may stay unacknowledged, or the peer's TCP window shut; zero leaves it to the
    /// system.
    pub tcp_user_timeout: Duration,
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

/// `true` if somebody on this machine who connects to `to` reaches what listens on `listening`.
///
/// Of the addresses of this machine only the loopback ones are known here: who listens on every address is reached
/// by others as well (see [`is_this_machine`]).
#[must_use]
pub fn reaches(to: SocketAddr, listening: SocketAddr) -> bool {
    let (ip, own) = (to.ip().to_canonical(), listening.ip().to_canonical());
    // connect(2) to the unspecified address leads to this machine.
    let to_anywhere_here = ip.is_loopback() || ip.is_unspecified();
    let same =
        ip == own || (own.is_unspecified() && to_anywhere_here) || (ip.is_unspecified() && own.is_loopback());
    to.port() == listening.port() && same
}

/// `true` if a connection ends on the machine that it began on: the kernel then gives both ends one address.
#[must_use]
pub fn is_this_machine(local: SocketAddr, peer: SocketAddr) -> bool {
    local.ip().to_canonical() == peer.ip().to_canonical()
}

/// Deadlines. None of them ever cuts a stream that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the client's preface and SETTINGS. Default 10 s.
    pub handshake: Duration,
    /// For one unfinished header block. Within another frame or a TLS record, six times as long without an octet. Default
    /// 10 s.
    pub header_block: Duration,
    /// For a connection without streams. Default 1 h: gRPC clients connect early and wait.
    pub idle: Duration,
    /// The time for which streams may still run after a drain has begun. Default 30 s.
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
    /// Handshakes that may be unfinished at once, all workers together; never more than one for each 16 KiB of
    /// [`Self::memory_for_peers`]. Default 10,000.
    pub max_handshakes: usize,
    /// Connections to HTTP/1.1 listeners, all workers together; never more than one for each 64 KiB of
    /// [`Self::memory_for_peers`]. Default 4,000.
    pub max_http1_connections: usize,
    /// Bytes under way or waiting for one client connection beyond the base windows, in each direction. Default 4 MiB.
    pub connection_memory: usize,
    /// Bytes that the whole process may have: what peers make it keep, and 20 MiB for itself, at most a third. Beside it
    /// each connection has 8 KiB and up to 16 KiB more; see `worker/memory.rs`. Default 256 MiB.
    pub process_memory: usize,
    /// Requests that wait for a connection or a stream of a backend, per worker and backend. Default 1,000.
    pub max_waiting: usize,
    /// The time for which one of them waits. Default 30 s: a backend that starts anew is back by then, and what waits
    /// takes memory.
    pub max_wait: Duration,
    /// The time for which a client that has no stream of a backend waits for one while others have all of them; then
    /// who has most loses its youngest. From `max_wait` on: nobody does. Default 1 s.
    pub max_starved: Duration,
    /// Octets of access log that one client connection may have in a second; its further lines are dropped and counted.
    /// Default 8 MiB: more than 10,000 RPCs a second have.
    pub access_log_rate: usize,
}

impl Limits {
    /// The memory that the process has at rest, and the largest part of its memory that is left to it.
    const AT_REST: usize = 20 << 20;
    const MOST_AT_REST: usize = 3;

    /// The part of `process_memory` that peers may make all workers keep.
    #[must_use]
    pub fn memory_for_peers(&self) -> usize {
        let memory = self.process_memory;
        memory - Self::AT_REST.min(memory / Self::MOST_AT_REST)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client: http2::Limits::edge(),
            backend: http2::Limits::backend(),
            max_connections: 100_000,
            max_handshakes: 10_000,
            max_http1_connections: 4_000,
            connection_memory: 4 << 20,
            process_memory: 256 << 20,
            max_waiting: 1_000,
            max_wait: Duration::from_secs(30),
            max_starved: Duration::from_secs(1),
            access_log_rate: 8 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_here_is_reached_by_every_name_of_this_machine() {
        let reached = |to: &str, listening: &str| reaches(to.parse().unwrap(), listening.parse().unwrap());
        for (to, listening) in [
            ("127.0.0.1:9901", "127.0.0.1:9901"),
            ("[::ffff:127.0.0.1]:9901", "127.0.0.1:9901"),
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("127.0.0.1:9901", "0.0.0.0:9901"),
            ("127.0.0.2:9901", "[::]:9901"),
            ("[::1]:9901", "[::]:9901"),
            ("10.0.0.7:9901", "10.0.0.7:9901"),
        ] {
            assert!(reached(to, listening), "{to} {listening}");
        }
        for (to, listening) in [
            ("127.0.0.1:9902", "127.0.0.1:9901"),
            ("127.0.0.2:9901", "127.0.0.1:9901"),
            ("10.0.0.7:9901", "127.0.0.1:9901"),
            ("10.0.0.7:9901", "0.0.0.0:9901"),
            ("127.0.0.1:9901", "10.0.0.7:9901"),
        ] {
            assert!(!reached(to, listening), "{to} {listening}");
        }
    }
}
