//! The examples are the reference: each of them loads, and does what its first lines say.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

use std::path::{Path, PathBuf};

use certmgr::{FileSource, Source};
use gateway::settings::{EndpointAddress, WithoutAlpn};
use h2gate::config::{self, Resolved};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn load(name: &str) -> Resolved {
    config::load(&examples().join(name)).unwrap_or_else(|found| panic!("{found}"))
}

fn files(resolved: &Resolved) -> &FileSource {
    match &resolved.certificates[0].source {
        Source::Files(files) => files,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_loads_without_a_doubt() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let resolved = config::load(&path).unwrap_or_else(|found| panic!("{found}"));
            assert!(resolved.warnings.is_empty(), "{}", resolved.warnings);
            loaded += 1;
        }
    }
    assert!(loaded >= 5, "only {loaded} examples were found");
}

#[test]
fn the_minimal_example_means_what_it_says() {
    let resolved = load("minimal.yaml");
    let [listener] = resolved.gateway.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.address, "[::]:8443".parse().unwrap());
    let tls = listener.tls().expect("TLS");
    assert_eq!(
        (tls.certificates.as_slice(), tls.without_alpn),
        (["api".to_owned()].as_slice(), WithoutAlpn::Serve)
    );
    let [route] = resolved.gateway.routes.as_slice() else {
        panic!("one route")
    };
    assert!(route.hosts.contains("api.example.com"));
    assert_eq!(route.service.as_deref(), Some("routeguide.RouteGuide"));
    assert_eq!(route.name, "api.example.com/routeguide.RouteGuide");
    let guide = EndpointAddress::Name {
        host: "guide.internal".to_owned(),
        port: 50051,
    };
    assert_eq!(resolved.gateway.backends[route.backend].endpoints, [guide]);
    assert_eq!(resolved.admin.address, "127.0.0.1:9901".parse().unwrap());
    assert!(resolved.access_log.is_none());
}

#[test]
fn paths_begin_at_the_folder_of_the_file() {
    let resolved = load("minimal.yaml");
    assert_eq!(files(&resolved).chain, examples().join("certs/api.crt"));
    let text = std::fs::read_to_string(examples().join("minimal.yaml")).unwrap();
    let absolute = text.replace("certs/api.key", "/etc/api.key");
    let resolved = config::parse(Path::new("h2gate.yaml"), &absolute).unwrap();
    assert_eq!(files(&resolved).chain, Path::new("certs/api.crt"));
    assert_eq!(files(&resolved).key, Path::new("/etc/api.key"));
}

#[test]
fn two_hosts_have_two_certificates_and_two_backends() {
    let resolved = load("two-hosts.yaml");
    let names = &resolved.gateway.listeners[0].tls().unwrap().certificates;
    assert_eq!(names.as_slice(), ["a", "b"]);
    for (host, backend) in [("a.example.com", "a"), ("b.example.com", "b")] {
        let route = resolved
            .gateway
            .routes
            .iter()
            .find(|route| route.hosts.contains(host))
            .expect(host);
        assert_eq!(resolved.gateway.backends[route.backend].name, backend);
    }
}

#[test]
fn a_listener_without_tls_is_plaintext_and_match_nothing_is_everything() {
    let resolved = load("plaintext.yaml");
    assert!(resolved.gateway.listeners[0].tls().is_none());
    assert_eq!(
        resolved.gateway.listeners[0].http2().unwrap().trusted_peers.len(),
        2
    );
    let route = &resolved.gateway.routes[0];
    assert!(route.hosts.is_empty() && route.service.is_none() && route.method.is_none());
    assert_eq!(route.name, "*");
}
