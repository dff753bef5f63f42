//! Beginning and end of a connection: stream limits, GOAWAY, draining.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, ErrorCode as E, Limits, OpenError};
use support::*;

const LAST: u32 = 0x7fff_ffff;

fn goaways(frames: &[Frame]) -> Vec<(u32, E)> {
    frames
        .iter()
        .filter(|f| f.kind == GOAWAY)
        .map(|f| (f.number(), f.code()))
        .collect()
}

#[test]
fn a_server_drains_in_two_steps_and_lets_open_streams_finish() {
    let mut lone = Lone::server(config());
    let first = lone.request(1, true);
    assert!(!lone.connection.is_draining());
    lone.connection.drain();
    lone.connection.drain();
    let sent = lone.sent();
    assert_eq!(goaways(&sent), [(LAST, E::NO_ERROR)]);
    assert_eq!((sent[1].kind, sent.len()), (PING, 2));
    assert!(lone.connection.is_draining() && !lone.connection.is_drained());
    // A request that crossed the GOAWAY is still served.
    let second = lone.request(3, true);
    lone.feed(&frame(PING, ACK, 0, &sent[1].payload)).unwrap();
    assert_eq!(goaways(&lone.sent()), [(3, E::NO_ERROR)]);
    // A later one is refused, provably unprocessed, and the table stays in step.
    let late = lone.headers(5, true, POST);
    let reported = lone.feed(&late).unwrap();
    assert!(
        matches!(
            reported[..],
            [OwnedEvent::Refused {
                cause: Cause::GoingAway,
                ..
            }]
        ),
        "{reported:?}"
    );
    assert_eq!(lone.sent()[0].code(), E::REFUSED_STREAM);
    lone.connection.send_headers(first, &fields(OK), true);
    assert!(!lone.connection.is_drained());
    lone.connection.send_headers(second, &fields(OK), true);
    assert!(lone.connection.is_drained());
}

/// RFC 9113 §6.5.2: what the peer says last, each field with 32 octets beside its name and value.
#[test]
fn the_peers_bound_of_a_list_is_known() {
    let mut lone = Lone::client(config());
    let list = fields(&[(":method", "POST"), ("a", "bc")]);
    assert!(
        lone.connection.takes_list(&list),
        "without a limit until it says one"
    );
    for (size, taken) in [(78, true), (77, false), (u32::MAX, true), (0, false)] {
        lone.feed(&settings(&[(6, size)])).unwrap();
        assert_eq!(lone.connection.takes_list(&list), taken, "{size}");
    }
}

#[test]
fn an_idle_server_is_drained_once_the_client_has_answered() {
    let mut lone = Lone::server(config());
    lone.connection.drain();
    let sent = lone.sent();
    assert!(!lone.connection.is_drained());
    lone.feed(&frame(PING, ACK, 0, b"another!")).unwrap();
    assert!(!lone.connection.is_drained());
    lone.feed(&frame(PING, ACK, 0, &sent[1].payload)).unwrap();
    assert_eq!(goaways(&lone.sent()), [(0, E::NO_ERROR)]);
    assert!(lone.connection.is_drained());
}

#[test]
fn a_client_drains_at_once() {
    let mut lone = Lone::client(config());
    lone.connection.open(&fields(POST), true, 0).unwrap();
    lone.connection.drain();
    assert_eq!(goaways(&lone.sent()), [(0, E::NO_ERROR)]);
    assert_eq!(
        lone.connection.open(&fields(POST), true, 0),
        Err(OpenError::GoingAway)
    );
    assert!(!lone.connection.is_drained());
    let answer = lone.headers(1, true, OK);
    lone.feed(&answer).unwrap();
    assert!(lone.connection.is_drained());
}

