//! The credit that answered streams earn a peer, and its bounds: resets, refusals, requests for nobody, and
//! header lists that are larger than their blocks. All by virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, ErrorCode as E, Limit, Limits};
use std::collections::VecDeque;
use std::time::Duration;
use support::*;

fn edge() -> Lone {
    Lone::server(config())
}

/// A request of the next id, reset after `age` by its sender.
fn cancelled(lone: &mut Lone, id: u32, timeout: Option<Duration>, age: Duration) -> Result<(), Cause> {
    let key = lone.request(id, true);
    if let Some(timeout) = timeout {
        lone.connection.expect_reset_after(key, timeout);
    }
    lone.later(age);
    let reported = lone
        .feed(&rst_stream(id, E::CANCEL))
        .map_err(|error| error.cause)?;
    assert_eq!(reported.len(), 1);
    lone.sent();
    Ok(())
}

/// A request that is answered, by a backend or not.
fn answered(lone: &mut Lone, id: u32, by_backend: bool) {
    let key = lone.request(id, true);
    if by_backend {
        lone.connection.served(key);
    }
    lone.connection.send_headers(key, &fields(OK), true);
    lone.sent();
}

#[test]
fn what_no_backend_answered_buys_no_resets() {
    let mut lone = edge();
    let mut resets = 0;
    let ended = loop {
        answered(&mut lone, 4 * resets + 1, false);
        match cancelled(&mut lone, 4 * resets + 3, None, Duration::ZERO) {
            Ok(()) => resets += 1,
            Err(cause) => break cause,
        }
    };
    assert_eq!(ended, Cause::Limit(Limit::RapidResets));
    assert_eq!(resets, Limits::edge().rapid_resets.burst);
}

/// Hedging: one of two calls is answered, and the other cancelled after 20 ms.
#[test]
fn two_hundred_and_fifty_hedged_calls_a_second_go_on_for_ever() {
    let mut lone = edge();
    for n in 0..50_000 {
        lone.request(4 * n + 1, true);
        lone.later(Duration::from_millis(4));
        answered(&mut lone, 4 * n + 3, true);
        let reported = lone.feed(&rst_stream(4 * n + 1, E::CANCEL)).unwrap();
        assert_eq!(reported.len(), 1, "call {n}");
        lone.sent();
    }
}

#[test]
fn an_answer_of_a_backend_pays_for_most_of_a_reset_and_not_for_all() {
    let mut lone = edge();
    let mut resets = 0;
    let ended = loop {
        answered(&mut lone, 4 * resets + 1, true);
        match cancelled(&mut lone, 4 * resets + 3, None, Duration::ZERO) {
            Ok(()) => resets += 1,
            Err(cause) => break cause,
        }
    };
    let burst = Limits::edge().rapid_resets.burst;
    assert_eq!(ended, Cause::Limit(Limit::RapidResets));
    assert!((7 * burst..=9 * burst).contains(&resets), "{resets}");
}

#[test]
fn two_hundred_calls_a_second_that_end_by_their_deadline_of_100_ms_go_on_for_ever() {
    let timeout = Duration::from_millis(100);
    let mut lone = edge();
    let healthy = lone.request(1, true);
    let mut mute = VecDeque::new();
    for number in 1..24_000 {
        let id = 2 * number + 1;
        let key = lone.request(id, true);
        lone.connection.expect_reset_after(key, timeout);
        mute.push_back(id);
        lone.later(Duration::from_millis(5));
        // HEADERS were on their way for a few milliseconds longer than the reset.
        if mute.len() == 19 {
            let id = mute.pop_front().unwrap();
            assert_eq!(
                lone.feed(&rst_stream(id, E::CANCEL)).unwrap().len(),
                1,
                "call {number}"
            );
        }
        lone.sent();
    }
    lone.connection.send_headers(healthy, &fields(OK), true);
    assert_eq!(lone.sent()[0].id, 1);
}

