//! The values that `:authority`, `host`, `:path` and `:scheme` may have (RFC 9113 §8.3.1, RFC 3986). They decide where a
//! request goes, so a reader behind us must not find another meaning in them. And those of gRPC's binary fields.

/// `host[:port]` of RFC 3986, or several addresses with ports between commas, which is what gRPC's libraries in C++,
/// Python, Ruby and PHP say where they are given `ipv4:` or `ipv6:` and more than one address. A list names no host.
pub(crate) fn is_authority(value: &[u8]) -> bool {
    is_host_and_port(value) || (value.contains(&b',') && value.split(|&b| b == b',').all(is_socket_address))
}

fn is_socket_address(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<core::net::SocketAddr>().is_ok())
}

/// A registered name, an IPv4 address or an address in brackets, never empty and without userinfo, and a port (RFC 3986
/// §3.2.2, §3.2.3; RFC 9113 §8.3.1).
fn is_host_and_port(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&b| b == b']') else {
                return false;
            };
            let (address, after) = rest.split_at(end);
            if !is_address(address) {
                return false;
            }
            (&b"h"[..], after.get(1..).unwrap_or_default())
        }
        _ => value.split_at(value.iter().position(|&b| b == b':').unwrap_or(value.len())),
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let host_fits = !any(host, |b| !is_plain(b)) || all_of(host, NAME, true);
    port_fits && !host.is_empty() && host_fits
}

/// The text in brackets: IPv6, with a zone as RFC 6874 writes it, since gRPC's libraries send it. `IPvFuture` has
/// no use.
fn is_address(text: &[u8]) -> bool {
    let at = text.iter().position(|&b| b == b'%').unwrap_or(text.len());
    let (address, zone) = text.split_at(at);
    let zone_fits = zone.is_empty()
        || zone
            .strip_prefix(b"%25")
            .is_some_and(|name| !name.is_empty() && all_of(name, NAME, true));
    zone_fits && str::from_utf8(address).is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok())
}

/// `*`, or a path from the root and a query (RFC 3986 §3.3, §3.4), with the marks that browsers send as they are
/// (URL Standard, *percent-encode sets*). A fragment, which no sender of gRPC or HTTP has a reason to send, is for the
/// router to judge: it can answer a gRPC client with the reason.
pub(crate) fn is_path(value: &[u8]) -> bool {
    let Some((b'/', rest)) = value.split_first() else {
        return value == b"*";
    };
    let tail = rest.iter().position(|&b| b == b'?' || b == b'#');
    let (path, tail) = rest.split_at(tail.unwrap_or(rest.len()));
    all_of(path, PATH, true) && all_of(tail, TAIL, false)
}

/// A path that means the same to every reader, as all paths of gRPC's libraries do: segments of plain octets, none of
/// them empty or with a dot in front. Nothing to decode, nothing to remove, no tail.
pub(crate) fn is_plain_path(value: &[u8]) -> bool {
    let Some(((first, rest), (last, front))) = value.split_first().zip(value.split_last()) else {
        return false;
    };
    // Of each octet and the one behind it.
    let strange = |a: u8, b: u8| {
        let slash = b == b'/';
        !(is_plain(b) | slash) | ((a == b'/') & (slash | (b == b'.')))
    };
    *first == b'/' && *last != b'/' && !any_pair(front, rest, strange)
}

/// RFC 3986 §3.1.
pub(crate) fn is_scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic) && all_of(value, SCHEME, false)
}

/// gRPC over HTTP/2, *Binary-Header*: any number of values in base64, with commas and nothing else between them.
pub(crate) fn is_base64_list(value: &[u8]) -> bool {
    value.split(|&b| b == b',').all(is_base64)
}

/// RFC 4648 §4, padded or not. What the last digit has beyond the last octet is zero, as encoders must leave it (§3.5) and
/// not all decoders of gRPC's libraries look past.
fn is_base64(text: &[u8]) -> bool {
    let digits = match text {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] if text.len().is_multiple_of(4) => digits,
        _ => text,
    };
    let rest_is_zero = match (digits.len() % 4, digits.last()) {
        (0, _) => true,
        (2, Some(last)) => b"AQgw".contains(last),
        (3, Some(last)) => b"AEIMQUYcgkosw048".contains(last),
        _ => false,
    };
    rest_is_zero && !any(digits, |b| !is_base64_digit(b))
}

/// No branch, as in [`is_plain`].
#[inline(always)]
fn is_base64_digit(b: u8) -> bool {
    let letter = (b | 0x20).wrapping_sub(b'a') < 26;
    let digit = b.wrapping_sub(b'0') < 10;
    letter | digit | (b == b'+') | (b == b'/')
}

