//! The places from which secrets of a configuration are read; and no secret is shown.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

use std::path::Path;

use certmgr::{Aws, SecretFormat, SecretReference, Source};
use h2gate::config::{self, Resolved};

/// A certificate of this source, served.
fn with_source(source: &str) -> Resolved {
    let text = format!(
        "
listeners: [{{ name: l, address: '0.0.0.0:443', tls: {{ certificates: [c] }} }}]
certificates: [{{ name: c, domains: [a.example.com], {source} }}]
routes: [{{ match: {{}}, backend: b }}]
backends: [{{ name: b, endpoints: ['127.0.0.1:2'] }}]
"
    );
    config::parse(Path::new("h2gate.yaml"), &text).unwrap()
}

/// The passphrase's reference in a PKCS#12 secret with these further keys.
fn passphrase(reference: &str, keys: &str) -> SecretReference {
    let resolved = with_source(&format!(
        "secrets_manager: {{ secret: s, format: pkcs12, passphrase: {{ {reference} }}, {keys} }}"
    ));
    match &resolved.certificates[0].source {
        Source::SecretsManager(secret) => match &secret.format {
            SecretFormat::Pkcs12 { passphrase } => passphrase.clone().unwrap(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn aws(region: Option<&str>, endpoint: Option<&str>, role: Option<&str>) -> Aws {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Aws {
        region: owned(region),
        endpoint: owned(endpoint),
        role: owned(role),
    }
}

fn stored(aws: Aws) -> SecretReference {
    SecretReference::SecretsManager {
        secret: "p".to_owned(),
        aws,
    }
}

const ROLE: &str = "arn:aws:iam::123456789012:role/h2gate";
const OTHER_ROLE: &str = "arn:aws:iam::210987654321:role/h2gate";

#[test]
fn a_passphrase_is_asked_of_the_aws_of_its_source() {
    assert_eq!(
        passphrase("secrets_manager: p", "poll: 1m"),
        stored(Aws::default())
    );
    let keys = format!("region: eu-central-1, endpoint: 'http://127.0.0.1:4566', role: '{ROLE}'");
    assert_eq!(
        passphrase("secrets_manager: p", &keys),
        stored(aws(
            Some("eu-central-1"),
            Some("http://127.0.0.1:4566"),
            Some(ROLE)
        ))
    );
}

#[test]
fn what_a_reference_says_of_aws_itself_comes_before_its_source() {
    let keys = format!("region: eu-central-1, role: '{ROLE}'");
    assert_eq!(
        passphrase(&format!("secrets_manager: p, role: '{OTHER_ROLE}'"), &keys),
        stored(aws(Some("eu-central-1"), None, Some(OTHER_ROLE)))
    );
    let reference = "secrets_manager: p, region: us-east-1, endpoint: 'https://aws.example.com'";
    assert_eq!(
        passphrase(reference, &keys),
        stored(aws(
            Some("us-east-1"),
            Some("https://aws.example.com"),
            Some(ROLE)
        ))
    );
}

#[test]
fn the_key_of_an_external_account_names_its_own_aws() {
    for (keys, expected) in [
        ("", Aws::default()),
        (", region: us-east-1", aws(Some("us-east-1"), None, None)),
    ] {
        let account = format!("external_account: {{ kid: k, hmac_key: {{ secrets_manager: p{keys} }} }}");
        let acme = format!("acme: {{ directory: zerossl, accept_terms: true, {account} }}");
        let resolved = with_source(&acme);
        let Source::Acme(acme) = &resolved.certificates[0].source else {
            panic!("ACME")
        };
        let account = acme.cas[0].external_account.clone().unwrap();
        assert_eq!(account.hmac_key, stored(expected));
    }
}

#[test]
fn arguments_of_a_dns_command_are_counted_and_never_shown() {
    let dns = "dns: { exec: { command: [/opt/dns-hook, --token, hunter2] } }";
    let acme = format!("acme: {{ directory: letsencrypt, accept_terms: true, challenge: dns-01, {dns} }}");
    let resolved = with_source(&acme);
    let effective = resolved.effective();
    assert_eq!(
        effective["certificates"][0]["acme"]["dns"]["exec"]["command"],
        serde_json::json!(["/opt/dns-hook", "<redacted>", "<redacted>"])
    );
    let shown = effective.to_string();
    assert!(
        !shown.contains("hunter2") && !shown.contains("--token"),
        "{shown}"
    );
}
