//! Each limit is reached by abuse, and not by valid traffic just below it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, Config, Connection, Credit, ErrorCode as E, Limit, Limits, Rate};
use std::time::Duration;
use support::*;

/// Number of times that `bytes` may come before the connection ends, and the limit that ends it.
fn endures(lone: &mut Lone, bytes: &[u8], at_most: usize) -> (usize, Option<Limit>) {
    for n in 0..at_most {
        if let Err(error) = lone.feed(bytes) {
            assert_eq!(error.code, E::ENHANCE_YOUR_CALM, "{error}");
            let Cause::Limit(limit) = error.cause else {
                panic!("{error}")
            };
            return (n, Some(limit));
        }
        lone.sent();
    }
    (at_most, None)
}

fn edge() -> Lone {
    Lone::server(config())
}

#[test]
fn floods_of_control_frames_end_the_connection_at_their_burst() {
    let l = Limits::edge();
    let cases = [
        (frame(PING, 0, 0, &[0; 8]), l.pings, Limit::Pings),
        (frame(PING, ACK, 0, &[0; 8]), l.pings, Limit::Pings),
        (settings(&[]), Rate::new(l.settings.burst - 1, 0), Limit::Settings),
        (
            frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
            l.priorities,
            Limit::Priorities,
        ),
        (window_update(0, 1), l.window_updates, Limit::WindowUpdates),
        (frame(0x42, 0, 0, &[]), l.unknown_frames, Limit::UnknownFrames),
        (goaway(0, E::NO_ERROR), l.goaways, Limit::Goaways),
    ];
    for (bytes, rate, limit) in cases {
        let burst = rate.burst as usize;
        assert_eq!(
            endures(&mut edge(), &bytes, burst),
            (burst, None),
            "{limit:?} below"
        );
        assert_eq!(endures(&mut edge(), &bytes, burst + 10), (burst, Some(limit)));
    }
}

/// gRFC A8: clients of gRPC double the interval of their PINGs for these words alone.
#[test]
fn who_pings_too_often_gets_the_words_that_grpc_knows() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    for (bytes, words) in [
        (ping, &b"too_many_pings"[..]),
        (goaway(0, E::NO_ERROR), b"goaways"),
    ] {
        let mut lone = edge();
        lone.sent();
        assert!(endures(&mut lone, &bytes, 1000).1.is_some());
        let last = lone.sent().pop().unwrap();
        assert_eq!((last.kind, &last.payload[8..]), (GOAWAY, words));
        assert_eq!(last.payload[4..8], E::ENHANCE_YOUR_CALM.0.to_be_bytes());
    }
}

#[test]
fn what_comes_at_the_permitted_rate_goes_on_for_ever() {
    let l = Limits::edge();
    let cases = [
        (frame(PING, 0, 0, &[0; 8]), l.pings),
        (settings(&[]), l.settings),
        (frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]), l.priorities),
        (window_update(0, 1), l.window_updates),
        (frame(0x42, 0, 0, &[]), l.unknown_frames),
        (goaway(0, E::NO_ERROR), l.goaways),
    ];
    for (bytes, rate) in cases {
        let mut lone = edge();
        let every = Duration::from_secs(1) / rate.per_second;
        for _ in 0..rate.burst * 3 {
            assert!(lone.feed(&bytes).is_ok(), "{bytes:?}");
            lone.sent();
            lone.later(every);
        }
    }
}

#[test]
fn empty_data_floods_end_but_a_thousand_flushes_do_not() {
    let mut lone = edge();
    lone.request(1, false);
    let empty = frame(DATA, 0, 1, &[]);
    let burst = Limits::edge().empty_data.burst as usize;
    assert!(burst >= 1000);
    assert_eq!(endures(&mut lone, &empty, burst), (burst, None));
    assert_eq!(endures(&mut lone, &empty, 2), (0, Some(Limit::EmptyData)));
    // Frames of nothing but padding are as empty.
    let mut lone = edge();
    lone.request(1, false);
    let padded = frame(DATA, PADDED, 1, &[2, 0, 0]);
    assert_eq!(
        endures(&mut lone, &padded, burst + 1),
        (burst, Some(Limit::EmptyData))
    );
    // A peer that sends one after each message never runs dry.
    let mut lone = edge();
    let key = lone.request(1, false);
    let flushed = [frame(DATA, 0, 1, b"12345"), empty].concat();
    for _ in 0..3 * burst {
        assert_eq!(lone.feed(&flushed).unwrap().len(), 1);
        lone.connection.release(key, 5);
        lone.sent();
    }
}

