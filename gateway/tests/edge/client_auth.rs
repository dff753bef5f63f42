//! Client certificates against trust bundles, hot-swapped.

use std::io::Write;
use std::sync::Arc;

use certstore::trust::MAX_CLIENT_CHAIN;
use certstore::{Rejection, TrustBundle, TrustError};
use gateway::settings::{ClientAuth, ClientAuthMode, Redirect, Tls, TlsVersion};
use gateway::telemetry::HandshakeFailure;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, KeyIdMethod,
    KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SupportedProtocolVersion};

use crate::support::{
    TestCa, TestGateway, connect, eventually, now, provider, shake, shake_over, speaks_http2, tls,
};

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

pub(crate) fn asking(mode: ClientAuthMode) -> Tls {
    Tls {
        client_auth: Some(ClientAuth {
            mode,
            trust: "clients".to_owned(),
        }),
        ..tls()
    }
}

/// A client's certificate and key.
pub(crate) struct Papers {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

pub(crate) fn params(serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["client.example.com".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "one, two");
    params
        .subject_alt_names
        .push(SanType::URI("spiffe://example.org/one".try_into().unwrap()));
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Papers {
    pub(crate) fn of(ca: &TestCa, params: &CertificateParams) -> Self {
        let (pem, key) = ca.issue(params);
        let certified = crate::support::certified(&pem, &key);
        Self {
            chain: certified.cert.clone(),
            key,
        }
    }
}

pub(crate) fn install(gateway: &mut TestGateway, cas: &[&TestCa], lists: &str, revocation: bool) {
    let proved = bundle(cas, lists, revocation).unwrap();
    assert!(gateway.writer.install("clients", proved).changed);
}

fn bundle(cas: &[&TestCa], lists: &str, revocation: bool) -> Result<certstore::ProvedTrust, TrustError> {
    let pem: String = cas.iter().map(|ca| ca.0.pem()).collect();
    TrustBundle::parse(pem.as_bytes(), lists.as_bytes(), revocation, now())
}

pub(crate) fn revoking(ca: &TestCa, serials: &[u64], next_update: i32) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(next_update, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&ca.0).unwrap().pem().unwrap()
}

pub(crate) fn client(
    gateway: &TestGateway,
    papers: Option<&Papers>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(gateway.ca.trusted());
    let mut config = match papers {
        None => builder.with_no_client_auth(),
        Some(Papers { chain, key }) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(chain.clone(), key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Succeeds if such a client gets to HTTP/2; else the alert that it gets.
fn enters_by(
    gateway: &TestGateway,
    papers: Option<&Papers>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(), AlertDescription> {
    let entered = shake(gateway.address(), client(gateway, papers, versions), "localhost")
        .and_then(|mut stream| speaks_http2(&mut stream));
    entered.map_err(
        |error| match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("no alert, but: {error}"),
        },
    )
}

pub(crate) fn enters(gateway: &TestGateway, papers: Option<&Papers>) -> Result<(), AlertDescription> {
    enters_by(gateway, papers, rustls::ALL_VERSIONS)
}

#[test]
fn a_required_certificate_must_lead_to_the_bundle() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (ca, stranger) = (TestCa::new("clients"), TestCa::new("strangers"));
    install(&mut gateway, &[&ca], "", false);
    let good = Papers::of(&ca, &params(1));
    let strange = Papers::of(&stranger, &params(1));
    let mut expired = params(2);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let expired = Papers::of(&ca, &expired);
    let mut server = params(3);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = Papers::of(&ca, &server);
    for versions in VERSIONS {
        enters_by(&gateway, Some(&good), versions).unwrap();
        let alert = |papers| enters_by(&gateway, papers, versions).unwrap_err();
        assert_eq!(alert(Some(&strange)), AlertDescription::UnknownCA);
        assert_eq!(alert(Some(&expired)), AlertDescription::CertificateExpired);
        assert_eq!(alert(Some(&server)), AlertDescription::UnsupportedCertificate);
        let none = alert(None);
        let valid = [
            AlertDescription::CertificateRequired,
            AlertDescription::HandshakeFailure,
        ];
        assert!(valid.contains(&none), "{none:?}");
    }
    eventually("eight refused certificates", || {
        (gateway.failures(HandshakeFailure::ClientCertificate) == 8).then_some(())
    });
}

#[test]
fn an_optional_certificate_may_be_missing_but_not_bad() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Optional));
    let (ca, stranger) = (TestCa::new("clients"), TestCa::new("strangers"));
    install(&mut gateway, &[&ca], "", false);
    for versions in VERSIONS {
        enters_by(&gateway, None, versions).unwrap();
        enters_by(&gateway, Some(&Papers::of(&ca, &params(1))), versions).unwrap();
        let strange = enters_by(&gateway, Some(&Papers::of(&stranger, &params(1))), versions);
        assert_eq!(strange, Err(AlertDescription::UnknownCA));
    }
}

