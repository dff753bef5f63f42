//! The words of these tests: frames by hand, one connection with a hand-made peer, a pair of connections.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module shared by test binaries")]

use http2::{
    Cause, Config, Connection, ConnectionError, Credit, Encoder, ErrorCode, Event, Field, Limit, Limits,
    StreamKey,
};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as it goes over the wire.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(id.to_be_bytes());
    out.extend(payload);
    out
}

pub fn window_update(id: u32, n: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &n.to_be_bytes())
}

pub fn rst_stream(id: u32, code: ErrorCode) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &code.0.to_be_bytes())
}

pub fn goaway(last: u32, code: ErrorCode) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.0.to_be_bytes()].concat())
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, v)| [&id.to_be_bytes()[..], &v.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that a connection wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = &self.payload[..self.payload.len().min(24)];
        let len = self.payload.len();
        write!(
            f,
            "Frame(kind {}, flags {:#x}, stream {}, {len}: {text:02x?})",
            self.kind, self.flags, self.id
        )
    }
}

impl Frame {
    pub fn code(&self) -> ErrorCode {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        ErrorCode(u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap()))
    }
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// Whole frames from the front of `bytes`, which keeps the rest.
pub fn split_frames(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while bytes.len() - at >= 9 {
        let b = &bytes[at..];
        let len = u32::from_be_bytes([0, b[0], b[1], b[2]]) as usize;
        if b.len() < 9 + len {
            break;
        }
        let id = u32::from_be_bytes([b[5], b[6], b[7], b[8]]);
        frames.push(Frame {
            kind: b[3],
            flags: b[4],
            id,
            payload: b[9..9 + len].to_vec(),
        });
        at += 9 + len;
    }
    bytes.drain(..at);
    frames
}

/// An event that owns its contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedEvent {
    Request {
        stream: u32,
        fields: Vec<(String, String)>,
        end: bool,
    },
    RequestTooLarge {
        stream: u32,
        fields: Vec<(String, String)>,
        limit: Limit,
        end: bool,
    },
    Refused {
        fields: Vec<(String, String)>,
        code: ErrorCode,
        cause: Cause,
    },
    Informational {
        stream: u32,
        fields: Vec<(String, String)>,
    },
    Response {
        stream: u32,
        fields: Vec<(String, String)>,
        end: bool,
    },
    Trailers {
        stream: u32,
        fields: Vec<(String, String)>,
    },
    Data {
        stream: u32,
        payload: Vec<u8>,
        end: bool,
    },
    Reset {
        stream: u32,
        code: ErrorCode,
        cause: Option<Cause>,
    },
    Settings,
    GoAway {
        last: u32,
        code: ErrorCode,
        debug: Vec<u8>,
    },
    Pong {
        payload: [u8; 8],
    },
}

fn text(fields: &[Field]) -> Vec<(String, String)> {
    let lossy = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    fields
        .iter()
        .map(|f| (lossy(f.name()), lossy(f.value())))
        .collect()
}

/// The event, and the key of its stream.
pub fn own(event: Event<'_>) -> (OwnedEvent, Option<StreamKey>) {
    match event {
        Event::Request { stream, fields, end } => (
            OwnedEvent::Request {
                stream: stream.id(),
                fields: text(&fields),
                end,
            },
            Some(stream),
        ),
        Event::RequestTooLarge {
            stream,
            fields,
            limit,
            end,
        } => (
            OwnedEvent::RequestTooLarge {
                stream: stream.id(),
                fields: text(&fields),
                limit,
                end,
            },
            Some(stream),
        ),
        Event::Refused { fields, code, cause } => (
            OwnedEvent::Refused {
                fields: text(&fields),
                code,
                cause,
            },
            None,
        ),
        Event::Informational { stream, fields, .. } => (
            OwnedEvent::Informational {
                stream: stream.id(),
                fields: text(&fields),
            },
            Some(stream),
        ),
        Event::Response {
            stream, fields, end, ..
        } => (
            OwnedEvent::Response {
                stream: stream.id(),
                fields: text(&fields),
                end,
            },
            Some(stream),
        ),
        Event::Trailers { stream, fields, .. } => (
            OwnedEvent::Trailers {
                stream: stream.id(),
                fields: text(&fields),
            },
            Some(stream),
        ),
        Event::Data {
            stream, payload, end, ..
        } => (
            OwnedEvent::Data {
                stream: stream.id(),
                payload: payload.to_vec(),
                end,
            },
            Some(stream),
        ),
        Event::Reset {
            stream, code, cause, ..
        } => (
            OwnedEvent::Reset {
                stream: stream.id(),
                code,
                cause,
            },
            Some(stream),
        ),
        Event::Settings => (OwnedEvent::Settings, None),
        Event::GoAway { last, code, debug } => (OwnedEvent::GoAway { last, code, debug }, None),
        Event::Pong { payload } => (OwnedEvent::Pong { payload }, None),
    }
}

