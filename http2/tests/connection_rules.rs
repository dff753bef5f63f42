//! RFC 9113, rule by rule, against a peer made by hand. Long, because the rules are many and one list in the order of
//! the sections shows what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, Connection, ErrorCode as E, Limits};
use support::*;

/// The code of the connection error that these frames lead a fresh server to.
fn server_error(frames: &[Vec<u8>]) -> Option<E> {
    Lone::server(config()).feed_all(frames).err().map(|e| e.code)
}

/// A stream that we reset for this rule.
fn reset(stream: u32, code: E, rule: &'static str) -> OwnedEvent {
    OwnedEvent::Reset {
        stream,
        code,
        cause: Some(Cause::Protocol(rule)),
    }
}

const OVERRUN: &str = "the stream's flow-control window is overrun";

#[test]
fn rfc_9113_3_4_the_server_begins_with_settings() {
    let mut lone = Lone::new(Connection::server(config()));
    let sent = lone.sent();
    assert_eq!((sent[0].kind, sent[0].flags, sent[0].id), (SETTINGS, 0, 0));
}

#[test]
fn rfc_9113_3_4_the_client_begins_with_preface_and_settings() {
    let client = Connection::client(config());
    let rest = client.output().strip_prefix(PREFACE).expect("the preface");
    let sent = split_frames(&mut rest.to_vec());
    assert_eq!((sent[0].kind, sent[0].flags), (SETTINGS, 0));
    assert!(sent[0].payload.starts_with(&[0, 2, 0, 0, 0, 0]), "push is off");
}

#[test]
fn rfc_9113_3_4_a_wrong_preface_is_refused_at_its_first_wrong_octet() {
    for n in 0..PREFACE.len() {
        let mut bad = PREFACE[..=n].to_vec();
        bad[n] ^= 0x20;
        let mut lone = Lone::new(Connection::server(config()));
        assert_eq!(lone.feed(&bad).unwrap_err().code, E::PROTOCOL_ERROR, "octet {n}");
        assert!(!lone.connection.is_established());
    }
}

#[test]
fn rfc_9113_3_4_the_first_frame_must_be_settings() {
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, ACK, 0, &[]),
        window_update(0, 1),
    ] {
        let mut server = Lone::new(Connection::server(config()));
        assert_eq!(
            server.feed(&[PREFACE, &first].concat()).unwrap_err().code,
            E::PROTOCOL_ERROR
        );
        let mut client = Lone::new(Connection::client(config()));
        assert_eq!(client.feed(&first).unwrap_err().code, E::PROTOCOL_ERROR);
    }
}

#[test]
fn rfc_9113_5_4_1_a_connection_error_says_goaway_once_and_stays() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    let bad = frame(PING, 0, 1, &[0; 8]);
    let error = lone.feed(&bad).unwrap_err();
    assert!(matches!(error.cause, Cause::Protocol(_)));
    assert_eq!(lone.feed(&frame(PING, 0, 0, &[0; 8])).unwrap_err(), error);
    let sent = lone.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(
        (sent[0].kind, sent[0].number(), sent[0].code()),
        (GOAWAY, 1, E::PROTOCOL_ERROR)
    );
    assert!(lone.connection.is_draining());
    assert_eq!(lone.connection.take_streams().len(), 1);
}

#[test]
fn rfc_9113_4_2_too_long_frames_are_frame_size_errors() {
    for kind in [DATA, HEADERS, SETTINGS, PING, 0x77] {
        let head = [0, 0x40, 1, kind, 0, 0, 0, 0, u8::from(kind < 2)];
        assert_eq!(
            server_error(&[head.to_vec()]),
            Some(E::FRAME_SIZE_ERROR),
            "kind {kind}"
        );
    }
}