#[test]
fn ten_thousand_tiny_messages_in_one_burst_are_allowed() {
    let mut lone = edge();
    lone.request(1, false);
    let burst: Vec<u8> = (0..10_000).flat_map(|_| frame(DATA, 0, 1, b"12345")).collect();
    let reported = merge(lone.feed(&burst).unwrap());
    assert_eq!(
        reported,
        [OwnedEvent::Data {
            stream: 1,
            payload: b"12345".repeat(10_000),
            end: false
        }]
    );
}

#[test]
fn ten_thousand_tiny_messages_are_delivered_to_a_client_that_does_not_read() {
    let backend = Config {
        limits: Limits::backend().into(),
        ..config()
    };
    let mut lone = Lone::client(Config {
        connection_credit: Credit::OnReceipt,
        ..backend
    });
    lone.connection.open(&fields(POST), true, 0).unwrap();
    let head = lone.headers(1, false, OK);
    lone.feed(&head).unwrap();
    // Nothing is released, and nothing written out.
    let burst: Vec<u8> = (0..13_000).flat_map(|_| frame(DATA, 0, 1, b"12345")).collect();
    assert_eq!(merge(lone.feed(&burst).unwrap()).len(), 1);
}

#[test]
fn rapid_reset_ends_the_connection_after_its_burst() {
    let mut lone = edge();
    let burst = Limits::edge().rapid_resets.burst;
    for n in 0..burst {
        lone.request(2 * n + 1, false);
        lone.feed(&rst_stream(2 * n + 1, E::CANCEL)).unwrap();
    }
    lone.request(2 * burst + 1, false);
    let error = lone.feed(&rst_stream(2 * burst + 1, E::CANCEL)).unwrap_err();
    assert_eq!(error.cause, Cause::Limit(Limit::RapidResets));
}

#[test]
fn cancels_of_answered_or_old_streams_are_no_rapid_resets() {
    let mut lone = edge();
    for n in 0..5_000 {
        let id = 2 * n + 1;
        let key = lone.request(id, false);
        if n % 2 == 0 {
            lone.connection.send_headers(key, &fields(OK), false);
        } else {
            lone.later(Duration::from_secs(1));
        }
        assert_eq!(lone.feed(&rst_stream(id, E::CANCEL)).unwrap().len(), 1);
        lone.sent();
    }
}

#[test]
fn ten_thousand_calls_a_second_with_one_percent_cancelled_are_allowed() {
    let mut lone = edge();
    for n in 0..100_000_u32 {
        let id = 2 * n + 1;
        let key = lone.request(id, true);
        if n % 100 == 0 {
            lone.feed(&rst_stream(id, E::CANCEL)).unwrap();
        } else {
            lone.connection.served(key);
            lone.connection.send_headers(key, &fields(OK), true);
        }
        lone.sent();
        lone.later(Duration::from_micros(100));
    }
}

#[test]
fn a_window_update_for_each_message_is_allowed_when_data_flows() {
    // A client that updates both windows for each small message it reads.
    let mut lone = edge();
    let key = lone.request(1, true);
    lone.connection.send_headers(key, &fields(OK), false);
    for _ in 0..50_000 {
        assert_eq!(lone.connection.send_data(key, &[0; 100], false), 100);
        lone.sent();
        lone.feed_all(&[window_update(0, 100), window_update(1, 100)])
            .unwrap();
        lone.sent();
    }
    // Merged frames pay for the updates of the messages in them.
    for _ in 0..500 {
        for _ in 0..32 {
            assert_eq!(lone.connection.send_data(key, &[0; 512], false), 512);
        }
        lone.sent();
        for _ in 0..32 {
            lone.feed_all(&[window_update(0, 512), window_update(1, 512)])
                .unwrap();
        }
    }
}

#[test]
fn a_ping_for_each_message_is_allowed_when_data_flows() {
    let mut lone = edge();
    let key = lone.request(1, true);
    lone.connection.send_headers(key, &fields(OK), false);
    for _ in 0..5_000 {
        lone.connection.send_data(key, b"x", false);
        lone.sent();
        lone.feed(&frame(PING, 0, 0, &[0; 8])).unwrap();
        lone.sent();
    }
}

