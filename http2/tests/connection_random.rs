//! Chance, with seeds: any split of the input, any valid conversation, any bytes, any order of calls.
//!
//! A failing test names its seed; `H2GATE_SEED=n` runs that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Config, Connection, Credit, ErrorCode as E, Event, Limits, StreamKey};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use support::*;

/// A conversation's bytes towards a server, with all that can be cut in awkward places.
fn client_bytes(random: &mut Random) -> Vec<u8> {
    let mut encoder = http2::Encoder::new();
    let mut block = |list: &[(&str, &str)]| {
        let mut block = Vec::new();
        encoder.encode(&fields(list), &mut block);
        block
    };
    let mut bytes = [PREFACE, &settings(&[(4, 70_000)]), &frame(SETTINGS, ACK, 0, &[])].concat();
    let mut id = 1;
    for _ in 0..20 {
        match random.below(8) {
            0 => bytes.extend(frame(PING, 0, 0, &[7; 8])),
            1 => bytes.extend(frame(0x99, 0, 0, &vec![1; random.below(300)])),
            2 => bytes.extend(window_update(0, 1)),
            3 => {
                let whole = block(&[POST, &[("x-random", &random.next().to_string())]].concat());
                let cut = random.below(whole.len());
                bytes.extend(frame(HEADERS, END_STREAM, id, &whole[..cut]));
                bytes.extend(frame(CONTINUATION, END_HEADERS, id, &whole[cut..]));
                id += 2;
            }
            4 => {
                bytes.extend(frame(HEADERS, END_HEADERS, id, &block(POST)));
                bytes.extend(frame(DATA, 0, id, &vec![3; random.below(500)]));
                bytes.extend(frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    id,
                    &block(&[("x", "y")]),
                ));
                id += 2;
            }
            5 => {
                bytes.extend(frame(HEADERS, END_HEADERS, id, &block(POST)));
                bytes.extend(rst_stream(id, E::CANCEL));
                id += 2;
            }
            6 => {
                // Malformed: reset inside.
                bytes.extend(frame(HEADERS, END_HEADERS, id, &block(&[("a", "b")])));
                bytes.extend(frame(DATA, END_STREAM, id, b"ignored"));
                id += 2;
            }
            _ => {
                bytes.extend(frame(HEADERS, END_HEADERS, id, &block(POST)));
                for _ in 0..random.below(4) {
                    let padding = random.below(20);
                    let body = vec![b'd'; random.below(400)];
                    let payload = [&[padding as u8][..], &body, &vec![0; padding]].concat();
                    bytes.extend(frame(DATA, PADDED, id, &payload));
                }
                bytes.extend(frame(DATA, END_STREAM, id, &vec![b'e'; random.below(3)]));
                id += 2;
            }
        }
    }
    if random.one_in(3) {
        // An error at the end.
        bytes.extend(frame(PING, 0, 1, &[0; 8]));
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
    }
    bytes
}

type Outcome = (Vec<OwnedEvent>, Option<http2::ConnectionError>, Vec<u8>);

/// The events of a server, its end, and its output, when the bytes come in these pieces.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let now = Instant::now();
    let mut server = Connection::server(config());
    let mut reported = Vec::new();
    for mut piece in pieces {
        loop {
            match server.receive(&mut piece, now) {
                Ok(Some(event)) => reported.push(own(event).0),
                Ok(None) => break,
                Err(error) => return (merge(reported), Some(error), server.output().to_vec()),
            }
        }
    }
    (merge(reported), None, server.output().to_vec())
}

