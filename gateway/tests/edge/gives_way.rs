//! RPCs for which too much is kept: their clients, the access log and the metrics get the name of the limit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gateway::settings::{EndpointAddress, Settings};

use crate::sent_away::{Open, request_on};
use crate::support::{Heard, TestGateway, eventually, tls};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// A gateway with a log, and one backend that answers nothing and takes 65,535 octets.
struct Scene {
    gateway: TestGateway,
    heard: Heard,
    log: PathBuf,
}

impl Scene {
    fn set(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let log = std::env::temp_dir().join(format!("h2gate-{name}-{}.log", std::process::id()));
        let mut gateway = TestGateway::with_access_log(tls(), &log);
        let heard = gateway.serve_by_backend();
        gateway.reload(change);
        Self { gateway, heard, log }
    }

    /// So many clients with 200 requests each that nobody answers.
    fn unanswered(&self, clients: usize) -> Vec<Open> {
        let mut first = Open::anyone(&self.gateway);
        first.0.write_all(&request_on(1)).unwrap();
        eventually("a backend that is connected", || {
            self.heard.lock().unwrap().first().map(|_| ())
        });
        let mut open: Vec<_> = (0..clients).map(|_| Open::anyone(&self.gateway)).collect();
        let requests: Vec<u8> = (0..200).flat_map(|number| request_on(2 * number + 1)).collect();
        for client in &mut open {
            client.0.write_all(&requests).unwrap();
        }
        open.push(first);
        open
    }

    /// The held memory, once it does not change any more.
    fn settled(&self) -> usize {
        let mut last = (0, 0);
        eventually("memory that does not grow", || {
            let held = self.gateway.held();
            last = (held, if held == last.0 { last.1 + 1 } else { 0 });
            (last.1 > 30).then_some(held)
        })
    }

