//! Handshakes in memory with the resolver that will serve, and a client that accepts exactly this chain.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};

use super::{ProveError, Requirements};
use crate::bundle::{CertBundle, Name};
use crate::resolver::{Resolver, Table, take_resolution};
use crate::serving::{Proved, Serving};

/// The label that stands for "any" under a wildcard.
const TRIAL_LABEL: &str = "h2gate-trial";

/// A handshake needs two flights each way; more rounds than this mean that it will never end.
const MAX_ROUNDS: usize = 16;

/// Each ALPN list × TLS version with the first kind of name, and one handshake for each other kind: the name
/// changes the look-up only, the signature is what costs.
pub(super) fn handshakes(bundle: &Arc<CertBundle>, requirements: &Requirements) -> Result<(), ProveError> {
    let trial = TrialServer::new(bundle);
    let (first, others) = server_names(bundle.names());
    let mut last = None;
    for version in &requirements.versions {
        for alpn in &requirements.alpn {
            trial.handshake(&first, version, alpn)?;
            last = Some((version, alpn));
        }
    }
    if let Some((version, alpn)) = last {
        for name in &others {
            trial.handshake(name, version, alpn)?;
        }
    }
    // The trial's resolution is taken away, so that no caller on this thread takes it for a client's.
    take_resolution();
    Ok(())
}

/// One server name for each kind of name that the certificate has: host, wildcard, address.
fn server_names(names: &[Name]) -> (ServerName<'static>, Vec<ServerName<'static>>) {
    let host = names.iter().find_map(|name| match name {
        Name::Dns(host) => ServerName::try_from(host.to_string()).ok(),
        Name::Wildcard(_) | Name::Ip(_) => None,
    });
    let wildcard = names.iter().find_map(|name| match name {
        Name::Wildcard(parent) => ServerName::try_from(format!("{TRIAL_LABEL}.{parent}")).ok(),
        Name::Dns(_) | Name::Ip(_) => None,
    });
    let address = names.iter().find_map(|name| match name {
        Name::Ip(ip) => Some(ServerName::from(*ip)),
        Name::Dns(_) | Name::Wildcard(_) => None,
    });
    let mut names = [host, wildcard, address].into_iter().flatten();
    // A certificate without names is reached without SNI, as by an address.
    let first = names.next().unwrap_or_else(|| {
        ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from(
            std::net::Ipv4Addr::LOCALHOST,
        )))
    });
    (first, names.collect())
}

/// A resolver that holds the candidate alone, and a client that accepts nothing else.
struct TrialServer {
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    verifier: Arc<ExactChain>,
}

impl TrialServer {
    fn new(bundle: &Arc<CertBundle>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let name: Arc<str> = "trial".into();
        let proved = Proved::new(Arc::clone(bundle), bundle.fingerprint());
        let serving = Arc::new(Serving::new(Arc::clone(&name), 0, proved));
        let table = Arc::new(Table::new(vec![name]));
        table.rebuild(|_| Some(Arc::clone(&serving)));
        let verifier = ExactChain {
            chain: bundle.certified_key().cert.clone(),
            provider: Arc::clone(&provider),
        };
        Self {
            provider,
            resolver: Arc::new(Resolver::new(table)),
            verifier: Arc::new(verifier),
        }
    }

    fn handshake(
        &self,
        name: &ServerName<'static>,
        version: &'static SupportedProtocolVersion,
        alpn: &[Vec<u8>],
    ) -> Result<(), ProveError> {
        let failed = |reason: String| {
            let protocols: Vec<_> = alpn
                .iter()
                .map(|protocol| String::from_utf8_lossy(protocol))
                .collect();
            let protocols = if alpn.is_empty() {
                "none".to_owned()
            } else {
                protocols.join(", ")
            };
            let trial = format!("{:?}, ALPN {protocols}, for {}", version.version, name.to_str());
            ProveError::Handshake { trial, reason }
        };
        self.run(name, version, alpn).map_err(failed)
    }

    fn run(
        &self,
        name: &ServerName<'static>,
        version: &'static SupportedProtocolVersion,
        alpn: &[Vec<u8>],
    ) -> Result<(), String> {
        let text = |error: rustls::Error| error.to_string();
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[version])
            .map_err(text)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.resolver) as _);
        server.alpn_protocols = alpn.to_vec();
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[version])
            .map_err(text)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
            .with_no_client_auth();
        client.alpn_protocols = alpn.to_vec();
        client.resumption = Resumption::disabled();

        let mut server = ServerConnection::new(Arc::new(server)).map_err(text)?;
        let mut client = ClientConnection::new(Arc::new(client), name.clone()).map_err(text)?;
        for _ in 0..MAX_ROUNDS {
            if !client.is_handshaking() && !server.is_handshaking() {
                return match client.alpn_protocol() == alpn.first().map(Vec::as_slice) {
                    true => Ok(()),
                    false => Err("another ALPN protocol was chosen".to_owned()),
                };
            }
            transfer(&mut client, &mut server)?;
            transfer(&mut server, &mut client)?;
        }
        Err("the handshake does not end".to_owned())
    }
}

/// Moves all output of one side to the other.
fn transfer<A, B>(
    from: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<A>>,
    to: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<B>>,
) -> Result<(), String> {
    let mut flight = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut flight).map_err(|error| error.to_string())?;
    }
    let mut flight = flight.as_slice();
    while !flight.is_empty() {
        to.read_tls(&mut flight).map_err(|error| error.to_string())?;
        to.process_new_packets().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Accepts exactly this chain, and nothing for it but a true signature.
#[derive(Debug)]
struct ExactChain {
    chain: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ExactChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let same = self
            .chain
            .split_first()
            .is_some_and(|(leaf, rest)| leaf == end_entity && rest == intermediates);
        match same {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
