//! The remedies that an operator reads.

use certstore::{CertBundle, TrustBundle, UnixTime};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, generate_simple_self_signed};

use super::*;
use crate::config::{Aws, SecretFormat, SecretsManagerSource};

fn remedy(reason: Reason) -> String {
    let places = Vec::new();
    Error { places, reason }.remedy().to_owned()
}

fn speaks_of_files(text: &str) -> bool {
    ["file", "path", "renamed"].iter().any(|word| text.contains(word))
}

#[test]
fn only_where_there_are_files_the_remedy_of_a_trust_bundle_speaks_of_files() {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca, key) = (ca.self_signed(&key).unwrap().pem(), key.serialize_pem());
    let cases = [
        ("", ""),
        (&ca[..ca.len() / 2], ""),
        ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", ""),
        ("{}", ""),
        (&key, ""),
        (&ca, "{}"),
        (&ca, "-----BEGIN X509 CRL-----\nAAAA"),
    ];
    let source = Source::SecretsManager(SecretsManagerSource {
        aws: Aws::default(),
        secret: "prod/clients".to_owned(),
        format: SecretFormat::Pem,
        poll: Duration::from_secs(60),
    });
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    for (ca, lists) in cases {
        let error = || TrustBundle::parse(ca.as_bytes(), lists.as_bytes(), true, now).unwrap_err();
        let in_files = remedy(Reason::Trust(error()));
        assert!(speaks_of_files(&in_files), "{}: {in_files}", error());
        let stored = remedy(Reason::Trust(error()).held_in(&source));
        assert!(
            !speaks_of_files(&stored) && !stored.is_empty(),
            "{}: {stored}",
            error()
        );
    }
}

#[test]
fn only_where_there_are_files_a_remedy_speaks_of_files() {
    let good = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let (chain, key) = (good.cert.pem(), good.signing_key.serialize_pem());
    let another = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let another = another.signing_key.serialize_pem();
    let cases = [
        ("", key.clone()),
        (&chain[..chain.len() / 2], key.clone()),
        (&chain, format!("{key}{another}")),
        (&chain, chain.clone()),
        (&key, key.clone()),
        ("{}", key.clone()),
        (&"x".repeat(1 << 20), key.clone()),
    ];
    for (chain, key) in cases {
        let error = || CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap_err();
        let in_files = remedy(Reason::Bundle(error()));
        assert!(
            in_files.contains("file") || in_files.contains("path"),
            "{in_files}"
        );
        let from_ca = Reason::Bundle(error()).remedy_at_ca();
        for elsewhere in [remedy(Reason::Stored(error())).as_str(), from_ca] {
            assert!(
                !speaks_of_files(elsewhere) && !elsewhere.is_empty(),
                "{}: {elsewhere}",
                error()
            );
        }
    }
}