#[test]
fn goaway_reports_which_streams_were_not_processed() {
    let mut lone = Lone::client(config());
    let keys: Vec<_> = (0..4)
        .map(|tag| lone.connection.open(&fields(POST), false, tag).unwrap())
        .collect();
    let reported = lone.feed(&goaway(LAST, E::NO_ERROR)).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::GoAway {
            last: LAST,
            code: E::NO_ERROR,
            debug: vec![]
        }]
    );
    assert_eq!(lone.connection.take_unprocessed(), []);
    assert!(lone.connection.peer_going_away() && lone.connection.is_draining());
    assert_eq!(lone.connection.available_streams(), 0);
    assert_eq!(
        lone.connection.open(&fields(POST), false, 9),
        Err(OpenError::GoingAway)
    );
    lone.feed(&goaway(3, E::ENHANCE_YOUR_CALM)).unwrap();
    assert_eq!(lone.connection.take_unprocessed(), [(keys[2], 2), (keys[3], 3)]);
    assert_eq!(lone.connection.take_unprocessed(), []);
    assert_eq!(lone.connection.open_streams(), 2);
    // RFC 9113 §6.8: the last id never grows.
    let reported = lone.feed(&goaway(7, E::NO_ERROR)).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::GoAway {
            last: 3,
            code: E::NO_ERROR,
            debug: vec![]
        }]
    );
    for id in [1, 3] {
        let answer = lone.headers(id, true, OK);
        assert_eq!(lone.feed(&answer).unwrap().len(), 1);
        lone.connection.send_data(keys[id as usize / 2], b"", true);
    }
    assert!(lone.connection.is_drained());
}

#[test]
fn goaway_may_carry_words_and_any_code() {
    let mut lone = Lone::client(config());
    let bytes = frame(
        GOAWAY,
        0,
        0,
        &[&[0, 0, 0, 0, 0, 0, 0, 0xff][..], b"too_many_pings"].concat(),
    );
    let reported = lone.feed(&bytes).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::GoAway {
            last: 0,
            code: E(0xff),
            debug: b"too_many_pings".to_vec()
        }]
    );
}

#[test]
fn a_client_obeys_the_servers_stream_limit() {
    let mut client = http2::Connection::client(with_limits(Limits::backend()));
    assert_eq!(
        (client.available_streams(), client.stream_limit()),
        (0, 0),
        "before SETTINGS"
    );
    assert_eq!(client.open(&fields(POST), false, 0), Err(OpenError::StreamLimit));
    let mut lone = Lone::client(with_limits(Limits::backend()));
    assert_eq!(lone.connection.available_streams(), u32::MAX);
    lone.feed(&settings(&[(3, 2)])).unwrap();
    let first = lone.connection.open(&fields(POST), false, 0).unwrap();
    lone.connection.open(&fields(POST), false, 0).unwrap();
    assert_eq!(
        lone.connection.open(&fields(POST), false, 0),
        Err(OpenError::StreamLimit)
    );
    lone.connection.reset(first, E::CANCEL);
    assert_eq!(lone.connection.available_streams(), 1);
    lone.feed(&settings(&[(3, 0)])).unwrap();
    assert_eq!(lone.connection.available_streams(), 0);
}

#[test]
fn our_own_limit_bounds_a_client_too() {
    let mut limits = Limits::backend();
    limits.max_concurrent_streams = 1;
    let mut lone = Lone::client(with_limits(limits));
    lone.connection.open(&fields(POST), false, 0).unwrap();
    assert_eq!(
        lone.connection.open(&fields(POST), false, 0),
        Err(OpenError::StreamLimit)
    );
}

#[test]
fn abort_says_goaway_and_swallows_the_rest() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, true);
    lone.connection.abort(E::INTERNAL_ERROR, b"because");
    lone.connection.abort(E::NO_ERROR, b"again");
    lone.connection.drain();
    lone.connection.ping([0; 8]);
    lone.connection.send_headers(key, &fields(OK), true);
    assert_eq!(lone.connection.send_data(key, b"x", true), 0);
    let next = lone.headers(3, true, POST);
    assert_eq!(lone.feed(&next), Ok(vec![]));
    let sent = lone.sent();
    assert_eq!((sent.len(), goaways(&sent)), (1, vec![(1, E::INTERNAL_ERROR)]));
    assert!(sent[0].payload.ends_with(b"because"));
    assert_eq!(lone.connection.take_streams(), [(key, 0)]);
    assert!(lone.connection.is_drained());
}

