//! Bytes that no lawful client sends.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::ClientConnection;

use crate::challenge::answer;
use crate::forger::Forger;
use crate::support::{PREFACE, TestGateway, connect, shake, speaks_http2};

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
