//! `check` reads what is on this disk, and says of everything else that it was not asked.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

/// A configuration, and a CA with a revocation list beside it as `ca.pem` and `ca.crl`.
struct Folder(tempfile::TempDir);

impl Folder {
    /// The list is good until `list_ends`, in seconds from now.
    fn new(text: &str, list_ends: i64) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("h2gate.yaml"), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        std::fs::write(folder.path("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(86_400 * 30)).into(),
            next_update: if list_ends < 0 {
                (now - Duration::from_secs(list_ends.unsigned_abs())).into()
            } else {
                (now + Duration::from_secs(list_ends.unsigned_abs())).into()
            },
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&Issuer::new(ca, key)).unwrap();
        std::fs::write(folder.path("ca.crl"), list.pem().unwrap()).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn check(&self, output: &str) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_h2gate"))
            .args(["check", "--output", output, "-c"])
            .arg(self.path("h2gate.yaml"))
            .output()
            .expect("the program starts");
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }
}

const REMOTE: &str = r#"
state_dir: state
listeners:
  - name: public
    address: "[::]:8443"
    tls: { certificates: [ordered, bucket, secret], client_auth: { mode: optional, trust: clients } }
  - { name: http, address: "[::]:8080", http: {} }
certificates:
  - name: ordered
    domains: [a.example.com, b.example.com]
    acme: { directory: letsencrypt, accept_terms: true, challenge: http-01 }
  - name: bucket
    domains: [c.example.com]
    s3: { bucket: certificates, bundle: c.pem }
  - name: secret
    domains: [d.example.com]
    secrets_manager: { secret: prod/d }
trust_bundles:
  - name: clients
    files: { ca: ca.pem, crl: ca.crl }
  - name: others
    s3: { bucket: certificates, ca: ca.pem }
routes: [{ match: {}, backend: guide }]
backends: [{ name: guide, endpoints: ["127.0.0.1:50051"] }]
"#;

#[test]
fn what_is_elsewhere_is_not_asked_and_that_is_said() {
    let folder = Folder::new(REMOTE, 86_400 * 5);
    let (good, text) = folder.check("text");
    assert!(good, "{text}");
    for words in [
        "clients may show a certificate of clients",
        "ordered from letsencrypt by http-01; not asked",
        "from the S3 bucket certificates; not asked",
        "from the secret prod/d; not asked",
        "1 CA, 1 revocation list, good until ",
        "port 80 of a.example.com, b.example.com must lead to listener http\n",
    ] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    assert!(!folder.path("state").exists(), "a check makes nothing");
}

