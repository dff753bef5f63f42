use super::*;

fn all() -> Vec<Refusal> {
    let backend = "g%ide ü".to_owned();
    vec![
        Refusal::NoRoute,
        Refusal::RequestTooLarge {
            limit: "max_header_fields",
        },
        Refusal::ResponseOverLimit {
            backend: backend.clone(),
            limit: "max_informational",
        },
        Refusal::RequestOverBackendsLimit {
            backend: backend.clone(),
        },
        Refusal::GaveWay {
            limit: "process_memory",
        },
        Refusal::GaveStream {
            backend: backend.clone(),
        },
        Refusal::NoEndpoints {
            backend: backend.clone(),
        },
        Refusal::ConnectFailed {
            backend: backend.clone(),
        },
        Refusal::TooManyWaiting {
            backend: backend.clone(),
        },
        Refusal::WaitedTooLong {
            backend: backend.clone(),
            max_wait: Duration::from_secs(30),
        },
        Refusal::NotHttp2 {
            backend: backend.clone(),
            instead: Some("SSH"),
        },
        Refusal::BackendClosed {
            backend: backend.clone(),
        },
        Refusal::BackendBroke { backend },
        Refusal::DeadlineExceeded,
        Refusal::Draining,
        Refusal::SentAway(SentAway::Certificate),
        Refusal::SentAway(SentAway::Listener),
        Refusal::AmbiguousPath,
        Refusal::miscoded(&Field::new(b"x-a-bin", b"!")),
    ]
}

fn value<'a>(fields: &'a [Field], name: &str) -> &'a str {
    let mut found = fields.iter().filter(|field| field.name() == name.as_bytes());
    let field = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    str::from_utf8(field.value()).unwrap()
}

#[test]
fn a_grpc_client_gets_a_head_that_is_a_whole_answer() {
    for refusal in all() {
        let head = refusal.head(true);
        assert_eq!(head.len(), 4);
        assert_eq!(head[0].name(), b":status", "pseudo-fields come first");
        assert_eq!(value(&head, ":status"), "200");
        assert_eq!(value(&head, "content-type"), "application/grpc");
        assert_eq!(grpc_status_of(&head), Some(refusal.grpc_status()));
        assert_ne!(refusal.grpc_status(), OK);
        let message = value(&head, "grpc-message");
        assert!(
            message.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{message}"
        );
        let encoded = refusal.message().replace('%', "%25").replace('ü', "%C3%BC");
        assert_eq!(message, encoded);
    }
}

#[test]
fn anybody_else_gets_an_http_status_and_a_line_of_text() {
    for refusal in all() {
        let head = refusal.head(false);
        assert_eq!(http_status_of(&head), refusal.http_status());
        assert!(refusal.http_status() >= 400);
        assert_eq!(grpc_status_of(&head), None);
        let body = String::from_utf8(refusal.body()).unwrap();
        assert_eq!(body.lines().count(), 1, "{body}");
    }
    assert_eq!(Refusal::NoRoute.http_status(), 404);
    assert_eq!(Refusal::NoRoute.grpc_status(), UNIMPLEMENTED);
}

#[test]
fn every_refusal_has_its_own_reason() {
    let reasons: std::collections::BTreeSet<_> = all().iter().map(Refusal::reason).collect();
    assert_eq!(reasons.len(), all().len());
}

#[test]
fn reset_codes_become_statuses_by_the_table_of_grpc() {
    // gRPC over HTTP/2, Errors; 5 and 13 are not in it.
    let table = [13, 13, 13, 13, 13, 13, 13, 14, 1, 13, 13, 8, 7, 13];
    for (code, status) in (0..).zip(table) {
        assert_eq!(of_reset(ErrorCode(code)), status, "{code}");
    }
    assert_eq!(of_reset(ErrorCode(14)), UNKNOWN);
    assert_eq!(of_reset(ErrorCode(u32::MAX)), UNKNOWN);
}

#[test]
fn timeouts_have_one_to_eight_digits_and_a_unit() {
    for (text, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("3S", Some(Duration::from_secs(3))),
        ("4m", Some(Duration::from_millis(4))),
        ("5u", Some(Duration::from_micros(5))),
        ("00000006n", Some(Duration::from_nanos(6))),
        ("0n", Some(Duration::ZERO)),
        ("", None),
        ("S", None),
        ("1", None),
        ("100000000S", None),
        ("1s", None),
        ("-1S", None),
        ("+1S", None),
        ("1.5S", None),
        (" 1S", None),
        ("1 S", None),
    ] {
        assert_eq!(parse_grpc_timeout(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn statuses_that_are_no_number_count_as_unknown() {
    let status = |value: &[u8]| grpc_status_of(&[Field::new(b"grpc-status", value)]);
    assert_eq!(status(b"0"), Some(0));
    assert_eq!(status(b"16"), Some(16));
    assert_eq!(status(b"17"), Some(17));
    assert_eq!(status(b"300"), Some(UNKNOWN));
    assert_eq!(status(b""), Some(UNKNOWN));
    assert_eq!(status(b"OK"), Some(UNKNOWN));
    assert_eq!(grpc_status_of(&[]), None);
}

#[test]
fn grpc_is_distinguished_from_its_relatives() {
    for text in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC;x=y",
        "application/grpc ",
    ] {
        assert!(is_grpc(text.as_bytes()), "{text}");
    }
    for text in [
        "",
        "application/grp",
        "application/grpc-web",
        "application/grpcs",
        "text/plain",
    ] {
        assert!(!is_grpc(text.as_bytes()), "{text}");
    }
}

#[test]
fn what_is_left_of_a_timeout_is_sent_rounded_down_in_eight_digits() {
    for (left, sent) in [
        (Duration::from_nanos(1), "1n"),
        (Duration::from_millis(99), "99000000n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_secs(99), "99000000u"),
        (Duration::from_micros(100_000_999), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(100_000_119), "1666668M"),
        (Duration::from_secs(99_999_999 * 3600), "99999999H"),
    ] {
        let field = grpc_timeout(left).unwrap();
        assert_eq!(value(&[field], "grpc-timeout"), sent);
        let read = parse_grpc_timeout(sent.as_bytes()).unwrap();
        assert!(read <= left && !read.is_zero(), "{sent}");
    }
    assert!(grpc_timeout(Duration::ZERO).is_none());
}

#[test]
fn http_statuses_become_statuses_by_the_table_of_grpc() {
    for (http, grpc) in [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (502, 14),
        (503, 14),
        (504, 14),
        (200, 2),
        (302, 2),
        (500, 2),
        (0, 2),
    ] {
        assert_eq!(of_http(http), grpc, "{http}");
    }
}
