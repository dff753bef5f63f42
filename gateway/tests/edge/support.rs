//! The vocabulary of these tests: a CA, a gateway in this process, and clients that wait with a deadline.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use certstore::{CertBundle, Reader, Requirements, UnixTime, Writer, prove};
use gateway::Gateway;
use gateway::access_log::{AccessLogSink, AccessLogWriter, Destination};
use gateway::settings::{
    AddHeaders, Backend, EndpointAddress, Http1, Http2, Limits, Listener, Protocol, Redirect, Route,
    Settings, Timeouts, Tls, TlsVersion, WithoutAlpn,
};
use gateway::telemetry::{SentAway, Totals};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, ServerName};

/// No wait of a test is longer.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(10);

#[allow(
    clippy::disallowed_methods,
    reason = "the certificates of a test live from now on"
)]
pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Asks until the fact is there.
pub(crate) fn eventually<T>(fact: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {fact}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A CA with a root only.
pub(crate) struct TestCa(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key)
    }

    pub(crate) fn trusted(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

/// A chain and a key as rustls serves or presents them.
pub(crate) fn certified(chain: &str, key: &KeyPair) -> Arc<CertifiedKey> {
    use rustls_pki_types::pem::PemObject;
    let chain = rustls_pki_types::CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signing = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(chain, signing))
}

/// The fields about the client that a backend got, by request.
pub(crate) type Heard = Arc<Mutex<Vec<Vec<String>>>>;

/// A gateway of one worker, without a backend that could be reached.
pub(crate) struct TestGateway {
    pub(crate) ca: TestCa,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    gateway: Gateway,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
    _log: Option<AccessLogWriter>,
}

pub(crate) fn tls() -> Tls {
    Tls {
        certificates: vec!["api".to_owned()],
        without_alpn: WithoutAlpn::Serve,
        min_version: TlsVersion::V1_2,
        client_auth: None,
    }
}

fn listener(name: &str, protocol: Protocol) -> Listener {
    Listener {
        name: name.to_owned(),
        address: ([127, 0, 0, 1], 0).into(),
        protocol,
    }
}

/// A backend with these endpoints.
pub(crate) fn backend(name: &str, endpoints: Vec<EndpointAddress>) -> Backend {
    Backend {
        name: name.to_owned(),
        endpoints,
        connect_timeout: TEST_TIMEOUT,
        tcp_user_timeout: TEST_TIMEOUT,
    }
}

/// A route of this service's requests, or of all, to the backend at this position.
pub(crate) fn route(name: &str, service: Option<&str>, backend: usize) -> Route {
    Route {
        name: name.to_owned(),
        listeners: Default::default(),
        hosts: Default::default(),
        service: service.map(str::to_owned),
        method: None,
        backend,
    }
}

impl TestGateway {
    /// Listener 0 speaks TLS and shows a certificate for `localhost`, listener 1 plain HTTP.
    pub(crate) fn start() -> Self {
        let gateway = Self::without_certificate(tls(), Redirect::Https);
        gateway.with_certificate()
    }

    pub(crate) fn with(tls: Tls) -> Self {
        Self::without_certificate(tls, Redirect::Https).with_certificate()
    }

    /// Like [`start`](Self::start), with so many workers.
    pub(crate) fn with_workers(count: usize) -> Self {
        Self::new(tls(), Redirect::Https, count, None).with_certificate()
    }

    pub(crate) fn with_access_log(tls: Tls, file: &Path) -> Self {
        let log = AccessLogSink::open(Destination::File(file.to_owned())).unwrap();
        Self::new(tls, Redirect::Https, 1, Some(log)).with_certificate()
    }

    pub(crate) fn without_certificate(tls: Tls, redirect: Redirect) -> Self {
        Self::new(tls, redirect, 1, None)
    }

    fn new(
        tls: Tls,
        redirect: Redirect,
        workers: usize,
        log: Option<(AccessLogSink, AccessLogWriter)>,
    ) -> Self {
        let (sink, log) = log.unzip();
        let (writer, reader) = certstore::store();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let add_headers = AddHeaders {
            forwarded_for: true,
            forwarded_proto: true,
            request_id: true,
            client_certificate: true,
        };
        let http2 = Http2 {
            tls: Some(tls),
            trusted_peers: Vec::new(),
            add_headers,
        };
        let settings = Settings {
            workers: workers.try_into().unwrap(),
            listeners: vec![
                listener("public", Protocol::Http2(http2)),
                listener("plain", Protocol::Http1(Http1 { redirect })),
            ],
            routes: Vec::new(),
            backends: Vec::new(),
            admin: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            owns_process: false,
        };
        let gateway = {
            let _inside = runtime.enter();
            Gateway::start(settings.clone(), reader.clone(), sink).unwrap()
        };
        Self {
            ca: TestCa::new("servers"),
            writer,
            reader,
            gateway,
            settings,
            runtime,
            _log: log,
        }
    }