#[test]
fn a_full_connection_whose_calls_all_end_by_their_deadline_of_100_ms_goes_on_for_a_minute() {
    let timeout = Duration::from_millis(100);
    let mut lone = edge();
    let mut id = 1;
    for flight in 0..600 {
        let mut open = Vec::new();
        for _ in 0..Limits::edge().max_concurrent_streams {
            let key = lone.request(id, true);
            lone.connection.expect_reset_after(key, timeout);
            open.push(id);
            id += 2;
        }
        lone.later(timeout);
        for id in open {
            let reported = lone.feed(&rst_stream(id, E::CANCEL)).unwrap();
            assert_eq!(reported.len(), 1, "flight {flight}");
        }
        lone.sent();
    }
}

/// grpc-go writes `grpc-timeout` before the call waits for its stream.
#[test]
fn deadlines_that_passed_while_calls_waited_for_their_streams_are_explained() {
    let timeout = Duration::from_millis(500);
    let mut lone = edge();
    let mut open = VecDeque::new();
    for number in 0..6_000 {
        let id = 2 * number + 1;
        let key = lone.request(id, true);
        lone.connection.expect_reset_after(key, timeout);
        open.push_back(id);
        if open.len() == 256 {
            // The youngest: it has just got the place of one that ended.
            let id = open.pop_back().unwrap();
            assert_eq!(
                lone.feed(&rst_stream(id, E::CANCEL)).unwrap().len(),
                1,
                "call {number}"
            );
        }
        lone.sent();
    }
}

#[test]
fn a_deadline_that_anybody_could_ask_for_explains_no_reset() {
    let burst = Limits::edge().rapid_resets.burst;
    for (timeout, age) in [
        (Duration::from_nanos(1), Duration::ZERO),
        (Duration::from_millis(9), Duration::from_millis(9)),
        // Reset long before its deadline.
        (Duration::from_millis(100), Duration::from_millis(20)),
        (Duration::from_secs(3600), Duration::ZERO),
    ] {
        let mut lone = edge();
        let rate = Limits::edge().rapid_resets.per_second;
        let mut resets = 0;
        let ended = loop {
            assert!(resets <= 20_000, "{timeout:?} explains all");
            match cancelled(&mut lone, 2 * resets + 1, Some(timeout), age) {
                Ok(()) => resets += 1,
                Err(cause) => break cause,
            }
        };
        assert_eq!(ended, Cause::Limit(Limit::RapidResets));
        let refilled = age.as_millis() as u32 * resets * rate / 1000;
        assert!(resets <= burst + refilled + 1, "{timeout:?}: {resets}");
    }
}

#[test]
fn explained_resets_have_a_rate_of_their_own() {
    let timeout = Duration::from_millis(10);
    let mut lone = edge();
    let (mut open, mut resets) = (VecDeque::new(), 0);
    // All streams that are allowed, each reset at its deadline: 25,600 a second.
    let ended = 'talk: loop {
        for _ in 0..Limits::edge().max_concurrent_streams {
            let id = 2 * (resets + open.len() as u32) + 1;
            let key = lone.request(id, true);
            lone.connection.expect_reset_after(key, timeout);
            open.push_back(id);
        }
        lone.later(timeout);
        while let Some(id) = open.pop_front() {
            if let Err(error) = lone.feed(&rst_stream(id, E::CANCEL)) {
                break 'talk error.cause;
            }
            resets += 1;
        }
        lone.sent();
    };
    assert_eq!(ended, Cause::Limit(Limit::DeadlineResets));
    let rate = Limits::edge().deadline_resets;
    assert!(
        (rate.burst..rate.burst + rate.per_second).contains(&resets),
        "{resets}"
    );
}

