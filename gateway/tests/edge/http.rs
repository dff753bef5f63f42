//! The plain HTTP listener over real sockets.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use gateway::telemetry::{HandshakeFailure, HttpRequest};

use crate::newcomers::{open, silent_up_to};
use crate::sent_away::Open;
use crate::support::{TestGateway, connect, eventually};

/// Writes, and reads until the gateway closes.
fn talk(gateway: &TestGateway, request: &[u8]) -> String {
    let mut stream = connect(gateway.plain_address());
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn count(gateway: &TestGateway, kind: HttpRequest) -> u64 {
    let totals = gateway.totals();
    totals
        .http_requests
        .iter()
        .find(|(known, _)| *known == kind)
        .unwrap()
        .1
}

const CLOSE: &str = "host: example.com\r\nconnection: close\r\n\r\n";

#[test]
fn a_ca_gets_its_answer_and_browsers_a_redirect() {
    let gateway = TestGateway::start();
    let published = gateway
        .reader
        .challenges()
        .publish_http("token", "token.thumbprint");
    let request = format!("GET /.well-known/acme-challenge/token HTTP/1.1\r\n{CLOSE}");
    let answer = talk(&gateway, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ntoken.thumbprint"), "{answer}");
    drop(published);
    assert!(
        talk(&gateway, request.as_bytes()).starts_with("HTTP/1.1 404 "),
        "taken back"
    );
    let answer = talk(&gateway, format!("GET /a?b HTTP/1.1\r\n{CLOSE}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(
        answer.contains("\r\nlocation: https://example.com/a?b\r\n"),
        "{answer}"
    );
    let counts = HttpRequest::ALL.map(|kind| count(&gateway, kind));
    assert_eq!(counts, [1, 1, 1, 0, 0]);
}

/// RFC 9112 §9.6.
#[test]
fn a_connection_has_one_answer_and_is_closed_by_it_however_much_is_pipelined() {
    let gateway = TestGateway::start();
    let request = "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
    // More than is read ahead with the first one, and more than is read away.
    for pipelined in [1, 2, 300, 5_000] {
        let mut stream = connect(gateway.plain_address());
        // It may be closed before all of it was taken.
        let _ = stream.write_all(request.repeat(pipelined).as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        if pipelined <= 300 {
            assert_eq!(
                answer.matches("HTTP/1.1 308 ").count(),
                1,
                "{pipelined}: {answer}"
            );
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
    assert_eq!(count(&gateway, HttpRequest::Redirected), 4);
}

#[test]
fn heads_are_bounded_and_garbage_is_refused() {
    let gateway = TestGateway::start();
    let long = format!("GET /{} HTTP/1.1\r\n{CLOSE}", "a".repeat(16 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}{CLOSE}", "x: y\r\n".repeat(200));
    for request in [
        long.as_bytes(),
        many.as_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HELO\r\n\r\n",
    ] {
        let before = count(&gateway, HttpRequest::Malformed);
        let answer = talk(&gateway, request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        eventually("a malformed request", || {
            (count(&gateway, HttpRequest::Malformed) == before + 1).then_some(())
        });
    }
}

#[test]
fn an_unfinished_head_and_an_idle_connection_are_not_waited_for() {
    let gateway = TestGateway::start();
    let begin = Instant::now();
    let mut silent = connect(gateway.plain_address());
    let mut slow = connect(gateway.plain_address());
    let mut idle = connect(gateway.plain_address());
    slow.write_all(b"GET / HTTP/1.1\r\nhost: a.exa").unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .unwrap();
    for stream in [&mut silent, &mut slow, &mut idle] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let took = begin.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(15)).contains(&took),
        "{took:?}"
    );
    eventually("no connection is left", || {
        let totals = gateway.totals();
        (totals.connections_accepted == totals.connections_closed).then_some(())
    });
}

#[test]
fn a_drain_does_not_wait_for_idle_connections() {
    let gateway = TestGateway::start();
    let mut idle = connect(gateway.plain_address());
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let begin = Instant::now();
    let drained = gateway.drain(Duration::from_secs(8));
    assert_eq!(drained.cut, 0);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn who_says_nothing_keeps_no_ca_out() {
    const LIMIT: &str = "max_http1_connections";
    let mut gateway = TestGateway::start();
    gateway.reload(|settings| settings.limits.max_http1_connections = 2);
    let _published = gateway
        .reader
        .challenges()
        .publish_http("token", "token.thumbprint");
    let begin = Instant::now();
    let silent = silent_up_to(LIMIT, &gateway, gateway.plain_address());
    // TLS has places of its own.
    Open::anyone(&gateway);
    let request = format!("GET /.well-known/acme-challenge/token HTTP/1.1\r\n{CLOSE}");
    eventually("an answer for a CA", || {
        talk(&gateway, request.as_bytes())
            .ends_with("token.thumbprint")
            .then_some(())
    });
    // By themselves they end after ten seconds.
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(open(&silent) > 0, "no more have gone than had to");
    eventually("no more than there are places", || {
        (open(&silent) <= 2).then_some(())
    });
    assert!(gateway.reached(LIMIT) > 1);
    assert!(gateway.failures(HandshakeFailure::TooMany) > 1);
}

#[test]
fn connections_within_the_bound_are_answered_and_one_more_is_refused() {
    let mut gateway = TestGateway::start();
    gateway.reload(|settings| settings.limits.max_http1_connections = 2);
    // A machine that stood still has shown nothing: after a second they make room.
    eventually("one more", || {
        let begin = Instant::now();
        let mut within: Vec<_> = (0..2).map(|_| connect(gateway.plain_address())).collect();
        for stream in &mut within {
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\nGET /half")
                .unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).ok()?;
            assert_eq!(&status, b"HTTP/1.1 308");
        }
        let answer = talk(&gateway, format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes());
        (begin.elapsed() < Duration::from_millis(900)).then(|| assert_eq!(answer, ""))
    });
    assert!(gateway.reached("max_http1_connections") > 0);
    eventually("a place", || {
        talk(&gateway, format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes())
            .starts_with("HTTP/1.1 308 ")
            .then_some(())
    });
}
