//! The values that `:authority`, `host`, `:path` and `:scheme` may have (RFC 9113 §8.3.1, RFC 3986). They decide where a
//! request goes, so a reader behind us must not find another meaning in them.

/// `host[:port]`: a registered name, an IPv4 address or an address in brackets, never empty and without userinfo
/// (RFC 3986 §3.2.2, §3.2.3; RFC 9113 §8.3.1).
pub(crate) fn is_authority(value: &[u8]) -> bool {
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
    port_fits && !host.is_empty() && all_of(host, NAME, true)
}

/// What stands in brackets: IPv6, with a zone as RFC 6874 writes it, since gRPC's libraries send it. `IPvFuture` has
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
/// router to judge: it can tell a gRPC client why.
pub(crate) fn is_path(value: &[u8]) -> bool {
    let Some((b'/', rest)) = value.split_first() else {
        return value == b"*";
    };
    // Nearly all paths end here.
    if all_of(rest, PLAIN, false) {
        return true;
    }
    let tail = rest.iter().position(|&b| b == b'?' || b == b'#');
    let (path, tail) = rest.split_at(tail.unwrap_or(rest.len()));
    all_of(path, PATH, true) && all_of(tail, TAIL, false)
}

/// RFC 3986 §3.1.
pub(crate) fn is_scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic) && all_of(value, SCHEME, false)
}

/// Letters, digits, `-`, `.`, `_` (RFC 3986 §2.3, without the tilde), and `/`.
const PLAIN: u8 = 1;
/// *unreserved* and *sub-delims* (RFC 3986 §2.2, §2.3).
const NAME: u8 = 2;
/// *pchar* (RFC 3986 §3.3), `/`, and the marks that browsers leave in a path.
const PATH: u8 = 4;
/// The same for a query or a fragment.
const TAIL: u8 = 8;
const SCHEME: u8 = 16;

/// Whether all octets are of this class, or, where `encoded` allows it, percent-encoded (RFC 3986 §2.1).
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
    mark(
        &mut classes,
        letters_and_digits,
        PLAIN | NAME | PATH | TAIL | SCHEME,
    );
    mark(&mut classes, b"-.", PLAIN | NAME | PATH | TAIL | SCHEME);
    mark(&mut classes, b"_", PLAIN | NAME | PATH | TAIL);
    mark(&mut classes, b"~!$&'()*,;=", NAME | PATH | TAIL);
    mark(&mut classes, b"+", NAME | PATH | TAIL | SCHEME);
    mark(&mut classes, b"/", PLAIN | PATH | TAIL);
    mark(&mut classes, b":@[]|", PATH | TAIL);
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
