//! Thousands of RPCs that end at once: none is forgotten, and none of others waits for all of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use gateway::settings::EndpointAddress;

use crate::sent_away::{Open, RST_STREAM, request_on};
use crate::support::{TEST_TIMEOUT, TestGateway};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
/// More than end in one piece.
const MANY: u32 = 200;

/// A frame of a stream: the number of its connection, its kind and its flags.
type Heard = (usize, u8, u8);

/// A backend that sends what the test asks for on the connection that came last.
struct Backend {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
    heard: Receiver<Heard>,
}

impl Backend {
    fn start() -> Self {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let (accepted, connections) = channel();
        let (hears, heard) = channel();
        std::thread::spawn(move || {
            for (number, stream) in listening.incoming().enumerate() {
                let mut stream = stream.unwrap();
                // RFC 9113 §3.4 and §6.5.3: empty SETTINGS, and those of the peer are acknowledged.
                stream
                    .write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")
                    .unwrap();
                let _ = accepted.send(stream.try_clone().unwrap());
                let hears = hears.clone();
                std::thread::spawn(move || listen(stream, number, &hears));
            }
        });
        Self {
            address,
            connections,
            heard,
        }
    }

    fn connection(&self) -> TcpStream {
        self.connections.recv_timeout(TEST_TIMEOUT).unwrap()
    }

    /// The next HEADERS or DATA.
    fn hears(&self) -> Heard {
        self.heard.recv_timeout(TEST_TIMEOUT).unwrap()
    }
}

fn listen(mut stream: TcpStream, number: usize, hears: &Sender<Heard>) -> Option<()> {
    stream.read_exact(&mut [0; 24]).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).ok()?;
        if matches!(head[3], DATA | HEADERS) {
            hears.send((number, head[3], head[4])).ok()?;
        }
    }
}

/// A gateway with this backend, and a client whose first RPC is there.
fn scene() -> (TestGateway, Backend, Open, TcpStream) {
    let backend = Backend::start();
    let mut gateway = TestGateway::start();
    gateway.route_to(TEST_TIMEOUT, &[EndpointAddress::Address(backend.address)]);
    let mut client = Open::anyone(&gateway);
    client.0.write_all(&request_on(1)).unwrap();
    assert_eq!(backend.hears(), (0, HEADERS, HEADERS_THAT_END));
    let connection = backend.connection();
    (gateway, backend, client, connection)
}

const HEADERS_THAT_END: u8 = 4 | END_STREAM;

/// Requests on streams 3, 5, … whose bodies go on.
fn open_many(client: &mut Open) {
    let requests: Vec<u8> = (1..MANY)
        .flat_map(|number| {
            let mut request = request_on(2 * number + 1);
            request[4] = 4;
            request
        })
        .collect();
    client.0.write_all(&requests).unwrap();
}

/// Empty DATA that ends the streams.
fn end_many(client: &mut Open) {
    let ends: Vec<u8> = (1..MANY)
        .flat_map(|number| [&[0, 0, 0, DATA, END_STREAM], &(2 * number + 1).to_be_bytes()[..]].concat())
        .collect();
    client.0.write_all(&ends).unwrap();
}

#[test]
fn all_rpcs_of_a_backend_that_is_gone_are_reported() {
    let (_gateway, backend, mut client, connection) = scene();
    open_many(&mut client);
    for _ in 1..MANY {
        assert_eq!(backend.hears().1, HEADERS);
    }
    connection.shutdown(std::net::Shutdown::Both).unwrap();
    for _ in 0..MANY {
        loop {
            let (kind, flags, _) = client.next().expect("an answer");
            if kind == HEADERS {
                assert_eq!(flags & END_STREAM, END_STREAM);
                break;
            }
        }
    }
}

