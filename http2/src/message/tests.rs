use super::*;

fn list(text: &[(&str, &str)]) -> Vec<Field> {
    text.iter()
        .map(|(name, value)| Field::new(name.as_bytes(), value.as_bytes()))
        .collect()
}

const GOOD: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/a/B"),
    (":authority", "h"),
];

/// A good request with more fields.
fn and(more: &[(&str, &str)]) -> Result<u64, Malformed> {
    request(&list(&[&GOOD, more].concat()))
}

/// A good request without one of its fields.
fn without(name: &str) -> Result<u64, Malformed> {
    let kept: Vec<_> = GOOD.iter().copied().filter(|(n, _)| *n != name).collect();
    request(&list(&kept))
}

/// A good request with another value.
fn with(name: &str, value: &str) -> Result<u64, Malformed> {
    let changed: Vec<_> = GOOD
        .iter()
        .map(|&(n, v)| if n == name { (n, value) } else { (n, v) })
        .collect();
    request(&list(&changed))
}

#[test]
fn ordinary_requests_are_lawful() {
    assert_eq!(and(&[]), Ok(UNKNOWN_LENGTH));
    assert_eq!(
        and(&[
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("x-bin", "")
        ]),
        Ok(UNKNOWN_LENGTH)
    );
    assert_eq!(and(&[("content-length", "12"), ("content-length", "12")]), Ok(12));
    assert_eq!(and(&[("cookie", "a=b"), ("cookie", "c=d")]), Ok(UNKNOWN_LENGTH));
    assert_eq!(and(&[("host", "H")]), Ok(UNKNOWN_LENGTH));
    assert!(without(":authority").is_ok());
    assert!(with(":method", "OPTIONS").is_ok());
    assert!(
        request(&list(&[
            (":method", "OPTIONS"),
            (":scheme", "https"),
            (":path", "*")
        ]))
        .is_ok()
    );
    assert!(request(&list(&[(":method", "CONNECT"), (":authority", "h:443")])).is_ok());
}

#[test]
fn rfc_9113_8_3_pseudo_fields_are_complete_single_known_and_first() {
    assert!(without(":method").is_err() && without(":scheme").is_err() && without(":path").is_err());
    for (name, value) in GOOD {
        assert!(and(&[(name, value)]).is_err(), "{name} twice");
    }
    for name in [":status", ":protocol", ":other", ":"] {
        let fields = [&[(name, "x")], &GOOD[..]].concat();
        assert!(request(&list(&fields)).is_err(), "{name}");
    }
    let late = [&GOOD[..3], &[("a", "b")], &GOOD[3..]].concat();
    assert!(request(&list(&late)).is_err());
    let late = [&GOOD[..3], &[("host", "h")], &GOOD[3..]].concat();
    assert!(request(&list(&late)).is_err());
}

#[test]
fn rfc_9113_8_3_1_values_of_pseudo_fields() {
    for (name, value) in [
        (":path", ""),
        (":path", "a/b"),
        (":path", "*"),
        (":method", ""),
        (":method", "PO ST"),
        (":scheme", ""),
        (":authority", "user@h"),
    ] {
        assert!(with(name, value).is_err(), "{name}: {value:?}");
    }
}

#[test]
fn rfc_9113_8_3_1_host_and_authority_agree() {
    assert!(and(&[("host", "other")]).is_err());
    assert!(and(&[("host", "h"), ("host", "other")]).is_err());
}

#[test]
fn rfc_9113_8_2_1_names_and_values_have_lawful_octets() {
    for name in ["", "Upper", "sp ace", "col:on", "nul\0", "uml\u{e4}ut", "tab\t"] {
        assert!(and(&[(name, "v")]).is_err(), "{name:?}");
        assert!(trailers(&list(&[(name, "v")])).is_err(), "{name:?} in trailers");
        assert!(
            response(&list(&[(":status", "200"), (name, "v")])).is_err(),
            "{name:?} in a response"
        );
    }
    for value in ["a\0b", "a\rb", "a\nb", " a", "a ", "\ta", "a\t"] {
        assert!(and(&[("name", value)]).is_err(), "{value:?}");
    }
    assert!(and(&[("name", "a b\tc \u{e4}")]).is_ok());
}

#[test]
fn rfc_9113_8_2_2_connection_specific_fields_are_malformed() {
    for name in [
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "proxy-connection",
    ] {
        assert!(and(&[(name, "x")]).is_err(), "{name}");
        assert!(
            response(&list(&[(":status", "200"), (name, "x")])).is_err(),
            "{name}"
        );
        assert!(trailers(&list(&[(name, "x")])).is_err(), "{name}");
    }
    assert!(and(&[("te", "gzip")]).is_err());
    assert!(and(&[("te", "trailers, gzip")]).is_err());
    assert!(and(&[("te", "")]).is_err());
}

#[test]
fn content_length_is_one_number() {
    for value in ["", "-1", "+1", "1,1", "0x1", "99999999999999999999"] {
        assert!(and(&[("content-length", value)]).is_err(), "{value:?}");
    }
    assert!(and(&[("content-length", "1"), ("content-length", "2")]).is_err());
    assert_eq!(
        and(&[("content-length", "9999999999999999999")]),
        Ok(9_999_999_999_999_999_999)
    );
}

#[test]
fn rfc_9113_8_5_connect_has_an_authority_and_nothing_else() {
    assert!(with(":method", "CONNECT").is_err());
    assert!(request(&list(&[(":method", "CONNECT")])).is_err());
    assert!(
        request(&list(&[
            (":method", "CONNECT"),
            (":authority", "h"),
            (":path", "/")
        ]))
        .is_err()
    );
}

#[test]
fn rfc_9113_8_3_2_a_response_has_one_status() {
    let head = response(&list(&[(":status", "204"), ("content-length", "0")]));
    assert_eq!(
        head,
        Ok(ResponseHead {
            status: 204,
            content_length: 0
        })
    );
    for fields in [
        &[][..],
        &[("a", "b")],
        &[(":status", "200"), (":status", "200")],
        &[("a", "b"), (":status", "200")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "012")],
        &[(":status", "101")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "200"), (":new", "/")],
    ] {
        assert!(response(&list(fields)).is_err(), "{fields:?}");
    }
}

#[test]
fn rfc_9113_8_1_trailers_have_no_pseudo_fields() {
    assert!(trailers(&list(&[("grpc-status", "0"), ("grpc-message", "")])).is_ok());
    assert!(trailers(&list(&[])).is_ok());
    for name in [
        ":method",
        ":scheme",
        ":path",
        ":authority",
        ":status",
        ":protocol",
        ":x",
    ] {
        assert!(trailers(&list(&[(name, "x")])).is_err(), "{name}");
    }
}
