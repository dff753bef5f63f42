use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Pair, Trust, within};

/// The handshake of a client. The default: TLS 1.2 and 1.3, ALPN `h2`, SNI `localhost`, no resumption.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// SNI and the name that is verified.
    pub name: String,
    /// Protocols offered; none: no ALPN extension.
    pub alpn: Vec<&'static str>,
    /// Versions offered.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Only cipher suites and signatures of this kind.
    pub only: Option<Signatures>,
    /// The pair that the client presents when it is asked for a certificate.
    pub identity: Option<Pair>,
}

/// The signatures that a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// No RSA.
    Ecdsa,
    /// No ECDSA.
    Rsa,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            name: "localhost".to_owned(),
            alpn: vec!["h2"],
            versions: rustls::ALL_VERSIONS,
            only: None,
            identity: None,
        }
    }
}

impl TlsOptions {
    /// With this SNI.
    pub fn name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Offers these protocols.
    pub fn alpn(self, alpn: &[&'static str]) -> Self {
        Self {
            alpn: alpn.to_vec(),
            ..self
        }
    }

    /// Offers these versions only.
    pub fn versions(self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        Self { versions, ..self }
    }

    /// Takes these signatures only.
    pub fn only(self, only: Signatures) -> Self {
        Self {
            only: Some(only),
            ..self
        }
    }

    /// Shows this certificate when it is asked for one.
    pub fn identity(self, pair: &Pair) -> Self {
        Self {
            identity: Some(pair.clone()),
            ..self
        }
    }

    /// The configuration of rustls.
    pub fn config(&self, ca: &impl Trust) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(ca.roots());
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = pair.der();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        // rustls offers what its verifier can check, so a verifier that knows one kind is a client of that kind.
        if let Some(only) = self.only {
            let wanted = |scheme: &rustls::SignatureScheme| {
                let ecdsa = scheme.as_str().is_some_and(|name| name.starts_with("ECDSA"));
                ecdsa == (only == Signatures::Ecdsa)
            };
            let algorithms = &mut provider.signature_verification_algorithms;
            let mapping: Vec<_> = algorithms
                .mapping
                .iter()
                .filter(|(scheme, _)| wanted(scheme))
                .copied()
                .collect();
            // The CA itself signs with ECDSA: `all`, which checks chains, stays whole.
            algorithms.mapping = Box::leak(mapping.into_boxed_slice());
        }
        provider
    }

    /// One connection.
    pub async fn connect(&self, address: SocketAddr, ca: &impl Trust) -> Result<Handshake, Refusal> {
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|error| Refusal(error.to_string()))?;
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let shaken = TlsConnector::from(self.config(ca)).connect(name, tcp);
        let stream = within("TLS handshake ends", Duration::from_secs(15), shaken).await;
        stream.map(Handshake).map_err(|error| Refusal(error.to_string()))
    }
}

/// A finished handshake.
#[derive(Debug)]
pub struct Handshake(pub TlsStream<TcpStream>);

/// The reason for which there is no connection.
#[derive(Debug, Clone)]
pub struct Refusal(pub String);

impl Handshake {
    /// The protocol that the server chose.
    pub fn alpn(&self) -> Option<String> {
        self.0
            .get_ref()
            .1
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// TLS version.
    pub fn version(&self) -> ProtocolVersion {
        self.0.get_ref().1.protocol_version().unwrap()
    }

    /// The server's chain, DER, its certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.0.get_ref().1.peer_certificates().unwrap();
        chain
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect()
    }

    /// The server's certificate, PEM.
    pub fn leaf_pem(&self) -> String {
        pem("CERTIFICATE", &self.chain()[0])
    }

    /// The server's public key, DER (RFC 5280 §4.1.2.7).
    pub fn public_key(&self) -> Vec<u8> {
        let leaf = &self.chain()[0];
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).unwrap();
        leaf.public_key().raw.to_vec()
    }

    /// Serial number of the server's certificate: [`crate::Pair::serial`].
    pub fn serial(&self) -> u64 {
        serial_of(&self.chain()[0])
    }
}

/// The low 64 bits of a certificate's serial number.
pub fn serial_of(certificate: &[u8]) -> u64 {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    parsed.tbs_certificate.serial.iter_u64_digits().next().unwrap()
}

/// DER as PEM (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Once per process: rustls with aws-lc-rs.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else in the process may have been quicker, with the same provider.
        aws_lc_rs::default_provider().install_default().ok();
    });
}
