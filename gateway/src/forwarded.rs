//! The fields about the client that a backend gets, and the claims that a stranger must not make about itself.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use certstore::Identity;
use http2::{Field, Indexing, Name};

use crate::settings::AddHeaders;

/// The longest element of `x-forwarded-client-cert`: names that would go beyond are left out. Backends take
/// heads of 8 KiB at least.
const MAX_CLIENT_CERT: usize = 4 << 10;
const CERTIFICATE: &[u8] = b"x-forwarded-client-cert";

/// The fields that are the same for all requests of one client connection, made once.
#[derive(Debug)]
pub(crate) struct Forwarding {
    trusted: bool,
    request_id: bool,
    /// That of the next hop: backends are reached without TLS. What the client used is in `proto`.
    scheme: Field,
    address: Option<Address>,
    proto: Option<Field>,
    /// Boxed, for most connections have none.
    certificate: Option<Box<Field>>,
}

#[derive(Debug)]
struct Address {
    text: String,
    field: Field,
}

impl Forwarding {
    /// `identity`: who the peer has proved to be. `trusted`: what it says in `x-forwarded-*` and
    /// `x-request-id` is believed and kept.
    pub(crate) fn new(
        add: AddHeaders,
        peer: IpAddr,
        tls: bool,
        identity: Option<&Identity>,
        trusted: bool,
    ) -> Self {
        let address = add.forwarded_for.then(|| {
            // An IPv4 client of an IPv6 socket is still an IPv4 client.
            let text = peer.to_canonical().to_string();
            Address {
                field: Field::new(b"x-forwarded-for", text.as_bytes()),
                text,
            }
        });
        let scheme: &[u8] = if tls { b"https" } else { b"http" };
        let proto = add
            .forwarded_proto
            .then(|| Field::new(b"x-forwarded-proto", scheme));
        let certificate = identity.filter(|_| add.client_certificate);
        Self {
            trusted,
            request_id: add.request_id,
            scheme: Field::new(b":scheme", b"http"),
            address,
            proto,
            certificate: certificate.map(|identity| {
                let element = client_cert(identity);
                Box::new(Field::new(CERTIFICATE, element.as_bytes()))
            }),
        }
    }
}

/// Makes the fields of a request those that a backend may believe. `random` is the state from
/// [`seed`]; it makes request ids, which are unique but no secret.
pub(crate) fn edit(fields: &mut Vec<Field>, client: &Forwarding, random: &mut u64) {
    let mut has_client_claim = false;
    for field in fields.iter_mut() {
        if field.known() == Name::Scheme {
            // RFC 9113 §8.3.1: the scheme of the target; Kestrel resets streams whose scheme is not the transport's.
            *field = client.scheme.clone();
        }
        has_client_claim |= is_about_the_client(field);
    }
    if has_client_claim {
        if client.trusted {
            return add_to_what_is_there(fields, client, random);
        }
        fields.retain(|field| !is_about_the_client(field));
    }
    fields.extend(client.address.as_ref().map(|address| address.field.clone()));
    fields.extend(client.proto.clone());
    fields.extend(client.certificate.as_deref().cloned());
    if client.request_id {
        fields.push(request_id(random));
    }
}

fn is_about_the_client(field: &Field) -> bool {
    matches!(
        field.known(),
        Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedClientCert
            | Name::ClientClaim
            | Name::XRequestId
    )
}

fn add_to_what_is_there(fields: &mut Vec<Field>, client: &Forwarding, random: &mut u64) {
    let has = |fields: &[Field], name| fields.iter().any(|field| field.known() == name);
    if let Some(address) = &client.address {
        // RFC 9110 §5.3: several lines of one name are one list in their order, so the last one grows.
        match fields
            .iter_mut()
            .rev()
            .find(|field| field.known() == Name::XForwardedFor)
        {
            Some(list) => *list = appended(b"x-forwarded-for", list, address.text.as_bytes()),
            None => fields.push(address.field.clone()),
        }
    }
    if let Some(proto) = client
        .proto
        .as_ref()
        .filter(|_| !has(fields, Name::XForwardedProto))
    {
        fields.push(proto.clone());
    }
    if let Some(certificate) = client.certificate.as_deref() {
        // Each proxy on the way adds the client that it has seen, separated by commas.
        match fields
            .iter_mut()
            .rev()
            .find(|field| field.known() == Name::XForwardedClientCert)
        {
            Some(list) => *list = appended(CERTIFICATE, list, certificate.value()),
            None => fields.push(certificate.clone()),
        }
    }
    if client.request_id && !has(fields, Name::XRequestId) {
        fields.push(request_id(random));
    }
}

