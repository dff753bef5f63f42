//! Memory that others hold than clients with RPCs: it is theirs who give way for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gateway::settings::EndpointAddress;
use gateway::telemetry::HandshakeFailure;

use crate::sent_away::{GOAWAY, Open, PING, RST_STREAM, request_on};
use crate::support::{TestGateway, backend, connect, eventually, route};

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
/// Number of RPCs that is ordinary for one client.
const ORDINARY: u32 = 60;

/// Each HEADERS is answered by a header block of about so many octets that has no end.
fn never_ends_a_block(frames: usize) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(move || begin_blocks(connection.unwrap(), frames));
        }
    });
    port
}

fn begin_blocks(mut connection: TcpStream, frames: usize) -> std::io::Result<()> {
    connection.read_exact(&mut [0; 24])?;
    connection.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        connection.read_exact(&mut vec![0; length])?;
        if head[3] == HEADERS {
            for number in 0..frames {
                let kind = if number == 0 { HEADERS } else { CONTINUATION };
                let frame = [&[0, 0x40, 0, kind, 0], &head[5..], &[0; 16 << 10]].concat();
                connection.write_all(&frame)?;
            }
        }
    }
}

/// A request to the backend that never ends a block.
fn request_for_evil(stream: u32) -> Vec<u8> {
    let mut request = request_on(stream);
    let at = request.windows(6).position(|six| six == b"/s.S/M").unwrap();
    request[at..at + 6].copy_from_slice(b"/e.E/M");
    request
}

/// A gateway whose peers have so much memory, with a backend that answers nothing; and with RPCs there, a client.
fn scene(memory: usize) -> (TestGateway, Open) {
    let mut gateway = TestGateway::start();
    let heard = gateway.serve_by_backend();
    gateway.reload(|settings| settings.limits.process_memory = memory / 2 * 3);
    let mut client = Open::anyone(&gateway);
    for number in 0..ORDINARY {
        client.0.write_all(&request_on(2 * number + 1)).unwrap();
    }
    eventually("its RPCs", || {
        (heard.lock().unwrap().len() == ORDINARY as usize).then_some(())
    });
    (gateway, client)
}

fn add_evil(gateway: &mut TestGateway, port: u16, endpoints: u8) {
    let addresses = (1..=endpoints).map(|host| SocketAddr::from(([127, 0, 0, host], port)));
    gateway.reload(|settings| {
        let addresses = addresses.map(EndpointAddress::Address).collect();
        settings.backends.push(backend("evil", addresses));
        settings.routes.push(route("evil", Some("e.E"), 1));
    });
}

/// None of its RPCs has ended.
fn has_lost_nothing(client: &mut Open) {
    client.0.write_all(b"\0\0\x08\x06\0\0\0\0\0all well").unwrap();
    loop {
        match client.next().expect("an answer to PING") {
            (PING, 1, payload) if payload == b"all well" => return,
            (HEADERS | RST_STREAM | GOAWAY, ..) => panic!("an RPC was lost"),
            _ => {}
        }
    }
}

#[test]
fn blocks_that_backends_never_end_are_at_their_own_cost() {
    let memory = 8 << 20;
    let (mut gateway, mut honest) = scene(memory);
    add_evil(&mut gateway, never_ends_a_block(60), 12);
    let before = gateway.held();
    let mut attacker = Open::anyone(&gateway);
    let mut most = 0;
    for number in 0..48 {
        attacker.0.write_all(&request_for_evil(2 * number + 1)).unwrap();
        if number % 6 == 5 {
            std::thread::sleep(Duration::from_millis(20));
        }
        most = most.max(gateway.held());
    }
    eventually("backends are ended", || {
        most = most.max(gateway.held());
        (gateway.reached("process_memory") >= 10).then_some(())
    });
    // A quarter of it, what had been read of the next one, and rounding.
    assert!(most < before + memory / 4 + (2 << 20), "{most} after {before}");
    has_lost_nothing(&mut honest);
}

#[test]
fn a_backend_has_as_much_time_for_a_header_block_as_a_client() {
    let (mut gateway, mut honest) = scene(8 << 20);
    add_evil(&mut gateway, never_ends_a_block(2), 1);
    gateway.reload(|settings| settings.timeouts.header_block = Duration::from_millis(200));
    let mut client = Open::anyone(&gateway);
    client.0.write_all(&request_for_evil(1)).unwrap();
    let flags = loop {
        match client.next().expect("an answer") {
            (HEADERS, flags, _) => break flags,
            (RST_STREAM | GOAWAY, ..) => panic!("no answer in words"),
            _ => {}
        }
    };
    assert_eq!(flags & END_STREAM, END_STREAM);
    assert_eq!(gateway.reached("timeouts.header_block"), 1);
    has_lost_nothing(&mut honest);
}

