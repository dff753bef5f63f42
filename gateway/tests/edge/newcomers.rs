//! Silent clients keep no newcomer out, and no newcomer throws out a client that is in its handshake.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::settings::Limits;
use gateway::telemetry::HandshakeFailure;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::support::{TestGateway, connect, eventually, shake, speaks_http2};

const PLACES: usize = 3;

/// A gateway that waits for the ends of handshakes for ever.
fn patient(change: impl FnOnce(&mut Limits)) -> TestGateway {
    made_patient(TestGateway::start(), change)
}

fn made_patient(mut gateway: TestGateway, change: impl FnOnce(&mut Limits)) -> TestGateway {
    gateway.reload(|settings| {
        settings.timeouts.handshake = Duration::from_secs(3600);
        change(&mut settings.limits);
    });
    gateway
}

/// Connections that say nothing, until this limit is reached by them.
pub(crate) fn silent_up_to(limit: &str, gateway: &TestGateway, address: SocketAddr) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    eventually("as many as there may be", || {
        silent.push(connect(address));
        (gateway.reached(limit) > 0).then_some(())
    });
    silent
}

/// Number of them that the gateway has not closed.
pub(crate) fn open(streams: &[TcpStream]) -> usize {
    let is_open = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    streams.iter().filter(is_open).count()
}

#[test]
fn who_says_nothing_keeps_no_newcomer_out() {
    type Case = (&'static str, fn(&mut Limits), fn(&TestGateway) -> SocketAddr);
    let cases: [Case; 3] = [
        (
            "max_handshakes",
            |limits| limits.max_handshakes = PLACES,
            TestGateway::address,
        ),
        (
            "max_connections",
            |limits| limits.max_connections = PLACES,
            TestGateway::address,
        ),
        (
            "max_connections",
            |limits| limits.max_connections = PLACES,
            TestGateway::plain_address,
        ),
    ];
    for (limit, change, address) in cases {
        let gateway = patient(change);
        let begin = Instant::now();
        let silent = silent_up_to(limit, &gateway, address(&gateway));
        let _newcomer = eventually("a newcomer that is let in", || {
            let mut stream = shake(gateway.address(), gateway.client(&["h2"]), "localhost").ok()?;
            speaks_http2(&mut stream).ok()?;
            Some(stream)
        });
        // A connection of HTTP/1.1 ends by itself after ten seconds.
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{limit}: {:?}",
            begin.elapsed()
        );
        eventually("no more than there are places", || {
            (open(&silent) <= PLACES).then_some(())
        });
        assert!(open(&silent) > 0, "{limit}: no more have gone than had to");
        assert!(gateway.failures(HandshakeFailure::TooMany) > 0);
    }
}

#[test]
fn who_says_nothing_to_one_worker_keeps_no_newcomer_out_of_another() {
    let gateway = made_patient(TestGateway::with_workers(4), |limits| limits.max_handshakes = 1);
    for _ in 0..3 {
        let before = gateway.reached("max_handshakes");
        let mut silent = Vec::new();
        eventually("one that says nothing, and no place more", || {
            silent.push(connect(gateway.address()));
            (gateway.reached("max_handshakes") > before).then_some(())
        });
        // For a second after accept nobody has to go.
        std::thread::sleep(Duration::from_secs(1));
        let mut stream = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
        speaks_http2(&mut stream).unwrap();
    }
}

#[test]
fn nobody_goes_where_that_makes_no_room() {
    let mut gateway = patient(|_| ());
    let shake =
        |gateway: &TestGateway| shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    let silent = [connect(gateway.address()), connect(gateway.address())];
    // Clients that come after them have been accepted after them.
    let established: Vec<_> = (0..PLACES).map(|_| shake(&gateway)).collect();
    gateway.reload(|settings| settings.limits.max_connections = PLACES - 1);
    // For a second after accept nobody has to go.
    std::thread::sleep(Duration::from_secs(1));
    let _refused = silent_up_to("max_connections", &gateway, gateway.address());
    assert_eq!(open(&silent), silent.len());
    drop(established);
}

/// A flood of newcomers comes while a client waits with the end of its handshake, whose beginning comes late by itself.
fn outlasts_a_flood(hello_after: Duration, flood_after: Duration) {
    const FLOOD: u64 = 50;
    let gateway = patient(|limits| limits.max_handshakes = PLACES);
    let config = Arc::new(gateway.client(&["h2"]));
    eventually("an honest client beside a flood", || {
        let begin = Instant::now();
        let wait_for = |time: Duration| std::thread::sleep(time.saturating_sub(begin.elapsed()));
        let mut stream = connect(gateway.address());
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(config.clone(), name).unwrap();
        wait_for(hello_after);
        let asked = Instant::now();
        tls.write_tls(&mut stream).unwrap();
        stream.peek(&mut [0]).unwrap();
        wait_for(flood_after);
        let before = gateway.reached("max_handshakes");
        let flood: Vec<_> = (0..FLOOD).map(|_| connect(gateway.address())).collect();
        eventually("the flood", || {
            let more = gateway.reached("max_handshakes") - before;
            (more >= FLOOD - PLACES as u64).then_some(())
        });
        let finish = || {
            while tls.is_handshaking() {
                tls.complete_io(&mut stream)?;
            }
            speaks_http2(&mut StreamOwned::new(tls, stream))
        };
        let finished = finish();
        drop(flood);
        // A machine that stood still has shown nothing: a second after our answer the client may have to go.
        let is_fair = asked.elapsed() < Duration::from_millis(900);
        is_fair.then(|| finished.unwrap())
    });
}

#[test]
fn who_is_on_the_way_outlasts_a_flood_of_newcomers() {
    outlasts_a_flood(Duration::ZERO, Duration::ZERO);
}

#[test]
fn our_answer_has_time_to_be_answered() {
    outlasts_a_flood(Duration::from_millis(600), Duration::from_millis(1_100));
}
