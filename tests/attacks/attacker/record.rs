//! TLS records that no TLS library writes: the keys of a finished handshake are taken from rustls, and the records are
//! made by hand.

use e2e::TlsOptions;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Target;

/// A connection after its handshake, whose records are made by hand.
pub(crate) struct Records {
    pub(crate) socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    next: u64,
}

/// The configuration of a handshake that gives out its keys: with ChaCha20-Poly1305, which both versions know.
pub(crate) fn config(
    target: &Target,
    version: &'static [&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| format!("{:?}", suite.suite()).contains("CHACHA20_POLY1305"));
    let usual = TlsOptions::default().config(&target.roots);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(version)
        .unwrap()
        .with_root_certificates(Arc::clone(&target.roots))
        .with_no_client_auth();
    config.alpn_protocols.clone_from(&usual.alpn_protocols);
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

impl Records {
    /// Shakes hands and sends `plain`.
    pub(crate) async fn open(target: &Target, config: &Arc<ClientConfig>, plain: &[u8]) -> Option<Self> {
        let socket = TcpStream::connect(target.address).await.ok()?;
        socket.set_nodelay(true).ok()?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = TlsConnector::from(Arc::clone(config))
            .connect(name, socket)
            .await
            .ok()?;
        tls.write_all(plain).await.ok()?;
        tls.flush().await.ok()?;
        let (socket, session) = tls.into_inner();
        let suite = session.negotiated_cipher_suite()?;
        let (next, secrets) = session.dangerous_extract_secrets().ok()?.tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            return None;
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv.as_ref(), &[]),
        };
        Some(Self {
            socket,
            encrypter,
            next,
        })
    }

    /// A record of this type.
    pub(crate) fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let record = self.encrypter.encrypt(message, self.next).unwrap();
        self.next += 1;
        record.encode()
    }
}