/// Letters, digits, `-`, `.` and `_`: *unreserved* without the tilde (RFC 3986 §2.3). No branch, so that many octets are
/// judged at once.
#[inline(always)]
fn is_plain(b: u8) -> bool {
    let letter = (b | 0x20).wrapping_sub(b'a') < 26;
    let digit = b.wrapping_sub(b'0') < 10;
    letter | digit | (b == b'-') | (b == b'.') | (b == b'_')
}

/// `true` if `test` holds for any octet.
#[inline(always)]
pub(crate) fn any(text: &[u8], test: impl Fn(u8) -> bool + Copy) -> bool {
    any_pair(text, text, |b, _| test(b))
}

/// `true` if `test` holds for an octet of one text and that of the other, as long, in the same place. Arrays of fixed
/// length and no early exit: this is how the loop becomes a few vector instructions. Ends that do not fill an array are
/// looked at together with octets that were seen already.
#[inline(always)]
fn any_pair(one: &[u8], other: &[u8], test: impl Fn(u8, u8) -> bool + Copy) -> bool {
    #[inline(always)]
    fn any_of<const N: usize>(one: &[u8; N], other: &[u8; N], test: impl Fn(u8, u8) -> bool) -> bool {
        let pairs = one.iter().zip(other);
        pairs.fold(0, |any, (&a, &b)| any | u8::from(test(a, b))) != 0
    }
    let ((chunks, rest), (others, other_rest)) = (one.as_chunks::<16>(), other.as_chunks::<16>());
    let whole = chunks.iter().zip(others);
    let whole = whole.fold(false, |any, (a, b)| any | any_of(a, b, test));
    let ends = one.last_chunk::<16>().zip(other.last_chunk::<16>());
    let fronts = rest.first_chunk::<8>().zip(other_rest.first_chunk::<8>());
    let backs = rest.last_chunk::<8>().zip(other_rest.last_chunk::<8>());
    let end = match (ends, fronts, backs) {
        _ if rest.is_empty() => false,
        (Some((a, b)), _, _) => any_of(a, b, test),
        (None, Some((a, b)), Some((c, d))) => any_of(a, b, test) | any_of(c, d, test),
        _ => rest.iter().zip(other_rest).any(|(&a, &b)| test(a, b)),
    };
    whole | end
}

/// *unreserved* and *sub-delims* (RFC 3986 §2.2, §2.3).
const NAME: u8 = 1;
/// *pchar* (RFC 3986 §3.3), `/`, and the marks that browsers leave in a path.
const PATH: u8 = 2;
/// The same for a query or a fragment.
const TAIL: u8 = 4;
const SCHEME: u8 = 8;