/// RFC 9113 §6.8: what is above the last stream was not processed.
#[test]
fn all_rpcs_that_a_backend_has_not_processed_are_sent_again_whole() {
    let (_gateway, backend, mut client, mut connection) = scene();
    open_many(&mut client);
    for _ in 1..MANY {
        assert_eq!(backend.hears().1, HEADERS);
    }
    // GOAWAY: stream 1 was the last.
    connection
        .write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0")
        .unwrap();
    end_many(&mut client);
    let mut second = backend.connection();
    let mut ended = 0;
    let mut heads = 0;
    while ended < MANY - 1 {
        let (connection, kind, flags) = backend.hears();
        if connection == 1 {
            heads += u32::from(kind == HEADERS);
            ended += u32::from(flags & END_STREAM == END_STREAM);
        }
    }
    assert_eq!(heads, MANY - 1);
    // `:status: 200`, and the end.
    let answers: Vec<u8> = (0..MANY - 1)
        .flat_map(|number| {
            [
                &[0, 0, 1, HEADERS, HEADERS_THAT_END],
                &(2 * number + 1).to_be_bytes()[..],
                &[0x88],
            ]
            .concat()
        })
        .collect();
    second.write_all(&answers).unwrap();
    for _ in 1..MANY {
        loop {
            let (kind, ..) = client.next().expect("an answer");
            assert_ne!(kind, RST_STREAM);
            if kind == HEADERS {
                break;
            }
        }
    }
}

/// Like [`request_on`], with a deadline.
fn request_within(stream: u32, timeout: &str) -> Vec<u8> {
    let mut request = request_on(stream);
    request.push(0);
    for text in ["grpc-timeout", timeout] {
        request.push(u8::try_from(text.len()).unwrap());
        request.extend(text.as_bytes());
    }
    let length = u32::try_from(request.len() - 9).unwrap().to_be_bytes();
    request[..3].copy_from_slice(&length[1..]);
    request
}

const CROWD: u32 = 60;

/// So many clients with many RPCs each, all of which the backend has heard.
fn crowd(gateway: &TestGateway, backend: &Backend, request: impl Fn(u32) -> Vec<u8>) -> Vec<Open> {
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Open::anyone(gateway)).collect();
    let requests: Vec<u8> = (0..MANY).flat_map(|number| request(2 * number + 1)).collect();
    for client in &mut crowd {
        client.0.write_all(&requests).unwrap();
    }
    for _ in 0..CROWD * MANY {
        assert_eq!(backend.hears().1, HEADERS);
    }
    crowd
}

#[test]
fn others_have_their_turns_while_the_rpcs_of_a_backend_that_is_gone_end() {
    let (gateway, backend, _client, connection) = scene();
    let _crowd = crowd(&gateway, &backend, request_on);
    let running = || {
        gateway
            .totals()
            .routes
            .iter()
            .map(|route| route.active)
            .sum::<u64>()
    };
    let all = running();
    assert_eq!(all, u64::from(CROWD * MANY) + 1);
    connection.shutdown(std::net::Shutdown::Both).unwrap();
    while running() == all {}
    let before = gateway.totals().turns;
    while running() > 0 {}
    let turns = gateway.totals().turns - before;
    // Two milliseconds each: an optimised build needs about eight, another one more.
    assert!(turns > 3, "{turns}");
}

#[test]
fn deadlines_of_thousands_delay_no_other() {
    let (gateway, backend, mut neighbour, _connection) = scene();
    let began = Instant::now();
    let _crowd = crowd(&gateway, &backend, |stream| request_within(stream, "3S"));
    let opened_in = began.elapsed();
    // The last of all in the table, and due with the others.
    let asked_at = Instant::now();
    neighbour.0.write_all(&request_within(3, "3S")).unwrap();
    while !matches!(neighbour.next().expect("an answer"), (HEADERS, ..)) {}
    let took = asked_at.elapsed();
    // To end them all takes less than to open them did, whatever else this machine does.
    let most = Duration::from_millis(3_500) + opened_in;
    assert!(took < most, "{took:?}, opened in {opened_in:?}");
}
