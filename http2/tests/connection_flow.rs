//! Windows, queues, turns and output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Config, Credit, ErrorCode as E, Owed};
use support::*;

/// A server with an open stream whose head was sent.
fn answering(config: Config) -> (Lone, http2::StreamKey) {
    let mut lone = Lone::server(config);
    let key = lone.request(1, true);
    lone.connection.set_tag(key, 77);
    lone.connection.send_headers(key, &fields(OK), false);
    lone.sent();
    (lone, key)
}

fn data(frames: &[Frame]) -> Vec<(u32, usize, bool)> {
    frames
        .iter()
        .filter(|f| f.kind == DATA)
        .map(|f| (f.id, f.payload.len(), f.flags == END_STREAM))
        .collect()
}

#[test]
fn what_the_window_does_not_take_waits_for_it() {
    let (mut lone, key) = answering(config());
    assert_eq!(lone.connection.sendable(key), 65_535);
    assert_eq!(lone.connection.send_data(key, &[1; 65_000], false), 65_000);
    assert_eq!(lone.connection.sendable(key), 535);
    lone.sent();
    assert_eq!(lone.connection.send_data(key, &[2; 1_000], true), 535);
    assert_eq!(
        (lone.connection.queued(key), lone.connection.queued_total()),
        (465, 465)
    );
    assert_eq!(lone.connection.sendable(key), 0);
    assert_eq!(lone.connection.send_data(key, b"after the end", false), 0);
    lone.sent();
    // Both windows must open.
    lone.feed(&window_update(1, 1_000)).unwrap();
    assert_eq!(lone.sent(), []);
    lone.feed(&window_update(0, 100)).unwrap();
    assert_eq!(data(&lone.sent()), [(1, 100, false)]);
    lone.feed(&window_update(0, 1_000)).unwrap();
    assert_eq!(data(&lone.sent()), [(1, 365, true)]);
    assert_eq!(lone.connection.next_drained(), Some((key, 77, 465)));
    assert_eq!(lone.connection.next_drained(), None);
    assert_eq!(
        (lone.connection.open_streams(), lone.connection.queued_total()),
        (0, 0)
    );
}

#[test]
fn trailers_wait_behind_queued_data() {
    let (mut lone, key) = answering(config());
    lone.connection.send_data(key, &[0; 65_535], false);
    lone.sent();
    assert_eq!(lone.connection.send_data(key, b"xyz", false), 0);
    lone.connection
        .send_trailers(key, fields(&[("grpc-status", "0")]));
    assert_eq!(lone.sent(), []);
    lone.feed_all(&[window_update(1, 9), window_update(0, 2)])
        .unwrap();
    assert_eq!(data(&lone.sent()), [(1, 2, false)]);
    lone.feed(&window_update(0, 1)).unwrap();
    let sent = lone.sent();
    assert_eq!(data(&sent), [(1, 1, false)]);
    assert_eq!((sent[1].kind, sent[1].flags), (HEADERS, END_HEADERS | END_STREAM));
    assert_eq!(lone.connection.open_streams(), 0);
    assert_eq!(lone.connection.next_drained(), Some((key, 77, 3)));
}

#[test]
fn an_empty_end_needs_no_window() {
    let (mut lone, key) = answering(config());
    lone.connection.send_data(key, &[0; 65_535], false);
    lone.sent();
    assert_eq!(lone.connection.send_data(key, b"", false), 0);
    assert_eq!(lone.sent(), []);
    assert_eq!(lone.connection.send_data(key, b"", true), 0);
    assert_eq!(data(&lone.sent()), [(1, 0, true)]);
}