#[test]
fn before_the_first_bundle_every_certificate_is_refused() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    let papers = Papers::of(&ca, &params(1));
    enters(&gateway, Some(&papers)).unwrap_err();
    enters(&gateway, None).unwrap_err();
    eventually("two refused clients, one of them by no fault of its own", || {
        let count = |class| gateway.failures(class);
        let counts = [
            HandshakeFailure::NoTrustBundle,
            HandshakeFailure::ClientCertificate,
        ]
        .map(count);
        (counts == [1, 1]).then_some(())
    });
    assert!(gateway.reader.anchors("clients").is_none());
    install(&mut gateway, &[&ca], "", false);
    enters(&gateway, Some(&papers)).unwrap();
    assert_eq!(gateway.reader.anchors("clients").unwrap().len(), 1);
}

#[test]
fn before_the_first_bundle_only_those_without_a_certificate_enter_where_it_is_optional() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Optional));
    let ca = TestCa::new("clients");
    let papers = Papers::of(&ca, &params(1));
    enters(&gateway, None).unwrap();
    enters(&gateway, Some(&papers)).unwrap_err();
    install(&mut gateway, &[&ca], "", false);
    enters(&gateway, Some(&papers)).unwrap();
}

#[test]
fn a_new_bundle_counts_from_the_next_handshake() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (one, two) = (TestCa::new("one"), TestCa::new("two"));
    let (of_one, of_two) = (Papers::of(&one, &params(1)), Papers::of(&two, &params(2)));
    install(&mut gateway, &[&one], "", false);
    assert_eq!(enters(&gateway, Some(&of_two)), Err(AlertDescription::UnknownCA));
    install(&mut gateway, &[&one, &two], "", false);
    enters(&gateway, Some(&of_one)).unwrap();
    enters(&gateway, Some(&of_two)).unwrap();
    install(&mut gateway, &[&two], "", false);
    assert_eq!(enters(&gateway, Some(&of_one)), Err(AlertDescription::UnknownCA));
    // A refused candidate takes nothing away.
    bundle(&[], "", false).unwrap_err();
    let refusal = Rejection {
        message: "broken".to_owned(),
        at: now(),
    };
    gateway.writer.refuse::<TrustBundle>("clients", refusal);
    enters(&gateway, Some(&of_two)).unwrap();
}

#[test]
fn a_revoked_certificate_is_refused() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    let (one, two) = (Papers::of(&ca, &params(1)), Papers::of(&ca, &params(2)));
    for revocation in [false, true] {
        install(&mut gateway, &[&ca], &revoking(&ca, &[1], 2100), revocation);
        for versions in VERSIONS {
            let refused = enters_by(&gateway, Some(&one), versions);
            assert_eq!(refused, Err(AlertDescription::CertificateRevoked));
            enters_by(&gateway, Some(&two), versions).unwrap();
        }
    }
    install(&mut gateway, &[&ca], &revoking(&ca, &[2], 2100), true);
    enters(&gateway, Some(&one)).unwrap();
    assert_eq!(
        enters(&gateway, Some(&two)),
        Err(AlertDescription::CertificateRevoked)
    );
}

#[test]
fn a_revocation_list_in_use_goes_on_when_it_is_past_its_time() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    let list = revoking(&ca, &[1], 2025);
    let refused = bundle(&[&ca], &list, true).unwrap_err();
    assert!(
        matches!(refused, TrustError::RevocationListExpired { .. }),
        "{refused}"
    );
    let kept = TrustBundle::restore(ca.0.pem().as_bytes(), list.as_bytes(), true).unwrap();
    gateway.writer.install("clients", kept);
    let revoked = enters(&gateway, Some(&Papers::of(&ca, &params(1))));
    assert_eq!(revoked, Err(AlertDescription::CertificateRevoked));
    enters(&gateway, Some(&Papers::of(&ca, &params(2)))).unwrap();
}