#[test]
fn rfc_9113_6_frames_of_fixed_length_have_it() {
    let cases = [
        frame(PING, 0, 0, &[0; 7]),
        frame(PING, ACK, 0, &[0; 9]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        frame(RST_STREAM, 0, 1, &[0; 5]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(DATA, PADDED, 1, &[]),
        frame(HEADERS, PADDED, 1, &[]),
        frame(HEADERS, 0x20 | END_HEADERS, 1, &[0; 4]),
    ];
    for bytes in cases {
        let mut lone = Lone::server(config());
        if bytes[3] == RST_STREAM || bytes[3] == DATA {
            lone.request(1, false);
        }
        assert_eq!(
            lone.feed(&bytes).unwrap_err().code,
            E::FRAME_SIZE_ERROR,
            "{bytes:?}"
        );
    }
}

#[test]
fn rfc_9113_6_stream_ids_fit_the_frame_type() {
    for kind in [DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE] {
        assert_eq!(
            server_error(&[frame(kind, 0, 0, &[0; 5])]),
            Some(E::PROTOCOL_ERROR),
            "{kind} on 0"
        );
    }
    for kind in [SETTINGS, PING, GOAWAY] {
        assert_eq!(
            server_error(&[frame(kind, 0, 1, &[0; 8])]),
            Some(E::PROTOCOL_ERROR),
            "{kind} on 1"
        );
    }
}

#[test]
fn rfc_9113_5_1_idle_streams_take_nothing_but_headers_and_priority() {
    for bytes in [
        frame(DATA, END_STREAM, 1, b"test"),
        rst_stream(1, E::CANCEL),
        window_update(1, 100),
        frame(CONTINUATION, END_HEADERS, 1, &[]),
        window_update(2, 100),
    ] {
        assert_eq!(
            server_error(std::slice::from_ref(&bytes)),
            Some(E::PROTOCOL_ERROR),
            "{bytes:?}"
        );
        let mut client = Lone::client(config());
        assert_eq!(
            client.feed(&bytes).unwrap_err().code,
            E::PROTOCOL_ERROR,
            "{bytes:?} to a client"
        );
    }
    let mut lone = Lone::server(config());
    assert_eq!(lone.feed(&frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1])), Ok(vec![]));
    lone.request(1, true);
}

#[test]
fn rfc_9113_5_1_half_closed_remote_streams_answer_stream_closed() {
    for n in 0..2 {
        let mut lone = Lone::server(config());
        let key = lone.request(1, true);
        let more = if n == 0 {
            frame(DATA, END_STREAM, 1, b"x")
        } else {
            lone.headers(1, true, &[("a", "b")])
        };
        let rule = ["DATA after END_STREAM", "HEADERS after END_STREAM"][n];
        assert_eq!(lone.feed(&more).unwrap(), [reset(1, E::STREAM_CLOSED, rule)]);
        let sent = lone.sent();
        assert_eq!((sent[0].kind, sent[0].code()), (RST_STREAM, E::STREAM_CLOSED));
        assert_eq!(lone.connection.send_data(key, b"late", true), 0);
        assert_eq!(lone.sent(), []);
        // WINDOW_UPDATE, PRIORITY and RST_STREAM stay valid.
        let lawful = [
            window_update(1, 1),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            rst_stream(1, E::CANCEL),
        ];
        assert_eq!(lone.feed_all(&lawful), Ok(vec![]));
    }
}

#[test]
fn rfc_9113_5_1_after_the_peers_reset_data_is_a_stream_error_and_headers_a_connection_error() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    let reported = lone.feed(&rst_stream(1, E::CANCEL)).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::Reset {
            stream: 1,
            code: E::CANCEL,
            cause: None
        }]
    );
    assert_eq!(lone.feed(&frame(DATA, 0, 1, b"x")), Ok(vec![]));
    assert_eq!(lone.sent()[0].code(), E::STREAM_CLOSED);
    lone.request(3, false);
    lone.feed(&rst_stream(3, E::CANCEL)).unwrap();
    let again = lone.headers(3, true, POST);
    assert_eq!(lone.feed(&again).unwrap_err().code, E::STREAM_CLOSED);
}

#[test]
fn rfc_9113_5_1_headers_on_an_ended_stream_end_the_connection() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, true);
    lone.connection.send_headers(key, &fields(OK), true);
    assert_eq!(lone.connection.open_streams(), 0);
    let again = lone.headers(1, true, POST);
    assert_eq!(lone.feed(&again).unwrap_err().code, E::STREAM_CLOSED);
}

