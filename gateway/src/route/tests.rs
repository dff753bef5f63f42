use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::settings::Route;

fn route(hosts: &[&str], service: Option<&str>, method: Option<&str>) -> Route {
    Route {
        name: String::new(),
        listeners: BTreeSet::new(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        service: service.map(str::to_owned),
        method: method.map(str::to_owned),
        backend: 0,
    }
}

fn only_at(listeners: &[&str], route: Route) -> Route {
    Route {
        listeners: listeners.iter().map(ToString::to_string).collect(),
        ..route
    }
}

#[track_caller]
fn assert_finds(routes: &[Route], authority: &str, path: &str, expected: Option<usize>) {
    let found = Router::new(routes, "public").find(authority.as_bytes(), path.as_bytes());
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
fn ipv6_hosts_match_however_they_are_written() {
    let routes = [route(&["[2001:db8::1]"], None, None), route(&[], None, None)];
    assert_finds(&routes, "[2001:DB8::1]:8443", "/s.S/M", Some(0));
    assert_finds(&routes, "[2001:db8:0:0::1]", "/s.S/M", Some(0));
    assert_finds(&routes, "[2001:db8::2]:8443", "/s.S/M", Some(1));
}

#[test]
fn a_host_with_a_dot_at_its_end_is_that_host() {
    let routes = [
        route(&["api.example.com"], None, None),
        route(&["*.example.com"], None, None),
    ];
    assert_finds(&routes, "API.example.com.:8443", "/s.S/M", Some(0));
    assert_finds(&routes, "b.example.com.", "/s.S/M", Some(1));
}

#[test]
fn nothing_but_labels_stands_for_the_star() {
    let routes = [route(&["*.example.com"], None, None)];
    for host in ["a.example.com", "a.b-1.c_d.example.com:443", "1.example.com"] {
        assert_finds(&routes, host, "/s.S/M", Some(0));
    }
    for host in [
        "evil.test?.example.com",
        "evil.test#.example.com",
        "evil.test/.example.com",
        "host:80/.example.com",
        "host:80.example.com",
        "user@a.example.com",
        "a\0.example.com",
        "a\x1b[2J.example.com",
        "a b.example.com",
        "a\u{e4}.example.com",
        "%61.example.com",
        "a..example.com",
        "-a.example.com",
        "*.example.com",
    ] {
        assert_finds(&routes, host, "/s.S/M", None);
    }
    let long = format!("{}.example.com", "a.".repeat(121) + "b");
    assert_finds(&routes, &long, "/s.S/M", None);
}

#[test]
fn a_tail_of_the_path_is_no_way_around_a_route_by_service_or_method() {
    let routes = [
        route(&[], None, None),
        route(&[], Some("s.S"), None),
        route(&[], Some("s.S"), Some("M")),
    ];
    for tail in ["", "?", "#", "?a=b", "?a/b", "#a/b", "?#", "#?"] {
        assert_finds(&routes, "h", &format!("/s.S/M{tail}"), Some(2));
        assert_finds(&routes, "h", &format!("/s.S/N{tail}"), Some(1));
        assert_finds(&routes, "h", &format!("/prefix/s.S/M{tail}"), Some(0));
    }
    assert_finds(&routes, "h", "/s.S?/M", Some(0));
}

#[test]
fn paths_that_backends_may_read_as_another_are_distinguished() {
    for path in [
        "/s.S/M",
        "/S/M",
        "/prefix/s.S/M",
        "/",
        "/s.S/M-~_.1",
        "/..a/b",
        "/a.../b",
    ] {
        assert!(!is_ambiguous(path.as_bytes()), "{path}");
    }
    for path in [
        "/s.S/M?",
        "/s.S/M#",
        "/s.S/%4d",
        "/a/../s.S/M",
        "/./s.S/M",
        "/s.S/M/..",
        "/s.S/M/",
        "//s.S/M",
        "/s.S//M",
    ] {
        assert!(is_ambiguous(path.as_bytes()), "{path}");
    }
}

#[test]
fn a_route_of_other_listeners_is_out_of_reach_however_exact_it_is() {
    let inner = only_at(
        &["mtls", "inner"],
        route(&["api.example.com"], Some("s.S"), Some("M")),
    );
    assert_finds(std::slice::from_ref(&inner), "api.example.com", "/s.S/M", None);
    let routes = [inner, route(&[], None, None)];
    assert_finds(&routes, "api.example.com", "/s.S/M", Some(1));
    for listener in ["mtls", "inner"] {
        let found = Router::new(&routes, listener).find(b"api.example.com", b"/s.S/M");
        assert_eq!(found, Some(RouteIndex(0)), "{listener}");
    }
}

#[test]
fn a_route_that_names_the_listener_comes_before_one_that_does_not_and_after_all_else() {
    let routes = [
        route(&[], Some("s.S"), None),
        only_at(&["public"], route(&[], Some("s.S"), None)),
        route(&["a"], None, None),
        only_at(&["public"], route(&[], None, None)),
        route(&[], Some("s.S"), Some("M")),
    ];
    assert_finds(&routes, "h", "/s.S/N", Some(1));
    assert_finds(&routes, "a", "/s.S/N", Some(2));
    assert_finds(&routes, "h", "/s.S/M", Some(4));
    assert_finds(&routes, "h", "/t.T/N", Some(3));
    assert_eq!(
        Router::new(&routes, "other").find(b"h", b"/s.S/N"),
        Some(RouteIndex(0))
    );
    assert_eq!(Router::new(&routes, "other").find(b"h", b"/t.T/N"), None);
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
    let path = path.split(['?', '#']).next().unwrap();
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
                let labels = host.strip_suffix(suffix)?;
                let real = labels.split('.').all(|label| !label.is_empty());
                real.then_some((1, suffix.len()))
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
        let named = route.listeners.contains("public");
        if !named && !route.listeners.is_empty() {
            return None;
        }
        let host = host_rank(&route.hosts)?;
        let service = part_rank(&route.service, call.map(|(service, _)| service))?;
        let method = part_rank(&route.method, call.map(|(_, method)| method))?;
        Some((host, service, method, named, std::cmp::Reverse(position)))
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
    let listener = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["public"]), 1 => Just(vec!["a", "public"]), 1 => Just(vec!["b"])];
    (
        proptest::collection::btree_set(pattern(), 0..3),
        service,
        method,
        listener,
    )
        .prop_map(|(hosts, service, method, listeners)| Route {
            name: String::new(),
            listeners: listeners.into_iter().map(str::to_owned).collect(),
            hosts,
            service,
            method,
            backend: 0,
        })
}

proptest! {
    #[test]
    fn finds_what_a_scan_over_all_routes_finds(
        routes in proptest::collection::vec(any_route(), 0..24),
        host in "[abAB]{0,2}(\\.[ab]{1,2}){0,3}",
        port in prop_oneof![Just(""), Just(":1")],
        path in prop_oneof![4 => "/[st]\\.[ST]/[MNO]([?#][a/]?)?", 1 => "[/stST.MN?#]{0,8}"],
    ) {
        let found = Router::new(&routes, "public").find(format!("{host}{port}").as_bytes(), path.as_bytes());
        prop_assert_eq!(found.map(|index| index.0), naive(&routes, &host, &path));
    }

    #[test]
    fn no_bytes_make_it_fail(
        authority in proptest::collection::vec(any::<u8>(), 0..300),
        path in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let routes = [route(&["*.a"], None, Some("M")), route(&["a"], Some("s.S"), None)];
        let _ = Router::new(&routes, "public").find(&authority, &path);
    }
}