#[test]
fn any_split_of_the_input_reports_the_same() {
    for_seeds(60, |seed| {
        let mut random = Random::new(seed);
        let bytes = client_bytes(&mut random);
        let whole = in_pieces(std::iter::once(bytes.as_slice()));
        assert_eq!(in_pieces(bytes.chunks(1)), whole, "octet by octet");
        for _ in 0..10 {
            let mut cuts: Vec<usize> = (0..random.below(40)).map(|_| random.below(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            assert_eq!(
                in_pieces(cuts.windows(2).map(|w| &bytes[w[0]..w[1]])),
                whole,
                "cuts {cuts:?}"
            );
        }
    });
}

/// No frame begins like the preface, so it stays in the buffer until it is whole.
fn strip_preface(bytes: &mut Vec<u8>) {
    if bytes.starts_with(PREFACE) {
        bytes.drain(..PREFACE.len());
    }
}

/// The windows of one side by all that was delivered to it: kept from the frames alone, apart from the code under test.
#[derive(Default)]
struct WindowModel {
    initial: i64,
    connection: i64,
    streams: HashMap<u32, i64>,
    /// Received and not yet acknowledged: the initial window, if given.
    settings: VecDeque<Option<i64>>,
    /// Bytes delivered to, and written by, this side that are no whole frame yet.
    delivered: Vec<u8>,
    written: Vec<u8>,
}

impl WindowModel {
    fn new() -> Self {
        Self {
            initial: 65_535,
            connection: 65_535,
            ..Self::default()
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend(bytes);
        strip_preface(&mut self.delivered);
        for f in split_frames(&mut self.delivered) {
            match (f.kind, f.id) {
                (SETTINGS, _) if f.flags & ACK == 0 => {
                    let set = |s: &&[u8]| s[1] == 4;
                    let value = |s: &[u8]| i64::from(u32::from_be_bytes([s[2], s[3], s[4], s[5]]));
                    self.settings
                        .push_back(f.payload.chunks(6).filter(set).map(value).next_back());
                }
                (WINDOW_UPDATE, 0) => self.connection += i64::from(f.number()),
                (WINDOW_UPDATE, id) => {
                    *self.streams.entry(id).or_insert(self.initial) += i64::from(f.number())
                }
                // A stream opened by the peer gets its window when we learn of it.
                (HEADERS, id) => {
                    self.streams.entry(id).or_insert(self.initial);
                }
                _ => {}
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.written.extend(bytes);
        strip_preface(&mut self.written);
        for f in split_frames(&mut self.written) {
            assert!(f.payload.len() <= 16_384);
            match f.kind {
                // RFC 9113 §6.5.3: what was written before the acknowledgement obeys the old values.
                SETTINGS if f.flags & ACK != 0 => {
                    if let Some(new) = self.settings.pop_front().expect("SETTINGS to acknowledge") {
                        self.streams.values_mut().for_each(|w| *w += new - self.initial);
                        self.initial = new;
                    }
                }
                HEADERS => {
                    self.streams.entry(f.id).or_insert(self.initial);
                }
                DATA => {
                    let n = f.payload.len() as i64;
                    self.connection -= n;
                    assert!(self.connection >= 0, "the connection's window is overrun: {f:?}");
                    let window = self.streams.get_mut(&f.id).expect("DATA after HEADERS");
                    *window -= n;
                    assert!(
                        *window >= 0 || n == 0,
                        "the window of stream {} is overrun: {f:?}",
                        f.id
                    );
                }
                _ => {}
            }
        }
    }
}

/// One direction of one stream: what was handed over, and what arrived.
#[derive(Default, Debug)]
struct Way {
    handed: usize,
    arrived: usize,
    held: usize,
    end_handed: bool,
    end_arrived: bool,
    queued: usize,
}

#[derive(Default, Debug)]
struct Call {
    client: Option<StreamKey>,
    server: Option<StreamKey>,
    up: Way,
    down: Way,
    headed: bool,
    dead: bool,
}

fn byte(id: u32, up: bool, at: usize) -> u8 {
    (id as usize * 31 + usize::from(up) * 7 + at * 13) as u8
}

struct Conversation {
    random: Random,
    client: Connection,
    server: Connection,
    model: [WindowModel; 2],
    wires: [Vec<u8>; 2],
    calls: Vec<Call>,
    now: Instant,
}

impl Conversation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut limits = Limits::edge();
        limits.max_concurrent_streams = 8;
        limits.rapid_resets = http2::Rate::UNLIMITED;
        let edge = limits.clone();
        let config = |random: &mut Random| Config {
            initial_stream_window: [0, 1, 100, 5_000, 65_535, 1 << 20][random.below(6)],
            connection_window: [65_535, 70_000, 1 << 20][random.below(3)],
            connection_credit: if random.one_in(2) {
                Credit::OnReceipt
            } else {
                Credit::OnRelease
            },
            max_output: [1, 100, 10_000, 1 << 20][random.below(4)],
            limits: edge.clone().into(),
        };
        let client = Connection::client(config(&mut random));
        // Heads and trailers often have to wait.
        limits.max_unread_answers = [0, 50, 256 << 10][random.below(3)];
        let server = Connection::server(Config {
            limits: limits.clone().into(),
            ..config(&mut random)
        });
        let model = [WindowModel::new(), WindowModel::new()];
        let (wires, calls) = ([Vec::new(), Vec::new()], Vec::new());
        Self {
            random,
            client,
            server,
            model,
            wires,
            calls,
            now: Instant::now(),
        }
    }

    /// Up to `n` octets from a connection to its wire.
    fn write(&mut self, from_client: bool, n: usize) {
        let side = usize::from(!from_client);
        let from = if from_client {
            &mut self.client
        } else {
            &mut self.server
        };
        let n = n.min(from.output().len());
        let bytes = from.output()[..n].to_vec();
        self.model[side].write(&bytes);
        self.wires[side].extend(&bytes);
        from.advance(n);
        from.pump();
        self.drained(from_client);
    }

    /// Up to `n` octets from a wire to the other connection.
    fn deliver(&mut self, from_client: bool, n: usize) {
        let side = usize::from(!from_client);
        let n = n.min(self.wires[side].len());
        let bytes: Vec<u8> = self.wires[side].drain(..n).collect();
        self.model[1 - side].deliver(&bytes);
        let mut input = bytes.as_slice();
        loop {
            let to = if from_client {
                &mut self.server
            } else {
                &mut self.client
            };
            let Some(event) = to.receive(&mut input, self.now).expect("a valid conversation") else {
                break;
            };
            self.on_event(from_client, event);
        }
        self.drained(!from_client);
    }

    fn drained(&mut self, of_client: bool) {
        let connection = if of_client {
            &mut self.client
        } else {
            &mut self.server
        };
        while let Some((key, _, n)) = connection.next_drained() {
            let call = &mut self.calls[(key.id() as usize - 1) / 2];
            let way = if of_client { &mut call.up } else { &mut call.down };
            assert!(n as usize <= way.queued, "more drained than was queued");
            way.queued -= n as usize;
        }
    }

    fn on_event(&mut self, up: bool, event: Event<'_>) {
        let (reported, key) = own(event);
        let Some(key) = key else { return };
        let id = key.id();
        let call = &mut self.calls[(id as usize - 1) / 2];
        let way = if up { &mut call.up } else { &mut call.down };
        match reported {
            OwnedEvent::Request { end, .. } => {
                call.server = Some(key);
                call.up.end_arrived = end;
            }
            OwnedEvent::Response { end, .. } => call.down.end_arrived = end,
            OwnedEvent::Data { payload, end, .. } => {
                for (n, &got) in payload.iter().enumerate() {
                    assert_eq!(
                        got,
                        byte(id, up, way.arrived + n),
                        "octet {} of stream {id}",
                        way.arrived + n
                    );
                }
                way.arrived += payload.len();
                way.held += payload.len();
                way.end_arrived |= end;
            }
            OwnedEvent::Trailers { .. } => way.end_arrived = true,
            OwnedEvent::Reset { cause, code, .. } => {
                assert!(
                    cause.is_none(),
                    "nobody broke a rule: {code} up {up} stream {id} {call:?}"
                );
                call.dead = true;
            }
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, up: bool, call: usize, n: usize, how_end: usize) {
        let call = &mut self.calls[call];
        let (connection, key, way) = if up {
            (&mut self.client, call.client, &mut call.up)
        } else {
            (&mut self.server, call.server, &mut call.down)
        };
        let Some(key) = key.filter(|_| !call.dead && !way.end_handed) else {
            return;
        };
        if !up && !call.headed {
            call.headed = true;
            connection.send_headers(key, &fields(OK), false);
        }
        let payload: Vec<u8> = (0..n).map(|i| byte(key.id(), up, way.handed + i)).collect();
        let now = connection.send_data(key, &payload, how_end == 0);
        way.handed += n;
        way.queued += n - now;
        assert_eq!(connection.queued(key), way.queued);
        if how_end == 1 {
            connection.send_trailers(key, fields(&[("grpc-status", "0")]));
        }
        way.end_handed = how_end < 2;
    }

    fn release(&mut self, up: bool, call: usize, n: usize) {
        let call = &mut self.calls[call];
        let (connection, key, way) = if up {
            (&mut self.server, call.server, &mut call.up)
        } else {
            (&mut self.client, call.client, &mut call.down)
        };
        let n = n.min(way.held);
        way.held -= n;
        let Some(key) = key else { return };
        if self.random.one_in(3) {
            // Owed credit is given back by some later renewal.
            connection.owe(key, n as u32);
        } else {
            connection.release(key, n as u32);
        }
    }

    fn step(&mut self) {
        let up = self.random.one_in(2);
        let call = self.random.below(self.calls.len().max(1));
        let n = [0, 1, 5, 100, 3_000, 20_000, 100_000][self.random.below(7)];
        match self.random.below(12) {
            0 => {
                let end = self.random.one_in(4);
                if let Ok(key) = self.client.open(&fields(POST), end, 0) {
                    let up = Way {
                        end_handed: end,
                        ..Way::default()
                    };
                    self.calls.push(Call {
                        client: Some(key),
                        up,
                        ..Call::default()
                    });
                }
            }
            1..4 if !self.calls.is_empty() => {
                let end = self.random.below(12);
                self.send(up, call, n, end);
            }
            4..6 if !self.calls.is_empty() => self.release(up, call, n),
            6 if self.random.one_in(5) && !self.calls.is_empty() => {
                let c = &mut self.calls[call];
                let (connection, key) = if up {
                    (&mut self.client, c.client)
                } else {
                    (&mut self.server, c.server)
                };
                if let Some(key) = key {
                    connection.reset(key, E::CANCEL);
                    c.dead = true;
                }
            }
            7 if !self.calls.is_empty() => {
                let c = &self.calls[call];
                let (connection, key) = if up {
                    (&mut self.client, c.client)
                } else {
                    (&mut self.server, c.server)
                };
                if let Some(key) = key {
                    connection.renew(key, n as u32);
                }
            }
            8..10 => self.write(up, n),
            _ => self.deliver(up, n),
        }
        self.now += Duration::from_millis(self.random.below(100) as u64);
    }

    /// Everything flows until nothing moves any more.
    fn finish(&mut self) {
        for call in 0..self.calls.len() {
            if self.calls[call].client.is_some() && self.calls[call].server.is_none() {
                continue;
            }
            self.send(true, call, 0, 0);
            self.send(false, call, 0, 0);
        }
        for _ in 0..100_000 {
            let mut moved = false;
            for up in [true, false] {
                self.write(up, usize::MAX);
                moved |= !self.wires[usize::from(!up)].is_empty();
                self.deliver(up, usize::MAX);
                for call in 0..self.calls.len() {
                    self.release(up, call, usize::MAX);
                    // Requests that arrived only now are answered.
                    if self.calls[call].server.is_some() {
                        self.send(true, call, 0, 0);
                        self.send(false, call, 0, 0);
                    }
                    let c = &self.calls[call];
                    for (connection, key) in [(&mut self.client, c.client), (&mut self.server, c.server)] {
                        if let Some(key) = key {
                            // A window of 0 must be opened by somebody.
                            connection.renew(key, 65_535);
                        }
                    }
                }
                moved |= !self.client.output().is_empty() || !self.server.output().is_empty();
            }
            if !moved {
                return;
            }
        }
        panic!("the conversation does not end");
    }
}

#[test]
fn random_conversations_arrive_whole_and_never_overrun_a_window() {
    for_seeds(150, |seed| {
        let mut talk = Conversation::new(seed);
        for _ in 0..600 {
            talk.step();
        }
        talk.finish();
        for call in &talk.calls {
            for way in [&call.up, &call.down] {
                if !call.dead {
                    assert_eq!(way.handed, way.arrived, "{call:?}");
                    assert!(way.end_arrived, "{call:?}");
                    assert_eq!(way.queued, 0, "{call:?}");
                }
            }
        }
        assert_eq!((talk.client.open_streams(), talk.server.open_streams()), (0, 0));
        assert_eq!((talk.client.queued_total(), talk.server.queued_total()), (0, 0));
    });
}

/// Frames that are nearly right, with hostile details.
fn nearly_a_frame(random: &mut Random) -> Vec<u8> {
    let kind = random.below(11) as u8;
    let flags = [0, 1, 4, 5, 8, 0x0c, 0x2c, 0x2d, 0xff][random.below(9)];
    let id = [0, 1, 2, 3, 5, 7, 9, 0x7fff_ffff, 0xffff_ffff][random.below(9)];
    let len = match kind {
        SETTINGS => 6 * random.below(3),
        PING => 8,
        WINDOW_UPDATE | RST_STREAM => 4,
        PRIORITY => 5,
        _ => random.below(40),
    };
    let mut payload: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    if kind == HEADERS && random.one_in(2) {
        payload = vec![0x83, 0x86, 0x84];
    }
    let mut bytes = frame(kind, flags, id, &payload);
    if random.one_in(10) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes
}

/// Any call with any key.
fn any_call(c: &mut Connection, keys: &[StreamKey], random: &mut Random) {
    let n = [0, 1, 1_000, 70_000, u32::MAX as usize][random.below(5)];
    let bytes = vec![0; n.min(100_000)];
    if random.one_in(8) {
        let _ = c.open(&fields(POST), random.one_in(2), 3);
    }
    match random.below(14) {
        0 => c.advance(n),
        1 => c.pump(),
        2 => c.ping([1; 8]),
        3 if random.one_in(20) => c.drain(),
        4 if random.one_in(50) => c.abort(E::NO_ERROR, &bytes),
        5 if random.one_in(20) => drop(c.take_streams()),
        6 => drop(c.take_unprocessed()),
        7 => drop((
            c.next_drained(),
            c.take_reached(),
            c.heaviest(),
            c.over_queue_bound(),
        )),
        8 => drop((
            c.is_drained(),
            c.header_block_open(),
            c.available_streams(),
            c.queued_total(),
        )),
        _ => {
            let Some(&key) = random.pick(keys) else { return };
            match random.below(9) {
                0 => c.send_headers(key, &fields(OK), random.one_in(3)),
                1 => drop(c.send_data(key, &bytes, random.one_in(3))),
                2 => c.send_trailers(key, fields(&[("a", "b")])),
                3 => c.release(key, n as u32),
                4 => _ = c.renew(key, n as u32),
                7 => _ = c.owe(key, n as u32),
                5 => c.reset(key, E::CANCEL),
                6 => c.set_tag(key, 9),
                _ => drop((c.sendable(key), c.queued(key), c.window_target(key))),
            }
        }
    }
}

#[test]
fn any_bytes_and_any_order_of_calls_end_in_no_panic_and_bounded_memory() {
    for_seeds(1500, |seed| {
        let mut random = Random::new(seed);
        let server = random.one_in(2);
        let mut lone = if server {
            Lone::server(config())
        } else {
            Lone::client(config())
        };
        let mut keys = Vec::new();
        for _ in 0..100 {
            let bytes: Vec<u8> = if random.one_in(10) {
                (0..random.below(50)).map(|_| random.next() as u8).collect()
            } else {
                nearly_a_frame(&mut random)
            };
            let mut input = bytes.as_slice();
            loop {
                match lone.connection.receive(&mut input, lone.now) {
                    Ok(Some(event)) => keys.extend(own(event).1),
                    Ok(None) => break,
                    Err(first) => {
                        let again = lone.connection.receive(&mut input, lone.now);
                        assert_eq!(again.unwrap_err(), first);
                        input = &[];
                        break;
                    }
                }
            }
            assert!(input.is_empty());
            if !server && random.one_in(4) {
                keys.extend(lone.connection.open(&fields(POST), random.one_in(2), 1));
            }
            any_call(&mut lone.connection, &keys, &mut random);
            if random.one_in(4) {
                let n = lone.connection.output().len();
                lone.connection.advance(n);
                assert_eq!(lone.connection.output().len(), 0);
            }
        }
    });
}