#[test]
fn rfc_9113_5_1_frames_in_flight_on_a_stream_that_we_reset_are_ignored_and_credited() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, false);
    lone.connection.reset(key, E::CANCEL);
    lone.sent();
    // More than the connection's window in all, and a new entry for the table within.
    for _ in 0..10 {
        assert_eq!(lone.feed(&frame(DATA, 0, 1, &[0; 16_384])), Ok(vec![]));
    }
    let credited: u32 = lone
        .sent()
        .iter()
        .map(|f| (f.kind == WINDOW_UPDATE && f.id == 0) as u32 * f.number())
        .sum();
    assert!(credited > 163_840 - 32_768, "{credited}");
    let trailers = lone.headers(1, true, &[("x-new", "entry")]);
    assert_eq!(lone.feed(&trailers), Ok(vec![]));
    // The table is in step.
    let mut with_entry = POST.to_vec();
    with_entry.push(("x-new", "entry"));
    let next = lone.headers(3, true, &with_entry);
    let reported = lone.feed(&next).unwrap();
    let OwnedEvent::Request { fields, .. } = &reported[0] else {
        panic!("{reported:?}")
    };
    assert_eq!(
        fields.last().unwrap(),
        &("x-new".to_string(), "entry".to_string())
    );
    assert_eq!(lone.sent(), []);
}

#[test]
fn rfc_9113_5_1_1_ids_are_odd_and_grow() {
    let mut lone = Lone::server(config());
    let even = lone.headers(2, true, POST);
    assert_eq!(lone.feed(&even).unwrap_err().code, E::PROTOCOL_ERROR);
    let mut lone = Lone::server(config());
    lone.request(5, true);
    let lower = lone.headers(3, true, POST);
    assert_eq!(lone.feed(&lower).unwrap_err().code, E::PROTOCOL_ERROR);
}

#[test]
fn rfc_9113_6_10_a_header_block_is_not_interrupted() {
    let begin = frame(HEADERS, 0, 1, &[]);
    for between in [
        frame(DATA, 0, 1, b"x"),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        frame(HEADERS, END_HEADERS, 3, &[]),
        frame(HEADERS, END_HEADERS, 1, &[]),
        frame(PING, 0, 0, &[0; 8]),
        frame(0x55, 0, 0, &[]),
        frame(CONTINUATION, END_HEADERS, 3, &[]),
        settings(&[]),
    ] {
        assert_eq!(
            server_error(&[begin.clone(), between.clone()]),
            Some(E::PROTOCOL_ERROR),
            "{between:?}"
        );
    }
}

#[test]
fn rfc_9113_6_10_a_header_block_may_lie_in_many_frames() {
    let mut lone = Lone::server(config());
    let whole = lone.headers(1, true, POST);
    let block = &whole[9..];
    let mut frames = vec![frame(HEADERS, END_STREAM, 1, &block[..1])];
    frames.extend(block[1..].chunks(2).map(|piece| frame(CONTINUATION, 0, 1, piece)));
    frames.push(frame(CONTINUATION, END_HEADERS, 1, &[]));
    assert!(!lone.connection.header_block_open());
    let last = frames.pop().unwrap();
    assert_eq!(lone.feed_all(&frames), Ok(vec![]));
    assert!(lone.connection.header_block_open());
    assert!(matches!(
        lone.feed(&last).unwrap()[..],
        [OwnedEvent::Request {
            stream: 1,
            end: true,
            ..
        }]
    ));
    assert!(!lone.connection.header_block_open());
}

#[test]
fn an_unfinished_headers_frame_counts_as_an_open_header_block() {
    let mut lone = Lone::server(config());
    let bytes = lone.headers(1, true, POST);
    lone.feed(&bytes[..4]).unwrap();
    assert!(lone.connection.header_block_open());
    lone.feed(&bytes[4..bytes.len() - 1]).unwrap();
    assert!(lone.connection.header_block_open());
    lone.feed(&bytes[bytes.len() - 1..]).unwrap();
    assert!(!lone.connection.header_block_open());
    lone.feed(&frame(PING, 0, 0, &[0; 8])[..12]).unwrap();
    assert!(!lone.connection.header_block_open());
}

#[test]
fn padding_and_priority_of_headers_are_ignored() {
    let mut lone = Lone::server(config());
    let whole = lone.headers(1, true, POST);
    let padded = [&[3, 0, 0, 0, 0, 16][..], &whole[9..], &[0; 3]].concat();
    let reported = lone
        .feed(&frame(
            HEADERS,
            END_HEADERS | END_STREAM | PADDED | 0x20,
            1,
            &padded,
        ))
        .unwrap();
    assert!(matches!(reported[..], [OwnedEvent::Request { .. }]));
}

