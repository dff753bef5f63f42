//! TLS-ALPN-01 (RFC 8737) on the listener that serves RPCs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::telemetry::HandshakeFailure;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ClientConnection, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::support::{TestGateway, connect, eventually, provider, shake, shake_over, speaks_http2};

const DIGEST: [u8; 32] = [7; 32];

/// RFC 8737 §3: a self-signed certificate with the digest in a critical extension.
pub(crate) fn answer(name: &str) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&DIGEST)];
    crate::support::certified(&params.self_signed(&key).unwrap().pem(), &key)
}

/// A CA looks at what it is shown, and trusts nobody.
fn ca(alpn: &[&str], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(looking::Anything))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn asks(gateway: &TestGateway, name: &str) -> Result<CertificateDer<'static>, std::io::Error> {
    asks_over(gateway, name, rustls::ALL_VERSIONS)
}

fn asks_over(
    gateway: &TestGateway,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<CertificateDer<'static>, std::io::Error> {
    let mut stream = shake(gateway.address(), ca(&["acme-tls/1"], versions), name)?;
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
    // A close_notify, and nothing before it.
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    Ok(shown)
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[test]
fn a_ca_sees_the_answer_and_other_clients_their_service() {
    let gateway = TestGateway::start();
    let answer = answer("a.example.com");
    let published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer.clone());
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let shown = asks_over(&gateway, "a.example.com", versions).unwrap();
        assert_eq!(shown, answer.cert[0]);
    }
    // id-pe-acmeIdentifier is 1.3.6.1.5.5.7.1.31 (RFC 8737 §6.1).
    let oid = [6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31];
    assert!(answer.cert[0].windows(oid.len()).any(|window| window == oid));
    let mut client = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    speaks_http2(&mut client).unwrap();
    // A client that offers both is no CA.
    let mut both = shake(
        gateway.address(),
        gateway.client(&["acme-tls/1", "h2"]),
        "localhost",
    )
    .unwrap();
    assert_eq!(both.conn.alpn_protocol(), Some(&b"h2"[..]));
    speaks_http2(&mut both).unwrap();
    assert_eq!(gateway.totals().challenges_answered, 2);
    drop(published);
    assert!(asks(&gateway, "a.example.com").is_err());
}

#[test]
fn an_address_is_asked_for_by_its_reverse_name() {
    let gateway = TestGateway::start();
    let answer = answer("192.0.2.7");
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("192.0.2.7", answer.clone());
    assert_eq!(asks(&gateway, "7.2.0.192.in-addr.arpa").unwrap(), answer.cert[0]);
}

#[test]
fn an_unknown_name_is_refused_by_alert_and_counted() {
    let gateway = TestGateway::start();
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    let error = asks(&gateway, "b.example.com").unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error}");
    eventually("one unknown challenge", || {
        (gateway.failures(HandshakeFailure::UnknownChallenge) == 1).then_some(())
    });
}

/// One copy is for the look at its server name, and one for the session.
#[test]
fn a_half_hello_is_counted_twice_while_a_challenge_is_out() {
    const CLIENTS: usize = 40;
    const HALF: usize = 16_000;
    let gateway = TestGateway::start();
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    // RFC 8446 §4, §5.1: a record of 16,382 octets that begins a ClientHello of 20,000; the end of the record is
    // missing.
    let mut half = vec![22, 3, 1, 0x3f, 0xfe, 1, 0, 0x4e, 0x20];
    half.resize(HALF, 0);
    let open: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = connect(gateway.address());
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    eventually("both are counted", || {
        (gateway.totals().held_bytes > (CLIENTS * HALF * 3 / 2) as u64).then_some(())
    });
    drop(open);
}

#[test]
fn without_a_challenge_acme_tls_is_a_protocol_like_any_other() {
    let gateway = TestGateway::start();
    let error = asks(&gateway, "localhost").unwrap_err();
    assert_eq!(
        alert(&error),
        Some(AlertDescription::NoApplicationProtocol),
        "{error}"
    );
    eventually("one handshake without a common protocol", || {
        (gateway.failures(HandshakeFailure::NoCommonAlpn) == 1).then_some(())
    });
}

#[test]
fn a_challenge_is_answered_before_there_is_any_certificate() {
    let gateway = TestGateway::without_certificate(crate::support::tls(), gateway::settings::Redirect::Https);
    let answer = answer("a.example.com");
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer.clone());
    assert_eq!(asks(&gateway, "a.example.com").unwrap(), answer.cert[0]);
    let error = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::AccessDenied), "{error}");
    eventually("one handshake without a certificate", || {
        (gateway.failures(HandshakeFailure::NoCertificate) == 1).then_some(())
    });
}

/// A client, and its ClientHello in one record.
fn hello(config: &Arc<ClientConfig>, name: &str) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    (tls, flight)
}

/// RFC 8446 §5.1: a handshake message may lie in several records.
fn in_records_of(bytes: usize, record: &[u8]) -> Vec<u8> {
    let (head, body) = record.split_at(5);
    let pieces = body.chunks(bytes).map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&head[..3], &length, piece].concat()
    });
    pieces.collect::<Vec<_>>().concat()
}

fn finish(mut tls: ClientConnection, mut stream: TcpStream) -> Result<ClientConnection, std::io::Error> {
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(tls)
}

