//! Backends, and the metrics of the connections to them.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gateway::settings::EndpointAddress;
use gateway::telemetry::BackendTotals;

use crate::sent_away::{Open, RST_STREAM, request_on};
use crate::support::{TEST_TIMEOUT, TestGateway, eventually};

const HEADERS: u8 = 1;

fn totals(gateway: &TestGateway) -> BackendTotals {
    let backends = gateway.totals().backends;
    backends.into_iter().find(|totals| totals.backend == "b").unwrap()
}

/// An RPC, to its end; the head or the reset.
fn asked(open: &mut Open, stream: u32) -> (u8, Vec<u8>) {
    open.0.write_all(&request_on(stream)).unwrap();
    loop {
        let (kind, _, payload) = open.next().expect("an answer");
        if matches!(kind, HEADERS | RST_STREAM) {
            return (kind, payload);
        }
    }
}

/// They greet and reset the connection at once: what we write fails, and their SETTINGS are read all the same.
#[test]
fn connections_that_were_never_counted_are_not_counted_as_gone() {
    let listening = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listening.incoming()) {
            let Ok(mut stream) = stream else { return };
            // Some of them between our look at the socket and our first write.
            let pause = Duration::from_micros(100 * (number % 60));
            std::thread::spawn(move || {
                std::thread::sleep(pause);
                // RFC 9113 §3.4: empty SETTINGS.
                let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0");
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            });
        }
    });
    let mut gateway = TestGateway::start();
    let endpoints: Vec<_> = (1..=200)
        .map(|host| EndpointAddress::Address(SocketAddr::from(([127, 0, 0, host], port))))
        .collect();
    gateway.route_to(TEST_TIMEOUT, &endpoints);
    let mut open = Open::anyone(&gateway);
    asked(&mut open, 1);
    eventually("all have been tried, and each that was made is gone", || {
        let BackendTotals {
            connected,
            failed,
            closed,
            open,
            ..
        } = totals(&gateway);
        (open == 0 && connected + failed >= 200 && closed == connected).then_some(())
    });
}

/// Whatever a reload changes about a backend, its addresses are known.
#[test]
fn a_reload_leaves_no_moment_without_the_addresses_of_a_name() {
    let mut gateway = TestGateway::start();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    // Each RPC is answered by a reset.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        listening.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            let listening = tokio::net::TcpListener::from_std(listening).unwrap();
            while let Ok((stream, _)) = listening.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut answer))) = connection.accept().await {
                        answer.send_reset(h2::Reason::CANCEL);
                    }
                });
            }
        });
    });
    let name = EndpointAddress::Name {
        host: "localhost".to_owned(),
        port,
    };
    let endpoints = [name];
    gateway.route_to(TEST_TIMEOUT, &endpoints);
    gateway.discovered();
    let mut open = Open::anyone(&gateway);
    let answered = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for number in 0..1_000 {
                let (kind, payload) = asked(&mut open, 2 * number + 1);
                // RFC 9113 §7: CANCEL, from the backend.
                assert_eq!(
                    (kind, &payload[..]),
                    (RST_STREAM, &[0, 0, 0, 8][..]),
                    "RPC {number}"
                );
                answered.store(number, Ordering::Relaxed);
            }
        });
        for number in 0.. {
            // An RPC between two reloads, or none, or several.
            std::thread::sleep(Duration::from_micros(10 * (number % 50)));
            gateway.route_to(TEST_TIMEOUT + Duration::from_millis(number), &endpoints);
            if asking.is_finished() {
                break;
            }
        }
        asking.join().unwrap();
        assert_eq!(answered.load(Ordering::Relaxed), 999);
    });
}