#[test]
fn rfc_7540_5_3_1_a_stream_does_not_depend_on_itself() {
    let mut lone = Lone::server(config());
    let whole = lone.headers(1, true, POST);
    let own_child = frame(
        HEADERS,
        END_HEADERS | 0x20,
        1,
        &[&[0, 0, 0, 1, 16][..], &whole[9..]].concat(),
    );
    let reported = lone.feed(&own_child).unwrap();
    assert!(
        matches!(&reported[..], [OwnedEvent::Refused { cause: Cause::Protocol("a stream depends on itself"), fields, .. }]
            if fields.len() == POST.len()),
        "{reported:?}"
    );
    assert_eq!(lone.sent()[0].code(), E::PROTOCOL_ERROR);
    lone.request(3, false);
    assert_eq!(
        lone.feed(&frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1])).unwrap(),
        [reset(3, E::PROTOCOL_ERROR, "a stream depends on itself")]
    );
    lone.request(5, false);
    assert_eq!(
        lone.feed(&frame(PRIORITY, 0, 5, &[0; 4])).unwrap(),
        [reset(5, E::FRAME_SIZE_ERROR, "PRIORITY is not five octets long")]
    );
    assert_eq!(
        lone.feed(&frame(PRIORITY, 0, 7, &[0, 0, 0, 7, 1]))
            .unwrap_err()
            .code,
        E::PROTOCOL_ERROR
    );
}

#[test]
fn padding_of_data_is_taken_off_and_credited() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, false);
    let payload = [&[200][..], b"hello", &[0; 200]].concat();
    let reported = lone.feed(&frame(DATA, PADDED, 1, &payload)).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::Data {
            stream: 1,
            payload: b"hello".to_vec(),
            end: false
        }]
    );
    // 201 octets of padding are owed already: 160 such frames reach half of the window without any release.
    for _ in 0..170 {
        lone.feed(&frame(DATA, PADDED, 1, &[&[200][..], &[0; 200]].concat()))
            .unwrap();
    }
    let sent = lone.sent();
    assert!(
        sent.iter()
            .any(|f| f.kind == WINDOW_UPDATE && f.id == 1 && f.number() >= 32_767),
        "{sent:?}"
    );
    assert!(
        sent.iter().any(|f| f.kind == WINDOW_UPDATE && f.id == 0),
        "{sent:?}"
    );
    lone.connection.release(key, 5);
    for (payload, ok) in [
        (vec![0], true),
        (vec![1, 0], true),
        (vec![1], false),
        (vec![5, 0, 0], false),
    ] {
        let got = Lone::server(config()).feed_all(&[]).map(|_| ());
        assert_eq!(got, Ok(()));
        let mut lone = Lone::server(config());
        lone.request(1, false);
        let code = lone.feed(&frame(DATA, PADDED, 1, &payload)).err().map(|e| e.code);
        assert_eq!(code, (!ok).then_some(E::PROTOCOL_ERROR), "{payload:?}");
    }
}

#[test]
fn the_end_comes_with_the_last_octet_although_padding_follows() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    let bytes = frame(DATA, PADDED | END_STREAM, 1, &[&[4][..], b"ab", &[0; 4]].concat());
    assert_eq!(
        merge(lone.feed(&bytes[..12]).unwrap()),
        [OwnedEvent::Data {
            stream: 1,
            payload: b"ab".to_vec(),
            end: true
        }]
    );
    assert_eq!(lone.feed(&bytes[12..]), Ok(vec![]));
    lone.request(3, true);
}

#[test]
fn empty_data_is_reported_only_at_the_end() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    assert_eq!(lone.feed(&frame(DATA, 0, 1, &[])), Ok(vec![]));
    assert_eq!(
        lone.feed(&frame(DATA, END_STREAM, 1, &[])).unwrap(),
        [OwnedEvent::Data {
            stream: 1,
            payload: vec![],
            end: true
        }]
    );
}