#[test]
fn a_client_hello_may_come_in_any_pieces() {
    let gateway = TestGateway::start();
    let answer = answer("a.example.com");
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer.clone());
    let (ca, client) = (
        Arc::new(ca(&["acme-tls/1"], rustls::ALL_VERSIONS)),
        Arc::new(gateway.client(&["h2"])),
    );
    for (config, name) in [(&ca, "a.example.com"), (&client, "localhost")] {
        for records in [None, Some(1), Some(100), Some(700)] {
            for segment in [1, 3, 500, usize::MAX] {
                let (tls, flight) = hello(config, name);
                let flight = records.map_or(flight.clone(), |bytes| in_records_of(bytes, &flight));
                if segment < 500 && records == Some(1) {
                    continue;
                }
                let mut stream = connect(gateway.address());
                for piece in flight.chunks(segment.min(flight.len())) {
                    stream.write_all(piece).unwrap();
                }
                let done = finish(tls, stream);
                let tls = done.unwrap_or_else(|error| panic!("{name} {records:?} {segment}: {error}"));
                let shown = &tls.peer_certificates().unwrap()[0];
                assert_eq!(*shown == answer.cert[0], name == "a.example.com");
            }
        }
    }
}

#[test]
fn what_is_no_client_hello_is_classed_as_ever_while_a_challenge_is_out() {
    let gateway = TestGateway::start();
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    for (bytes, class) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], HandshakeFailure::PlaintextOnTls),
        (&[0; 64], HandshakeFailure::Other),
        (&[22, 3, 1, 0x40], HandshakeFailure::Other),
        (&[], HandshakeFailure::Probe),
    ] {
        let before = gateway.failures(class);
        let mut stream = connect(gateway.address());
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        eventually(class.name(), || (gateway.failures(class) > before).then_some(()));
    }
}

#[test]
fn a_client_hello_that_never_ends_is_given_up_at_the_deadline_of_handshakes() {
    let mut gateway = TestGateway::start();
    let deadline = Duration::from_secs(1);
    gateway.reload(|settings| settings.timeouts.handshake = deadline);
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    let (_, flight) = hello(
        &Arc::new(ca(&["acme-tls/1"], rustls::ALL_VERSIONS)),
        "a.example.com",
    );
    let begin = Instant::now();
    let mut stream = connect(gateway.address());
    stream.write_all(&flight[..flight.len() - 1]).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let took = begin.elapsed();
    assert!(
        (deadline..crate::support::TEST_TIMEOUT).contains(&took),
        "{took:?}"
    );
    eventually("one handshake out of time", || {
        (gateway.failures(HandshakeFailure::Timeout) == 1).then_some(())
    });
}

#[test]
fn a_flood_of_questions_harms_nobody_beside_it() {
    const ASKED: usize = 200;
    let gateway = TestGateway::start();
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    let mut kept = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    speaks_http2(&mut kept).unwrap();
    std::thread::scope(|threads| {
        let floods = ["a.example.com", "b.example.com"].map(|name| {
            let gateway = &gateway;
            threads.spawn(move || (0..ASKED).filter(|_| asks(gateway, name).is_ok()).count())
        });
        let mut longest = Duration::ZERO;
        while !floods.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let begin = Instant::now();
            let mut client = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
            speaks_http2(&mut client).unwrap();
            longest = longest.max(begin.elapsed());
        }
        // A band for loaded machines; what hangs takes longer.
        assert!(longest < Duration::from_secs(3), "{longest:?}");
        assert_eq!(floods.map(|flood| flood.join().unwrap()), [ASKED, 0]);
    });
    eventually("every answer is counted", || {
        (gateway.totals().challenges_answered == ASKED as u64).then_some(())
    });
    eventually("every other question is counted", || {
        (gateway.failures(HandshakeFailure::UnknownChallenge) == ASKED as u64).then_some(())
    });
    drop(kept);
    eventually("nothing is left of it", || {
        let totals = gateway.totals();
        (totals.connections_accepted == totals.connections_closed).then_some(())
    });
}

/// Asserts that this gateway answers a challenge, as a CA sees it in TLS 1.2.
pub(crate) fn is_answered(gateway: &TestGateway) {
    let answer = answer("a.example.com");
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer.clone());
    let shown = asks_over(gateway, "a.example.com", &[&rustls::version::TLS12]).unwrap();
    assert_eq!(shown, answer.cert[0]);
}

#[test]
fn a_challenge_is_answered_whatever_the_listener_demands_of_clients() {
    let strict = gateway::settings::Tls {
        min_version: gateway::settings::TlsVersion::V1_3,
        without_alpn: gateway::settings::WithoutAlpn::Refuse,
        ..crate::support::tls()
    };
    is_answered(&TestGateway::with(strict));
}

#[test]
fn a_ca_gets_no_session_to_resume() {
    let gateway = TestGateway::start();
    let _published = gateway
        .reader
        .challenges()
        .publish_tls_alpn("a.example.com", answer("a.example.com"));
    let config = Arc::new(ca(&["acme-tls/1"], rustls::ALL_VERSIONS));
    for _ in 0..3 {
        let mut stream = shake_over(connect(gateway.address()), &config, "a.example.com").unwrap();
        let _ = stream.read(&mut [0; 16]);
        assert_eq!(stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(stream.conn.tls13_tickets_received(), 0);
    }
}

mod looking {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    /// Accepts every certificate. Whether its key is held cannot be checked: the extension is critical
    /// (RFC 8737 §3) and unknown to webpki, which refuses to read such a certificate.
    #[derive(Debug)]
    pub(super) struct Anything;

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            crate::support::provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}