#[test]
fn a_full_output_makes_data_wait_and_control_frames_pass() {
    let (mut lone, key) = answering(Config {
        max_output: 1_000,
        ..config()
    });
    assert_eq!(lone.connection.send_data(key, &[0; 900], false), 900);
    // There is room, so a frame is begun; it may pass the bound.
    assert_eq!(lone.connection.send_data(key, &[0; 30_000], false), 16_384);
    assert_eq!(lone.connection.queued(key), 13_616);
    assert_eq!(lone.connection.send_data(key, &[0; 10], false), 0);
    lone.feed(&frame(PING, 0, 0, &[0; 8])).unwrap();
    assert!(lone.connection.output().ends_with(&frame(PING, ACK, 0, &[0; 8])));
    let mut total = 0;
    loop {
        let sent = lone.sent();
        if sent.is_empty() {
            break;
        }
        total += data(&sent).iter().map(|d| d.1).sum::<usize>();
        lone.connection.pump();
    }
    assert_eq!(total, 30_910);
    let mut drained = 0;
    while let Some((k, tag, n)) = lone.connection.next_drained() {
        assert_eq!((k, tag), (key, 77));
        drained += n;
    }
    assert_eq!(drained, 13_626);
}

#[test]
fn streams_take_turns_of_one_frame() {
    let mut lone = Lone::server(Config {
        max_output: 1 << 20,
        ..config()
    });
    let keys: Vec<_> = [1, 3, 5].into_iter().map(|id| lone.request(id, true)).collect();
    let first = keys[0];
    lone.connection.send_data(first, &[0; 65_535], false);
    lone.feed(&settings(&[(4, 1 << 20)])).unwrap();
    lone.sent();
    for &key in &keys {
        lone.connection.send_data(key, &[0; 40_000], true);
    }
    lone.feed(&window_update(0, 1 << 20)).unwrap();
    let order: Vec<_> = data(&lone.sent());
    let want = [16_384, 16_384, 7_232]
        .map(|n| [1, 3, 5].map(|id| (id, n, n == 7_232)))
        .concat();
    assert_eq!(order, want);
}

#[test]
fn a_stream_with_a_closed_window_does_not_block_the_others() {
    let mut lone = Lone::server(config());
    lone.feed(&settings(&[(4, 10)])).unwrap();
    let (a, b) = (lone.request(1, true), lone.request(3, true));
    lone.sent();
    assert_eq!(lone.connection.send_data(a, &[0; 1_000], false), 10);
    assert_eq!(lone.connection.send_data(b, &[0; 1_000], false), 10);
    lone.feed(&window_update(3, 500)).unwrap();
    assert_eq!(data(&lone.sent()), [(1, 10, false), (3, 510, false)]);
    assert_eq!((lone.connection.queued(a), lone.connection.queued(b)), (990, 490));
}

#[test]
fn credit_on_release_bounds_what_one_peer_makes_us_hold() {
    let mut lone = Lone::server(Config {
        connection_window: 100_000,
        initial_stream_window: 90_000,
        ..config()
    });
    let keys: Vec<_> = [1, 3].into_iter().map(|id| lone.request(id, false)).collect();
    lone.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
    assert_eq!(lone.sent(), []);
    for _ in 0..4 {
        lone.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
    }
    let update = |id, n: u32| Frame {
        kind: WINDOW_UPDATE,
        flags: 0,
        id,
        payload: n.to_be_bytes().into(),
    };
    // The same as the peer may still send.
    lone.connection.release(keys[0], 9_999);
    assert_eq!(lone.sent(), []);
    lone.connection.release(keys[0], 1);
    assert_eq!(lone.sent(), [update(1, 10_000)]);
    lone.connection.release(keys[0], 10_000);
    assert_eq!(lone.sent(), [update(0, 20_000)]);
    lone.connection.release(keys[0], 60_000);
    let mut all = lone.sent();
    all.sort_by_key(|frame| frame.id);
    assert_eq!(all, [update(0, 60_000), update(1, 70_000)]);
    // More than came is not credited.
    lone.connection.release(keys[0], 1_000_000);
    lone.connection.release(keys[1], 1_000_000);
    assert_eq!(lone.sent(), []);
}