/// Adjacent pieces of DATA of one stream as one.
pub fn merge(events: Vec<OwnedEvent>) -> Vec<OwnedEvent> {
    let mut merged: Vec<OwnedEvent> = Vec::new();
    for event in events {
        match (merged.last_mut(), event) {
            (
                Some(OwnedEvent::Data {
                    stream: a,
                    payload: to,
                    end: to_end @ false,
                }),
                OwnedEvent::Data {
                    stream: b,
                    payload,
                    end,
                },
            ) if *a == b => {
                to.extend(payload);
                *to_end = end;
            }
            (_, event) => merged.push(event),
        }
    }
    merged
}

pub fn config() -> Config {
    with_limits(Limits::edge())
}

pub fn with_limits(limits: Limits) -> Config {
    Config {
        limits: Rc::new(limits),
        initial_stream_window: 65_535,
        connection_window: 65_535,
        connection_credit: Credit::OnRelease,
        max_output: 64 << 10,
    }
}

pub fn fields(list: &[(&str, &str)]) -> Vec<Field> {
    list.iter()
        .map(|(n, v)| Field::new(n.as_bytes(), v.as_bytes()))
        .collect()
}

pub const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a/B"),
    (":authority", "h"),
];
pub const OK: &[(&str, &str)] = &[(":status", "200")];

/// One connection of ours and a peer made by hand.
pub struct Lone {
    pub connection: Connection,
    pub encoder: Encoder,
    pub now: Instant,
    pub keys: Vec<StreamKey>,
    written: Vec<u8>,
}

impl Lone {
    /// A server that has greeted a client.
    pub fn server(config: Config) -> Self {
        let mut lone = Self::new(Connection::server(config));
        let hello = [PREFACE, &settings(&[]), &frame(SETTINGS, ACK, 0, &[])].concat();
        assert_eq!(lone.feed(&hello).unwrap(), [OwnedEvent::Settings]);
        lone.sent();
        lone
    }

    /// A client that has greeted a server.
    pub fn client(config: Config) -> Self {
        let mut lone = Self::new(Connection::client(config));
        let hello = [settings(&[]), frame(SETTINGS, ACK, 0, &[])].concat();
        assert_eq!(lone.feed(&hello).unwrap(), [OwnedEvent::Settings]);
        lone.connection.advance(PREFACE.len());
        lone.sent();
        lone
    }

    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            encoder: Encoder::new(),
            now: Instant::now(),
            keys: Vec::new(),
            written: Vec::new(),
        }
    }

    /// The events of the connection when it receives `bytes`.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<OwnedEvent>, ConnectionError> {
        let mut events = Vec::new();
        while let Some(event) = self.connection.receive(&mut bytes, self.now)? {
            let (reported, key) = own(event);
            if let (OwnedEvent::Request { .. } | OwnedEvent::RequestTooLarge { .. }, Some(key)) =
                (&reported, key)
            {
                self.keys.push(key);
            }
            events.push(reported);
        }
        assert!(bytes.is_empty(), "the input is used up");
        Ok(events)
    }

    pub fn feed_all(&mut self, frames: &[Vec<u8>]) -> Result<Vec<OwnedEvent>, ConnectionError> {
        self.feed(&frames.concat())
    }

    /// All frames written since the last call, taken off the output.
    pub fn sent(&mut self) -> Vec<Frame> {
        self.written.extend(self.connection.output());
        let n = self.connection.output().len();
        self.connection.advance(n);
        split_frames(&mut self.written)
    }

    /// HEADERS with these fields.
    pub fn headers(&mut self, id: u32, end: bool, list: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.encode(&fields(list), &mut block);
        frame(HEADERS, END_HEADERS | u8::from(end), id, &block)
    }

    /// Feeds a request that is reported; its key.
    pub fn request(&mut self, id: u32, end: bool) -> StreamKey {
        let bytes = self.headers(id, end, POST);
        let reported = self.feed(&bytes).unwrap();
        assert!(
            matches!(reported[..], [OwnedEvent::Request { .. }]),
            "{reported:?}"
        );
        *self.keys.last().unwrap()
    }

    pub fn later(&mut self, by: Duration) {
        self.now += by;
    }
}

