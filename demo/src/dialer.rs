//! The demo's way to the gateway: TCP, TLS with the demo's CA and ALPN `h2`, then tonic. Each
//! handshake is looked at: which certificate was shown.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::rotation::Issued;
use super::tally::Tally;

/// For TCP and TLS together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Dialer {
    gateway: SocketAddr,
    tls: TlsConnector,
    issued: Arc<Issued>,
    tally: Arc<Tally>,
}

impl Dialer {
    /// Dials `gateway` and trusts this CA alone.
    pub(super) fn new(
        gateway: SocketAddr,
        ca: &CertificateDer<'static>,
        issued: Arc<Issued>,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session shows the certificate of the session before, and we want today's.
        config.resumption = Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self {
            gateway: reachable(gateway),
            tls,
            issued,
            tally,
        })
    }

    /// A connection of its own, made now.
    pub(super) async fn fresh(&self, name: &str) -> anyhow::Result<Channel> {
        self.channel(name, Purpose::Fresh).await
    }

    /// A connection that should live as long as the demo; each time that it has to be made
    /// again counts as a failure.
    pub(super) async fn kept(&self, name: &str) -> anyhow::Result<Channel> {
        self.channel(
            name,
            Purpose::Kept {
                made: AtomicBool::new(false),
            },
        )
        .await
    }

    async fn channel(&self, name: &str, purpose: Purpose) -> anyhow::Result<Channel> {
        let server_name = ServerName::try_from(name.to_owned())?;
        let authority = if name.contains(':') {
            format!("[{name}]")
        } else {
            name.to_owned()
        };
        let uri = format!("https://{authority}:{}", self.gateway.port());
        let (dialer, purpose) = (self.clone(), Arc::new(purpose));
        let connector = tower::service_fn(move |_: Uri| {
            let (dialer, server_name, purpose) = (dialer.clone(), server_name.clone(), Arc::clone(&purpose));
            async move {
                let stream = dialer
                    .connect(server_name, &purpose)
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_shared(uri)?
            .connect_with_connector(connector)
            .await;
        channel.with_context(|| format!("cannot connect to {} as {name}", self.gateway))
    }

    async fn connect(
        &self,
        name: ServerName<'static>,
        purpose: &Purpose,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        if let Purpose::Kept { made } = purpose
            && made.swap(true, Ordering::Relaxed)
        {
            let mut counts = self.tally.counts();
            counts.reconnects += 1;
            counts.failure(
                self.tally.elapsed(),
                "a kept connection was closed and had to be made again".to_owned(),
            );
        }
        let newest_before = self.tally.counts().newest_seen;
        let handshake = async {
            let tcp = TcpStream::connect(self.gateway).await?;
            tcp.set_nodelay(true)?;
            self.tls.connect(name, tcp).await
        };
        let stream = tokio::time::timeout(CONNECT_DEADLINE, handshake)
            .await
            .context("no handshake within 5 s")??;

        let (_, session) = stream.get_ref();
        ensure!(
            session.alpn_protocol() == Some(b"h2"),
            "the gateway did not choose ALPN h2"
        );
        let leaf = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .context("the gateway showed no certificate")?;
        let number = self
            .issued
            .number_of(leaf)
            .context("the gateway showed a certificate that is not ours")?;

        let mut counts = self.tally.counts();
        counts.kept += u64::from(matches!(purpose, Purpose::Kept { .. }));
        counts.handshake(number, newest_before, self.tally.elapsed());
        drop(counts);
        Ok(stream)
    }
}

enum Purpose {
    Fresh,
    Kept { made: AtomicBool },
}

/// An address to dial for one to listen on: `0.0.0.0` and `[::]` mean all, and so this machine.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
