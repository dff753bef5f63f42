//! Two connections of ours, joined by wires of any delay, under any order of calls: as long as nobody forges bytes,
//! neither finds fault with the other, and no octet is lost.

use http2::{Config, Connection, Credit, ErrorCode, Event, Field, Limits, Rate, StreamKey};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Input: a byte for windows and bounds, then commands of three bytes each: what, on which stream, how much.
pub(crate) fn run(data: &[u8]) {
    let Some((&shape, commands)) = data.split_first() else {
        return;
    };
    let mut world = World::new(shape);
    for command in commands.chunks_exact(3) {
        let &[what, which, amount] = command else { return };
        world.obey(what, usize::from(which), usize::from(amount));
    }
    world.check();
}

struct End {
    connection: Connection,
    /// On its way to the other end.
    wire: Vec<u8>,
    keys: Vec<StreamKey>,
    /// Octets reported, and not yet released.
    held: u64,
    /// Octets handed over that must arrive unless a stream was reset.
    sent: u64,
    received: u64,
}

struct World {
    ends: [End; 2],
    now: Instant,
    forged: bool,
    reset: bool,
}

impl World {
    fn new(shape: u8) -> Self {
        let mut limits = Limits::edge();
        limits.max_concurrent_streams = u32::from(shape & 7) + 1;
        limits.rapid_resets = Rate::UNLIMITED;
        // The fuzzer pings and raises windows like nobody else.
        (limits.pings, limits.window_updates) = (Rate::UNLIMITED, Rate::UNLIMITED);
        limits.max_unread_answers = u32::MAX;
        // Within its reach.
        limits.turned_away = Rate::new(3, 1);
        let config = |bits: u8| Config {
            limits: Rc::new(limits.clone()),
            initial_stream_window: if bits & 1 == 0 { 10 } else { 100_000 },
            connection_window: if bits & 2 == 0 { 0 } else { 1 << 20 },
            connection_credit: if bits & 4 == 0 {
                Credit::OnReceipt
            } else {
                Credit::OnRelease
            },
            max_output: if shape & 8 == 0 { 1 } else { 1 << 20 },
        };
        let ends = [
            Connection::client(config(shape >> 4)),
            Connection::server(config(shape >> 5)),
        ];
        let ends = ends.map(|connection| End {
            connection,
            wire: Vec::new(),
            keys: Vec::new(),
            held: 0,
            sent: 0,
            received: 0,
        });
        Self {
            ends,
            now: Instant::now(),
            forged: false,
            reset: false,
        }
    }

    fn obey(&mut self, what: u8, which: usize, amount: usize) {
        let side = usize::from(what & 1);
        let [client, server] = &mut self.ends;
        let end = if side == 0 { client } else { server };
        let key = (!end.keys.is_empty())
            .then(|| end.keys.get(which % end.keys.len()).copied())
            .flatten();
        let c = &mut end.connection;
        match (what >> 1, key) {
            (0, _) => {
                let head = [
                    Field::new(b":method", b"POST"),
                    Field::new(b":scheme", b"http"),
                    Field::new(b":path", b"/"),
                    Field::new(b"x", &[b'a' + (amount % 20) as u8]),
                ];
                end.keys.extend(c.open(&head, amount & 1 == 1, 0));
            }
            (1..=3, Some(key)) => {
                let before = c.queued(key);
                let payload = vec![amount as u8; amount * 300];
                let now = c.send_data(key, &payload, which > 250);
                end.sent += (now + c.queued(key) - before) as u64;
            }
            (4, Some(key)) => c.send_headers(key, &[Field::new(b":status", b"200")], amount & 1 == 1),
            (5, Some(key)) => c.send_trailers(key, vec![Field::new(b"grpc-status", b"0")]),
            (6, Some(key)) => {
                c.reset(key, ErrorCode::CANCEL);
                self.reset = true;
            }
            (7, Some(key)) => {
                c.release(key, amount as u32 * 300);
                end.held = end.held.saturating_sub(amount as u64 * 300);
            }
            (8, Some(key)) => _ = c.renew(key, amount as u32 * 1000),
            (9, _) => c.ping([amount as u8; 8]),
            (10, _) if amount == 255 => c.drain(),
            (11, _) if amount == 255 && which == 255 => {
                c.abort(ErrorCode::NO_ERROR, b"");
                self.reset = true;
            }
            (12, _) if which > 200 => {
                end.wire
                    .extend([0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, amount as u8]);
                self.forged = true;
            }
            (13..=18, _) => {
                let n = (amount * 100).min(c.output().len());
                end.wire
                    .extend_from_slice(c.output().get(..n).unwrap_or_default());
                c.advance(n);
                c.pump();
                while c.next_drained().is_some() {}
            }
            (125, Some(key)) => c.served(key),
            (126, Some(key)) => {
                c.turned_away(key);
                self.reset = true;
            }
            (127, Some(key)) => c.expect_reset_after(key, Duration::from_millis(amount as u64)),
            _ => self.deliver(side, amount * 100),
        }
        self.now += Duration::from_millis(1);
    }

    fn deliver(&mut self, side: usize, n: usize) {
        let [client, server] = &mut self.ends;
        let (from, to) = if side == 0 {
            (client, server)
        } else {
            (server, client)
        };
        let bytes: Vec<u8> = from.wire.drain(..n.min(from.wire.len())).collect();
        let mut input = bytes.as_slice();
        loop {
            match to.connection.receive(&mut input, self.now) {
                Ok(None) => return,
                Ok(Some(Event::Request { stream, .. } | Event::RequestTooLarge { stream, .. })) => {
                    to.keys.push(stream);
                }
                Ok(Some(Event::Data { payload, .. })) => {
                    to.received += payload.len() as u64;
                    to.held += payload.len() as u64;
                }
                Ok(Some(Event::Reset { cause, code, .. })) => {
                    // A server's DATA before its head is the caller's mistake, and is answered with a reset.
                    assert!(self.forged || cause.is_none() || code == ErrorCode::PROTOCOL_ERROR);
                    self.reset = true;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    assert!(self.forged || self.reset, "{error}");
                    (self.forged, self.reset) = (true, true);
                    return;
                }
            }
        }
    }

    /// Let everything flow: what was handed over and is not queued has arrived.
    fn check(&mut self) {
        for _ in 0..1000 {
            for side in [0, 1] {
                self.obey(26 + side, 0, 255);
                self.obey(38 + side, 0, 255);
            }
        }
        let [client, server] = &self.ends;
        if !self.forged && !self.reset {
            for (from, to) in [(client, server), (server, client)] {
                let queued = from.connection.queued_total() as u64;
                let on_the_way = (from.wire.len() + from.connection.output().len()) as u64;
                assert!(from.sent - queued <= to.received + on_the_way);
                assert!(to.received + queued <= from.sent);
            }
        }
    }
}
