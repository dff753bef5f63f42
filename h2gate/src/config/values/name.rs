//! Names: of things in the configuration, of hosts, of gRPC services.

use std::net::IpAddr;

use super::{ValueError, ensure, value_error};

/// The longest name.
const MAX_LABEL: usize = 200;

/// The longest name that is made for a route: room is left for the number that tells it from another one.
pub(in crate::config) const MAX_MADE_LABEL: usize = MAX_LABEL - 10;

/// A name in the configuration; it becomes a metric label and appears in logs.
pub(in crate::config) fn label(text: &str) -> Result<String, ValueError> {
    label_with(&[], text)
}

/// The name of a route. Names that are made for routes have `@` and `+`, and are in the effective configuration.
pub(in crate::config) fn route_label(text: &str) -> Result<String, ValueError> {
    label_with(&['@', '+'], text)
}

fn label_with(others: &[char], text: &str) -> Result<String, ValueError> {
    let valid = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '*' | ':') || others.contains(&c)
    };
    if text.is_empty() || text.len() > MAX_LABEL || !text.chars().all(valid) {
        let remedy = "use letters, digits and - _ . / only, at most 200";
        return Err(value_error!("`{}` is not a usable name", shorten(text); "{remedy}"));
    }
    Ok(text.to_owned())
}

/// A DNS name that a certificate covers, `*.example.com`, or an IP address; lower case.
pub(in crate::config) fn domain(text: &str) -> Result<String, ValueError> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or(rest);
        return Err(value_error!("`{scheme}://` does not belong here"; "write the host alone: {host}"));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(address) = bare.filter(|text| text.parse::<IpAddr>().is_ok()) {
        return Err(value_error!("`{text}` has brackets"; "write {address}"));
    }
    if let Some((host, rest)) = text.split_once(['/', ':']) {
        let part = if rest.bytes().all(|b| b.is_ascii_digit()) {
            "port"
        } else {
            "path"
        };
        return Err(value_error!("`{text}` has a {part}"; "write the host alone: {host}"));
    }
    if !text.is_ascii() {
        return Err(
            value_error!("`{text}` has letters beyond ASCII"; "write the form that begins with xn--"),
        );
    }
    if let Some(relative) = text.strip_suffix('.').filter(|name| !name.is_empty()) {
        return Err(value_error!("`{text}` ends with a dot"; "write {relative}"));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    ensure!(
        !name.contains('*'),
        "`{text}` has `*` in a place where it means nothing";
        "`*` stands only for the whole first label, as in *.example.com"
    );
    let labels_valid = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            // Names beyond RFC 952's are certified and served, though public CAs certify none with `_`.
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    let last_is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    ensure!(
        labels_valid && !last_is_number && name.len() <= 253,
        "`{}` is not a host name", shorten(text);
        "write letters, digits, `-` and `_` between dots, such as api.example.com; a part has at most 63 of them, the whole 253"
    );
    Ok(text.to_ascii_lowercase())
}

/// A host that a route matches: as [`domain`], or an IPv6 address in brackets as in `:authority`.
pub(in crate::config) fn host_pattern(text: &str) -> Result<String, ValueError> {
    ensure!(text != "*", "`*` alone is not a host"; "to match every host leave `host` out");
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside.and_then(|inside| inside.parse::<std::net::Ipv6Addr>().ok()) {
        Some(address) => Ok(format!("[{address}]")),
        None => domain(text),
    }
}

/// `package.Service`.
pub(in crate::config) fn grpc_service(text: &str) -> Result<String, ValueError> {
    let trimmed = text.trim_matches('/');
    if let Some((service, method)) = trimmed.split_once('/') {
        let remedy = format!("write `service: {service}` and `method: {method}`");
        return Err(value_error!("`{text}` is a path"; "{remedy}"));
    }
    ensure!(trimmed == text, "`{text}` has a slash"; "write `service: {trimmed}`");
    ensure!(
        !text.contains('*'),
        "a service cannot be a pattern";
        "to match every service leave `service` out"
    );
    ensure!(
        text.split('.').all(identifier),
        "`{}` is not a gRPC service", shorten(text);
        "write package.Service as in the .proto file"
    );
    Ok(text.to_owned())
}

/// `Method`.
pub(in crate::config) fn grpc_method(text: &str) -> Result<String, ValueError> {
    ensure!(text != "*", "a method cannot be a pattern"; "to match every method leave `method` out");
    if let Some((service, method)) = text.trim_start_matches('/').split_once('/') {
        return Err(value_error!("`{text}` is a path"; "write `service: {service}` and `method: {method}`"));
    }
    ensure!(
        identifier(text),
        "`{}` is not a gRPC method", shorten(text);
        "write the method's name as in the .proto file"
    );
    Ok(text.to_owned())
}

fn identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The beginning of a text that may be long, for a message.
pub(in crate::config) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lower_case_and_wildcards_are_whole_labels() {
        assert_eq!(host_pattern("API.Example.com"), Ok("api.example.com".to_owned()));
        assert_eq!(host_pattern("*.example.com"), Ok("*.example.com".to_owned()));
        assert_eq!(
            host_pattern("my_svc.Example.com"),
            Ok("my_svc.example.com".to_owned())
        );
        assert_eq!(host_pattern("[::1]"), Ok("[::1]".to_owned()));
        assert_eq!(host_pattern("127.0.0.1"), Ok("127.0.0.1".to_owned()));
        for text in [
            "*",
            "",
            "a..b",
            "-a.b",
            "a*.b",
            "*.*.b",
            "a b.c",
            "1.2.3.400",
            "bücher.example",
            "a.b.",
        ] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_in_brackets_says_what_to_write() {
        let error = domain("[::1]").expect_err("a domain");
        assert_eq!(error.remedy.as_deref(), Some("write ::1"));
    }

    #[test]
    fn a_host_with_more_than_a_host_says_what_to_write() {
        for (text, remedy) in [
            ("api.example.com:443", "write the host alone: api.example.com"),
            (
                "https://api.example.com:443/x",
                "write the host alone: api.example.com",
            ),
            ("api.example.com/x", "write the host alone: api.example.com"),
        ] {
            assert_eq!(
                host_pattern(text).expect_err(text).remedy.as_deref(),
                Some(remedy),
                "{text}"
            );
        }
    }

    #[test]
    fn services_and_methods_are_names_without_slashes() {
        assert_eq!(
            grpc_service("routeguide.RouteGuide"),
            Ok("routeguide.RouteGuide".to_owned())
        );
        let error = grpc_service("/routeguide.RouteGuide/GetFeature").expect_err("path");
        assert_eq!(
            error.remedy.as_deref(),
            Some("write `service: routeguide.RouteGuide` and `method: GetFeature`")
        );
        for text in ["", "a..b", "a b", "*", "a.1b", "/a.B"] {
            assert!(grpc_service(text).is_err(), "{text}");
        }
        assert_eq!(grpc_method("GetFeature"), Ok("GetFeature".to_owned()));
        for text in ["", "*", "Get-Feature", "a/b"] {
            assert!(grpc_method(text).is_err(), "{text}");
        }
    }
}