#[test]
fn rfc_9113_6_9_window_updates_are_checked() {
    assert_eq!(server_error(&[window_update(0, 0)]), Some(E::PROTOCOL_ERROR));
    assert_eq!(
        server_error(&[window_update(0, 0x7fff_ffff)]),
        Some(E::FLOW_CONTROL_ERROR)
    );
    assert_eq!(server_error(&[window_update(0, 0x7fff_ffff - 65_535)]), None);
    let mut lone = Lone::server(config());
    lone.request(1, false);
    assert_eq!(
        lone.feed(&window_update(1, 0)).unwrap(),
        [reset(1, E::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")]
    );
    lone.request(3, false);
    assert_eq!(
        lone.feed(&window_update(3, 0x7fff_ffff)).unwrap(),
        [reset(
            3,
            E::FLOW_CONTROL_ERROR,
            "a flow-control window went above 2^31-1"
        )]
    );
    assert_eq!(
        lone.feed(&window_update(3, 0x7fff_ffff)),
        Ok(vec![]),
        "closed by us: ignored"
    );
}

#[test]
fn rfc_9113_6_9_1_overrun_windows_are_flow_control_errors() {
    let mut narrow = config();
    narrow.initial_stream_window = 100;
    let mut lone = Lone::server(narrow);
    lone.request(1, false);
    assert_eq!(lone.feed(&frame(DATA, 0, 1, &[0; 100])).unwrap().len(), 1);
    assert_eq!(
        lone.feed(&frame(DATA, 0, 1, &[0; 1])).unwrap(),
        [reset(1, E::FLOW_CONTROL_ERROR, OVERRUN)]
    );
    let mut lone = Lone::server(config());
    for id in [1, 3] {
        lone.request(id, false);
        lone.feed(&frame(DATA, 0, id, &[0; 16_384])).unwrap();
        lone.feed(&frame(DATA, 0, id, &[0; 16_383])).unwrap();
    }
    assert!(lone.feed(&frame(DATA, 0, 1, &[0])).is_ok());
    assert_eq!(
        lone.feed(&frame(DATA, 0, 3, &[0])).unwrap_err().code,
        E::FLOW_CONTROL_ERROR
    );
}

#[test]
fn rfc_9113_6_9_3_until_settings_are_acknowledged_the_peer_may_use_the_default_window() {
    let mut narrow = config();
    narrow.initial_stream_window = 100;
    let mut lone = Lone::new(Connection::server(narrow));
    lone.feed(&[PREFACE, &settings(&[])].concat()).unwrap();
    let key = lone.request(1, false);
    assert_eq!(lone.feed(&frame(DATA, 0, 1, &[0; 1000])).unwrap().len(), 1);
    lone.feed(&frame(SETTINGS, ACK, 0, &[])).unwrap();
    // 900 octets below zero now.
    lone.connection.release(key, 1000);
    assert_eq!(lone.feed(&frame(DATA, 0, 1, &[0; 100])).unwrap().len(), 1);
    assert_eq!(
        lone.feed(&frame(DATA, 0, 1, &[0; 1])).unwrap(),
        [reset(1, E::FLOW_CONTROL_ERROR, OVERRUN)]
    );
}

#[test]
fn rfc_9113_6_9_2_a_new_initial_window_shifts_all_streams_even_below_zero() {
    let mut lone = Lone::server(config());
    let key = lone.request(1, true);
    lone.connection.send_headers(key, &fields(OK), false);
    assert_eq!(lone.connection.send_data(key, &[1; 10], false), 10);
    lone.feed(&settings(&[(4, 3)])).unwrap();
    // The window is 3 - 10 = -7.
    assert_eq!(lone.connection.sendable(key), 0);
    assert_eq!(lone.connection.send_data(key, &[2; 10], true), 0);
    lone.sent();
    lone.feed(&window_update(1, 7)).unwrap();
    assert_eq!(lone.sent(), []);
    lone.feed(&window_update(1, 1)).unwrap();
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: DATA,
            flags: 0,
            id: 1,
            payload: vec![2]
        }]
    );
    lone.feed(&settings(&[(4, 100)])).unwrap();
    let sent = lone.sent();
    assert_eq!(
        sent[1],
        Frame {
            kind: DATA,
            flags: END_STREAM,
            id: 1,
            payload: vec![2; 9]
        }
    );
    assert_eq!(lone.connection.next_drained(), Some((key, 0, 10)));
    assert_eq!(lone.connection.next_drained(), None);
}

#[test]
fn rfc_9113_6_9_2_an_initial_window_that_overflows_a_stream_ends_the_connection() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    lone.feed(&window_update(1, 0x7fff_ffff - 65_535)).unwrap();
    assert_eq!(
        lone.feed(&settings(&[(4, 65_536)])).unwrap_err().code,
        E::FLOW_CONTROL_ERROR
    );
}

#[test]
fn rfc_9113_6_5_settings_are_acknowledged_and_reported() {
    let mut lone = Lone::server(config());
    assert_eq!(
        lone.feed(&settings(&[(1, 0), (6, 1), (0xff, 3)])).unwrap(),
        [OwnedEvent::Settings]
    );
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: SETTINGS,
            flags: ACK,
            id: 0,
            payload: vec![]
        }]
    );
    assert_eq!(server_error(&[settings(&[(2, 1)])]), None);
    let mut client = Lone::client(config());
    assert_eq!(
        client.feed(&settings(&[(2, 1)])).unwrap_err().code,
        E::PROTOCOL_ERROR
    );
}

