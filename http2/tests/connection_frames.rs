//! RFC 9113, rule by rule, against a peer made by hand: DATA, windows, SETTINGS, PING and what is passed over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Connection, ErrorCode as E};
use support::*;

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
