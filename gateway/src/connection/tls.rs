//! The TLS side of a listener: one configuration per policy, and what a failed handshake means.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{Error, ServerConfig};

use crate::settings::{Tls, TlsVersion, WithoutAlpn};
use crate::telemetry::HandshakeFailure;

/// RFC 7301 §3.2: the alert record for `no_application_protocol` (fatal, 120), before any keys.
///
/// rustls can send it when protocols do not match, but not when none was offered.
pub(crate) const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Keys for session tickets, made once for a listener and its policy and kept over reloads.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    aws_lc_rs::Ticketer::new()
}

/// The configuration for every handshake of one listener; certificates change inside the resolver.
pub(crate) fn server_config(
    tls: &Tls,
    certificates: &certstore::Reader,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let resolver = certificates
        .resolver(&tls.certificates)
        .refuse_without_alpn(tls.without_alpn == WithoutAlpn::Refuse);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A gRPC client keeps its connection: one ticket is enough for the next one, and each costs.
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Which class a failed handshake belongs to; `first` are the first bytes the client sent.
pub(crate) fn classify(error: &Error, first: &[u8]) -> HandshakeFailure {
    match error {
        Error::NoApplicationProtocol => HandshakeFailure::NoCommonAlpn,
        Error::PeerIncompatible(_) => HandshakeFailure::VersionOrCipher,
        Error::AlertReceived(_) => HandshakeFailure::ClientAlert,
        Error::InvalidMessage(_) if looks_like_http(first) => HandshakeFailure::PlaintextOnTls,
        _ => HandshakeFailure::Other,
    }
}

fn looks_like_http(first: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] = [
        b"PRI ", b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN",
    ];
    METHODS.iter().any(|method| first.starts_with(method))
}
