//! The TLS side of a listener: one configuration per policy, and what a failed handshake means.

use std::sync::Arc;

use certstore::{Challenges, ClientTrust};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};

use crate::settings::{ClientAuth, ClientAuthMode, Tls, TlsVersion, WithoutAlpn};
use crate::telemetry::HandshakeFailure;

/// RFC 7301 §3.2: the alert record for `no_application_protocol` (fatal, 120), before any keys.
///
/// rustls can send it when protocols do not match, but not when none was offered.
pub(crate) const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];
/// RFC 6066 §3: the alert record for `unrecognized_name` (fatal, 112), before any keys.
pub(crate) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// RFC 7540 §11.1, RFC 8737 §6.2: protocol identifiers.
const H2: &[u8] = b"h2";
pub(crate) const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The TLS state of a listener, which each of its handshakes needs; certificates change inside the resolvers.
pub(crate) struct ListenerTls {
    pub(crate) service: Arc<ServerConfig>,
    /// For the CA that checks that we hold a name (RFC 8737): its own policy, whatever the listener's is.
    pub(crate) challenge: Arc<ServerConfig>,
    pub(crate) challenges: Challenges,
    /// `None` where clients are not asked for certificates.
    pub(crate) client_trust: Option<ClientTrust>,
    policy: Tls,
    /// Kept over reloads. `None` where clients present certificates.
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl ListenerTls {
    /// The ticket keys of `before` go on, if it has the same policy: a stricter one must not be resumed around.
    pub(crate) fn new(
        tls: &Tls,
        certificates: &certstore::Reader,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let ticketer = match (&tls.client_auth, before.filter(|known| known.has_policy_of(tls))) {
            // rustls does not verify a client's certificate again when it resumes a session.
            (Some(_), _) => None,
            (None, Some(known)) => known.ticketer.clone(),
            (None, None) => Some(aws_lc_rs::Ticketer::new()?),
        };
        Ok(Self {
            service: service(tls, certificates, ticketer.clone())?,
            challenge: challenge(certificates.challenges())?,
            challenges: certificates.challenges().clone(),
            client_trust: tls
                .client_auth
                .as_ref()
                .map(|auth| certificates.client_trust(&auth.trust)),
            policy: tls.clone(),
            ticketer,
        })
    }

    fn has_policy_of(&self, tls: &Tls) -> bool {
        let known = &self.policy;
        known.min_version == tls.min_version
            && known.without_alpn == tls.without_alpn
            && known.client_auth == tls.client_auth
    }
}

fn service(
    tls: &Tls,
    certificates: &certstore::Reader,
    ticketer: Option<Arc<dyn ProducesTickets>>,
) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let resolver = certificates
        .resolver(&tls.certificates)
        .refuse_without_alpn(tls.without_alpn == WithoutAlpn::Refuse);
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(ClientAuth { mode, trust }) => {
            let optional = *mode == ClientAuthMode::Optional;
            builder.with_client_cert_verifier(certificates.client_verifier(trust, optional))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A gRPC client keeps its connection: one ticket is enough for the next one, and each costs.
    config.send_tls13_tickets = usize::from(ticketer.is_some());
    if let Some(ticketer) = ticketer {
        config.ticketer = ticketer;
    }
    checked(config, H2, tls.client_auth.is_some())
}

/// RFC 8737 §3: nothing but `acme-tls/1`, and no data.
fn challenge(challenges: &Challenges) -> Result<Arc<ServerConfig>, Error> {
    let resolver = ChallengeResolver(challenges.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ACME_TLS_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    checked(config, ACME_TLS_1, true)
}

/// Every configuration that is ever served with comes through here.
fn checked(mut config: ServerConfig, alpn: &[u8], never_resumes: bool) -> Result<Arc<ServerConfig>, Error> {
    config.max_early_data_size = 0;
    let resumes = config.ticketer.enabled() || config.send_tls13_tickets > 0;
    let right =
        config.alpn_protocols == [alpn] && !config.session_storage.can_cache() && !(never_resumes && resumes);
    if right {
        return Ok(Arc::new(config));
    }
    Err(Error::General(
        "a TLS configuration breaks its own policy; this is a bug in h2gate".into(),
    ))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct ChallengeResolver(Challenges);

impl ResolvesServerCert for ChallengeResolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.tls_alpn(client_hello.server_name()?)
    }
}

/// Which class a failed handshake belongs to; `first` are the first bytes the client sent.
pub(crate) fn classify(error: &Error, first: &[u8]) -> HandshakeFailure {
    match error {
        Error::NoApplicationProtocol => HandshakeFailure::NoCommonAlpn,
        Error::InvalidCertificate(_) if certstore::lacks_bundle(error) => HandshakeFailure::NoTrustBundle,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => HandshakeFailure::ClientCertificate,
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

#[cfg(test)]
mod tests {
    use rustls::server::ServerSessionMemoryCache;

    use super::*;

    fn config() -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ChallengeResolver(Challenges::default())));
        config.alpn_protocols = vec![H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    /// `true` if such a configuration may serve, with and without client certificates.
    fn may_serve(change: impl Fn(&mut ServerConfig)) -> [bool; 2] {
        [true, false].map(|never_resumes| {
            let mut config = config();
            change(&mut config);
            checked(config, H2, never_resumes).is_ok()
        })
    }

    #[test]
    fn a_configuration_that_could_resume_around_the_check_never_serves() {
        assert_eq!(may_serve(|_| {}), [true, true]);
        assert_eq!(may_serve(|config| config.send_tls13_tickets = 1), [false, true]);
        let ticketer = aws_lc_rs::Ticketer::new().unwrap();
        assert_eq!(
            may_serve(|config| config.ticketer = Arc::clone(&ticketer)),
            [false, true]
        );
        let cache = ServerSessionMemoryCache::new(1);
        assert_eq!(
            may_serve(|config| config.session_storage = cache.clone()),
            [false, false]
        );
        assert_eq!(
            may_serve(|config| config.alpn_protocols.push(b"http/1.1".to_vec())),
            [false, false]
        );
    }

    #[test]
    fn early_data_is_off_whatever_was_asked_for() {
        let mut config = config();
        config.max_early_data_size = 1;
        assert_eq!(checked(config, H2, true).unwrap().max_early_data_size, 0);
    }
}
