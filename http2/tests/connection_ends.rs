//! Whoever relays a stream must learn of its end exactly once: by both ends of the messages, by `Event::Reset`, or,
//! when the connection itself ends, by `take_streams()`. Otherwise its other half waits for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, ErrorCode as E, Limit, Limits, Rate, StreamKey};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use support::*;

#[test]
fn a_stream_whose_end_breaks_a_limit_is_left_for_take_streams() {
    let none = Rate::new(0, 0);
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(4097 / 17);
    // RFC 9113 §6.9: a WINDOW_UPDATE by nothing is an error of the stream.
    let cases = [
        (Limit::RapidResets, vec![], rst_stream(1, E::CANCEL)),
        (Limit::ProvokedResets, vec![], window_update(1, 0)),
        (Limit::UnreadAnswers, pings, window_update(1, 0)),
    ];
    for (limit, before, last) in cases {
        let mut limits = Limits::edge();
        match limit {
            Limit::RapidResets => limits.rapid_resets = none,
            Limit::ProvokedResets => limits.provoked_resets = none,
            // 4 KiB are allowed besides for each stream; the answers to the pings take all of it.
            _ => {
                (limits.max_unread_answers, limits.max_concurrent_streams) = (1, 1);
                limits.pings = Rate::UNLIMITED;
            }
        }
        let mut lone = Lone::server(with_limits(limits));
        let key = lone.request(1, false);
        lone.connection.set_tag(key, 77);
        assert_eq!(lone.feed(&before), Ok(vec![]));
        let error = lone.feed(&last).unwrap_err();
        assert_eq!(error.cause, Cause::Limit(limit));
        assert_eq!(lone.connection.take_streams(), [(key, 77)], "{limit:?}");
        assert_eq!(lone.connection.take_streams(), [], "{limit:?}");
    }
}

/// The events of one stream.
#[derive(Debug)]
struct Seen {
    key: StreamKey,
    tag: u32,
    /// Its DATA is swallowed, so the end of it is not reported.
    too_large: bool,
    peer_ended: bool,
    resets: u32,
    taken: u32,
}

struct Talk {
    random: Random,
    lone: Lone,
    server: bool,
    next_id: u32,
    seen: BTreeMap<u32, Seen>,
    /// Streams on which END_STREAM was written.
    we_ended: HashSet<u32>,
}