#[test]
fn requests_that_are_turned_away_have_a_rate() {
    let rate = Limits::edge().turned_away;
    let turn_away = |lone: &mut Lone, id: u32| {
        let key = lone.request(id, true);
        lone.connection.turned_away(key);
        lone.connection.send_headers(key, &fields(OK), true);
        lone.sent();
    };
    let mut lone = edge();
    for n in 0..rate.burst {
        turn_away(&mut lone, 2 * n + 1);
    }
    let bytes = lone.headers(2 * rate.burst + 1, true, POST);
    assert!(lone.feed(&bytes).is_ok());
    lone.connection.turned_away(*lone.keys.last().unwrap());
    let error = lone.feed(&[]).unwrap_err();
    assert_eq!(
        (error.code, error.cause),
        (E::ENHANCE_YOUR_CALM, Cause::Limit(Limit::TurnedAway))
    );
    assert_eq!(lone.connection.take_streams().len(), 1);
    // At the rate itself they go on for ever; and so where a backend answers two others for each.
    let mut lone = edge();
    for n in 0..3 * rate.burst {
        turn_away(&mut lone, 2 * n + 1);
        lone.later(Duration::from_secs(1) / rate.per_second);
    }
    let mut lone = edge();
    for n in 0..3 * rate.burst {
        turn_away(&mut lone, 6 * n + 1);
        answered(&mut lone, 6 * n + 3, true);
        answered(&mut lone, 6 * n + 5, true);
    }
    // Those that are turned away pay for nothing.
    let mut lone = edge();
    for n in 0..rate.burst {
        turn_away(&mut lone, 4 * n + 1);
        if cancelled(&mut lone, 4 * n + 3, None, Duration::ZERO).is_err() {
            assert_eq!(n, Limits::edge().rapid_resets.burst);
            return;
        }
    }
    panic!("resets were bought");
}

#[test]
fn oversized_requests_have_a_rate() {
    let rate = Limits::edge().oversized_requests;
    let big = "x".repeat(70_000);
    let list = [POST, &[("x-big", &*big)]].concat();
    let ask = |lone: &mut Lone, id: u32| {
        let mut block = Vec::new();
        lone.encoder.encode(&fields(&list), &mut block);
        let mut pieces: Vec<_> = block.chunks(16_384).collect();
        let last = pieces.pop().unwrap();
        let mut bytes = frame(HEADERS, END_STREAM, id, pieces[0]);
        for piece in &pieces[1..] {
            bytes.extend(frame(CONTINUATION, 0, id, piece));
        }
        bytes.extend(frame(CONTINUATION, END_HEADERS, id, last));
        lone.feed(&bytes)?;
        let key = *lone.keys.last().unwrap();
        lone.connection
            .send_headers(key, &fields(&[(":status", "431")]), true);
        lone.sent();
        Ok::<_, http2::ConnectionError>(())
    };
    let mut lone = edge();
    for n in 0..rate.burst {
        ask(&mut lone, 2 * n + 1).unwrap();
    }
    assert_eq!(
        ask(&mut lone, 2 * rate.burst + 1).unwrap_err().cause,
        Cause::Limit(Limit::OversizedRequests)
    );
    let mut lone = edge();
    for n in 0..2 * rate.burst {
        ask(&mut lone, 2 * n + 1).unwrap();
        lone.later(Duration::from_secs(1) / rate.per_second);
    }
}

/// RFC 7541 §6.2.1, §6.1: a field of `size` octets that enters the table, and then `n` references to it, on POST.
fn bomb(first: bool, size: usize, n: usize) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x84];
    if first {
        let value = size - 32 - 6;
        // 127 in the prefix, and the rest in septets.
        let rest = value - 127;
        block.extend([0x40, 6]);
        block.extend(b"x-bomb");
        block.extend([0x7f, (rest % 128) as u8 | 128, (rest / 128) as u8]);
        block.resize(block.len() + value, b'v');
    }
    block.resize(block.len() + n, 0xbe);
    block
}

#[test]
fn lists_that_are_much_larger_than_their_blocks_are_soon_too_much_although_a_backend_answers_each() {
    let mut lone = edge();
    let mut n = 0;
    let ended = loop {
        let block = bomb(n == 0, 2_048, 30);
        assert!(n == 0 || block.len() == 33);
        let reported = match lone.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block)) {
            Ok(reported) => reported,
            Err(error) => break error.cause,
        };
        assert!(matches!(&reported[..], [OwnedEvent::Request { fields, .. }] if fields.len() >= 33));
        let key = *lone.keys.last().unwrap();
        lone.connection.served(key);
        lone.connection.send_headers(key, &fields(OK), true);
        lone.sent();
        // A thousand a second.
        lone.later(Duration::from_millis(1));
        n += 1;
    };
    assert_eq!(ended, Cause::Limit(Limit::HeaderExpansion));
    assert!((100..500).contains(&n), "{n} lists of 61 KiB");
}