/// `true` if all octets are of this class, or, where `encoded` allows it, percent-encoded (RFC 3986 §2.1).
fn all_of(text: &[u8], class: u8, encoded: bool) -> bool {
    let of_class = |&b: &u8| CLASSES.get(usize::from(b)).is_some_and(|of| of & class != 0);
    if text.iter().all(of_class) {
        return true;
    }
    let mut rest = text;
    while let Some((octet, after)) = rest.split_first() {
        rest = match after {
            [a, b, after @ ..]
                if encoded && *octet == b'%' && a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
            {
                after
            }
            _ if of_class(octet) => after,
            _ => return false,
        };
    }
    true
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
static CLASSES: [u8; 256] = {
    const fn mark(classes: &mut [u8; 256], octets: &[u8], class: u8) {
        let mut i = 0;
        while i < octets.len() {
            classes[octets[i] as usize] |= class;
            i += 1;
        }
    }
    let mut classes = [0; 256];
    let letters_and_digits = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    mark(&mut classes, letters_and_digits, NAME | PATH | TAIL | SCHEME);
    mark(&mut classes, b"-.", NAME | PATH | TAIL | SCHEME);
    mark(&mut classes, b"_~!$&'()*,;=", NAME | PATH | TAIL);
    mark(&mut classes, b"+", NAME | PATH | TAIL | SCHEME);
    mark(&mut classes, b"/:@[]|", PATH | TAIL);
    mark(&mut classes, b"?#%{}^`\\", TAIL);
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in [
            "h",
            "localhost:50051",
            "api.example.com",
            "api.example.com.",
            "my_service.ns.svc:8080",
            "*.example.com",
            "a!$&'()*+,;=b",
            "%2Ftmp%2Fsocket",
            "192.0.2.1:443",
            "[2001:db8::1]:443",
            "[::ffff:192.0.2.1]",
            "[fe80::1%25eth0]:1",
            "192.0.2.1:443,192.0.2.2:444",
            "[2001:db8::1]:443,[2001:db8::2]:443",
            "h:",
            "h:65536000",
        ] {
            assert!(is_authority(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            ":80",
            "user@h",
            "user:word@h",
            "evil.test?.example.com",
            "evil.test#.example.com",
            "host:80/.example.com",
            "host:80,host:81",
            "192.0.2.1:443,evil.example:443",
            "192.0.2.1:443,",
            "host/x",
            "h\\x",
            "h x",
            " h",
            "h\t",
            "h\u{1}",
            "h\u{7f}",
            "b\u{fc}cher.example",
            "h%2",
            "h%zz",
            "h:8a",
            "h:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[h]",
            "[192.0.2.1]",
            "[::1%eth0]",
            "[::1%25]",
            "[v1.fe]",
            "h[::1]",
            "<h>",
            "h\"",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_absolute_and_visible_ascii() {
        for good in [
            "/",
            "*",
            "/routeguide.RouteGuide/GetFeature",
            "//",
            "/a//b",
            "/a~b/!$&'()*+,;=:@",
            "/a%2Fb",
            "/search?q=a|b&list[]={1}^`\\",
            "/list[0]|x",
            "/q?100%",
            "/q?",
            "/Svc/Method#",
            "/Svc/Method#top",
        ] {
            assert!(is_path(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            "a/b",
            "**",
            "*x",
            "/a b",
            "/a\tb",
            "/a ",
            "/\u{1}",
            "/a\u{7f}",
            "/caf\u{e9}",
            "/a\"b",
            "/<a>",
            "/a\\b",
            "/{a}",
            "/a^",
            "/a`",
            "/a%",
            "/a%2",
            "/a%zz",
            "/?a b",
            "/?\"",
            "/?<a>",
            "/?\u{e9}",
            "http://h/a",
        ] {
            assert!(!is_path(bad.as_bytes()), "{bad:?}");
        }
    }

    /// At any length, for the octets are judged in arrays.
    #[test]
    fn no_place_hides_an_octet_that_does_not_fit() {
        for octet in 0..=255_u8 {
            let plain = octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
            assert_eq!(is_plain(octet), plain, "{octet}");
        }
        for len in 1..70 {
            for (at, octet) in (0..len).flat_map(|at| [(at, b' '), (at, 0), (at, 0xff)]) {
                let mut text = vec![b'x'; len];
                assert!(!any(&text, |b| !is_plain(b)));
                text[at] = octet;
                assert!(any(&text, |b| !is_plain(b)), "{octet} at {at} of {len}");
            }
        }
    }

    #[test]
    fn a_plain_path_means_the_same_to_every_reader() {
        let long = format!("/{}/{}", "p".repeat(40), "m".repeat(40));
        for plain in ["/a", "/routeguide.RouteGuide/GetFeature", "/a/b/c-d_e.9", &long] {
            assert!(is_plain_path(plain.as_bytes()), "{plain:?}");
            assert!(is_path(plain.as_bytes()), "{plain:?}");
            // Wherever it stands.
            for at in 1..plain.len() {
                for mark in ["?", "#", "%41", "//", "/./", "/../", "~", " ", "\u{e9}"] {
                    let marked = [&plain[..at], mark, &plain[at..]].concat();
                    assert!(!is_plain_path(marked.as_bytes()), "{marked:?}");
                }
            }
        }
        for not in [
            "", "*", "/", "a/b", "//", "/.", "/..", "/a/", "/a/.", "/a/.b", "/.a",
        ] {
            assert!(!is_plain_path(not.as_bytes()), "{not:?}");
        }
    }

    #[test]
    fn binary_values_are_base64_and_lists_of_it() {
        for good in [
            "", "AA", "AA==", "AAA", "AAA=", "AAAA", "+/+/", "/w", "zw8=", "AA,BA==", ",", "AA,,AAA=",
            "AAAAAA==",
        ] {
            assert!(is_base64_list(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "A", "A=", "=", "==", "====", "AA=", "A===", "AAA==", "AAAA=", "AAAA====", "AA==AA==", "_-_-",
            "!!!!", "AA,!", "AA, AA", "AA ,AA", " AA", "AA AA", "AB", "AB==", "AAB", "AAB=", "AA\n",
            "\u{e9}A", "AAAA,A",
        ] {
            assert!(!is_base64_list(bad.as_bytes()), "{bad:?}");
        }
        // As an encoder writes it, any octets of any length; and with one more bit nothing of that length.
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for octet in 0..=255_u8 {
            assert_eq!(is_base64_digit(octet), DIGITS.contains(&octet), "{octet}");
        }
        for (value, last) in DIGITS.iter().enumerate() {
            let of = |before: &str| [before.as_bytes(), &[*last]].concat();
            assert_eq!(is_base64(&of("A")), value.is_multiple_of(16));
            assert_eq!(is_base64(&of("AA")), value.is_multiple_of(4));
            assert!(is_base64(&of("AAA")) && !is_base64(&of("AAAA")));
        }
    }

    #[test]
    fn a_scheme_begins_with_a_letter() {
        for good in ["http", "HTTPS", "grpc+tls-1.0", "h"] {
            assert!(is_scheme(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "", "1h", "+h", "ht tp", "http:", "h\u{e9}", "h_p", "http\0", "h%41",
        ] {
            assert!(!is_scheme(bad.as_bytes()), "{bad:?}");
        }
    }
}
