//! The demo's clients against a stand-in for the gateway: it ends TLS with the certificate on
//! disk at that moment and passes the bytes on to a backend.

use std::net::SocketAddr;
use std::sync::Mutex;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::authority::Authority;
use crate::folder::Folder;
use crate::rotation::Rotation;
use crate::route_guide::Backend;
use crate::stop;
use crate::tally::Counts;

struct StandIn {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl StandIn {
    async fn start(folder: Arc<Folder>, backend: SocketAddr, alpn: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let acceptor = acceptor(&folder, alpn);
                opened.lock().unwrap().push(tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let mut backend = TcpStream::connect(backend).await.unwrap();
                    tokio::io::copy_bidirectional(&mut client, &mut backend)
                        .await
                        .ok();
                }));
            }
        });
        Self {
            address,
            accepting,
            connections,
        }
    }

    fn cut_all_connections(&self) {
        self.connections
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|connection| connection.abort());
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all_connections();
    }
}

fn acceptor(folder: &Folder, alpn: &[u8]) -> TlsAcceptor {
    let version = folder.certificates().join("..data").canonicalize().unwrap();
    let chain = CertificateDer::pem_file_iter(version.join("tls.crt"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(version.join("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Everything but the gateway, with traffic running.
struct Bench {
    backend: Backend,
    stand_in: StandIn,
    rotation: Rotation,
    tally: Arc<Tally>,
    stopper: stop::Stopper,
    traffic: JoinHandle<()>,
}

impl Bench {
    async fn start(alpn: &'static [u8]) -> Self {
        let backend = Backend::start("north").await.unwrap();
        let names = ["localhost", "127.0.0.1", "*.demo.local"]
            .map(str::to_owned)
            .to_vec();
        let authority = Authority::new(names).unwrap();
        let ca = authority.der().clone();
        let folder = Arc::new(Folder::create(&authority.pem()).unwrap());
        let rotation = Rotation::new(authority, Arc::clone(&folder));
        rotation.rotate().unwrap();
        let stand_in = StandIn::start(folder, backend.address(), alpn).await;
        let tally = Arc::new(Tally::new());
        let dialer = Dialer::new(stand_in.address, &ca, rotation.issued(), Arc::clone(&tally)).unwrap();
        let (stopper, stop) = stop::channel();
        let traffic = tokio::spawn(run(dialer, Arc::clone(&tally), stop));
        Self {
            backend,
            stand_in,
            rotation,
            tally,
            stopper,
            traffic,
        }
    }

    async fn until(&self, what: &str, fact: impl Fn(&Counts) -> bool) {
        let wait = async {
            while !fact(&self.tally.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = || self.tally.counts().told.clone();
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("{what}: {:?}", told()));
    }

    async fn end(self) -> Counts {
        self.stopper.stop();
        self.traffic.await.unwrap();
        drop(self.stand_in);
        self.backend.stop().await;
        self.tally.counts().clone()
    }
}

#[tokio::test]
async fn all_kinds_run_over_kept_and_fresh_connections_while_certificates_rotate() {
    let bench = Bench::start(b"h2").await;
    let all_kinds = |c: &Counts| {
        Kind::ALL
            .iter()
            .all(|kind| c.rpcs.get(kind).is_some_and(|r| r.succeeded >= 5))
    };
    bench.until("four kinds of RPC", all_kinds).await;
    for number in 2..=3 {
        bench.rotation.rotate().unwrap();
        bench
            .until("the new certificate", |c| c.newest_seen == number)
            .await;
    }
    bench
        .until("an exchange on each open chat", |c| {
            c.long_chat_notes >= 3 * KEPT as u64
        })
        .await;
    let counts = bench.end().await;
    assert_eq!((counts.failures, counts.told), (0, Vec::new()));
    assert_eq!((counts.rotations_seen, counts.reconnects), (2, 0));
    assert_eq!((counts.kept, counts.long_chats), (KEPT as u64, KEPT as u64));
    assert!(counts.handshakes > counts.kept + 2, "{}", counts.handshakes);
    assert_eq!(counts.served_by.keys().collect::<Vec<_>>(), ["north"]);
}

#[tokio::test]
async fn cut_connections_count_as_failures_and_as_reconnects() {
    let bench = Bench::start(b"h2").await;
    bench
        .until("every chat open", |c| {
            c.long_chat_notes >= 3 * KEPT as u64 && c.kept == KEPT as u64
        })
        .await;
    assert_eq!(bench.tally.counts().failures, 0);
    bench.stand_in.cut_all_connections();
    bench
        .until("all connections made again", |c| c.reconnects == KEPT as u64)
        .await;
    let counts = bench.end().await;
    // Each reconnect, and each chat that was cut.
    assert!(counts.failures >= 2 * KEPT as u64, "{:?}", counts.told);
}

#[tokio::test]
async fn a_gateway_that_does_not_choose_h2_is_a_failure() {
    let bench = Bench::start(b"http/1.1").await;
    bench.until("failures", |c| c.failures >= KEPT as u64).await;
    let counts = bench.end().await;
    assert_eq!((counts.succeeded(), counts.handshakes), (0, 0));
}