#[test]
fn all_streams_are_handed_back_with_their_tags_when_the_transport_is_gone() {
    let mut lone = Lone::client(config());
    let a = lone.connection.open(&fields(POST), false, 10).unwrap();
    let b = lone.connection.open(&fields(POST), false, 20).unwrap();
    lone.connection.send_data(a, &[0; 100_000], true);
    assert_eq!(lone.connection.take_streams(), [(a, 10), (b, 20)]);
    assert_eq!(
        (lone.connection.open_streams(), lone.connection.queued_total()),
        (0, 0)
    );
}

#[test]
fn a_whole_call_goes_through_a_pair() {
    let mut pair = Pair::new(config(), config());
    let (ours, theirs) = pair.post();
    pair.client.send_data(ours, b"ping", false);
    pair.client.send_data(ours, b"pong", true);
    pair.run();
    assert_eq!(
        pair.server_events[1],
        OwnedEvent::Data {
            stream: 1,
            payload: b"pingpong".to_vec(),
            end: true
        }
    );
    pair.server
        .send_headers(theirs, &fields(&[(":status", "100")]), false);
    pair.server.send_headers(theirs, &fields(OK), false);
    pair.server.send_data(theirs, b"answer", false);
    pair.server.send_trailers(theirs, fields(&[("grpc-status", "0")]));
    pair.run();
    let kinds: Vec<_> = pair.client_events.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 4, "{:?}", pair.client_events);
    assert!(matches!(pair.client_events[0], OwnedEvent::Informational { .. }));
    assert!(matches!(pair.client_events[3], OwnedEvent::Trailers { .. }));
    assert_eq!((pair.client.open_streams(), pair.server.open_streams()), (0, 0));
}

#[test]
fn each_header_block_has_a_number_from_its_first_octets_on() {
    let mut lone = Lone::server(config());
    let blocks = |lone: &Lone| {
        (
            lone.connection.header_block_open(),
            lone.connection.header_blocks(),
        )
    };
    assert_eq!(blocks(&lone), (false, 0));
    // RFC 9113 §4.1: the type is the fourth octet.
    for (begun, id) in [(0, 1), (1, 3), (2, 5)] {
        let whole = lone.headers(id, true, POST);
        let (first, rest) = whole[9..].split_at(2);
        let mut frames = frame(HEADERS, END_STREAM, id, first);
        frames.extend(frame(CONTINUATION, 0, id, &[]));
        frames.extend(frame(CONTINUATION, END_HEADERS, id, rest));
        for (at, octet) in frames.iter().enumerate() {
            lone.feed(&[*octet]).unwrap();
            let octets = at + 1;
            let open = octets >= 4 && octets < frames.len();
            assert_eq!(
                blocks(&lone),
                (open, begun + u64::from(octets >= 4)),
                "octet {octets} of {id}"
            );
        }
    }
    // One block ends and the next begins in the same input: open before and after, but not the same.
    let (one, two) = (lone.headers(7, false, POST), lone.headers(9, false, POST));
    lone.feed(&one[..12]).unwrap();
    assert_eq!(blocks(&lone), (true, 4));
    lone.feed(&[&one[12..], &two[..5]].concat()).unwrap();
    assert_eq!(blocks(&lone), (true, 5));
    lone.feed(&two[5..]).unwrap();
    assert_eq!(blocks(&lone), (false, 5));
    // Trailers and what comes whole count too, other frames do not.
    let trailers = lone.headers(7, true, &[("a", "b")]);
    let bytes = [
        trailers,
        lone.headers(11, true, POST),
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, 9, &[1; 9]),
    ];
    lone.feed_all(&bytes).unwrap();
    lone.feed(&frame(PING, 0, 0, &[1; 8])[..11]).unwrap();
    assert_eq!(blocks(&lone), (false, 7));
}

#[test]
fn the_number_of_header_blocks_never_falls() {
    let mut lone = Lone::server(config());
    let bytes = lone.headers(1, true, POST);
    lone.feed(&bytes[..4]).unwrap();
    lone.connection.abort(E::NO_ERROR, b"");
    assert_eq!(lone.connection.header_blocks(), 1);
    assert!(!lone.connection.header_block_open());
}
