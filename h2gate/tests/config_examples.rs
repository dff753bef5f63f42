//! The examples are the reference: each of them loads, and does what its first lines say.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

use std::path::{Path, PathBuf};

use certmgr::{AcmeSource, CertificateConfig, Challenge, DnsProvider, FileSource, KeyType, Source};
use gateway::settings::{ClientAuthMode, EndpointAddress, Protocol, WithoutAlpn};
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
fn every_example_loads_without_a_warning() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let resolved = config::load(&path).unwrap_or_else(|found| panic!("{found}"));
            assert!(resolved.warnings.is_empty(), "{}", resolved.warnings);
            loaded += 1;
        }
    }
    assert!(loaded >= 12, "only {loaded} examples were found");
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

fn acme(certificate: &CertificateConfig) -> &AcmeSource {
    match &certificate.source {
        Source::Acme(acme) => acme,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_acme_example_orders_inside_the_tls_listener_and_keeps_its_state() {
    let resolved = load("acme.yaml");
    let acme = acme(&resolved.certificates[0]);
    assert_eq!(acme.challenge, Challenge::TlsAlpn01);
    let [ca] = acme.cas.as_slice() else {
        panic!("one CA")
    };
    assert_eq!(ca.name, "letsencrypt");
    assert_eq!(ca.contact, ["ops@example.com"]);
    assert_eq!(resolved.state_dir.as_deref(), Some(Path::new("/var/lib/h2gate")));
    assert!(!resolved.core_dumps);
}

#[test]
fn the_acme_example_goes_to_pebble_by_the_lines_that_it_names() {
    let path = examples().join("acme.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let pebble = lines.map(|line| format!("      {line}\n")).collect::<String>();
    let text = text.replace("      directory: letsencrypt\n", &pebble);
    let resolved = config::parse(&path, &text).unwrap_or_else(|found| panic!("{found}"));
    let acme = acme(&resolved.certificates[0]);
    assert_eq!(acme.cas[0].directory, "https://localhost:14000/dir");
    assert_eq!(acme.cas[0].ca_file, Some(examples().join(".tools/pebble-ca.pem")));
    assert_eq!(acme.resolvers, ["127.0.0.1:8053".parse().unwrap()]);
}

#[test]
fn http_01_is_answered_on_a_listener_that_redirects() {
    let resolved = load("acme-http.yaml");
    assert!(matches!(
        resolved.gateway.listeners[1].protocol,
        Protocol::Http1(_)
    ));
    let acme = acme(&resolved.certificates[0]);
    assert_eq!(acme.challenge, Challenge::Http01);
    assert_eq!(acme.cas[0].profile.as_deref(), Some("shortlived"));
}

#[test]
fn two_kinds_of_key_are_two_certificates_of_one_listener() {
    let resolved = load("acme-dns.yaml");
    let names = ["example", "example+rsa-2048"];
    assert_eq!(resolved.gateway.listeners[0].tls().unwrap().certificates, names);
    let kinds = [KeyType::EcdsaP256, KeyType::Rsa2048];
    assert_eq!(resolved.certificates.len(), 2);
    for (certificate, (name, kind)) in resolved.certificates.iter().zip(names.into_iter().zip(kinds)) {
        assert_eq!((certificate.name.as_str(), acme(certificate).key), (name, kind));
        assert_eq!(certificate.domains.len(), 2);
        assert_eq!(acme(certificate).cas.len(), 2);
        assert!(matches!(
            acme(certificate).challenge,
            Challenge::Dns01(DnsProvider::Route53(_))
        ));
    }
    // The fallback has the same contacts.
    assert_eq!(
        acme(&resolved.certificates[1]).cas[1].contact,
        ["ops@example.com"]
    );
}

#[test]
fn remote_sources_are_what_the_examples_say() {
    let Source::S3(s3) = &load("s3.yaml").certificates[0].source else {
        panic!("S3")
    };
    assert!(s3.queue.is_some() && !s3.path_style);
    let resolved = load("secrets-manager.yaml");
    let formats = resolved.certificates.iter().map(|one| match &one.source {
        Source::SecretsManager(secret) => secret.format.clone(),
        other => panic!("{other:?}"),
    });
    let formats = formats.collect::<Vec<_>>();
    assert!(
        matches!(&formats[0], certmgr::SecretFormat::Json { chain, key } if chain == "certificate" && key == "private_key")
    );
    assert!(matches!(
        formats[1],
        certmgr::SecretFormat::Pkcs12 { passphrase: Some(_) }
    ));
}

#[test]
fn clients_of_the_mtls_example_need_a_certificate_that_is_not_revoked() {
    let resolved = load("mtls.yaml");
    let auth = resolved.gateway.listeners[0]
        .tls()
        .unwrap()
        .client_auth
        .clone()
        .unwrap();
    assert_eq!(
        (auth.mode, auth.trust.as_str()),
        (ClientAuthMode::Required, "clients")
    );
    assert!(resolved.trust_bundles[0].revocation);
    assert!(!load("files.yaml").trust_bundles[0].revocation);
}
