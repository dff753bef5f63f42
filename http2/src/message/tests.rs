use super::*;
use crate::Indexing;

fn request(fields: &mut Vec<Field>) -> Result<u64, Malformed> {
    super::request(fields, &mut Trimmed::default())
}

fn response(fields: &mut [Field]) -> Result<ResponseHead, Malformed> {
    super::response(fields, &mut Trimmed::default())
}

fn trailers(fields: &mut [Field]) -> Result<(), Malformed> {
    super::trailers(fields, &mut Trimmed::default())
}

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
    request(&mut list(&[&GOOD, more].concat()))
}

/// A good request without one of its fields.
fn without(name: &str) -> Result<u64, Malformed> {
    let kept: Vec<_> = GOOD.iter().copied().filter(|(n, _)| *n != name).collect();
    request(&mut list(&kept))
}

/// A good request with another value.
fn with(name: &str, value: &str) -> Result<u64, Malformed> {
    let changed: Vec<_> = GOOD
        .iter()
        .map(|&(n, v)| if n == name { (n, value) } else { (n, v) })
        .collect();
    request(&mut list(&changed))
}

#[test]
fn ordinary_requests_are_valid() {
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
    assert!(without(":authority").is_ok());
    assert!(with(":authority", "[2001:db8::1]:443").is_ok());
    assert!(with(":path", "/a.B/C?x=1|2").is_ok());
    assert!(with(":method", "OPTIONS").is_ok());
    assert!(
        request(&mut list(&[
            (":method", "OPTIONS"),
            (":scheme", "https"),
            (":path", "*")
        ]))
        .is_ok()
    );
    assert!(request(&mut list(&[(":method", "CONNECT"), (":authority", "h:443")])).is_ok());
}

#[test]
fn rfc_9113_8_3_pseudo_fields_are_complete_single_known_and_first() {
    assert!(without(":method").is_err() && without(":scheme").is_err() && without(":path").is_err());
    for (name, value) in GOOD {
        assert!(and(&[(name, value)]).is_err(), "{name} twice");
    }
    for name in [":status", ":protocol", ":other", ":"] {
        let fields = [&[(name, "x")], &GOOD[..]].concat();
        assert!(request(&mut list(&fields)).is_err(), "{name}");
    }
    let late = [&GOOD[..3], &[("a", "b")], &GOOD[3..]].concat();
    assert!(request(&mut list(&late)).is_err());
    let late = [&GOOD[..3], &[("host", "h")], &GOOD[3..]].concat();
    assert!(request(&mut list(&late)).is_err());
}

#[test]
fn rfc_9113_8_3_1_values_of_pseudo_fields() {
    for (name, value) in [
        (":path", ""),
        (":path", "a/b"),
        (":path", "*"),
        (":method", ""),
        (":method", "PO ST"),
        (":path", "/a b"),
        (":path", "/a\u{1}"),
        (":path", "/caf\u{e9}"),
        (":path", "/a "),
        (":scheme", ""),
        (":scheme", "ht tp"),
        (":scheme", "1"),
        (":authority", ""),
        (":authority", "user@h"),
        (":authority", "evil.test?.example.com"),
        (":authority", "host:80/"),
        (":authority", "h\u{1}"),
        (":authority", " h"),
        (":method", "POST "),
    ] {
        assert!(with(name, value).is_err(), "{name}: {value:?}");
        // `host` decides where there is no :authority, and its blanks are taken away.
        if name == ":authority" && value != " h" {
            let mut fields = list(&[GOOD[0], GOOD[1], GOOD[2], ("host", value)]);
            assert!(request(&mut fields).is_err(), "host: {value:?}");
        }
    }
    assert_eq!(
        with(":authority", "user@h"),
        Err(Malformed("userinfo in :authority"))
    );
    assert_eq!(
        with(":authority", "h/"),
        Err(Malformed(":authority is not host[:port]"))
    );
    assert_eq!(
        with(":path", "/ "),
        Err(Malformed("a pseudo-field has blanks around its value"))
    );
}

