use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::settings::Route;

fn route(hosts: &[&str], service: Option<&str>, method: Option<&str>) -> Route {
    Route {
        name: String::new(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        service: service.map(str::to_owned),
        method: method.map(str::to_owned),
        backend: 0,
    }
}

#[track_caller]
fn assert_finds(routes: &[Route], authority: &str, path: &str, expected: Option<usize>) {
    let found = Router::new(routes).find(authority.as_bytes(), path.as_bytes());
    assert_eq!(found.map(|index| index.0), expected, "{authority} {path}");
}

#[test]
fn no_route_takes_nothing_and_an_empty_match_takes_all() {
    assert_finds(&[], "a.example.com", "/s.S/M", None);
    for path in ["/s.S/M", "/", "*", "", "/a/b/c", "//x"] {
        assert_finds(&[route(&[], None, None)], "", path, Some(0));
    }
}

#[test]
fn exact_host_beats_long_wildcard_beats_short_wildcard_beats_any() {
    let routes = [
        route(&[], Some("s.S"), Some("M")),
        route(&["*.example.com"], None, None),
        route(&["*.eu.example.com"], None, None),
        route(&["api.eu.example.com"], None, None),
    ];
    assert_finds(&routes, "api.eu.example.com", "/s.S/M", Some(3));
    assert_finds(&routes, "API.eu.Example.com:8443", "/s.S/M", Some(3));
    assert_finds(&routes, "x.eu.example.com", "/s.S/M", Some(2));
    assert_finds(&routes, "y.x.eu.example.com", "/s.S/M", Some(2));
    assert_finds(&routes, "eu.example.com", "/s.S/M", Some(1));
    assert_finds(&routes, "example.com", "/s.S/M", Some(0));
    assert_finds(&routes, ".example.com", "/s.S/M", Some(0));
    assert_finds(&routes, "badexample.com", "/s.S/M", Some(0));
}

#[test]
fn method_beats_service_beats_any() {
    let routes = [
        route(&[], None, None),
        route(&[], Some("s.S"), None),
        route(&[], Some("s.S"), Some("M")),
        route(&[], None, Some("N")),
    ];
    assert_finds(&routes, "h", "/s.S/M", Some(2));
    assert_finds(&routes, "h", "/s.S/N", Some(1));
    assert_finds(&routes, "h", "/t.T/N", Some(3));
    assert_finds(&routes, "h", "/t.T/M", Some(0));
    assert_finds(&routes, "h", "/s.S", Some(0));
    assert_finds(&routes, "h", "/s.S/", Some(0));
    assert_finds(&routes, "h", "/s.S/M/", Some(0));
    assert_finds(&routes, "h", "s.S/M", Some(0));
    assert_finds(&routes, "h", "/S.s/m", Some(0));
}

#[test]
fn what_no_route_of_the_host_takes_falls_to_a_less_specific_host() {
    let routes = [
        route(&["api.example.com"], Some("s.S"), None),
        route(&["*.example.com"], Some("t.T"), None),
        route(&[], Some("u.U"), None),
    ];
    assert_finds(&routes, "api.example.com", "/s.S/M", Some(0));
    assert_finds(&routes, "api.example.com", "/t.T/M", Some(1));
    assert_finds(&routes, "api.example.com", "/u.U/M", Some(2));
    assert_finds(&routes, "api.example.com", "/v.V/M", None);
    assert_finds(&routes, "www.example.com", "/s.S/M", None);
}

#[test]
fn ipv6_hosts_match_without_brackets() {
    let routes = [route(&["2001:db8::1"], None, None), route(&[], None, None)];
    assert_finds(&routes, "[2001:DB8::1]:8443", "/s.S/M", Some(0));
    assert_finds(&routes, "[2001:db8::2]:8443", "/s.S/M", Some(1));
}

#[test]
fn the_first_of_equals_wins() {
    let routes = [
        route(&["a"], Some("s.S"), None),
        route(&["a", "b"], Some("s.S"), None),
    ];
    assert_finds(&routes, "a", "/s.S/M", Some(0));
    assert_finds(&routes, "b", "/s.S/M", Some(1));
}

/// The rules of the module, written down as a scan over all routes.
fn naive(routes: &[Route], host: &str, path: &str) -> Option<usize> {
    let parts: Vec<&str> = path.split('/').collect();
    let call = match parts.as_slice() {
        ["", service, method] if !service.is_empty() && !method.is_empty() => Some((*service, *method)),
        _ => None,
    };
    let host = host.to_ascii_lowercase();
    let host_rank = |hosts: &BTreeSet<String>| {
        if hosts.is_empty() {
            return Some((0, 0));
        }
        let rank = |pattern: &String| match pattern.strip_prefix('*') {
            Some(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, suffix.len()))
            }
            None => (*pattern == host).then_some((2, 0)),
        };
        hosts.iter().filter_map(rank).max()
    };
    let part_rank = |wanted: &Option<String>, given: Option<&str>| match wanted {
        None => Some(false),
        Some(wanted) => (given == Some(wanted.as_str())).then_some(true),
    };
    let ranked = routes.iter().enumerate().filter_map(|(position, route)| {
        let host = host_rank(&route.hosts)?;
        let service = part_rank(&route.service, call.map(|(service, _)| service))?;
        let method = part_rank(&route.method, call.map(|(_, method)| method))?;
        Some((host, service, method, std::cmp::Reverse(position)))
    });
    ranked.max().map(|(.., position)| position.0)
}

fn pattern() -> impl Strategy<Value = String> {
    let name = || proptest::string::string_regex("[ab]{1,2}(\\.[ab]{1,2}){0,2}").unwrap();
    prop_oneof![name(), name().prop_map(|name| format!("*.{name}"))]
}

fn any_route() -> impl Strategy<Value = Route> {
    let service = proptest::option::of(proptest::string::string_regex("[st]\\.[ST]").unwrap());
    let method = proptest::option::of(proptest::string::string_regex("[MN]").unwrap());
    (proptest::collection::btree_set(pattern(), 0..3), service, method).prop_map(
        |(hosts, service, method)| Route {
            name: String::new(),
            hosts,
            service,
            method,
            backend: 0,
        },
    )
}

proptest! {
    #[test]
    fn finds_what_a_scan_over_all_routes_finds(
        routes in proptest::collection::vec(any_route(), 0..24),
        host in "[abAB]{0,2}(\\.[ab]{1,2}){0,3}",
        port in prop_oneof![Just(""), Just(":1")],
        path in prop_oneof![4 => "/[st]\\.[ST]/[MNO]", 1 => "[/stST.MN]{0,8}"],
    ) {
        let found = Router::new(&routes).find(format!("{host}{port}").as_bytes(), path.as_bytes());
        prop_assert_eq!(found.map(|index| index.0), naive(&routes, &host, &path));
    }

    #[test]
    fn no_bytes_make_it_fail(
        authority in proptest::collection::vec(any::<u8>(), 0..300),
        path in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let routes = [route(&["*.a"], None, Some("M")), route(&["a"], Some("s.S"), None)];
        let _ = Router::new(&routes).find(&authority, &path);
    }
}
