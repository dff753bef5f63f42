//! The vocabulary of this crate's tests: a CA, pairs with chosen faults, and handshakes in memory.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize,
    SignatureAlgorithm, date_time_ymd,
};
use rustls_pki_types::UnixTime;

use crate::{CertBundle, Proved, Requirements, prove};

const DAY: u64 = 86_400;

/// The time of all tests: 2030-06-15T12:00:00Z.
pub(crate) const NOW: UnixTime = days_after_now(0);

pub(crate) const fn days_after_now(days: i64) -> UnixTime {
    let seconds = 1_907_755_200_i64 + days * DAY as i64;
    UnixTime::since_unix_epoch(Duration::from_secs(seconds as u64))
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A root, an intermediate, and what they issue.
pub(crate) struct TestCa {
    pub(crate) root: CertifiedIssuer<'static, KeyPair>,
    pub(crate) intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A chain and a key in PEM.
#[derive(Clone)]
pub(crate) struct TestPair {
    pub(crate) leaf: String,
    pub(crate) issuers: Vec<String>,
    pub(crate) key: String,
}

impl TestPair {
    pub(crate) fn chain(&self) -> String {
        [std::slice::from_ref(&self.leaf), &self.issuers]
            .concat()
            .concat()
    }

    pub(crate) fn bundle(&self) -> CertBundle {
        CertBundle::parse(self.chain().as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn proved(&self) -> Proved {
        prove(self.bundle(), &Requirements::default(), NOW).unwrap()
    }
}

impl TestCa {
    pub(crate) fn new() -> Self {
        Self::named("Test")
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::with_keys(name, ecdsa)
    }

    pub(crate) fn with_keys(name: &str, key: impl Fn() -> KeyPair) -> Self {
        let root = CertifiedIssuer::self_signed(ca_params(&format!("{name} root")), key()).unwrap();
        let params = ca_params(&format!("{name} intermediate"));
        let intermediate = CertifiedIssuer::signed_by(params, key(), &root).unwrap();
        Self { root, intermediate }
    }

    /// An ECDSA P-256 pair with the intermediate in its chain, valid from 30 days ago to in 60.
    pub(crate) fn pair(&self, names: &[&str]) -> TestPair {
        self.issue(leaf_params(names), ecdsa())
    }

    pub(crate) fn pair_with(&self, names: &[&str], key: KeyPair) -> TestPair {
        self.issue(leaf_params(names), key)
    }

    /// Valid from and until so many days from now.
    pub(crate) fn pair_valid(&self, names: &[&str], from: i64, until: i64) -> TestPair {
        let mut params = leaf_params(names);
        set_validity(&mut params, from, until);
        self.issue(params, ecdsa())
    }

    pub(crate) fn issue(&self, params: CertificateParams, key: KeyPair) -> TestPair {
        let leaf = params.signed_by(&key, &self.intermediate).unwrap().pem();
        TestPair {
            leaf,
            issuers: vec![self.intermediate.pem()],
            key: key.serialize_pem(),
        }
    }
}

pub(crate) fn leaf_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    set_validity(&mut params, -30, 60);
    params
}

pub(crate) fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, -300, 3_000);
    params
}

pub(crate) fn set_validity(params: &mut CertificateParams, from: i64, until: i64) {
    let instant = |days| date_time_ymd(1970, 1, 1) + Duration::from_secs(days_after_now(days).as_secs());
    params.not_before = instant(from);
    params.not_after = instant(until);
}

pub(crate) fn ecdsa() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

pub(crate) fn rsa(size: RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap()
}

/// Handshakes in memory, with a client that verifies against a CA.
pub(crate) mod tls {
    use rustls::client::Resumption;
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    use rustls::server::ResolvesServerCert;
    use rustls::{
        ClientConfig, ClientConnection, Error, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
        SignatureScheme, SupportedProtocolVersion,
    };
    use rustls_pki_types::{CertificateDer, ServerName};

    use super::*;

    pub(crate) fn server(resolver: impl ResolvesServerCert + 'static) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Trusts these CAs' roots.
    pub(crate) fn client(cas: &[&TestCa]) -> ClientConfig {
        client_with(cas, rustls::ALL_VERSIONS, |_| true)
    }

    pub(crate) fn client_with(
        cas: &[&TestCa],
        versions: &[&'static SupportedProtocolVersion],
        scheme: impl Fn(SignatureScheme) -> bool,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for ca in cas {
            roots.add(ca.root.der().clone()).unwrap();
        }
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .build()
        .unwrap();
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let schemes = schemes.into_iter().filter(|offered| scheme(*offered)).collect();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AtTestTime { verifier, schemes }))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        config
    }

    /// The client's view of a handshake: the server's leaf, and full or resumed.
    #[derive(Debug)]
    pub(crate) struct Seen {
        pub(crate) leaf: CertificateDer<'static>,
        pub(crate) kind: HandshakeKind,
    }

    /// The client's view of the handshake, or the error of the side that ended it.
    pub(crate) fn handshake(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<Seen, Error> {
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        // Some rounds beyond the end, so that tickets arrive.
        for _ in 0..6 {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            let mut bytes = flight.as_slice();
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                server.process_new_packets()?;
            }
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            let mut bytes = flight.as_slice();
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(Seen {
            leaf: client.peer_certificates().unwrap()[0].clone().into_owned(),
            kind: client.handshake_kind().unwrap(),
        })
    }

    /// The real verifier of rustls, at the time of the tests, offering the wanted schemes.
    #[derive(Debug)]
    struct AtTestTime {
        verifier: Arc<rustls::client::WebPkiServerVerifier>,
        schemes: Vec<SignatureScheme>,
    }

    use rustls::DigitallySignedStruct;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};

    impl ServerCertVerifier for AtTestTime {
        fn verify_server_cert(
            &self,
            leaf: &CertificateDer<'_>,
            rest: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            self.verifier.verify_server_cert(leaf, rest, name, ocsp, NOW)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.verifier.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.verifier.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.schemes.clone()
        }
    }
}