fn appended(name: &[u8], list: &Field, one_more: &[u8]) -> Field {
    let separator: &[u8] = if list.value().is_empty() { b"" } else { b", " };
    let value = [list.value(), separator, one_more].concat();
    Field::with_indexing(name, &value, list.indexing())
}

/// An element of `x-forwarded-client-cert` in Envoy's format: pairs separated by `;`. Backends take its parts
/// for granted, so no name may look like a pair of its own.
fn client_cert(identity: &Identity) -> String {
    let Identity {
        fingerprint, subject, ..
    } = identity;
    let mut element = format!("Hash={fingerprint};Subject=\"{subject}\"");
    let uris = identity.uris.iter().map(|uri| ("URI", uri));
    let dns = identity.dns.iter().map(|host| ("DNS", host));
    for (key, name) in uris.chain(dns) {
        let pair = format!(";{key}={}", quoted(name));
        if element.len() + pair.len() > MAX_CLIENT_CERT {
            break;
        }
        element.push_str(&pair);
    }
    element
}

/// A value with separators in it stands in quotes. No name of an [`Identity`] has quotes in it.
fn quoted(value: &str) -> Cow<'_, str> {
    match value.contains([',', ';', '=']) {
        true => format!("\"{value}\"").into(),
        false => value.into(),
    }
}

/// RFC 9562 §5.4: a version 4 UUID. It never comes again, so no table should remember it.
fn request_id(random: &mut u64) -> Field {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    let high = next(random) & !0xf000 | 0x4000;
    let low = next(random) & !(0b11 << 62) | 0b10 << 62;
    let mut bytes = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    let mut text = [b'-'; 36];
    for group in [0..8, 9..13, 14..18, 19..23, 24..36] {
        let pairs = text
            .get_mut(group)
            .map(|group| group.as_chunks_mut::<2>().0)
            .unwrap_or_default();
        for (pair, byte) in pairs.iter_mut().zip(&mut bytes) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
    }
    Field::with_indexing(b"x-request-id", &text, Indexing::Without)
}

