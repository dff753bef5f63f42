//! Hosts in one normal form, so that SNI, certificates, routes and `:authority` mean the same host by the same
//! bytes: lower case, without port, without the dot that ends an absolute name, an IPv6 address without brackets
//! and as RFC 5952 writes it.

use std::io::Write as _;
use std::net::Ipv6Addr;

/// A DNS name has at most 253 bytes (RFC 1035 §2.3.4, without the last dot).
const MAX_NAME_BYTES: usize = 253;

/// Calls `use_host` with the normal form of `host`, which has no port (see [`without_port`]). `None` if there is
/// nothing that could be a host.
///
/// The bytes of a name are not checked: a caller that needs a real name asks [`is_name`].
pub fn with_normal<T>(host: &[u8], use_host: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let host = match host {
        [b'[', address @ .., b']'] => return with_normal_address(address, use_host),
        [name @ .., b'.'] => name,
        _ => host,
    };
    if host.is_empty() || host.len() > MAX_NAME_BYTES {
        return None;
    }
    // Without an early exit this runs over many bytes at a time. Upper case is rare.
    if !host
        .iter()
        .fold(false, |found, byte| found | byte.is_ascii_uppercase())
    {
        return Some(use_host(host));
    }
    let mut lower = [0; MAX_NAME_BYTES];
    let lower = lower.get_mut(..host.len())?;
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    Some(use_host(lower))
}

/// The normal form of a text that is known to be short and seldom asked for.
pub fn normal(host: &str) -> Option<String> {
    with_normal(host.as_bytes(), |host| String::from_utf8(host.to_vec()).ok()).flatten()
}

fn with_normal_address<T>(address: &[u8], use_host: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let address: Ipv6Addr = str::from_utf8(address).ok()?.parse().ok()?;
    // RFC 4291 §2.2: the longest text of an address has 45 bytes.
    let mut text = [0; 46];
    let mut rest = text.as_mut_slice();
    write!(rest, "{address}").ok()?;
    let unused = rest.len();
    let used = text.len().checked_sub(unused)?;
    text.get(..used).map(use_host)
}

/// The host of an authority, as it is written. RFC 3986 §3.2.3: the port is digits, maybe none, behind the last
/// colon.
pub fn without_port(authority: &[u8]) -> &[u8] {
    let mut rest = authority;
    loop {
        match rest {
            [host @ .., b':'] => return host,
            [shorter @ .., b'0'..=b'9'] => rest = shorter,
            _ => return authority,
        }
    }
}

/// True if a host in normal form is a name: letters, digits, hyphens and underscores in labels of 1 to 63, at
/// most 253 in all (RFC 1035 §2.3.4).
pub fn is_name(host: &[u8]) -> bool {
    // A last label of digits only is a mistyped IPv4 address, never a host.
    let last = host.rsplit(|byte| *byte == b'.').next();
    let digits_last = last.is_some_and(|last| last.iter().all(u8::is_ascii_digit));
    host.len() <= MAX_NAME_BYTES && are_labels(host) && !digits_last
}

/// True if these are labels with dots between them.
pub fn are_labels(labels: &[u8]) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    labels.split(|byte| *byte == b'.').all(|label| {
        (1..=63).contains(&label.len())
            && label.iter().all(is_valid)
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(authority: &str) -> Option<String> {
        with_normal(without_port(authority.as_bytes()), |host| {
            String::from_utf8(host.to_vec()).unwrap()
        })
    }

    #[test]
    fn port_brackets_case_and_last_dot_are_left_out() {
        for (authority, host) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.com:8443", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("API.example.com.:443", "api.example.com"),
            ("api.example.com:", "api.example.com"),
            ("10.0.0.1:50051", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]:50051", "::1"),
            ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
            ("[::ffff:192.0.2.7]", "::ffff:192.0.2.7"),
            (
                "[1111:2222:3333:4444:5555:6666:7777:8888]",
                "1111:2222:3333:4444:5555:6666:7777:8888",
            ),
        ] {
            assert_eq!(plain(authority).as_deref(), Some(host), "{authority}");
            assert_eq!(
                normal(str::from_utf8(without_port(authority.as_bytes())).unwrap()).as_deref(),
                Some(host)
            );
        }
    }

    #[test]
    fn nothing_and_endless_names_are_no_host() {
        for nothing in ["", ":443", ".", "[]", "[a]", "[::1%25eth0]"] {
            assert_eq!(plain(nothing), None, "{nothing}");
        }
        assert_eq!(plain(&"a".repeat(254)), None);
        assert_eq!(plain(&"a".repeat(253)), Some("a".repeat(253)));
        assert_eq!(plain(&format!("{}.", "a".repeat(253))), Some("a".repeat(253)));
    }

    #[test]
    fn names_are_labels_of_letters_digits_hyphens_and_underscores() {
        let long = format!("{}.example", "a".repeat(63));
        for name in ["localhost", "a-b.c_d.example", "1.example", &long] {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        let too_long = format!("{}.example", "a".repeat(64));
        for other in [
            "",
            "a..b",
            ".a",
            "a.",
            "-a.b",
            "a-.b",
            "1.2.3.4",
            "a b",
            "evil.test?.example.com",
            "evil.test#.example.com",
            "host:80/.example.com",
            "user@a.example.com",
            "a\0.example.com",
            "a\u{e4}.example.com",
            "*.example.com",
            &too_long,
        ] {
            assert!(!is_name(other.as_bytes()), "{other:?}");
        }
    }
}
