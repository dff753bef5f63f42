//! What one forwarded RPC costs in this crate: `cargo run --release -p http2 --example forward_cost`.
//!
//! Two connections as in a gateway, a server's and a client's: request head and DATA in on one and out on the other,
//! response head, DATA and trailers back. Only that half is timed; caller and backend are played by two more
//! connections outside of it. Nanoseconds per RPC, the best of several rounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measuring tool: it may stop where it stands"
)]

use http2::{Config, Connection, Credit, Event, Field, Indexing, Limits, StreamKey};
use std::rc::Rc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 400;

fn main() {
    if std::env::args().nth(1).is_some() {
        for _ in 0..10 {
            report("unary, 16 B, warm tables, 100 at once", 100, 0, 16);
        }
        return;
    }
    println!("{:<56}{:>10}{:>10}", "ns per RPC", "best", "median");
    for (unique, body, title) in [
        (0, 16, "unary, 16 B, warm tables"),
        (3, 16, "unary, 16 B, 3 fields of its own per request"),
        (0, 0, "no DATA at all, warm tables"),
        (0, 16 << 10, "unary, 16 KiB"),
    ] {
        for batch in [1, 10, 100] {
            report(&format!("{title}, {batch} at once"), batch, unique, body);
        }
    }
}

fn config(limits: Limits, credit: Credit) -> Config {
    Config {
        limits: Rc::new(limits),
        initial_stream_window: 1 << 20,
        connection_window: 16 << 20,
        connection_credit: credit,
        max_output: 256 << 10,
    }
}

struct World {
    caller: Connection,
    down: Connection,
    up: Connection,
    backend: Connection,
    /// Both streams of each RPC, by tag.
    relays: Vec<(Option<StreamKey>, Option<StreamKey>)>,
    free: Vec<u32>,
    spent: Duration,
}

fn report(title: &str, batch: usize, unique: usize, body: usize) {
    let edge = || Limits {
        max_concurrent_streams: 1000,
        ..Limits::edge()
    };
    let mut world = World {
        caller: Connection::client(config(Limits::backend(), Credit::OnReceipt)),
        down: Connection::server(config(edge(), Credit::OnRelease)),
        up: Connection::client(config(Limits::backend(), Credit::OnReceipt)),
        backend: Connection::server(config(edge(), Credit::OnReceipt)),
        relays: Vec::new(),
        free: Vec::new(),
        spent: Duration::ZERO,
    };
    world.turn();
    let payload = vec![7; body];
    let mut costs = Vec::new();
    for round in 0..ROUNDS {
        world.spent = Duration::ZERO;
        let repeats = (100 / batch).max(1);
        for repeat in 0..repeats {
            for n in 0..batch {
                let head = request(unique, (round * repeats + repeat) * batch + n);
                let key = world.caller.open(&head, body == 0, 0).unwrap();
                if body > 0 {
                    world.caller.send_data(key, &payload, true);
                }
            }
            world.turn();
        }
        assert_eq!((world.caller.open_streams(), world.up.open_streams()), (0, 0));
        costs.push(world.spent.as_nanos() / (repeats * batch) as u128);
    }
    costs.sort_unstable();
    println!("{title:<56}{:>10}{:>10}", costs[0], costs[costs.len() / 2]);
}

fn request(unique: usize, number: usize) -> Vec<Field> {
    let mut fields: Vec<Field> = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/routeguide.RouteGuide/GetFeature"),
        (":authority", "api.example.com:8443"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "grpc-go/1.71.0"),
        ("grpc-accept-encoding", "identity,deflate,gzip"),
    ]
    .iter()
    .map(|(n, v)| Field::new(n.as_bytes(), v.as_bytes()))
    .collect();
    for n in 0..unique {
        let value = format!("{:016x}{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15), n);
        let name = ["x-trace-id", "x-call-id", "grpc-trace-bin"][n];
        fields.push(Field::with_indexing(
            name.as_bytes(),
            value.as_bytes(),
            Indexing::Incremental,
        ));
    }
    fields
}

fn take(connection: &mut Connection) -> Vec<u8> {
    let bytes = connection.output().to_vec();
    connection.advance(bytes.len());
    connection.pump();
    bytes
}

