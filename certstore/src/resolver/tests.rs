use rcgen::{PKCS_ECDSA_P384_SHA384, RsaKeySize};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::store::{Reader, Writer, store};
use crate::testing::tls::{client, client_with, handshake, server};
use crate::testing::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A store with these pairs under the names `0`, `1`, …, and a resolver over all of them.
fn serving(pairs: &[&TestPair]) -> (Writer, Reader, Resolver) {
    let (mut writer, reader) = store();
    let names: Vec<String> = (0..pairs.len()).map(|index| index.to_string()).collect();
    for (name, pair) in names.iter().zip(pairs) {
        writer.install(name, pair.proved());
    }
    let resolver = reader.resolver(&names);
    (writer, reader, resolver)
}

fn leaf_of(pair: &TestPair) -> Vec<u8> {
    pair.bundle().certified_key().cert[0].to_vec()
}

#[test]
fn each_kind_of_key_serves_tls_1_2_and_1_3_clients() {
    let ca = TestCa::new();
    for key in [
        ecdsa(),
        key(&PKCS_ECDSA_P384_SHA384),
        rsa(RsaKeySize::_2048),
        rsa(RsaKeySize::_3072),
        rsa(RsaKeySize::_4096),
    ] {
        let pair = ca.pair_with(&["a.test"], key);
        let (_writer, _, resolver) = serving(&[&pair]);
        let server = server(resolver);
        for version in [&TLS12, &TLS13] {
            let client = Arc::new(client_with(&[&ca], &[version], |_| true));
            let seen = handshake(&server, &client, "a.test").unwrap();
            assert_eq!(*seen.leaf, *leaf_of(&pair), "{version:?}");
        }
    }
}

#[test]
fn exact_then_wildcard_then_default() {
    let ca = TestCa::new();
    let first = ca.pair(&["default.test"]);
    let wildcard = ca.pair(&["*.example.test"]);
    let exact = ca.pair(&["api.example.test"]);
    let (_writer, _, resolver) = serving(&[&first, &wildcard, &exact]);
    let server = server(resolver.clone());
    let client = Arc::new(client(&[&ca]));
    for (name, pair) in [
        ("api.example.test", &exact),
        ("API.Example.TEST", &exact),
        ("other.example.test", &wildcard),
        ("default.test", &first),
    ] {
        let seen = handshake(&server, &client, name).unwrap();
        assert_eq!(*seen.leaf, *leaf_of(pair), "{name}");
    }
    // These get the default, and the client refuses it for its name.
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    for name in [
        None,
        Some("example.test"),
        Some("a.b.example.test"),
        Some("unknown"),
        Some(""),
    ] {
        let serving = resolver.pick(name, &schemes).unwrap();
        assert_eq!(serving.fingerprint(), first.bundle().fingerprint(), "{name:?}");
    }
    assert!(handshake(&server, &client, "unknown.test").is_err());
}