#[test]
fn no_session_is_ever_resumed_where_certificates_are_asked_for() {
    for (mode, resumes) in [
        (Some(ClientAuthMode::Required), false),
        (Some(ClientAuthMode::Optional), false),
        // The control: without client certificates the same client does resume.
        (None, true),
    ] {
        let mut gateway = TestGateway::with(mode.map_or_else(tls, asking));
        let ca = TestCa::new("clients");
        install(&mut gateway, &[&ca], "", false);
        let papers = Papers::of(&ca, &params(1));
        for versions in VERSIONS {
            let config = Arc::new(client(&gateway, Some(&papers), versions));
            let mut kinds = Vec::new();
            for _ in 0..3 {
                let mut stream = shake_over(connect(gateway.address()), &config, "localhost").unwrap();
                speaks_http2(&mut stream).unwrap();
                kinds.push(stream.conn.handshake_kind().unwrap());
                assert_eq!(
                    stream.conn.tls13_tickets_received() > 0,
                    resumes && versions == VERSIONS[0]
                );
            }
            assert_eq!(
                kinds.contains(&HandshakeKind::Resumed),
                resumes,
                "{mode:?} {kinds:?}"
            );
        }
    }
}

#[test]
fn a_listener_that_begins_to_ask_resumes_nothing_of_before() {
    let mut gateway = TestGateway::start();
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    for versions in VERSIONS {
        gateway.reload(|settings| set_tls(settings, tls()));
        let config = Arc::new(client(&gateway, None, versions));
        let mut stream = shake_over(connect(gateway.address()), &config, "localhost").unwrap();
        speaks_http2(&mut stream).unwrap();
        gateway.reload(|settings| set_tls(settings, asking(ClientAuthMode::Required)));
        let entered = shake_over(connect(gateway.address()), &config, "localhost")
            .and_then(|mut stream| speaks_http2(&mut stream));
        assert!(entered.is_err());
    }
}

fn set_tls(settings: &mut gateway::settings::Settings, wanted: Tls) {
    if let gateway::settings::Protocol::Http2(http2) = &mut settings.listeners[0].protocol {
        http2.tls = Some(wanted);
    }
}

#[test]
fn a_challenge_is_answered_without_a_client_certificate() {
    let strict = Tls {
        min_version: TlsVersion::V1_3,
        ..asking(ClientAuthMode::Required)
    };
    let gateway = TestGateway::without_certificate(strict, Redirect::Https);
    crate::challenge::is_answered(&gateway);
}

#[test]
fn a_chain_of_many_kilobytes_fits_a_handshake_and_one_that_is_too_long_to_be_kept_is_refused() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    // Several reads of the gateway; several records of TLS, and nearly all that rustls takes.
    for (names, sizes, outcome) in [
        (185, 12_000..MAX_CLIENT_CHAIN, Ok(())),
        (700, 50_000..64_000, Err(AlertDescription::CertificateUnknown)),
    ] {
        let name = |n| SanType::DnsName(format!("{n}.{}.example.com", "a".repeat(60)).try_into().unwrap());
        let mut large = params(1);
        large.subject_alt_names.extend((0..names).map(name));
        let papers = Papers::of(&ca, &large);
        let size = papers.chain[0].len();
        assert!(sizes.contains(&size), "{size}");
        for versions in VERSIONS {
            assert_eq!(enters_by(&gateway, Some(&papers), versions), outcome, "{size}");
        }
    }
}

#[test]
fn a_backend_hears_who_the_client_is_and_never_what_it_claims() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Optional));
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    let heard = gateway.serve_by_backend();
    let papers = Papers::of(&ca, &params(1));
    for papers in [Some(&papers), None] {
        let config = client(&gateway, papers, rustls::ALL_VERSIONS);
        let mut stream = shake(gateway.address(), config, "localhost").unwrap();
        speaks_http2(&mut stream).unwrap();
        stream.write_all(&forged_request()).unwrap();
        let count = usize::from(papers.is_none()) + 1;
        eventually("a request", || {
            (heard.lock().unwrap().len() == count).then_some(())
        });
    }
    let heard = heard.lock().unwrap();
    let hash = sha256(&papers.chain[0]);
    let expected =
        format!("Hash={hash};Subject=\"CN=one\\, two\";URI=spiffe://example.org/one;DNS=client.example.com");
    assert_eq!(*heard, [vec![expected], vec![]]);
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let rustls::SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("a suite of TLS 1.3");
    };
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HEADERS of `POST /s.S/M` with a claim about the client's certificate, ending the stream.
pub(crate) fn forged_request() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/s.S/M"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-forwarded-client-cert", "Hash=00"),
    ] {
        // RFC 7541 §6.2.2: a literal with a new name, not indexed.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    [&length[1..], &[1, 5, 0, 0, 0, 1], &block].concat()
}