#[test]
fn rfc_9113_6_5_2_a_smaller_header_table_is_obeyed() {
    let mut lone = Lone::server(config());
    lone.feed(&settings(&[(1, 0)])).unwrap();
    lone.sent();
    let mut decoder = http2::Decoder::new(4096);
    for id in [1, 3] {
        let key = lone.request(id, true);
        lone.connection
            .send_headers(key, &fields(&[(":status", "200"), ("x-a", "b")]), true);
        let sent = lone.sent();
        let mut out = Vec::new();
        decoder.decode(&sent[0].payload, 10_000, 10, &mut out).unwrap();
        assert_eq!(out[1].value(), b"b");
        let update = sent[0].payload.first() == Some(&0x20);
        assert_eq!(update, id == 1, "the size update goes out once");
    }
}

#[test]
fn pings_are_echoed_and_ours_are_reported() {
    let mut lone = Lone::server(config());
    assert_eq!(lone.feed(&frame(PING, 0, 0, b"12345678")), Ok(vec![]));
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: PING,
            flags: ACK,
            id: 0,
            payload: b"12345678".to_vec()
        }]
    );
    assert_eq!(lone.feed(&frame(PING, ACK, 0, b"unasked!")), Ok(vec![]));
    lone.connection.ping(*b"question");
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: PING,
            flags: 0,
            id: 0,
            payload: b"question".to_vec()
        }]
    );
    assert_eq!(
        lone.feed(&frame(PING, ACK, 0, b"question")).unwrap(),
        [OwnedEvent::Pong {
            payload: *b"question"
        }]
    );
    assert_eq!(lone.feed(&frame(PING, ACK, 0, b"question")), Ok(vec![]));
}

#[test]
fn rfc_9113_5_5_unknown_frames_are_passed_over() {
    let mut lone = Lone::server(config());
    let reported = lone.feed_all(&[frame(0xbb, 0xff, 0, &[7; 10_000]), frame(0xcc, 0, 77, &[])]);
    assert_eq!(reported, Ok(vec![]));
    lone.request(1, true);
}

#[test]
fn rfc_9113_8_4_nobody_pushes() {
    assert_eq!(
        server_error(&[frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 10])]),
        Some(E::PROTOCOL_ERROR)
    );
    let mut client = Lone::client(config());
    client.connection.open(&fields(POST), true, 0).unwrap();
    let error = client
        .feed(&frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x88]))
        .unwrap_err();
    assert_eq!(error.code, E::PROTOCOL_ERROR);
}

#[test]
fn rfc_9113_8_1_1_malformed_requests_are_reset_and_reported_with_their_fields_and_the_rule() {
    let mut lone = Lone::server(config());
    let bad = lone.headers(1, true, &[(":method", "GET"), ("a", "b")]);
    let refused = OwnedEvent::Refused {
        fields: vec![(":method".into(), "GET".into()), ("a".into(), "b".into())],
        code: E::PROTOCOL_ERROR,
        cause: Cause::Protocol("a request without :method, :scheme or :path"),
    };
    assert_eq!(lone.feed(&bad), Ok(vec![refused]));
    assert_eq!(
        lone.sent(),
        [Frame {
            kind: RST_STREAM,
            flags: 0,
            id: 1,
            payload: vec![0, 0, 0, 1]
        }]
    );
    assert_eq!(lone.connection.open_streams(), 0);
    lone.request(3, true);
}

#[test]
fn rfc_9113_8_1_trailers_end_the_stream_or_it_is_reset() {
    let mut lone = Lone::server(config());
    lone.request(1, false);
    let trailers = lone.headers(1, true, &[("x", "y")]);
    let reported = lone.feed(&trailers).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::Trailers {
            stream: 1,
            fields: vec![("x".into(), "y".into())]
        }]
    );
    for (id, end, list, rule) in [
        (3, false, &[("x", "y")], "trailers that do not end the stream"),
        (5, true, &[(":path", "/")], "a pseudo-field in trailers"),
    ] {
        lone.request(id, false);
        let bad = lone.headers(id, end, list);
        assert_eq!(lone.feed(&bad).unwrap(), [reset(id, E::PROTOCOL_ERROR, rule)]);
    }
}