impl Talk {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let server = random.one_in(2);
        let mut limits = Limits::edge();
        let mut rate = |wide: usize| match random.below(wide) {
            0 => Rate::new(0, 0),
            1 => Rate::new(3, 1),
            _ => Rate::new(1_000, 10),
        };
        limits.rapid_resets = rate(4);
        limits.provoked_resets = rate(4);
        limits.refused_streams = rate(6);
        limits.empty_data = rate(8);
        limits.window_updates = rate(16);
        limits.pings = rate(16);
        limits.max_concurrent_streams = [1, 3, 100][random.below(3)];
        limits.max_header_list_size = [300, 64 << 10][random.below(2)];
        if random.one_in(3) {
            limits.max_unread_answers = 20 + random.below(200) as u32;
        }
        let mut config = with_limits(limits);
        config.initial_stream_window = [10, 65_535][random.below(2)];
        config.max_output = [1, 64 << 10][random.below(2)];
        let lone = if server {
            Lone::server(config)
        } else {
            Lone::client(config)
        };
        Self {
            random,
            lone,
            server,
            next_id: 1,
            seen: BTreeMap::new(),
            we_ended: HashSet::new(),
        }
    }

    /// A stream that goes on; now and then one that does not, for the next frame on it may end the connection.
    fn any_key(&mut self) -> Option<StreamKey> {
        let any = self.random.one_in(30);
        let goes_on = |s: &&Seen| any || (s.resets == 0 && !s.peer_ended);
        let keys: Vec<_> = self.seen.values().filter(goes_on).map(|s| s.key).collect();
        self.random.pick(&keys).copied()
    }

    /// One frame of the peer, valid or not.
    fn frame(&mut self) -> Vec<u8> {
        let key = self.any_key();
        let id = key.map_or(1, StreamKey::id);
        let end = self.random.one_in(3);
        let flags = u8::from(end);
        let what = match key {
            Some(_) => self.random.below(24),
            // On an idle stream all others would end the connection.
            None => [0, 0, 19, 21][self.random.below(4)],
        };
        match what {
            0..7 if !self.server && key.is_none() => window_update(0, 1),
            0..7 if self.server => {
                let id = self.next_id;
                self.next_id += 2;
                let large = "x".repeat(300);
                let list: &[(&str, &str)] = match self.random.below(8) {
                    0 => &[(":method", "GET")],
                    1 => &[POST, &[("large", &large)]].concat(),
                    _ => POST,
                };
                self.lone.headers(id, end, list)
            }
            0..7 => match self.random.below(6) {
                0 => self.lone.headers(id, end, &[(":status", "100")]),
                1 => self.lone.headers(id, end, &[("no", "status")]),
                _ => self.lone.headers(id, end, OK),
            },
            7..9 => self.lone.headers(id, true, &[("trailer", "1")]),
            9..12 => frame(DATA, flags, id, &vec![1; self.random.below(30)]),
            12 => frame(DATA, flags | PADDED, id, &[3, 1, 2, 0, 0, 0]),
            13 => frame(DATA, flags, id, &[]),
            14..17 => rst_stream(id, E::CANCEL),
            17 => window_update(id, 0),
            18 => window_update(id, [1, 50, 0x7fff_ffff][self.random.below(3)]),
            19 => window_update(0, 100),
            20 => frame(PRIORITY, 0, id, &[id.to_be_bytes().as_slice(), &[1]].concat()),
            21 => frame(PING, 0, 0, &[0; 8]),
            22 if self.random.one_in(4) => settings(&[(4, 20)]),
            23 if self.random.one_in(40) => goaway(id, E::NO_ERROR),
            _ => frame(0x77, 0, 0, &[0; 3]),
        }
    }

    /// Something that the caller does.
    fn act(&mut self) {
        if !self.server && self.random.one_in(2) {
            let (end, tag) = (self.random.one_in(3), self.random.next() as u32);
            if let Ok(key) = self.lone.connection.open(&fields(POST), end, tag) {
                self.saw(key, tag, false);
            }
        }
        let end = self.random.one_in(2);
        let Some(key) = self.any_key() else { return };
        let c = &mut self.lone.connection;
        match self.random.below(8) {
            0..2 if self.server => c.send_headers(key, &fields(OK), end),
            0..4 => drop(c.send_data(key, &[5; 40], end)),
            4 => c.send_trailers(key, fields(&[("a", "b")])),
            5 if self.random.one_in(3) => {
                let before = c.open_streams();
                c.reset(key, E::CANCEL);
                let seen = self.seen.get_mut(&key.id()).unwrap();
                seen.resets += (before - c.open_streams()) as u32;
            }
            6 => c.release(key, 30),
            _ => c.pump(),
        }
    }

    fn saw(&mut self, key: StreamKey, tag: u32, too_large: bool) {
        self.lone.connection.set_tag(key, tag);
        let seen = Seen {
            key,
            tag,
            too_large,
            peer_ended: false,
            resets: 0,
            taken: 0,
        };
        assert!(
            self.seen.insert(key.id(), seen).is_none(),
            "reported twice: {key:?}"
        );
    }

    fn on_event(&mut self, reported: &OwnedEvent, key: Option<StreamKey>) {
        let Some(key) = key else { return };
        if let OwnedEvent::Request { .. } | OwnedEvent::RequestTooLarge { .. } = reported {
            let tag = self.random.next() as u32;
            self.saw(key, tag, matches!(reported, OwnedEvent::RequestTooLarge { .. }));
        }
        let seen = self.seen.get_mut(&key.id()).expect("a stream that is known");
        assert_eq!(seen.resets, 0, "{reported:?} after the end");
        match reported {
            OwnedEvent::Request { end, .. }
            | OwnedEvent::RequestTooLarge { end, .. }
            | OwnedEvent::Response { end, .. }
            | OwnedEvent::Data { end, .. } => seen.peer_ended |= end,
            OwnedEvent::Trailers { .. } => seen.peer_ended = true,
            OwnedEvent::Reset { .. } => seen.resets += 1,
            _ => {}
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(1 + self.random.below(rest.len()));
            rest = later;
            loop {
                match self.lone.connection.receive(&mut piece, self.lone.now) {
                    Ok(Some(event)) => {
                        let (reported, key) = own(event);
                        self.on_event(&reported, key);
                    }
                    Ok(None) => break,
                    Err(error) => return Err(error.cause),
                }
            }
        }
        Ok(())
    }

    fn write(&mut self) {
        for f in self.lone.sent() {
            if (f.kind == DATA || f.kind == HEADERS) && f.flags & END_STREAM != 0 {
                self.we_ended.insert(f.id);
            }
        }
    }

    /// Until the connection ends by a fault of the peer, or the transport is gone.
    fn run(&mut self) -> Option<Cause> {
        for _ in 0..80 {
            let flood = if self.random.one_in(10) { 12 } else { 1 };
            let bytes: Vec<u8> = (0..flood).flat_map(|_| self.frame()).collect();
            if let Err(cause) = self.receive(&bytes) {
                return Some(cause);
            }
            self.act();
            if self.random.one_in(3) {
                self.write();
            }
            self.lone
                .later(Duration::from_millis(self.random.below(300) as u64));
        }
        None
    }

    fn check(&mut self, cause: Option<Cause>) {
        self.write();
        for (key, tag) in self.lone.connection.take_streams() {
            let seen = self.seen.get_mut(&key.id()).expect("a stream that is known");
            assert_eq!((seen.key, seen.tag), (key, tag));
            seen.taken += 1;
        }
        assert_eq!(self.lone.connection.take_streams(), []);
        assert_eq!(self.lone.connection.open_streams(), 0);
        for (id, seen) in &self.seen {
            let we_ended = self.we_ended.contains(id);
            let ended = u32::from(seen.peer_ended && we_ended);
            let ends = seen.resets + seen.taken + ended;
            if seen.too_large && !seen.peer_ended {
                assert!(ends == 1 || (ends == 0 && we_ended), "{cause:?}: {seen:?}");
            } else {
                assert_eq!(ends, 1, "{cause:?}: {seen:?}, we ended: {we_ended}");
            }
        }
    }
}

#[test]
fn the_end_of_every_stream_is_reported_once_however_the_connection_ends() {
    let causes = RefCell::new(HashSet::new());
    for_seeds(2_000, |seed| {
        let mut talk = Talk::new(seed);
        let cause = talk.run();
        if let Some(Cause::Limit(limit)) = cause {
            causes.borrow_mut().insert(limit);
        }
        talk.check(cause);
    });
    // Chance went where it was sent.
    let chosen = ["H2GATE_SEED", "H2GATE_SEEDS"].map(std::env::var_os);
    if chosen == [None, None] {
        for limit in [
            Limit::RapidResets,
            Limit::ProvokedResets,
            Limit::RefusedStreams,
            Limit::UnreadAnswers,
            Limit::EmptyData,
            Limit::WindowUpdates,
            Limit::Pings,
        ] {
            assert!(causes.borrow().contains(&limit), "{limit:?} was never reached");
        }
    }
}