#[test]
fn a_stream_that_goes_gives_back_what_it_held_of_the_connection() {
    for way in 0..3 {
        let mut lone = Lone::server(config());
        let key = lone.request(1, false);
        lone.feed(&frame(DATA, u8::from(way == 2), 1, &[0; 16_384]))
            .unwrap();
        if way < 2 {
            lone.feed(&frame(DATA, 0, 1, &[0; 16_384])).unwrap();
        }
        lone.sent();
        match way {
            0 => lone.connection.reset(key, E::CANCEL),
            1 => assert_eq!(lone.feed(&rst_stream(1, E::CANCEL)).unwrap().len(), 1),
            _ => lone.connection.send_headers(key, &fields(OK), true),
        }
        assert_eq!(lone.connection.open_streams(), 0);
        let third = lone.request(3, false);
        for _ in 0..2 {
            lone.feed(&frame(DATA, 0, 3, &[0; 16_384])).unwrap();
        }
        lone.connection.release(third, 32_768);
        let back: u32 = lone
            .sent()
            .iter()
            .filter(|f| f.kind == WINDOW_UPDATE && f.id == 0)
            .map(Frame::number)
            .sum();
        assert_eq!(back, if way == 2 { 49_152 } else { 65_536 }, "way {way}");
    }
}

#[test]
fn credit_on_receipt_never_lets_a_stalled_stream_block_the_connection() {
    let mut lone = Lone::client(Config {
        connection_credit: Credit::OnReceipt,
        ..config()
    });
    for id in [1, 3, 5] {
        lone.connection.open(&fields(POST), true, id).unwrap();
        let head = lone.headers(id, false, OK);
        lone.feed(&head).unwrap();
        for _ in 0..3 {
            lone.feed(&frame(DATA, 0, id, &[0; 16_384])).unwrap();
        }
    }
    assert!(
        lone.sent()
            .iter()
            .filter(|f| f.kind == WINDOW_UPDATE)
            .all(|f| f.id == 0)
    );
}

#[test]
fn a_wider_window_is_announced_at_once_and_one_that_was_given_is_not_taken_back() {
    let mut lone = Lone::client(Config {
        initial_stream_window: 8_192,
        ..config()
    });
    let key = lone.connection.open(&fields(POST), true, 0).unwrap();
    lone.sent();
    lone.connection.renew(key, 100_000);
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: WINDOW_UPDATE,
            flags: 0,
            id: 1,
            payload: 91_808_u32.to_be_bytes().into()
        }]
    );
    lone.connection.renew(key, 50_000);
    assert_eq!(lone.connection.window_target(key), 100_000);
    assert_eq!(lone.sent(), []);
}

#[test]
fn what_is_owed_waits_for_its_renewal_and_may_make_the_window_narrower() {
    let mut lone = Lone::server(Config {
        initial_stream_window: 65_536,
        connection_window: 1 << 20,
        ..config()
    });
    let key = lone.request(1, false);
    for _ in 0..3 {
        lone.feed(&frame(DATA, 0, 1, &[0; 16_384])).unwrap();
    }
    lone.sent();
    let window = 65_536;
    let owed = |octets| Some(Owed { octets, window });
    assert_eq!(lone.connection.owe(key, 40_000), owed(40_000));
    assert_eq!(lone.connection.unreleased(), 9_152);
    assert_eq!(lone.connection.owe(key, 9_152), owed(49_152));
    assert_eq!(lone.sent(), []);
    // 16,384 are open; of the 49,152 that are owed as many are given as make 20,000.
    assert_eq!(lone.connection.renew(key, 20_000), 20_000);
    let update = |n: u32| Frame {
        kind: WINDOW_UPDATE,
        flags: 0,
        id: 1,
        payload: n.to_be_bytes().into(),
    };
    assert_eq!(lone.sent(), [update(20_000 - 16_384)]);
    assert_eq!(lone.connection.renew(key, 30_000), 30_000);
    assert_eq!(lone.sent(), [update(10_000)]);
}

#[test]
fn no_window_is_announced_to_a_peer_that_has_ended() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, false);
    for n in 1..=3 {
        lone.feed(&frame(DATA, u8::from(n == 3), 1, &[0; 16_384]))
            .unwrap();
    }
    lone.sent();
    lone.connection.release(key, 3 * 16_384);
    lone.connection.renew(key, 1 << 20);
    assert!(lone.sent().iter().all(|f| f.id == 0));
}