#[test]
fn rfc_9113_8_1_1_data_adds_up_to_content_length() {
    let with_length = |n: &'static str| [POST, &[("content-length", n)]].concat();
    let data = |id, end, n: usize| frame(DATA, u8::from(end), id, &vec![0; n]);
    let mut lone = Lone::server(config());
    let mut id = 1;
    let mut check = |length: &'static str, end, frames: &[(bool, usize)], trailers: bool, good: bool| {
        let head = lone.headers(id, end, &with_length(length));
        let mut reported = lone.feed(&head).unwrap();
        for &(end, n) in frames {
            reported.extend(lone.feed(&data(id, end, n)).unwrap());
        }
        if trailers {
            let bytes = lone.headers(id, true, &[("x", "y")]);
            reported.extend(lone.feed(&bytes).unwrap());
        }
        let was_reset = lone
            .sent()
            .iter()
            .any(|f| f.kind == RST_STREAM && f.code() == E::PROTOCOL_ERROR);
        assert_eq!(
            was_reset, !good,
            "{length} {end} {frames:?} {trailers}: {reported:?}"
        );
        id += 2;
    };
    check("0", true, &[], false, true);
    check("1", true, &[], false, false);
    check("4", false, &[(true, 4)], false, true);
    check(
        "4",
        false,
        &[(false, 1), (false, 0), (false, 3), (true, 0)],
        false,
        true,
    );
    check("4", false, &[(false, 4)], true, true);
    check("1", false, &[(true, 4)], false, false);
    check("1", false, &[(false, 4)], false, false);
    check("5", false, &[(true, 4)], false, false);
    check("5", false, &[(false, 4)], true, false);
    check("5", false, &[(false, 4), (true, 0)], false, false);
}

#[test]
fn responses_are_checked_and_interim_ones_are_distinguished() {
    let mut lone = Lone::client(config());
    let key = lone.connection.open(&fields(POST), true, 42).unwrap();
    let early = lone.headers(1, false, &[(":status", "103"), ("link", "x")]);
    assert!(matches!(
        lone.feed(&early).unwrap()[..],
        [OwnedEvent::Informational { stream: 1, .. }]
    ));
    let head = lone.headers(1, false, &[(":status", "200"), ("content-length", "2")]);
    assert!(matches!(
        lone.feed(&head).unwrap()[..],
        [OwnedEvent::Response {
            stream: 1,
            end: false,
            ..
        }]
    ));
    let reported = lone.feed(&frame(DATA, 0, 1, b"ab")).unwrap();
    assert_eq!(
        reported,
        [OwnedEvent::Data {
            stream: 1,
            payload: b"ab".to_vec(),
            end: false
        }]
    );
    let trailers = lone.headers(1, true, &[("grpc-status", "0")]);
    assert!(matches!(
        lone.feed(&trailers).unwrap()[..],
        [OwnedEvent::Trailers { .. }]
    ));
    assert_eq!(
        (lone.connection.open_streams(), lone.connection.window_target(key)),
        (0, 0)
    );
    // Frames for a stream that is gone are ignored.
    let late = lone.headers(1, true, &[("grpc-status", "0")]);
    assert_eq!(
        lone.feed_all(&[late, frame(DATA, 0, 1, b"late"), window_update(1, 1)]),
        Ok(vec![])
    );
}

#[test]
fn malformed_responses_reset_the_stream() {
    let mut lone = Lone::client(config());
    type Fields = &'static [(&'static str, &'static str)];
    let bad: [(bool, Fields, &str); 5] = [
        (false, &[("a", "b")], "a response without :status"),
        (
            true,
            &[(":status", "100")],
            "an interim response that ends the stream",
        ),
        (false, &[(":status", "101")], "a response with status 101"),
        (
            true,
            &[(":status", "200"), ("content-length", "5")],
            "DATA does not add up to content-length",
        ),
        (
            false,
            &[(":status", "200"), ("connection", "close")],
            "a connection-specific field",
        ),
    ];
    for (n, (end, list, rule)) in bad.into_iter().enumerate() {
        let id = 2 * n as u32 + 1;
        lone.connection.open(&fields(POST), true, 9).unwrap();
        let bytes = lone.headers(id, end, list);
        assert_eq!(
            lone.feed(&bytes).unwrap(),
            [reset(id, E::PROTOCOL_ERROR, rule)],
            "{list:?}"
        );
    }
    lone.connection.open(&fields(POST), true, 9).unwrap();
    assert_eq!(
        lone.feed(&frame(DATA, 0, 11, b"no head yet")).unwrap(),
        [reset(11, E::PROTOCOL_ERROR, "DATA before the response's head")]
    );
}

