//! SETTINGS_INITIAL_WINDOW_SIZE while streams are open (RFC 9113 §6.9.2): what changes, who sends, and what it costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, Config, ErrorCode as E, Limit, Limits, Rate, StreamKey};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::*;

const MAX: u32 = 0x7fff_ffff;

fn initial_window(n: u32) -> Vec<u8> {
    settings(&[(4, n)])
}

/// A client of a backend that may send so many SETTINGS.
fn client(changes: Rate) -> Lone {
    Lone::client(Config {
        limits: Limits {
            settings: changes,
            ..Limits::backend()
        }
        .into(),
        max_output: 1 << 20,
        ..config()
    })
}

fn open(lone: &mut Lone, count: usize) -> Vec<StreamKey> {
    let request = fields(POST);
    let open = |_| {
        let key = lone.connection.open(&request, false, 0).unwrap();
        let n = lone.connection.output().len();
        lone.connection.advance(n);
        key
    };
    (0..count).map(open).collect()
}

/// DATA frames that were written: stream and octets.
fn data(lone: &mut Lone) -> Vec<(u32, usize)> {
    let frames = lone.sent();
    let data = frames.iter().filter(|f| f.kind == DATA);
    data.map(|f| (f.id, f.payload.len())).collect()
}

#[test]
fn streams_that_waited_for_the_initial_window_send_in_turn() {
    let mut lone = client(Rate::UNLIMITED);
    lone.feed(&initial_window(0)).unwrap();
    let keys = open(&mut lone, 4);
    for &key in &keys[..3] {
        assert_eq!(lone.connection.send_data(key, &[0; 40_000], false), 0);
    }
    // The fourth has a window, and waits for the connection's.
    lone.feed(&window_update(7, 200_000)).unwrap();
    assert_eq!(lone.connection.send_data(keys[3], &[0; 165_535], false), 65_535);
    lone.sent();
    lone.feed(&initial_window(30_000)).unwrap();
    assert_eq!(data(&mut lone), []);
    lone.feed(&window_update(0, 4 * 16_384)).unwrap();
    assert_eq!(data(&mut lone), [1, 3, 5, 7].map(|id| (id, 16_384)), "one each");
    lone.feed(&window_update(0, 1 << 20)).unwrap();
    let sent = data(&mut lone);
    assert_eq!(sent[..3], [1, 3, 5].map(|id| (id, 13_616)));
    assert!(sent[3..].iter().all(|(id, _)| *id == 7), "{sent:?}");
    assert_eq!(lone.connection.queued(keys[3]), 0);
    // A stream that got more by WINDOW_UPDATE needs no SETTINGS, and of the others the oldest is first.
    lone.feed(&window_update(3, 5_000)).unwrap();
    assert_eq!(data(&mut lone), [(3, 5_000)]);
    lone.feed(&initial_window(36_000)).unwrap();
    // Two pieces of the queue each.
    let want = [(1, 2_768), (3, 5_000), (5, 2_768), (1, 3_232), (5, 3_232)];
    assert_eq!(data(&mut lone), want);
    lone.feed(&initial_window(40_000)).unwrap();
    assert_eq!(data(&mut lone), [(1, 4_000), (5, 4_000)]);
    assert_eq!(lone.connection.queued_total(), 0);
}

#[test]
fn a_window_below_zero_grows_by_settings_and_by_window_update_alike() {
    let mut lone = client(Rate::UNLIMITED);
    let key = open(&mut lone, 1)[0];
    assert_eq!(lone.connection.send_data(key, &[0; 1_000], false), 1_000);
    lone.feed(&initial_window(0)).unwrap();
    assert_eq!(lone.connection.send_data(key, &[0; 50], false), 0);
    lone.sent();
    // It is at -1,000; at -600; at -100; at -1; at 0.
    for more in [
        window_update(1, 400),
        initial_window(500),
        window_update(1, 99),
        initial_window(501),
    ] {
        lone.feed(&more).unwrap();
        assert_eq!((data(&mut lone), lone.connection.sendable(key)), (vec![], 0));
    }
    lone.feed(&initial_window(531)).unwrap();
    assert_eq!(data(&mut lone), [(1, 30)]);
    // Down and up while it waits: what is given twice is given once.
    for n in [0, 531, 10, 531, 0] {
        lone.feed(&initial_window(n)).unwrap();
        assert_eq!(data(&mut lone), []);
    }
    lone.feed(&initial_window(600)).unwrap();
    assert_eq!(data(&mut lone), [(1, 20)]);
    assert_eq!(lone.connection.sendable(key), 49);
    assert_eq!(lone.connection.queued_total(), 0);
}

