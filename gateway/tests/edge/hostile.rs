//! Bytes that no lawful client sends.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::ClientConnection;

use crate::challenge::answer;
use crate::support::{TestGateway, connect, shake, speaks_http2};

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