#[test]
fn rfc_9110_8_6_answers_to_head_and_204_and_304_promise_no_content() {
    let mut lone = Lone::client(config());
    let mut head = POST.to_vec();
    head[0] = (":method", "HEAD");
    for (n, (request, status, more, good)) in [
        (head.as_slice(), "200", false, true),
        (POST, "304", false, true),
        (POST, "204", true, false),
        (head.as_slice(), "200", true, false),
        (POST, "200", false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 2 * n as u32 + 1;
        lone.connection.open(&fields(request), true, 0).unwrap();
        let bytes = lone.headers(id, !more, &[(":status", status), ("content-length", "5")]);
        let mut reported = lone.feed(&bytes).unwrap();
        if more {
            reported.extend(lone.feed(&frame(DATA, END_STREAM, id, b"12345")).unwrap());
        }
        let bad = reported.contains(&reset(
            id,
            E::PROTOCOL_ERROR,
            "DATA does not add up to content-length",
        ));
        assert_eq!(bad, !good, "{status} {more}: {reported:?}");
    }
}

#[test]
fn a_request_that_is_too_large_can_be_answered_and_its_data_is_swallowed() {
    let mut lone = Lone::server(config());
    let big = "x".repeat(30_000);
    let list = [POST, &[("a", &big), ("b", &big), ("c", &big)]].concat();
    let bytes = lone.headers(1, false, &list);
    // The block is longer than one frame may be.
    let block = &bytes[9..];
    let mut frames = vec![frame(HEADERS, 0, 1, &block[..16_384])];
    frames.extend(
        block[16_384..]
            .chunks(16_384)
            .map(|b| frame(CONTINUATION, 0, 1, b)),
    );
    frames.push(frame(CONTINUATION, END_HEADERS, 1, &[]));
    let reported = lone.feed_all(&frames).unwrap();
    assert!(
        matches!(
            &reported[..],
            [OwnedEvent::RequestTooLarge { stream: 1, end: false, fields, limit: http2::Limit::HeaderListSize }]
                if fields.len() == 6
        ),
        "{reported:?}"
    );
    assert_eq!(lone.connection.take_reached(), Some(http2::Limit::HeaderListSize));
    assert_eq!(lone.connection.take_reached(), None);
    let key = lone.keys[0];
    lone.connection
        .send_headers(key, &fields(&[(":status", "431")]), true);
    assert_eq!(lone.sent()[0].kind, HEADERS);
    for _ in 0..20 {
        assert_eq!(lone.feed(&frame(DATA, 0, 1, &[0; 10_000])), Ok(vec![]));
        let n: u32 = lone
            .sent()
            .iter()
            .filter(|f| f.kind == WINDOW_UPDATE)
            .map(Frame::number)
            .sum();
        assert!(n <= 131_072);
    }
    lone.connection.reset(key, E::NO_ERROR);
    assert_eq!(lone.connection.open_streams(), 0);
}

#[test]
fn a_response_that_is_too_large_resets_its_stream_only() {
    let mut limits = Limits::backend();
    limits.max_header_fields = 3;
    let mut lone = Lone::client(with_limits(limits));
    for id in [1, 3] {
        lone.connection.open(&fields(POST), true, 5).unwrap();
        let n = if id == 1 { 4 } else { 3 };
        let list: Vec<_> = [(":status", "200")]
            .into_iter()
            .chain([("a", "b"); 3])
            .take(n)
            .collect();
        let bytes = lone.headers(id, true, &list);
        let reported = lone.feed(&bytes).unwrap();
        if id == 1 {
            let over = OwnedEvent::Reset {
                stream: 1,
                code: E::ENHANCE_YOUR_CALM,
                cause: Some(Cause::Limit(http2::Limit::HeaderFields)),
            };
            assert_eq!(reported, [over]);
            assert_eq!(lone.connection.take_reached(), Some(http2::Limit::HeaderFields));
        } else {
            assert!(
                matches!(reported[..], [OwnedEvent::Response { .. }]),
                "{reported:?}"
            );
        }
    }
}

#[test]
fn an_undecodable_block_ends_the_connection() {
    assert_eq!(
        server_error(&[frame(HEADERS, END_HEADERS, 1, &[0x80])]),
        Some(E::COMPRESSION_ERROR)
    );
}