#[test]
fn an_overflow_is_found_on_the_stream_that_has_it_and_on_no_other() {
    // RFC 9113 §6.9.2: any stream's window above 2^31-1 ends the connection.
    let raised = || {
        let mut lone = client(Rate::UNLIMITED);
        let keys = open(&mut lone, 3);
        lone.feed(&initial_window(0)).unwrap();
        lone.feed(&window_update(keys[1].id(), MAX)).unwrap();
        (lone, keys)
    };
    let (mut lone, _) = raised();
    let error = lone.feed(&initial_window(1)).unwrap_err();
    assert_eq!(error.code, E::FLOW_CONTROL_ERROR);
    // It has sent since.
    let (mut lone, keys) = raised();
    lone.connection.send_data(keys[1], &[0; 7], false);
    lone.feed(&initial_window(7)).unwrap();
    lone.feed(&initial_window(3)).unwrap();
    lone.feed(&initial_window(7)).unwrap();
    let error = lone.feed(&initial_window(8)).unwrap_err();
    assert_eq!(error.code, E::FLOW_CONTROL_ERROR);
    // It is gone, by either side.
    let (mut lone, keys) = raised();
    lone.connection.reset(keys[1], E::CANCEL);
    lone.feed(&initial_window(MAX)).unwrap();
    let (mut lone, keys) = raised();
    lone.feed(&rst_stream(keys[1].id(), E::CANCEL)).unwrap();
    lone.feed(&initial_window(MAX)).unwrap();
    assert_eq!(lone.connection.sendable(keys[0]), 65_535, "the connection's");
    // And no stream takes more now.
    let reported = lone.feed(&window_update(keys[0].id(), 1)).unwrap();
    assert!(
        matches!(
            reported[..],
            [OwnedEvent::Reset {
                code: E::FLOW_CONTROL_ERROR,
                ..
            }]
        ),
        "{reported:?}"
    );
}