#[test]
fn programs_can_tell_what_was_not_asked_from_what_is_bad() {
    let told = |list_ends| {
        let (good, text) = Folder::new(REMOTE, list_ends).check("json");
        (good, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (good, json) = told(86_400 * 5);
    assert!(good);
    let sources = json["certificates"].as_array().unwrap();
    let sources = sources.iter().map(|one| (&one["source"], &one["usable"]));
    for ((source, usable), expected) in sources.zip(["acme", "s3", "secrets_manager"]) {
        assert_eq!((source, usable), (&Value::from(expected), &Value::Null));
    }
    let bundles = &json["trust_bundles"];
    assert_eq!(bundles[0]["usable"], true);
    assert_eq!(bundles[0]["revocation_lists"], 1);
    assert_eq!(
        (&bundles[1]["source"], &bundles[1]["usable"]),
        (&"s3".into(), &Value::Null)
    );

    let (good, json) = told(-60);
    assert_eq!(
        (good, &json["trust_bundles"][0]["usable"]),
        (false, &Value::Bool(false))
    );
}

const ACCOUNT: &str = r#"
state_dir: state
listeners:
  - { name: public, address: "[::]:8443", tls: { certificates: [ordered] } }
certificates:
  - name: ordered
    domains: [a.example.com]
    acme:
      directory: zerossl
      accept_terms: true
      challenge: tls-alpn-01
      # REPLACE-ME in a comment is no matter.
      external_account: { kid: REPLACE-ME, hmac_key: { env: H2GATE_TEST_UNSET_KEY } } # change-me
routes: [{ match: {}, backend: guide }]
backends: [{ name: guide, endpoints: ["127.0.0.1:50051"] }]
"#;

#[test]
fn a_variable_that_is_not_set_and_what_an_example_left_open_are_doubts() {
    let (good, text) = Folder::new(ACCOUNT, 1).check("text");
    assert!(good, "{text}");
    for words in [
        "h2gate.yaml:13:32: warning: `REPLACE-ME` stands for a value that is yours to give",
        "the variable of the environment that holds a secret, H2GATE_TEST_UNSET_KEY, is not set here",
        "set it where h2gate runs",
    ] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    assert_eq!(text.matches("is yours to give").count(), 1, "{text}");
    let set = ACCOUNT
        .replace("H2GATE_TEST_UNSET_KEY", "PATH")
        .replace("kid: REPLACE-ME", "kid: k1");
    let (good, text) = Folder::new(&set, 1).check("text");
    assert!(good && !text.contains("warning"), "{text}");
}

#[test]
fn a_variable_in_a_path_is_told_to_mean_nothing() {
    let text = ACCOUNT.replace("{ env: H2GATE_TEST_UNSET_KEY }", "{ file: \"${KEY}\" }");
    let (good, text) = Folder::new(&text, 1).check("text");
    assert!(
        !good && text.contains("`${KEY}`: variables are not expanded here"),
        "{text}"
    );
    assert!(text.contains("write the path itself"), "{text}");
}

#[test]
fn a_trust_bundle_that_run_would_refuse_is_told_at_the_path_to_blame() {
    let (good, text) = Folder::new(REMOTE, -60).check("text");
    assert!(
        !good && text.contains("h2gate.yaml:20:31: error: trust bundle `clients`: "),
        "{text}"
    );

    let exchanged = REMOTE.replace("ca: ca.pem, crl: ca.crl", "ca: ca.crl, crl: ca.pem");
    let (good, text) = Folder::new(&exchanged, 86_400).check("text");
    assert!(
        !good && text.contains("h2gate.yaml:20:18: error: trust bundle `clients`: "),
        "{text}"
    );
    assert!(text.contains("not exchanged"), "{text}");
}

#[test]
fn a_pair_that_does_not_lead_to_its_trust_bundle_is_refused_as_run_does() {
    let text = r#"
listeners: [{ name: a, address: "127.0.0.1:0", tls: { certificates: [api] } }]
certificates: [{ name: api, files: { chain: api.crt, key: api.key }, trust: company }]
trust_bundles: [{ name: company, files: { ca: anchors.pem } }]
routes: [{ match: {}, backend: guide }]
backends: [{ name: guide, endpoints: ["127.0.0.1:50051"] }]
"#;
    let folder = Folder::new(text, 86_400);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
    let own = own.self_signed(&key).unwrap().pem();
    std::fs::write(folder.path("api.crt"), &own).unwrap();
    std::fs::write(folder.path("api.key"), key.serialize_pem()).unwrap();
    std::fs::copy(folder.path("ca.pem"), folder.path("anchors.pem")).unwrap();
    let (good, text) = folder.check("text");
    assert!(
        !good && text.contains(":3:45: error: certificate `api`: "),
        "{text}"
    );
}

const FILES: &str = r#"
state_dir: state
listeners:
  - name: public
    address: "127.0.0.1:8443"
    tls: { certificates: [api] }
certificates:
  - name: api
    files: { chain: certs/api.pem, key: certs/api.key }
routes:
  - { match: {}, backend: guide }
backends:
  - { name: guide, endpoints: ["127.0.0.1:50051"] }
"#;

#[test]
fn what_others_may_read_or_write_is_doubted() {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new(FILES, 86_400);
    let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    create_dir(folder.path("certs")).unwrap();
    create_dir(folder.path("state")).unwrap();
    write(folder.path("certs/api.pem"), pair.cert.pem()).unwrap();
    write(folder.path("certs/api.key"), pair.signing_key.serialize_pem()).unwrap();
    let found = |key: u32, certs: u32, state: u32| {
        for (path, mode) in [("certs/api.key", key), ("certs", certs), ("state", state)] {
            set_permissions(folder.path(path), Permissions::from_mode(mode)).unwrap();
        }
        let (good, text) = folder.check("text");
        assert!(good, "{text}");
        text
    };
    for (key, certs, state) in [
        (0o600, 0o755, 0o700),
        (0o440, 0o1777, 0o755),
        (0o640, 0o750, 0o500),
    ] {
        let text = found(key, certs, state);
        assert!(!text.contains("mode"), "{key:o} {certs:o} {state:o}: {text}");
    }
    for (key, certs, state, told) in [
        (
            0o644,
            0o755,
            0o700,
            "every user may read or change the private key",
        ),
        (
            0o602,
            0o755,
            0o700,
            "every user may read or change the private key",
        ),
        (
            0o660,
            0o755,
            0o700,
            "the group may read or change the private key",
        ),
        (0o600, 0o777, 0o700, "every user may replace the private key"),
        (0o600, 0o775, 0o700, "the group may replace the private key"),
        (0o600, 0o755, 0o770, "may be written by the group"),
        (0o600, 0o755, 0o707, "may be written by every user"),
    ] {
        let text = found(key, certs, state);
        assert!(text.contains(told) && text.contains("chmod"), "{told}: {text}");
        assert!(text.contains("good, with 2 warnings"), "{told}: {text}");
    }
}

#[test]
fn what_the_state_directory_holds_that_cannot_be_used_is_told() {
    use std::fs::{create_dir_all, write};

    let folder = Folder::new(FILES, 86_400);
    let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    for directory in ["certs", "state/revocations", "state/certificates"] {
        create_dir_all(folder.path(directory)).unwrap();
    }
    write(folder.path("certs/api.pem"), pair.cert.pem()).unwrap();
    write(folder.path("certs/api.key"), pair.signing_key.serialize_pem()).unwrap();
    assert!(!folder.check("text").1.contains("wish to revoke"));
    let wish = format!("state/revocations/{}.json", "a7".repeat(32));
    write(folder.path(&wish), "{ \"format\": 1, \"leaf\": \"MIIB").unwrap();
    write(
        folder.path("state/certificates/api.json"),
        "{ \"key\": \"MIIB\" }",
    )
    .unwrap();
    let (good, text) = folder.check("text");
    assert!(good, "{text}");
    for words in [
        &format!(
            "{} is a wish to revoke that is broken at line 1",
            folder.path(&wish).display()
        ),
        "`h2gate certs revoke`",
        "state/certificates/api.json keeps certificate `api`, and ",
    ] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    assert!(!text.contains("MIIB"), "{text}");
}
