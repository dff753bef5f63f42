//! The host of an authority, in the form in which routes are kept.

/// A DNS name has at most 253 bytes; what is longer than this matches no host of a route.
const LONGEST: usize = 255;

/// Calls `use_host` with the host of `authority`: without port, without the brackets of an IPv6
/// address, without the dot that ends an absolute name, in lower case. `None` if there is no host that
/// a route could name.
pub(super) fn with_plain<T>(authority: &[u8], use_host: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let host = without_port(authority);
    let host = match host {
        [b'[', address @ .., b']'] => address,
        [name @ .., b'.'] => name,
        _ => host,
    };
    if host.is_empty() || host.len() > LONGEST {
        return None;
    }
    // Without an early exit this runs over many bytes at a time. Upper case is rare.
    if !host
        .iter()
        .fold(false, |found, byte| found | byte.is_ascii_uppercase())
    {
        return Some(use_host(host));
    }
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..host.len())?;
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    Some(use_host(lower))
}

/// RFC 3986 §3.2.3: the port is digits, maybe none, behind the last colon.
fn without_port(authority: &[u8]) -> &[u8] {
    let mut rest = authority;
    loop {
        match rest {
            [host @ .., b':'] => return host,
            [shorter @ .., b'0'..=b'9'] => rest = shorter,
            _ => return authority,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(authority: &str) -> Option<String> {
        with_plain(authority.as_bytes(), |host| {
            String::from_utf8(host.to_vec()).unwrap()
        })
    }

    #[test]
    fn port_brackets_case_and_last_dot_are_left_out() {
        for (authority, host) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.com:8443", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("api.example.com.:443", "api.example.com"),
            ("api.example.com:", "api.example.com"),
            ("10.0.0.1:50051", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]:50051", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
        ] {
            assert_eq!(plain(authority).as_deref(), Some(host), "{authority}");
        }
    }

    #[test]
    fn nothing_and_endless_names_are_no_host() {
        assert_eq!(plain(""), None);
        assert_eq!(plain(":443"), None);
        assert_eq!(plain("."), None);
        assert_eq!(plain(&"a".repeat(256)), None);
        assert_eq!(plain(&"a".repeat(255)), Some("a".repeat(255)));
    }
}