#[test]
fn grfc_a41_host_beside_authority_is_taken_out() {
    for host in ["h", "H", "other", "", "not a host", " h "] {
        let mut fields = list(&[&GOOD[..], &[("a", "b"), ("host", host), ("host", "x")]].concat());
        assert_eq!(request(&mut fields), Ok(UNKNOWN_LENGTH), "{host:?}");
        let names: Vec<_> = fields.iter().map(Field::name).collect();
        assert_eq!(
            names,
            [&b":method"[..], b":scheme", b":path", b":authority", b"a"]
        );
    }
    let alone = |hosts: &[(&str, &str)]| {
        let mut fields = list(&[&GOOD[..3], hosts].concat());
        request(&mut fields).map(|_| fields.len())
    };
    assert_eq!(alone(&[("host", "h:1")]), Ok(4));
    assert_eq!(alone(&[("host", " h ")]), Ok(4));
    assert_eq!(alone(&[("host", "h"), ("host", "h")]), Ok(5));
    assert_eq!(
        alone(&[("host", "h"), ("host", "i")]),
        Err(Malformed("two hosts"))
    );
}

#[test]
fn outer_blanks_of_regular_fields_are_taken_away_and_those_of_grpc_message_encoded() {
    type Read = fn(&mut Vec<Field>) -> Result<(), Malformed>;
    let kinds: [(&[(&str, &str)], Read); 3] = [
        (&GOOD, |fields| request(fields).map(|_| ())),
        (&[(":status", "200")], |fields| response(fields).map(|_| ())),
        (&[], |fields| trailers(fields)),
    ];
    for (head, read) in kinds {
        let blanks = [
            ("grpc-message", " \tnot found \t", "%20%09not found%20%09"),
            ("grpc-message", "  ", "%20%20"),
            ("x-meta", " \ta \tb\u{c} \t", "a \tb\u{c}"),
            ("x-meta", "\t", ""),
            ("te", " trailers", "trailers"),
            ("content-length", "7 ", "7"),
        ];
        let sent: Vec<_> = blanks.iter().map(|&(name, value, _)| (name, value)).collect();
        let mut fields = list(&[head, &sent].concat());
        fields.push(Field::with_indexing(b"x-key", b"secret ", Indexing::Never));
        assert_eq!(read(&mut fields), Ok(()));
        for (field, (name, _, want)) in fields[head.len()..].iter().zip(blanks) {
            assert_eq!((field.name(), field.value()), (name.as_bytes(), want.as_bytes()));
        }
        let key = fields.last().unwrap();
        assert_eq!((key.value(), key.indexing()), (&b"secret"[..], Indexing::Never));
    }
    // What is still wrong without them is malformed.
    assert!(and(&[("te", " gzip ")]).is_err());
    assert!(and(&[("content-length", " x ")]).is_err());
    assert!(and(&[("a", " b\n ")]).is_err());
}

#[test]
fn rfc_9113_8_2_1_names_and_values_have_valid_octets() {
    for name in ["", "Upper", "sp ace", "col:on", "nul\0", "uml\u{e4}ut", "tab\t"] {
        assert!(and(&[(name, "v")]).is_err(), "{name:?}");
        assert!(
            trailers(&mut list(&[(name, "v")])).is_err(),
            "{name:?} in trailers"
        );
        assert!(
            response(&mut list(&[(":status", "200"), (name, "v")])).is_err(),
            "{name:?} in a response"
        );
    }
    for value in ["a\0b", "a\rb", "a\nb"] {
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
            response(&mut list(&[(":status", "200"), (name, "x")])).is_err(),
            "{name}"
        );
        assert!(trailers(&mut list(&[(name, "x")])).is_err(), "{name}");
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
    assert!(request(&mut list(&[(":method", "CONNECT")])).is_err());
    assert!(
        request(&mut list(&[
            (":method", "CONNECT"),
            (":authority", "h"),
            (":path", "/")
        ]))
        .is_err()
    );
}

#[test]
fn rfc_9113_8_3_2_a_response_has_one_status() {
    let head = response(&mut list(&[(":status", "204"), ("content-length", "0")]));
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
        assert!(response(&mut list(fields)).is_err(), "{fields:?}");
    }
}

#[test]
fn rfc_9113_8_1_trailers_have_no_pseudo_fields() {
    assert!(trailers(&mut list(&[("grpc-status", "0"), ("grpc-message", "")])).is_ok());
    assert!(trailers(&mut list(&[])).is_ok());
    for name in [
        ":method",
        ":scheme",
        ":path",
        ":authority",
        ":status",
        ":protocol",
        ":x",
    ] {
        assert!(trailers(&mut list(&[(name, "x")])).is_err(), "{name}");
    }
}