#[test]
fn ten_thousand_calls_a_second_that_repeat_metadata_of_3_5_kib_for_a_minute_are_allowed() {
    let metadata: Vec<_> = (0..7).map(|n| (format!("x-meta-{n}"), "v".repeat(460))).collect();
    let mut list = POST.to_vec();
    list.extend(
        metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let size: usize = list.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
    assert!((3_500..3_900).contains(&size), "{size}");
    let list = fields(&list);
    let mut lone = edge();
    let mut open = VecDeque::new();
    for n in 0..600_000_u32 {
        let mut block = Vec::new();
        lone.encoder.encode(&list, &mut block);
        assert!(n < 10 || block.len() < 30, "all of it is in the table");
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
        let mut input = bytes.as_slice();
        let event = lone.connection.receive(&mut input, lone.now);
        let Ok(Some(http2::Event::Request { stream, fields, .. })) = event else {
            panic!("call {n}: {event:?}")
        };
        http2::recycle(fields);
        open.push_back(stream);
        // A hundred are under way at any time.
        if open.len() == 100 {
            let key = open.pop_front().unwrap();
            // The backend is away for ten seconds.
            if n / 100_000 != 3 {
                lone.connection.served(key);
            }
            lone.connection
                .send_headers(key, &[http2::Field::new(b":status", b"200")], true);
            lone.connection.advance(lone.connection.output().len());
        }
        lone.later(Duration::from_micros(100));
    }
}

/// A client whose calls are cancelled while they are young, and answered before and after that, gets back what their
/// metadata took.
#[test]
fn metadata_of_cancelled_calls_comes_back() {
    let mut lone = edge();
    let expected = Limits::edge().header_expansion.burst / 8_000;
    for n in 0..4 * expected {
        // Ten references to 800 octets.
        let block = bomb(n == 0, 800, 10);
        let reported = lone.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block));
        assert!(
            matches!(&reported.unwrap()[..], [OwnedEvent::Request { .. }]),
            "call {n}"
        );
        let key = *lone.keys.last().unwrap();
        if n % 4 == 0 {
            let reported = lone.feed(&rst_stream(2 * n + 1, E::CANCEL)).unwrap();
            assert_eq!(reported.len(), 1, "call {n}");
        } else {
            lone.connection.served(key);
            lone.connection.send_headers(key, &fields(OK), true);
        }
        lone.sent();
    }
}

/// RFC 9113 §5.1: frames that were on their way when we reset their stream are ignored.
#[test]
fn a_whole_flight_of_refused_streams_with_bodies_and_trailers_is_allowed() {
    for max in [100, 1_000] {
        let mut limits = Limits::edge();
        limits.max_concurrent_streams = max;
        let flight = max + limits.refused_streams.burst;
        let mut lone = Lone::server(with_limits(limits));
        let ids: Vec<_> = (0..flight).map(|n| 2 * n + 1).collect();
        for &id in &ids {
            let bytes = lone.headers(id, false, POST);
            lone.feed(&bytes).unwrap();
        }
        let refused = lone.sent().iter().filter(|f| f.kind == RST_STREAM).count();
        assert_eq!(refused as u32, flight - max);
        for &id in &ids {
            let trailers = lone.headers(id, true, &[("x", "y")]);
            lone.feed_all(&[frame(DATA, 0, id, b"12345"), trailers]).unwrap();
            lone.sent();
        }
    }
}

#[test]
fn a_list_of_up_to_four_times_its_bound_is_reported_with_its_content_type_and_the_table_stays_in_step() {
    let mut limits = Limits::edge();
    limits.max_header_list_size = 1_000;
    limits.max_header_fields = 20;
    let many = vec![("a", "b"); 70];
    let long = "x".repeat(3_000);
    for (more, limit) in [
        (&many[..], Limit::HeaderFields),
        (&[("x-long", &*long)], Limit::HeaderListSize),
        (&many[..17], Limit::HeaderFields),
    ] {
        let mut lone = Lone::server(with_limits(limits.clone()));
        let last = [
            ("content-type", "application/grpc"),
            ("x-new", "entry"),
            ("x-new", "entry"),
        ];
        let bytes = lone.headers(1, true, &[POST, more, &last].concat());
        let reported = lone.feed(&bytes).unwrap();
        let [
            OwnedEvent::RequestTooLarge {
                fields,
                limit: reached,
                ..
            },
        ] = &reported[..]
        else {
            panic!("{reported:?}")
        };
        let has = |name: &str, value: &str| fields.contains(&(name.into(), value.into()));
        assert!(has(":path", "/a/B") && has(":authority", "h") && has("content-type", "application/grpc"));
        assert!(
            fields.len() <= 21 && *reached == limit,
            "{reached:?} {}",
            fields.len()
        );
        let next = lone.headers(3, true, &[POST, &[("x-new", "entry")]].concat());
        let reported = lone.feed(&next).unwrap();
        assert!(
            matches!(&reported[..], [OwnedEvent::Request { fields, .. }] if fields.last().unwrap().1 == "entry")
        );
    }
}