/// rustls' own client leaves the dot out, so one byte of its ClientHello becomes it.
#[test]
fn a_name_with_a_dot_at_its_end_is_that_name() {
    let ca = TestCa::new();
    let (default, api) = (ca.pair(&["default.test"]), ca.pair(&["api.example.test"]));
    let wildcard = ca.pair(&["*.other.test"]);
    let (_writer, _, resolver) = serving(&[&default, &api, &wildcard]);
    for (asked, pair) in [
        ("api.example.test", &api),
        ("API.Example.test", &api),
        ("x.other.test", &wildcard),
    ] {
        let named = ServerName::try_from(format!("{asked}z")).unwrap();
        let mut client = ClientConnection::new(Arc::new(client(&[&ca])), named).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let wanted = format!("{asked}z");
        let at = hello
            .windows(wanted.len())
            .position(|window| window == wanted.as_bytes())
            .unwrap();
        hello[at + asked.len()] = b'.';
        let mut server = ServerConnection::new(server(resolver.clone())).unwrap();
        server.read_tls(&mut hello.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        assert_eq!(
            server.server_name(),
            Some(format!("{}.", asked.to_ascii_lowercase()).as_str())
        );
        let Some(Resolution::Serving { fingerprint, .. }) = take_resolution() else {
            panic!("nothing was picked for {asked}.");
        };
        assert_eq!(fingerprint, pair.bundle().fingerprint(), "{asked}.");
    }
}

#[test]
fn a_client_that_dials_an_address_gets_the_default() {
    let ca = TestCa::new();
    let pair = ca.pair(&["a.test", "127.0.0.1", "::1"]);
    let (_writer, _, resolver) = serving(&[&pair, &ca.pair(&["b.test"])]);
    let server = server(resolver);
    let client = Arc::new(client(&[&ca]));
    for name in ["127.0.0.1", "::1"] {
        assert_eq!(*handshake(&server, &client, name).unwrap().leaf, *leaf_of(&pair));
    }
}

#[test]
fn of_two_certificates_for_one_name_the_client_gets_the_one_that_it_can_verify() {
    let ca = TestCa::new();
    let rsa_ca = TestCa::with_keys("RSA", || rsa(RsaKeySize::_2048));
    let rsa_pair = rsa_ca.pair_with(&["a.test"], rsa(RsaKeySize::_2048));
    let ecdsa_pair = ca.pair(&["a.test"]);
    // RSA stands first, and so is the default; ECDSA is preferred all the same.
    let (_writer, _, resolver) = serving(&[&rsa_pair, &ecdsa_pair]);
    let server = server(resolver.clone());
    let is_rsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("RSA");
    for version in [&TLS12, &TLS13] {
        let any = Arc::new(client_with(&[&ca, &rsa_ca], &[version], |_| true));
        assert_eq!(
            *handshake(&server, &any, "a.test").unwrap().leaf,
            *leaf_of(&ecdsa_pair)
        );
        let rsa_only = Arc::new(client_with(&[&ca, &rsa_ca], &[version], is_rsa));
        assert_eq!(
            *handshake(&server, &rsa_only, "a.test").unwrap().leaf,
            *leaf_of(&rsa_pair)
        );
    }
    let default = resolver.pick(None, &[SignatureScheme::RSA_PSS_SHA256]).unwrap();
    assert_eq!(default.fingerprint(), rsa_pair.bundle().fingerprint());
    // P-384 only: no key of ours can sign for it. The best fit by name is still offered.
    let strange = [SignatureScheme::ECDSA_NISTP384_SHA384];
    assert!(resolver.pick(Some("a.test"), &strange).is_some());
}

#[test]
fn an_rsa_wildcard_steps_in_for_a_client_that_cannot_verify_the_exact_one() {
    let ca = TestCa::new();
    let exact = ca.pair(&["api.a.test"]);
    let wildcard = ca.pair_with(&["*.a.test"], rsa(RsaKeySize::_2048));
    let (_writer, _, resolver) = serving(&[&exact, &wildcard]);
    let serving = resolver
        .pick(Some("api.a.test"), &[SignatureScheme::RSA_PSS_SHA256])
        .unwrap();
    assert_eq!(serving.fingerprint(), wildcard.bundle().fingerprint());
}

#[test]
fn what_was_chosen_is_told_once() {
    let ca = TestCa::new();
    let pair = ca.pair(&["a.test"]);
    let (_writer, reader, resolver) = serving(&[&pair]);
    let server = server(resolver);
    handshake(&server, &Arc::new(client(&[&ca])), "a.test").unwrap();
    let expected = reader.current("0").unwrap();
    let Some(Resolution::Serving {
        name,
        install,
        fingerprint,
    }) = take_resolution()
    else {
        panic!("nothing was told");
    };
    assert_eq!(
        (&*name, install, fingerprint),
        ("0", expected.install(), pair.bundle().fingerprint())
    );
    assert_eq!(take_resolution(), None);
}

#[test]
fn a_client_without_alpn_is_served_or_refused_as_told() {
    let ca = TestCa::new();
    let (_writer, _, resolver) = serving(&[&ca.pair(&["a.test"])]);
    let mut silent = client(&[&ca]);
    silent.alpn_protocols = Vec::new();
    let silent = Arc::new(silent);
    assert!(handshake(&server(resolver.clone()), &silent, "a.test").is_ok());
    take_resolution();
    let strict = server(resolver.refuse_without_alpn(true));
    assert!(handshake(&strict, &silent, "a.test").is_err());
    assert_eq!(take_resolution(), Some(Resolution::NoAlpn));
    assert!(handshake(&strict, &Arc::new(client(&[&ca])), "a.test").is_ok());
}

#[test]
fn before_the_first_install_a_handshake_is_refused_and_the_reason_told() {
    let ca = TestCa::new();
    let (mut writer, reader) = store();
    let server = server(reader.resolver(&names(&["later", "other"])));
    let client = Arc::new(client(&[&ca]));
    assert!(handshake(&server, &client, "a.test").is_err());
    assert_eq!(take_resolution(), Some(Resolution::NoCertificate));
    writer.install("other", ca.pair(&["b.test"]).proved());
    assert!(
        handshake(&server, &client, "b.test").is_ok(),
        "others are served meanwhile"
    );
    assert!(handshake(&server, &client, "a.test").is_err());
    assert_eq!(
        take_resolution(),
        Some(Resolution::NoCertificate),
        "another one is no stand-in for the default"
    );
    writer.install("later", ca.pair(&["a.test"]).proved());
    assert!(handshake(&server, &client, "a.test").is_ok());
}

#[test]
fn the_handshake_after_an_install_sees_the_new_certificate() {
    let ca = TestCa::new();
    let (old, new) = (ca.pair(&["a.test"]), ca.pair(&["a.test", "b.test"]));
    let (mut writer, _, resolver) = serving(&[&old]);
    let server = server(resolver);
    let client = Arc::new(client(&[&ca]));
    assert_eq!(
        *handshake(&server, &client, "a.test").unwrap().leaf,
        *leaf_of(&old)
    );
    writer.install("0", new.proved());
    assert_eq!(
        *handshake(&server, &client, "a.test").unwrap().leaf,
        *leaf_of(&new)
    );
    assert_eq!(
        *handshake(&server, &client, "b.test").unwrap().leaf,
        *leaf_of(&new),
        "with its new names"
    );
}

#[test]
fn a_session_is_resumed_across_a_swap() {
    let ca = TestCa::new();
    for version in [&TLS12, &TLS13] {
        let (mut writer, _, resolver) = serving(&[&ca.pair(&["a.test"])]);
        let server = server(resolver);
        let mut client: ClientConfig = client_with(&[&ca], &[version], |_| true);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        assert_eq!(
            handshake(&server, &client, "a.test").unwrap().kind,
            HandshakeKind::Full
        );
        writer.install("0", ca.pair(&["a.test"]).proved());
        assert_eq!(
            handshake(&server, &client, "a.test").unwrap().kind,
            HandshakeKind::Resumed,
            "{version:?}"
        );
    }
}