#[test]
fn data_is_reported_piece_by_piece_as_it_arrives() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, false);
    let bytes = frame(DATA, END_STREAM, 1, b"abcdef");
    assert_eq!(lone.feed(&bytes[..5]), Ok(vec![]));
    assert_eq!(
        lone.feed(&bytes[5..11]).unwrap(),
        [OwnedEvent::Data {
            stream: 1,
            payload: b"ab".to_vec(),
            end: false
        }]
    );
    lone.connection.release(key, 2);
    assert_eq!(
        lone.feed(&bytes[11..]).unwrap(),
        [OwnedEvent::Data {
            stream: 1,
            payload: b"cdef".to_vec(),
            end: true
        }]
    );
}

#[test]
fn a_stream_reset_in_the_middle_of_a_frame_reports_no_more_of_it() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, false);
    let bytes = [
        frame(DATA, END_STREAM, 1, &[0; 10_000]),
        frame(PING, 0, 0, &[0; 8]),
    ]
    .concat();
    assert_eq!(lone.feed(&bytes[..100]).unwrap().len(), 1);
    lone.connection.reset(key, E::CANCEL);
    lone.sent();
    assert_eq!(lone.feed(&bytes[100..]), Ok(vec![]));
    assert_eq!(lone.sent()[0].kind, PING);
}

/// RFC 9113 §6.1: padding is no part of what comes behind it, be the payload wanted or not.
#[test]
fn padding_behind_payload_that_nobody_wants_is_passed_over() {
    let padded = frame(DATA, PADDED, 1, &[&[30][..], b"payload", &[0; 30]].concat());
    let ping = frame(PING, 0, 0, b"not lost");
    // Of a stream that was reset in the middle of the frame; of a request that was too large.
    for too_large in [false, true] {
        for cut in 10..padded.len() {
            let mut limits = http2::Limits::edge();
            limits.max_header_list_size = if too_large { 60 } else { 1_000 };
            let mut lone = Lone::server(with_limits(limits));
            let head = lone.headers(1, false, POST);
            lone.feed(&head).unwrap();
            lone.feed(&padded[..cut]).unwrap();
            if !too_large {
                lone.connection.reset(lone.keys[0], E::CANCEL);
            }
            lone.sent();
            assert_eq!(
                lone.feed_all(&[padded[cut..].to_vec(), ping.clone(), ping.clone()]),
                Ok(vec![]),
                "cut at {cut}, too large: {too_large}"
            );
            let answers = lone.sent().into_iter().filter(|f| f.kind == PING);
            assert!(answers.map(|f| f.payload).eq([b"not lost", b"not lost"]));
        }
    }
}

#[test]
fn a_stale_key_does_nothing() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, true);
    lone.connection.reset(key, E::CANCEL);
    lone.request(3, true);
    lone.sent();
    let c = &mut lone.connection;
    c.set_tag(key, 1);
    c.send_headers(key, &fields(OK), true);
    c.send_trailers(key, fields(&[("a", "b")]));
    assert_eq!(c.send_data(key, b"x", true), 0);
    c.reset(key, E::CANCEL);
    c.release(key, 100);
    c.renew(key, 1 << 20);
    assert_eq!((c.window_target(key), c.sendable(key), c.queued(key)), (0, 0, 0));
    assert_eq!(lone.sent(), []);
}

#[test]
fn five_thousand_streams_with_eight_kibibytes_each_are_near_forty_megabytes() {
    // Measured on one queue in src/connection/queue.rs; here: the number of octets is right.
    let mut limits = http2::Limits::edge();
    limits.max_concurrent_streams = 5_000;
    let mut lone = Lone::server(with_limits(limits));
    lone.feed(&settings(&[(4, 0)])).unwrap();
    for n in 0..5_000 {
        let key = lone.request(2 * n + 1, true);
        for _ in 0..8 {
            assert_eq!(lone.connection.send_data(key, &[0; 1024], false), 0);
        }
        lone.sent();
    }
    assert_eq!(lone.connection.queued_total(), 5_000 * 8_192);
}