#[test]
fn beyond_four_times_a_bound_of_the_list_the_connection_ends() {
    let limits = Limits::edge();
    let fields = limits.max_header_fields as usize;
    let mut lone = edge();
    // RFC 7541 §6.2.1: two octets that make an entry; the table turns over all the time.
    let thrash = |n: usize| [vec![0x83, 0x86, 0x84], [0x41, 0x00].repeat(n)].concat();
    let reported = lone
        .feed(&frame(HEADERS, END_HEADERS, 1, &thrash(4 * fields - 3)))
        .unwrap();
    assert!(
        matches!(reported[..], [OwnedEvent::RequestTooLarge { .. }]),
        "{reported:?}"
    );
    let error = lone
        .feed(&frame(HEADERS, END_HEADERS, 3, &thrash(4 * fields - 2)))
        .unwrap_err();
    assert_eq!(
        (error.code, error.cause),
        (E::ENHANCE_YOUR_CALM, Cause::Limit(Limit::HeaderFields))
    );
    let mut lone = edge();
    let error = lone
        .feed(&frame(HEADERS, END_HEADERS, 1, &bomb(true, 4_000, 70)))
        .unwrap_err();
    assert_eq!(error.cause, Cause::Limit(Limit::HeaderListSize));
}

/// RFC 9110 §15.2.
#[test]
fn interim_heads_of_one_response_are_bounded() {
    let limits = Limits::backend();
    let most = limits.max_informational;
    let mut lone = Lone::client(with_limits(limits));
    for id in [1, 3] {
        lone.connection.open(&fields(POST), true, 0).unwrap();
        for _ in 0..most {
            let early = lone.headers(id, false, &[(":status", "103")]);
            assert!(matches!(
                lone.feed(&early).unwrap()[..],
                [OwnedEvent::Informational { .. }]
            ));
        }
        if id == 1 {
            let head = lone.headers(id, true, OK);
            assert!(matches!(
                lone.feed(&head).unwrap()[..],
                [OwnedEvent::Response { .. }]
            ));
            continue;
        }
        let early = lone.headers(id, false, &[(":status", "103")]);
        let reported = lone.feed(&early).unwrap();
        let reset = OwnedEvent::Reset {
            stream: id,
            code: E::ENHANCE_YOUR_CALM,
            cause: Some(Cause::Limit(Limit::Informational)),
        };
        assert_eq!(reported, [reset]);
        assert_eq!(lone.connection.take_reached(), Some(Limit::Informational));
    }
}

#[test]
fn interim_heads_that_the_client_does_not_read_are_left_out() {
    let config = config();
    let bound = config.max_output + config.limits.max_unread_answers as usize;
    let mut lone = Lone::server(config);
    let key = lone.request(1, true);
    let hint = fields(&[(":status", "103"), ("link", &"x".repeat(10_000))]);
    for _ in 0..1_000 {
        lone.connection.send_headers(key, &hint, false);
    }
    assert!(
        lone.connection.output().len() < bound + 20_000,
        "{}",
        lone.connection.output().len()
    );
    // The answer itself still comes, as soon as there is room.
    lone.connection.send_headers(key, &fields(OK), true);
    assert!(lone.connection.is_waiting(key));
    lone.sent();
    lone.connection.pump();
    assert_eq!(lone.connection.open_streams(), 0);
    let last = lone.sent().pop().unwrap();
    assert_eq!((last.kind, last.flags & END_STREAM), (HEADERS, END_STREAM));
    assert!(lone.feed(&frame(PING, 0, 0, &[0; 8])).is_ok());
}