#[test]
fn resets_that_the_peer_provokes_end_the_connection() {
    let burst = Limits::edge().provoked_resets.burst;
    // Four ways to provoke one.
    for way in 0..4 {
        let mut lone = edge();
        let mut ended = None;
        for n in 0..=burst {
            let id = 2 * n + 1;
            if way < 3 {
                lone.request(id, way == 1);
            }
            let bytes = match way {
                0 => window_update(id, 0),
                1 => frame(DATA, 0, id, b"after the end"),
                2 => window_update(id, 0x7fff_ffff),
                _ => lone.headers(id, true, &[("no", "pseudo-fields")]),
            };
            if let Err(error) = lone.feed(&bytes) {
                ended = Some((n, error.cause));
                break;
            }
            lone.sent();
        }
        assert_eq!(
            ended,
            Some((burst, Cause::Limit(Limit::ProvokedResets))),
            "way {way}"
        );
    }
}

/// A [`POST`] that got no stream.
fn refused(cause: Cause) -> OwnedEvent {
    OwnedEvent::Refused {
        fields: POST.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        code: E::REFUSED_STREAM,
        cause,
    }
}

#[test]
fn streams_over_the_limit_are_refused_one_by_one_and_then_the_connection_ends() {
    let limits = Limits::edge();
    let (max, burst) = (limits.max_concurrent_streams, limits.refused_streams.burst);
    let mut lone = edge();
    for n in 0..max {
        lone.request(2 * n + 1, false);
    }
    for n in max..max + burst {
        let id = 2 * n + 1;
        let bytes = lone.headers(id, true, POST);
        assert_eq!(
            lone.feed(&bytes),
            Ok(vec![refused(Cause::Limit(Limit::ConcurrentStreams))])
        );
        let sent = lone.sent();
        assert_eq!(
            (sent[0].kind, sent[0].id, sent[0].code()),
            (RST_STREAM, id, E::REFUSED_STREAM)
        );
        assert_eq!(lone.connection.take_reached(), Some(Limit::ConcurrentStreams));
    }
    let bytes = lone.headers(2 * (max + burst) + 1, true, POST);
    assert_eq!(
        lone.feed(&bytes).unwrap_err().cause,
        Cause::Limit(Limit::RefusedStreams)
    );
}

#[test]
fn a_refused_stream_makes_room_for_none_and_an_ended_one_does() {
    let mut lone = edge();
    let max = Limits::edge().max_concurrent_streams;
    for n in 0..max {
        lone.request(2 * n + 1, true);
    }
    let bytes = lone.headers(2 * max + 1, true, POST);
    assert_eq!(
        lone.feed(&bytes),
        Ok(vec![refused(Cause::Limit(Limit::ConcurrentStreams))])
    );
    let first = lone.keys[0];
    lone.connection.send_headers(first, &fields(OK), true);
    lone.request(2 * max + 3, true);
}

#[test]
fn rfc_9113_4_3_the_header_block_of_a_refused_stream_changes_the_table() {
    let mut limits = Limits::edge();
    limits.max_concurrent_streams = 1;
    for draining in [false, true] {
        let mut lone = Lone::server(with_limits(limits.clone()));
        let first = lone.request(1, true);
        if draining {
            lone.connection.drain();
            let ping = lone.sent().pop().unwrap();
            lone.feed(&frame(PING, ACK, 0, &ping.payload)).unwrap();
        }
        let with_entry = [POST, &[("x-new", "entry"), ("x-new", "entry")]].concat();
        let refused = lone.headers(3, true, &with_entry);
        let reported = lone.feed(&refused).unwrap();
        let cause = if draining {
            Cause::GoingAway
        } else {
            Cause::Limit(Limit::ConcurrentStreams)
        };
        assert!(
            matches!(&reported[..], [OwnedEvent::Refused { fields, cause: why, .. }]
                if fields.len() == 6 && *why == cause),
            "{reported:?}"
        );
        assert_eq!(lone.sent().pop().unwrap().code(), E::REFUSED_STREAM);
        // Only an index is sent now; it must be known, also on a stream that is refused again.
        let next = lone.headers(5, true, &with_entry);
        assert!(next.len() < refused.len() - 10, "the entry is in the table");
        if !draining {
            lone.connection.send_headers(first, &fields(OK), true);
        }
        let reported = lone.feed(&next).unwrap();
        match &reported[..] {
            [OwnedEvent::Request { fields, .. }] if !draining => {
                assert_eq!(fields.last().unwrap().1, "entry")
            }
            reported => assert!(
                draining && matches!(reported, [OwnedEvent::Refused { .. }]),
                "{reported:?}"
            ),
        }
    }
}