/// RFC 8446 §4: of a ClientHello of 60,000 octets, which comes in records of 16 KiB.
fn half_a_hello() -> Vec<u8> {
    let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60, 3, 3];
    hello.resize(5 + (16 << 10), 0);
    hello.extend([22, 3, 1, 0x40, 0]);
    hello.resize(23_000, 0);
    hello
}

#[test]
fn handshakes_that_keep_much_give_way_to_each_other_and_clients_to_none_of_them() {
    let memory = 8 << 20;
    let (gateway, mut honest) = scene(memory);
    let before = gateway.held();
    let mut most = 0;
    let hello = half_a_hello();
    let mut half_open: Vec<_> = (0..500)
        .map(|number| {
            let mut stream = connect(gateway.address());
            // Those that end early may be gone by now.
            let _ = stream.write_all(&hello);
            if number % 20 == 0 {
                most = most.max(gateway.held());
            }
            stream
        })
        .collect();
    // 16 MiB in all, of which a quarter of the memory may stay.
    eventually("handshakes that end", || {
        most = most.max(gateway.held());
        let [ended, failed] =
            [HandshakeFailure::TooMany, HandshakeFailure::Other].map(|class| gateway.failures(class));
        (ended + failed >= 350).then_some(())
    });
    assert!(most <= before + memory / 4 + (64 << 10), "{most} after {before}");
    assert!(gateway.failures(HandshakeFailure::TooMany) >= 350);
    // The oldest went first.
    half_open.truncate(200);
    for stream in &mut half_open {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut newcomer = Open::anyone(&gateway);
    newcomer.stays();
    has_lost_nothing(&mut honest);
}

#[test]
fn what_many_hold_that_hold_little_is_counted_and_they_give_way_for_it() {
    // Of which half is for what is counted, where there are so many connections.
    let memory = 2 << 20;
    let (gateway, mut honest) = scene(memory);
    let config = gateway.client(&["h2"]);
    let many: Vec<_> = (0..150)
        .map(|_| {
            let mut client = Open::over(&gateway, config.clone());
            client.0.write_all(&request_on(1)).unwrap();
            // RFC 8446 §5.1: a record of 16 KiB, of which the rest never comes.
            client.0.sock.write_all(b"\x17\x03\x03\x40\x00").unwrap();
            client.0.sock.write_all(&[0; 15_900]).unwrap();
            client
        })
        .collect();
    eventually("some that end", || {
        let enough = gateway.reached("process_memory") >= 60;
        (enough && gateway.held() < memory / 2 + (128 << 10)).then_some(())
    });
    has_lost_nothing(&mut honest);
    drop(many);
    honest.stays();
}

/// Within a frame, and within a TLS record.
#[test]
fn who_begins_something_and_falls_silent_is_ended() {
    let mut gateway = TestGateway::start();
    gateway.reload(|settings| settings.timeouts.header_block = Duration::from_millis(100));
    let mut in_a_frame = Open::anyone(&gateway);
    let mut in_a_record = Open::anyone(&gateway);
    let mut slow = Open::anyone(&gateway);
    let mut quiet = Open::anyone(&gateway);
    // RFC 9113 §6.5: SETTINGS of six octets.
    in_a_frame.0.write_all(b"\0\0\x06\x04\0\0\0\0\0\0").unwrap();
    // RFC 8446 §5.1: application data of 16 KiB.
    in_a_record
        .0
        .sock
        .write_all(b"\x17\x03\x03\x40\x00octets")
        .unwrap();
    // Ten times as long, and never silent.
    let began = Instant::now();
    for octet in b"\0\0\xfc\x04\0\0\0\0\0".iter().chain([0; 20].iter()) {
        slow.0.write_all(&[*octet]).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    assert!(began.elapsed() > Duration::from_millis(1_500));
    in_a_frame.is_closed();
    in_a_record.is_closed();
    assert_eq!(gateway.reached("timeouts.header_block"), 2);
    // RFC 9113 §6.5.2: settings that nobody knows are ignored.
    slow.0.write_all(&[0; 252 - 20]).unwrap();
    slow.stays();
    quiet.stays();
}