impl World {
    /// What was queued and is framed now is credited.
    fn credit(&mut self) {
        while let Some((_, tag, n)) = self.up.next_drained() {
            self.down.release(self.relays[tag as usize].0.unwrap(), n);
        }
        while let Some((_, tag, n)) = self.down.next_drained() {
            self.up.release(self.relays[tag as usize].1.unwrap(), n);
        }
    }

    /// Everything flows until nothing moves.
    fn turn(&mut self) {
        loop {
            let from_caller = take(&mut self.caller);
            let from_backend = take(&mut self.backend);
            let idle = self.up.output().is_empty() && self.down.output().is_empty();
            if from_caller.is_empty() && from_backend.is_empty() && idle {
                return;
            }
            let now = Instant::now();
            self.forward_requests(&from_caller, now);
            self.forward_responses(&from_backend, now);
            self.spent += now.elapsed();
            let (to_caller, to_backend) = (self.down.output().to_vec(), self.up.output().to_vec());
            let written = Instant::now();
            self.down.advance(to_caller.len());
            self.down.pump();
            self.up.advance(to_backend.len());
            self.up.pump();
            self.credit();
            self.spent += written.elapsed();
            self.answer(&to_backend, now);
            let mut input = to_caller.as_slice();
            while let Some(event) = self.caller.receive(&mut input, now).unwrap() {
                if let Event::Data { stream, payload, .. } = event {
                    self.caller.release(stream, payload.len() as u32);
                }
            }
        }
    }

    #[inline(never)]
    fn forward_requests(&mut self, mut input: &[u8], now: Instant) {
        while let Some(event) = self.down.receive(&mut input, now).unwrap() {
            match event {
                Event::Request { stream, fields, end } => {
                    let tag = self.free.pop().unwrap_or_else(|| {
                        self.relays.push((None, None));
                        self.relays.len() as u32 - 1
                    });
                    self.down.set_tag(stream, tag);
                    let up = self.up.open(&fields, end, tag).unwrap();
                    http2::recycle(fields);
                    self.relays[tag as usize] = (Some(stream), Some(up));
                }
                Event::Data {
                    stream,
                    tag,
                    payload,
                    end,
                } => {
                    let n = self
                        .up
                        .send_data(self.relays[tag as usize].1.unwrap(), payload, end);
                    self.down.release(stream, n as u32);
                }
                _ => {}
            }
        }
    }

    #[inline(never)]
    fn forward_responses(&mut self, mut input: &[u8], now: Instant) {
        while let Some(event) = self.up.receive(&mut input, now).unwrap() {
            match event {
                Event::Response { tag, fields, end, .. } => {
                    let stream = self.relays[tag as usize].0.unwrap();
                    self.down.served(stream);
                    self.down.send_headers(stream, &fields, end);
                    http2::recycle(fields);
                }
                Event::Data {
                    stream,
                    tag,
                    payload,
                    end,
                } => {
                    let n = self
                        .down
                        .send_data(self.relays[tag as usize].0.unwrap(), payload, end);
                    self.up.release(stream, n as u32);
                }
                Event::Trailers { tag, fields, .. } => {
                    self.down
                        .send_trailers(self.relays[tag as usize].0.unwrap(), fields);
                    self.free.push(tag);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, mut input: &[u8], now: Instant) {
        while let Some(event) = self.backend.receive(&mut input, now).unwrap() {
            let stream = match event {
                Event::Request { stream, end, .. } => {
                    let head = [
                        Field::new(b":status", b"200"),
                        Field::new(b"content-type", b"application/grpc"),
                    ];
                    self.backend.send_headers(stream, &head, false);
                    if !end {
                        continue;
                    }
                    stream
                }
                Event::Data {
                    stream, payload, end, ..
                } => {
                    self.backend.send_data(stream, payload, false);
                    self.backend.release(stream, payload.len() as u32);
                    if !end {
                        continue;
                    }
                    stream
                }
                _ => continue,
            };
            let trailers = vec![Field::new(b"grpc-status", b"0"), Field::new(b"grpc-message", b"")];
            self.backend.send_trailers(stream, trailers);
        }
    }
}