    fn with_certificate(mut self) -> Self {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = self.ca.issue(&params);
        let bundle = CertBundle::parse(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let proved = prove(bundle, &Requirements::default(), now()).unwrap();
        self.writer.install("api", proved);
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.local_addresses()[0].1
    }

    pub(crate) fn plain_address(&self) -> SocketAddr {
        self.gateway.local_addresses()[1].1
    }

    pub(crate) fn totals(&self) -> Totals {
        self.gateway.metrics().totals()
    }

    /// Number of connected clients that got GOAWAY for this reason.
    pub(crate) fn sent_away(&self, why: SentAway) -> u64 {
        let totals = self.totals();
        let found = totals.clients_sent_away.iter().find(|(known, _)| *known == why);
        found.map_or(0, |(_, count)| *count)
    }

    /// The memory that clients are charged with.
    pub(crate) fn held(&self) -> usize {
        self.totals().held_bytes.try_into().unwrap()
    }

    /// Number of times that this limit was reached.
    pub(crate) fn reached(&self, limit: &str) -> u64 {
        let limits = self.totals().limits;
        let found = limits.iter().find(|(name, _)| *name == limit);
        found.map_or(0, |(_, count)| *count)
    }

    /// Number of handshakes that failed in this class.
    pub(crate) fn failures(&self, class: gateway::telemetry::HandshakeFailure) -> u64 {
        let totals = self.totals();
        let found = totals
            .handshake_failures
            .iter()
            .find(|(known, _)| *known == class);
        found.map_or(0, |(_, count)| *count)
    }

    /// Waits until each name of an endpoint was looked up.
    pub(crate) fn discovered(&self) {
        self.runtime.block_on(self.gateway.discovered());
    }

    /// Goes over to what `change` makes of the settings.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        let _inside = self.runtime.enter();
        self.gateway.reload(self.settings.clone()).unwrap();
    }

    /// All requests go to a backend that answers nothing. Gives the `x-forwarded-client-cert` lines that it hears, by
    /// request.
    pub(crate) fn serve_by_backend(&mut self) -> Heard {
        let heard = Heard::default();
        let endpoint = self.backend(heard.clone());
        self.route_to(TEST_TIMEOUT, &[EndpointAddress::Address(endpoint)]);
        heard
    }

    /// All requests go to these.
    pub(crate) fn route_to(&mut self, connect_timeout: Duration, endpoints: &[EndpointAddress]) {
        self.reload(|settings| {
            let backend = backend("b", endpoints.to_vec());
            settings.backends = vec![Backend {
                connect_timeout,
                ..backend
            }];
            settings.routes = vec![route("r", None, 0)];
        });
    }

    fn backend(&self, heard: Heard) -> SocketAddr {
        let listener = self
            .runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    // Dropping it would be an answer, too.
                    let mut unanswered = Vec::new();
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        let values = request.headers().get_all("x-forwarded-client-cert").iter();
                        let values = values.map(|value| value.to_str().unwrap().to_owned()).collect();
                        heard.lock().unwrap().push(values);
                        // A body that is dropped would open its window again.
                        unanswered.push((request, answer));
                    }
                });
            }
        });
        address
    }

    pub(crate) fn drain(&self, grace: Duration) -> gateway::Drained {
        self.runtime.block_on(self.gateway.drain(grace))
    }

    /// A client that trusts this gateway's CA and offers this ALPN.
    pub(crate) fn client(&self, alpn: &[&str]) -> ClientConfig {
        self.client_of_any(rustls::DEFAULT_VERSIONS, alpn)
    }

    /// The same, of one TLS version.
    pub(crate) fn client_of(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        alpn: &[&str],
    ) -> ClientConfig {
        self.client_of_any(&[version], alpn)
    }

    fn client_of_any(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.ca.trusted())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, TEST_TIMEOUT).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A handshake that is done, or why it failed.
pub(crate) type Shaken = Result<StreamOwned<ClientConnection, TcpStream>, std::io::Error>;

pub(crate) fn shake(address: SocketAddr, config: ClientConfig, name: &str) -> Shaken {
    shake_over(connect(address), &Arc::new(config), name)
}

pub(crate) fn shake_over(mut stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Shaken {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// The client's preface and empty SETTINGS (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Succeeds if HTTP/2 is spoken: our preface is answered by SETTINGS. In TLS 1.3 it is also here that a client
/// learns that its certificate was refused.
pub(crate) fn speaks_http2(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
) -> Result<(), std::io::Error> {
    stream.write_all(PREFACE)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    assert_eq!(head[3], 4, "SETTINGS come first: {head:?}");
    Ok(())
}