/// A thousand changes of the initial window with so many streams, all of which wait for it; the connection's window
/// gives an octet at a time. The least time of three.
fn time_of_changes(streams: usize) -> Duration {
    let once = || {
        let mut lone = client(Rate::UNLIMITED);
        let keys = open(&mut lone, streams);
        lone.feed(&initial_window(0)).unwrap();
        for &key in &keys {
            assert_eq!(lone.connection.send_data(key, &[0; 100], false), 0);
        }
        // The connection's window is closed.
        let filler = lone.connection.open(&fields(POST), false, 0).unwrap();
        lone.feed(&window_update(filler.id(), MAX)).unwrap();
        assert_eq!(lone.connection.send_data(filler, &[0; 65_535], false), 65_535);
        lone.connection.reset(filler, E::CANCEL);
        lone.sent();
        let began = Instant::now();
        let mut sent = 0;
        for n in 0..250 {
            lone.feed(&initial_window(10 + n % 2)).unwrap();
            lone.feed(&initial_window(0)).unwrap();
            lone.feed(&window_update(0, 1)).unwrap();
            assert_eq!(data(&mut lone), [], "no stream has a window");
            lone.feed(&initial_window(60_000)).unwrap();
            lone.feed(&initial_window(if n % 2 == 0 { 0 } else { 70_000 }))
                .unwrap();
            sent += data(&mut lone).iter().map(|(_, n)| n).sum::<usize>();
        }
        assert_eq!(sent, 250, "and each octet left at once");
        began.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap()
}

#[test]
fn a_change_of_the_initial_window_costs_the_same_with_any_number_of_streams() {
    let (few, many) = (time_of_changes(1_000), time_of_changes(100_000));
    // With a look at each stream it was a hundredfold.
    assert!(
        many < 10 * few + Duration::from_millis(20),
        "{few:?} and {many:?}"
    );
}

/// The only way to have all streams looked at: one was raised to the utmost, and is gone.
#[test]
fn looks_at_all_streams_count_as_settings() {
    let changes = |streams: usize, raises: bool| {
        let mut lone = client(Rate::new(100, 0));
        let keys = open(&mut lone, streams);
        for (n, key) in (1..).zip(&keys) {
            if let Err(error) = lone.feed(&initial_window(n % 2)) {
                assert_eq!(error.cause, Cause::Limit(Limit::Settings), "{error}");
                return n;
            }
            if raises && n % 2 == 0 {
                lone.feed(&window_update(key.id(), MAX)).unwrap();
                lone.feed(&rst_stream(key.id(), E::CANCEL)).unwrap();
            }
            lone.sent();
        }
        panic!("no end of it");
    };
    // Greeting included; a change up counts five, one down one.
    assert_eq!((changes(5_000, false), changes(5_000, true)), (100, 35));
    // Of a few streams, it is not worth counting.
    assert_eq!(changes(1_000, true), 100);
}

/// A model of the connection that looks at all streams each time.
#[derive(Default)]
struct Model {
    initial: i64,
    connection: i64,
    /// Window, and octets that wait.
    streams: BTreeMap<u32, (i64, usize)>,
}

impl Model {
    fn sent(&mut self, frames: &[(u32, usize)]) {
        for &(id, n) in frames {
            self.connection -= n as i64;
            let (window, waits) = self.streams.get_mut(&id).expect("a stream that is open");
            *window -= n as i64;
            *waits -= n;
            assert!(
                *window >= 0 && self.connection >= 0,
                "a window is overrun on {id}"
            );
        }
    }

    fn nobody_waits_in_vain(&self) {
        let could = |(window, waits): (i64, usize)| waits > 0 && window > 0 && self.connection > 0;
        let in_vain = self.streams.iter().find(|(_, s)| could(**s));
        assert_eq!(in_vain, None, "{}", self.connection);
    }
}

#[test]
fn any_order_of_changes_sends_what_windows_allow_and_finds_every_overflow() {
    for_seeds(400, |seed| {
        let mut random = Random::new(seed);
        let mut lone = client(Rate::UNLIMITED);
        let mut keys = Vec::new();
        let (mut model, max) = (Model::default(), i64::from(MAX));
        (model.initial, model.connection) = (65_535, 65_535);
        for _ in 0..300 {
            let key = random.pick(&keys).copied();
            match (random.below(12), key) {
                (0, _) if keys.len() < 12 => {
                    let key = open(&mut lone, 1)[0];
                    keys.push(key);
                    model.streams.insert(key.id(), (model.initial, 0));
                }
                (1..5, Some(key)) => {
                    let n = [1, 10, 3_000, 70_000][random.below(4)];
                    model.streams.get_mut(&key.id()).unwrap().1 += n;
                    lone.connection.send_data(key, &vec![0; n], false);
                }
                (5..8, _) => {
                    let new = [0, 1, 10, 100, 20_000, 65_535, 1 << 30, MAX][random.below(8)];
                    let by = i64::from(new) - model.initial;
                    model.initial += by;
                    model.streams.values_mut().for_each(|(window, _)| *window += by);
                    let reported = lone.feed(&initial_window(new));
                    if model.streams.values().any(|(window, _)| *window > max) {
                        assert_eq!(reported.unwrap_err().code, E::FLOW_CONTROL_ERROR);
                        return;
                    }
                    reported.unwrap();
                }
                (8, Some(key)) => {
                    let most = if random.one_in(9) { 6 } else { 4 };
                    let n = [1, 10, 100, 50_000, 1 << 30, MAX][random.below(most)];
                    let reported = lone.feed(&window_update(key.id(), n)).unwrap();
                    let (window, _) = model.streams.get_mut(&key.id()).unwrap();
                    *window += i64::from(n);
                    assert_eq!(reported.is_empty(), *window <= max);
                    if *window > max {
                        model.streams.remove(&key.id());
                        keys.retain(|&other| other != key);
                    }
                }
                (9 | 10, _) => {
                    let n = [1, 100, 50_000][random.below(3)];
                    model.connection += i64::from(n);
                    lone.feed(&window_update(0, n)).unwrap();
                }
                (11, Some(key)) if random.one_in(3) => {
                    if random.one_in(2) {
                        lone.connection.reset(key, E::CANCEL);
                    } else {
                        lone.feed(&rst_stream(key.id(), E::CANCEL)).unwrap();
                    }
                    // Output of before is on its way.
                    let before = data(&mut lone);
                    model.sent(&before);
                    model.streams.remove(&key.id());
                    keys.retain(|&other| other != key);
                }
                _ => {}
            }
            loop {
                let frames = data(&mut lone);
                lone.connection.pump();
                if frames.is_empty() && lone.connection.output().is_empty() {
                    break;
                }
                model.sent(&frames);
            }
            model.nobody_waits_in_vain();
            for key in &keys {
                let (window, waits) = model.streams[&key.id()];
                assert_eq!(lone.connection.queued(*key), waits);
                let free = window.min(model.connection).max(0) - waits as i64;
                assert_eq!(i64::from(lone.connection.sendable(*key)), free.max(0));
            }
        }
    });
}