    /// The log has a line with all of this.
    fn logs(&self, parts: &[&str]) {
        eventually("a line of the RPC", || {
            let text = std::fs::read_to_string(&self.log).ok()?;
            let all = |line: &str| parts.iter().all(|part| line.contains(part));
            text.lines().any(all).then_some(())
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The first answer, which is whole.
fn answer(open: &mut Open) -> Vec<u8> {
    loop {
        match open.next().expect("an answer") {
            (HEADERS, flags, block) => {
                assert_eq!(flags & END_STREAM, END_STREAM);
                return block;
            }
            (RST_STREAM, _, code) => panic!("a reset without words: {code:?}"),
            (6, 0, payload) => {
                open.0
                    .write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat())
                    .unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn who_gives_way_for_memory_gets_that_reason() {
    let scene = Scene::set("process-memory", |settings| {
        settings.limits.process_memory = 256 << 10;
    });
    let mut open = Open::anyone(&scene.gateway);
    for number in 0..60 {
        let stream = 2 * number + 1;
        let mut request = request_on(stream);
        // The body goes on: its end would be the flag of this octet.
        request[4] = 4;
        open.0.write_all(&request).unwrap();
        // Kept for a second attempt, and beside that in the output and the queues.
        open.0.write_all(&data(stream, 8_000)).unwrap();
    }
    let _ = answer(&mut open);
    assert!((scene.gateway.reached("process_memory") > 0));
    scene.logs(&[
        r#""reason":"limit""#,
        r#""detail":"process_memory""#,
        r#""grpc_status_name":"RESOURCE_EXHAUSTED""#,
    ]);
}

#[test]
fn who_fills_the_access_log_has_no_more_lines_in_that_second_and_is_reported() {
    let scene = Scene::set("access-log-rate", |settings| {
        settings.limits.access_log_rate = 2_000;
        settings.routes.clear();
    });
    let mut open = Open::anyone(&scene.gateway);
    // Each is answered; a second has room for a few lines of some 300 octets.
    for number in 0..60 {
        open.0.write_all(&request_on(2 * number + 1)).unwrap();
        let _ = answer(&mut open);
    }
    eventually("the limit", || {
        (scene.gateway.reached("access_log_rate") > 0).then_some(())
    });
    scene.logs(&[r#""reason":"no_route""#]);
    let lines = std::fs::read_to_string(&scene.log).unwrap().lines().count();
    assert!((1..50).contains(&lines), "{lines} lines");
    // Another connection has its own.
    let mut other = Open::anyone(&scene.gateway);
    let before = lines;
    other.0.write_all(&request_on(1)).unwrap();
    let _ = answer(&mut other);
    eventually("a line of the other", || {
        let text = std::fs::read_to_string(&scene.log).ok()?;
        (text.lines().count() > before).then_some(())
    });
}

#[test]
fn who_waits_for_a_backend_that_has_too_much_waiting_gets_that_reason() {
    let scene = Scene::set("max-queued", |settings| {
        settings.limits.backend.max_queued = 30_000;
    });
    let mut open = Open::anyone(&scene.gateway);
    for stream in [1, 3] {
        let mut request = request_on(stream);
        request[4] = 4;
        open.0.write_all(&request).unwrap();
        for _ in 0..4 {
            open.0.write_all(&data(stream, 16_000)).unwrap();
        }
    }
    let _ = answer(&mut open);
    assert!((scene.gateway.reached("max_queued") > 0));
    scene.logs(&[
        r#""reason":"limit""#,
        r#""detail":"max_queued""#,
        r#""grpc_status_name":"RESOURCE_EXHAUSTED""#,
    ]);
}

/// The frames for a client that reads nothing are not freed by the end of its streams.
#[test]
fn who_takes_none_of_the_heads_that_it_asks_for_gives_way_with_all_of_it() {
    let endpoint = answers_by_large_heads();
    let scene = Scene::set("unread-heads", |settings| {
        settings.limits.process_memory = 256 << 10;
        settings.backends[0].endpoints = vec![EndpointAddress::Address(endpoint)];
    });
    let mut open = Open::anyone(&scene.gateway);
    // SETTINGS_HEADER_TABLE_SIZE 0: each field of a head is to be written out.
    open.0.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0").unwrap();
    for number in 0..100 {
        open.0.write_all(&request_on(2 * number + 1)).unwrap();
    }
    let mut most = 0;
    eventually("it is ended", || {
        let totals = scene.gateway.totals();
        most = most.max(totals.held_bytes);
        let open: u64 = totals.connections.iter().map(|of| of.open).sum();
        (open == 0).then_some(())
    });
    assert!((scene.gateway.reached("process_memory") > 0));
    assert!(most < 2 << 20, "{most}");
}

/// A backend each of whose answers is a head of 231 octets that stands for 205 KiB.
fn answers_by_large_heads() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(|| answer_all(connection.unwrap()));
        }
    });
    address
}

/// Until the gateway closes.
fn answer_all(mut connection: TcpStream) -> std::io::Result<()> {
    connection.read_exact(&mut [0; 24])?;
    connection.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")?;
    // :status 200, and a field that the table keeps.
    let mut block = [&b"\x88\x40\x01x\x7f\x85\x06"[..], &[b'y'; 900]].concat();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        connection.read_exact(&mut vec![0; length])?;
        if head[3] == HEADERS {
            let length = u32::try_from(block.len()).unwrap().to_be_bytes();
            let frame = [&length[1..], &[HEADERS, 4 | END_STREAM], &head[5..], &block].concat();
            connection.write_all(&frame)?;
            block = [&[0x88][..], &[0xbe; 230]].concat();
        }
    }
}

/// A process's memory of which so much is for peers: a third is its own.
fn with_rest(for_peers: usize) -> usize {
    for_peers / 2 * 3
}

/// Smaller changes of the held memory are not reported.
const STEP: usize = 64 << 10;

#[test]
fn memory_is_soon_within_its_bound_however_many_rpcs_hold_it() {
    let mut scene = Scene::set("many-rpcs", |_| {});
    let clients = scene.unanswered(20);
    let memory = scene.settled() / 3;
    scene
        .gateway
        .reload(|settings| settings.limits.process_memory = with_rest(memory));
    let began = Instant::now();
    eventually("memory within its bound", || {
        (scene.gateway.held() < memory + STEP).then_some(())
    });
    // 64 streams in half a second would take twenty.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(
        scene.gateway.held() > memory / 2,
        "{} of {memory}",
        scene.gateway.held()
    );
    drop(clients);
    eventually("memory given back", || {
        (scene.gateway.held() < 2 * STEP).then_some(())
    });
}

#[test]
fn what_is_held_of_rpcs_at_backends_has_its_victims_too() {
    let mut scene = Scene::set("at-backends", |_| {});
    let clients = scene.unanswered(20);
    let held = scene.settled();
    // All clients hold the same, and all of them together held less than this while backends' tables were nobody's.
    let memory = held / 100 * 97;
    scene
        .gateway
        .reload(|settings| settings.limits.process_memory = with_rest(memory));
    assert!(held - memory > STEP, "{held}");
    eventually("memory within its bound", || {
        (scene.gateway.held() < memory + STEP).then_some(())
    });
    // Nobody has lost more than was necessary.
    assert!(
        scene.gateway.held() > memory / 10 * 9,
        "{} of {memory}",
        scene.gateway.held()
    );
    drop(clients);
}

fn data(stream: u32, octets: usize) -> Vec<u8> {
    let length = u32::try_from(octets).unwrap().to_be_bytes();
    let head = [&length[1..], &[DATA, 0], &stream.to_be_bytes()].concat();
    [head, vec![0; octets]].concat()
}