/// A number generator that is the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            (self.next() % n as u64) as usize
        }
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// Runs `test` for many seeds, or for the one in `H2GATE_SEED`; says which one failed. `H2GATE_SEEDS` sets their
/// number.
#[allow(clippy::disallowed_methods, reason = "a seed is given by a variable")]
pub fn for_seeds(count: u64, test: impl Fn(u64)) {
    let from_environment = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = from_environment("H2GATE_SEED") {
        test(seed);
        return;
    }
    let count = from_environment("H2GATE_SEEDS").unwrap_or(count);
    for seed in 1..=count {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(cause) = failed {
            eprintln!("failed with H2GATE_SEED={seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

/// A client and a server, wired in memory. The time is virtual.
pub struct Pair {
    pub client: Connection,
    pub server: Connection,
    pub now: Instant,
    pub client_events: Vec<OwnedEvent>,
    pub server_events: Vec<OwnedEvent>,
    /// Keys of the requests that the server has reported.
    pub requests: Vec<StreamKey>,
}

impl Pair {
    pub fn new(client: Config, server: Config) -> Self {
        let mut pair = Self {
            client: Connection::client(client),
            server: Connection::server(server),
            now: Instant::now(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            requests: Vec::new(),
        };
        pair.run();
        pair.client_events.clear();
        pair.server_events.clear();
        pair
    }

    /// Moves bytes both ways until nobody has any left. Nothing is released.
    pub fn run(&mut self) {
        loop {
            let there = self.client.output().to_vec();
            let back = self.server.output().to_vec();
            self.client.advance(there.len());
            self.server.advance(back.len());
            self.client.pump();
            self.server.pump();
            if there.is_empty() && back.is_empty() {
                return;
            }
            let mut input = there.as_slice();
            while let Some(event) = self.server.receive(&mut input, self.now).unwrap() {
                let (reported, key) = own(event);
                if let (OwnedEvent::Request { .. }, Some(key)) = (&reported, key) {
                    self.requests.push(key);
                }
                self.server_events.push(reported);
            }
            let mut input = back.as_slice();
            while let Some(event) = self.client.receive(&mut input, self.now).unwrap() {
                self.client_events.push(own(event).0);
            }
        }
    }

    /// Opens a stream with a POST and brings it to the server: both keys.
    pub fn post(&mut self) -> (StreamKey, StreamKey) {
        let ours = self.client.open(&fields(POST), false, 7).unwrap();
        self.run();
        let theirs = *self.requests.last().unwrap();
        assert_eq!(ours.id(), theirs.id());
        (ours, theirs)
    }
}

/// The code of the connection error that these frames lead a fresh server to.
pub fn server_error(frames: &[Vec<u8>]) -> Option<ErrorCode> {
    Lone::server(config()).feed_all(frames).err().map(|e| e.code)
}

/// A stream that we reset for this rule.
pub fn reset(stream: u32, code: ErrorCode, rule: &'static str) -> OwnedEvent {
    OwnedEvent::Reset {
        stream,
        code,
        cause: Some(Cause::Protocol(rule)),
    }
}

pub const OVERRUN: &str = "the stream's flow-control window is overrun";