/// SplitMix64 (Steele, Lea, Flood 2014): a step of a Weyl sequence, well mixed.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A start for [`edit`]'s random numbers that differs for each call and each process.
pub(crate) fn seed() -> u64 {
    // The keys of a RandomState come from the system's entropy.
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: AddHeaders = AddHeaders {
        forwarded_for: true,
        forwarded_proto: true,
        request_id: true,
        client_certificate: true,
    };
    const NONE: AddHeaders = AddHeaders {
        forwarded_for: false,
        forwarded_proto: false,
        request_id: false,
        client_certificate: false,
    };
    const FORGED: [(&str, &str); 11] = [
        (":path", "/s.S/M"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "gopher"),
        ("te", "trailers"),
        ("x-forwarded-client-cert", "By=me"),
        ("x-forwarded-host", "other"),
        ("x-request-id", "mine"),
        ("x_forwarded_for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("client-cert", ":MIIB:"),
    ];

    fn edited(fields: &[(&str, &str)], add: AddHeaders, trusted: bool) -> Vec<(String, String)> {
        edited_for(None, fields, add, trusted)
    }

    fn edited_for(
        identity: Option<&Identity>,
        fields: &[(&str, &str)],
        add: AddHeaders,
        trusted: bool,
    ) -> Vec<(String, String)> {
        let mut fields: Vec<Field> = fields
            .iter()
            .map(|(name, value)| Field::new(name.as_bytes(), value.as_bytes()))
            .collect();
        let peer = "::ffff:192.0.2.7".parse().unwrap();
        let client = Forwarding::new(add, peer, true, identity, trusted);
        edit(&mut fields, &client, &mut 1);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields
            .iter()
            .map(|field| (text(field.name()), text(field.value())))
            .collect()
    }

    fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
        fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn the_scheme_is_that_of_the_hop_to_the_backend_whoever_asks() {
        for trusted in [false, true] {
            let fields = edited(&[(":scheme", "https"), (":path", "/s.S/M")], ALL, trusted);
            assert_eq!(
                pairs(&fields[..3]),
                [
                    (":scheme", "http"),
                    (":path", "/s.S/M"),
                    ("x-forwarded-for", "192.0.2.7")
                ]
            );
            assert_eq!(pairs(&fields[3..4]), [("x-forwarded-proto", "https")]);
        }
    }

    #[test]
    fn a_stranger_cannot_forge_anything() {
        let fields = edited(&FORGED, NONE, false);
        assert_eq!(pairs(&fields), [(":path", "/s.S/M"), ("te", "trailers")]);
    }

    #[test]
    fn what_is_asked_for_is_added_in_place_of_forgeries() {
        let fields = edited(&FORGED, ALL, false);
        let (id, rest) = fields.split_last().unwrap();
        assert_eq!(
            pairs(rest),
            [
                (":path", "/s.S/M"),
                ("te", "trailers"),
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-proto", "https")
            ]
        );
        assert_eq!(id.0, "x-request-id");
        assert_ne!(id.1, "mine");
    }

    #[test]
    fn a_trusted_peer_keeps_what_it_said_and_its_address_is_appended() {
        let mut expected = FORGED;
        expected[1].1 = "6.6.6.6, 192.0.2.7";
        assert_eq!(pairs(&edited(&FORGED, ALL, true)), expected);
        assert_eq!(pairs(&edited(&FORGED, NONE, true)), FORGED);
    }

    fn identity() -> Identity {
        Identity {
            subject: "CN=one\\, two,O=\\22Example\\22".to_owned(),
            uris: vec!["spiffe://example.org/a".to_owned(), "x:a;DNS=root,b".to_owned()],
            dns: vec!["a.example.com".to_owned(), "b.example.com".to_owned()],
            fingerprint: "ab".repeat(32),
        }
    }

    const ELEMENT: &str = concat!(
        "Hash=abababababababababababababababababababababababababababababababab;",
        r#"Subject="CN=one\, two,O=\22Example\22";"#,
        r#"URI=spiffe://example.org/a;URI="x:a;DNS=root,b";DNS=a.example.com;DNS=b.example.com"#,
    );

    #[test]
    fn who_the_client_is_by_its_certificate_is_forwarded_as_envoy_does() {
        let only = AddHeaders {
            client_certificate: true,
            ..NONE
        };
        let expected = [("x-forwarded-client-cert", ELEMENT)];
        assert_eq!(pairs(&edited_for(Some(&identity()), &[], only, false)), expected);
        let forged = [("x-forwarded-client-cert", "Hash=00")];
        assert_eq!(
            pairs(&edited_for(Some(&identity()), &forged, only, false)),
            expected
        );
        // Neither without the wish nor without a certificate.
        assert_eq!(pairs(&edited_for(Some(&identity()), &forged, NONE, false)), []);
        assert_eq!(pairs(&edited_for(None, &forged, only, false)), []);
        // A trusted proxy in between is one more in the list.
        let both = format!("Hash=00, {ELEMENT}");
        assert_eq!(
            pairs(&edited_for(Some(&identity()), &forged, only, true)),
            [("x-forwarded-client-cert", both.as_str())]
        );
        assert_eq!(pairs(&edited_for(None, &forged, only, true)), forged);
    }

    #[test]
    fn names_beyond_the_bound_are_left_out() {
        let many = Identity {
            uris: vec!["u".repeat(2000); 16],
            ..identity()
        };
        let element = client_cert(&many);
        assert!(
            element.len() <= MAX_CLIENT_CERT && element.matches(";URI=").count() == 1,
            "{element}"
        );
    }

    #[test]
    fn the_last_of_several_lists_grows() {
        let lists = [("x-forwarded-for", "a, b"), ("x-forwarded-for", "c")];
        let add = AddHeaders {
            forwarded_for: true,
            ..NONE
        };
        let fields = edited(&lists, add, true);
        assert_eq!(
            pairs(&fields),
            [("x-forwarded-for", "a, b"), ("x-forwarded-for", "c, 192.0.2.7")]
        );
    }

    #[test]
    fn a_trusted_peer_that_said_nothing_is_completed() {
        let fields = edited(&[("x-forwarded-host", "h")], ALL, true);
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "x-forwarded-host",
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-request-id"
            ]
        );
    }

    #[test]
    fn request_ids_are_distinct_version_4_uuids() {
        let mut random = seed();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let field = request_id(&mut random);
            let text = str::from_utf8(field.value()).unwrap().to_owned();
            let groups: Vec<_> = text.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
            assert!(
                text.bytes()
                    .all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f')),
                "{text}"
            );
            assert_eq!(text.as_bytes()[14], b'4', "{text}");
            assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(seed(), seed());
    }
}
