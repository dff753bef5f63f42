//! RFC 9113, rule by rule, against a peer made by hand: how a connection begins, frames, states of streams, header blocks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, Connection, ErrorCode as E};
use support::*;

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
        let valid = [
            window_update(1, 1),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            rst_stream(1, E::CANCEL),
        ];
        assert_eq!(lone.feed_all(&valid), Ok(vec![]));
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
fn an_undecodable_block_ends_the_connection() {
    assert_eq!(
        server_error(&[frame(HEADERS, END_HEADERS, 1, &[0x80])]),
        Some(E::COMPRESSION_ERROR)
    );
}
