//! RFC 9113, rule by rule, against a peer made by hand: requests, responses, trailers and lengths of content.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, ErrorCode as E, Limits};
use support::*;

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
