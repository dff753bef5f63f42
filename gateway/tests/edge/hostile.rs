//! Bytes that no correct client sends.

use std::io::{Read, Write};
use std::sync::Arc;

use gateway::settings::Protocol;
use gateway::telemetry::HandshakeFailure;
use rustls::ClientConnection;

use crate::challenge::answer;
use crate::forger::Forger;
use crate::support::{PREFACE, TestGateway, connect, eventually, shake, speaks_http2};

/// RFC 8446 §5.1, §6: content types.
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// RFC 9113 §6.7.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0octets..";

/// A ClientHello's record with further handshake messages in it, and behind it in a record of their own.
fn with_more_messages(gateway: &TestGateway, alpn: &str, more: &[u8]) -> [Vec<u8>; 2] {
    let config = Arc::new(gateway.client(&[alpn]));
    let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let record = |payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &length[..], payload].concat()
    };
    [
        record(&[&hello[5..], more].concat()),
        [hello.clone(), record(more)].concat(),
    ]
}

#[test]
fn messages_behind_one_that_fails_cost_nothing_but_their_connection() {
    let gateway = TestGateway::start();
    let challenge = || {
        let challenges = gateway.reader.challenges();
        challenges.publish_tls_alpn("localhost", answer("localhost"))
    };
    // While a challenge is out, ClientHellos are read before the session sees them.
    for (alpn, ordering) in [("h2", false), ("none", false), ("h2", true), ("acme-tls/1", true)] {
        let _out = ordering.then(challenge);
        // RFC 8446 §4: type and length of HelloRequest, KeyUpdate, and one that is not all there.
        for more in [
            &[0, 0, 0, 0][..],
            &[24, 0, 0, 1, 0],
            &[0, 0, 0, 0, 20, 0, 0, 0],
            &[11, 0, 1, 0, 7],
        ] {
            for bytes in with_more_messages(&gateway, alpn, more) {
                let mut stream = connect(gateway.address());
                stream.write_all(&bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    }
    let mut client = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    speaks_http2(&mut client).unwrap();
    assert_eq!(gateway.totals().worker_restarts, 0);
}

#[test]
fn a_message_in_pieces_costs_nothing_but_its_connection() {
    let gateway = TestGateway::start();
    let mut good = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    speaks_http2(&mut good).unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for _ in 0..3 {
            let mut config = gateway.client_of(version, &["h2"]);
            config.enable_secret_extraction = true;
            let (client, mut stream) = shake(gateway.address(), config, "localhost")
                .unwrap()
                .into_parts();
            let mut forger = Forger::with_keys_of(client).unwrap();
            // In one segment: what is to be answered, and the first octet of a KeyUpdate.
            let bytes = [
                forger.record(APPLICATION_DATA, &[PREFACE, PING].concat()),
                forger.record(HANDSHAKE, &[24]),
            ];
            stream.write_all(&bytes.concat()).unwrap();
            // Only this connection ends, by the gateway's hand.
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    good.write_all(PING).unwrap();
    // Our SETTINGS and theirs are acknowledged, and so is this.
    let mut heard = Vec::new();
    while !heard.ends_with(b"octets..") {
        let mut next = [0];
        good.read_exact(&mut next).unwrap();
        heard.extend(next);
    }
    assert_eq!(gateway.totals().worker_restarts, 0);
}

/// A client that goes before its SETTINGS is counted once, by its bytes before.
#[test]
fn whoever_goes_before_its_settings_is_in_one_class() {
    let mut gateway = TestGateway::start();
    let counted = |gateway: &TestGateway, class, count| {
        eventually("the class", || (gateway.failures(class) == count).then_some(()));
        let failures = gateway.totals().handshake_failures;
        failures.iter().map(|(_, count)| count).sum::<u64>()
    };
    // Behind TLS.
    for number in 1..=2 {
        let mut stream = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
        if number == 2 {
            stream.write_all(&PREFACE[..20]).unwrap();
        }
        drop(stream);
        assert_eq!(counted(&gateway, HandshakeFailure::NotHttp2, number), number);
    }
    gateway.reload(|settings| {
        if let Protocol::Http2(http2) = &mut settings.listeners[0].protocol {
            http2.tls = None;
        }
    });
    // Without TLS: nothing, half of a preface, and another protocol.
    drop(connect(gateway.address()));
    assert_eq!(counted(&gateway, HandshakeFailure::Probe, 1), 3);
    for (number, octets) in [(3, &PREFACE[..20]), (4, b"GET / HTTP/1.1\r\n\r\n")] {
        let mut stream = connect(gateway.address());
        stream.write_all(octets).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(counted(&gateway, HandshakeFailure::NotHttp2, number), number + 1);
    }
    // Whoever came so far is in none.
    let mut stream = connect(gateway.address());
    stream.write_all(PREFACE).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    drop(stream);
    drop(connect(gateway.address()));
    assert_eq!(counted(&gateway, HandshakeFailure::Probe, 2), 6);
}