#[test]
fn continuations_are_bounded_by_number_and_by_octets() {
    let limits = Limits::edge();
    for payload in [&[][..], &[0x00]] {
        let mut lone = edge();
        lone.feed(&frame(HEADERS, 0, 1, &[])).unwrap();
        let n = limits.max_continuations as usize;
        assert_eq!(
            endures(&mut lone, &frame(CONTINUATION, 0, 1, payload), n + 1),
            (n, Some(Limit::Continuations))
        );
    }
    let mut lone = edge();
    lone.feed(&frame(HEADERS, 0, 1, &[])).unwrap();
    let n = limits.max_header_block as usize / 16_384;
    assert!(n < limits.max_continuations as usize);
    assert_eq!(
        endures(&mut lone, &frame(CONTINUATION, 0, 1, &[0; 16_384]), n + 1),
        (n, Some(Limit::HeaderBlock))
    );
}

#[test]
fn header_fields_are_counted_with_each_cookie_crumb() {
    let max = Limits::edge().max_header_fields as usize;
    for (n, too_large) in [(max - POST.len(), false), (max - POST.len() + 1, true)] {
        let mut lone = edge();
        let list: Vec<_> = POST
            .iter()
            .copied()
            .chain(std::iter::repeat_n(("cookie", "a"), n))
            .collect();
        let bytes = lone.headers(1, true, &list);
        let reported = lone.feed(&bytes).unwrap();
        assert_eq!(
            matches!(reported[..], [OwnedEvent::RequestTooLarge { .. }]),
            too_large,
            "{n} crumbs"
        );
        assert_eq!(
            lone.connection.take_reached(),
            too_large.then_some(Limit::HeaderFields)
        );
    }
}

#[test]
fn the_header_list_is_measured_with_32_octets_for_each_field() {
    let mut limits = Limits::edge();
    let size: usize = POST.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
    limits.max_header_list_size = size as u32 + 42;
    for (value, too_large) in [("123456789", false), ("1234567890", true)] {
        let mut lone = Lone::server(with_limits(limits.clone()));
        let bytes = lone.headers(1, true, &[POST, &[("a", value)]].concat());
        let reported = lone.feed(&bytes).unwrap();
        assert_eq!(
            matches!(reported[..], [OwnedEvent::RequestTooLarge { .. }]),
            too_large
        );
    }
}

#[test]
fn a_bomb_of_indexed_fields_costs_no_memory() {
    // CVE-2026-49975 class: one entry of 3,000 octets, then 16,000 references to it of one octet each.
    let mut lone = edge();
    let value = [b'v'; 3_000];
    // RFC 7541 §6.2.1: a literal that enters the table; 3,000 is 127 + 57 + 22 * 128.
    let bomb = [
        &[0x83, 0x86, 0x84, 0x40, 6][..],
        b"x-bomb",
        &[0x7f, 57 + 128, 22],
        &value,
    ]
    .concat();
    let reported = lone
        .feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
        .unwrap();
    assert!(
        matches!(reported[..], [OwnedEvent::Request { .. }]),
        "{reported:?}"
    );
    let mut block = vec![0x83, 0x86, 0x84];
    block.resize(16_000, 0xbe);
    let error = lone
        .feed(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &block))
        .unwrap_err();
    assert_eq!(error.cause, Cause::Limit(Limit::HeaderListSize));
}

#[test]
fn a_backend_may_do_all_that_a_stranger_may_not() {
    let mut lone = Lone::client(with_limits(Limits::backend()));
    lone.connection.open(&fields(POST), true, 0).unwrap();
    let head = lone.headers(1, false, OK);
    lone.feed(&head).unwrap();
    let cases = [
        frame(PING, 0, 0, &[0; 8]),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
        window_update(0, 1),
        window_update(1, 1),
        frame(0x42, 0, 0, &[]),
        frame(DATA, 0, 1, &[]),
    ];
    for bytes in cases {
        assert_eq!(endures(&mut lone, &bytes, 20_000), (20_000, None), "{bytes:?}");
    }
}

#[test]
fn limits_have_a_face_for_metrics() {
    assert!(
        Limit::ALL
            .iter()
            .all(|l| l.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    );
    let error =
        Connection::server(config()).receive(&mut &b"GET / HTTP/1.1\r\n"[..], std::time::Instant::now());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the peer broke HTTP/2: the client's preface is wrong (PROTOCOL_ERROR)"
    );
}
