//! The program from outside: exit codes, and where words go.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn h2gate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h2gate"));
    command
        .env_remove("H2GATE_CONFIG")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a configuration and the pair that it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("h2gate.yaml"), text).unwrap();
        Self(folder)
    }

    fn file(&self) -> String {
        self.path("h2gate.yaml").display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A self-signed pair for `api.example.com` as `api.crt` and `api.key`.
    fn and_pair(self) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["api.example.com".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        std::fs::write(self.path("api.crt"), certificate.pem()).unwrap();
        std::fs::write(self.path("api.key"), key.serialize_pem()).unwrap();
        self
    }
}

const GOOD: &str = "\
listeners:
  - name: public
    address: \"[::]:8443\"
    tls: { certificates: [api] }
certificates:
  - name: api
    domains: [api.example.com]
    files: { chain: api.crt, key: api.key }
routes:
  - match: { host: api.example.com }
    backend: guide
backends:
  - name: guide
    endpoints: [\"127.0.0.1:50051\"]
state_dir: state
";

#[test]
fn check_passes_a_good_file_and_says_what_it_does() {
    let folder = Folder::with(GOOD).and_pair();
    let output = h2gate(&["check", "-c", &folder.file()]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    for words in [
        "[::]:8443",
        "api.example.com",
        "ECDSA",
        "until ",
        "127.0.0.1:50051",
        "self-signed",
    ] {
        assert!(
            out(&output).contains(words),
            "{words} is missing:\n{}",
            out(&output)
        );
    }
}

#[test]
fn check_strict_takes_warnings_for_errors() {
    let folder = Folder::with(GOOD).and_pair();
    let output = h2gate(&["check", "--strict", "-c", &folder.file()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("--strict was given"), "{}", out(&output));
}

#[test]
fn check_tells_a_bad_pair_at_the_place_of_the_certificate() {
    let folder = Folder::with(GOOD).and_pair();
    std::fs::write(folder.path("api.key"), "").unwrap();
    let output = h2gate(&["check", "-c", &folder.file()]);
    assert_eq!(output.status.code(), Some(1));
    let text = out(&output);
    assert!(
        text.contains("h2gate.yaml:8:35: error: certificate `api`:") && text.contains("api.key"),
        "{text}"
    );
}

#[test]
fn check_tells_mistakes_of_the_file_and_of_its_certificates_at_once() {
    let folder = Folder::with(&GOOD.replace("backend: guide", "backend: guid"));
    let text = out(&h2gate(&["check", "-c", &folder.file()]));
    for words in [
        "api.crt: cannot be read",
        "there is no backend `guid`",
        "h2gate.yaml: 3 errors",
    ] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
}

#[test]
fn check_refuses_a_certificate_for_other_names() {
    let folder = Folder::with(&GOOD.replace("api.example.com", "other.example.com")).and_pair();
    let output = h2gate(&["check", "-c", &folder.file()]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    assert!(out(&output).contains("other.example.com"), "{}", out(&output));
}

#[test]
fn check_writes_json_for_programs() {
    let folder = Folder::with(GOOD).and_pair();
    let output = h2gate(&["check", "--output", "json", "-c", &folder.file()]);
    let json = serde_json::from_str::<serde_json::Value>(&out(&output)).unwrap();
    assert_eq!(json["good"], true);
    assert_eq!(json["errors"], 0);
    assert_eq!(json["certificates"][0]["names"][0], "api.example.com");
    let bad = Folder::with(&GOOD.replace("backend: guide", "backend: guid")).and_pair();
    let output = h2gate(&["check", "--output", "json", "-c", &bad.file()]);
    assert_eq!(output.status.code(), Some(1));
    let json = serde_json::from_str::<serde_json::Value>(&out(&output)).unwrap();
    assert_eq!(json["good"], false);
    let all = json["diagnostics"].as_array().unwrap();
    let first = all.iter().find(|one| one["severity"] == "error").unwrap();
    assert_eq!(
        (&first["line"], &first["column"]),
        (&serde_json::json!(11), &serde_json::json!(14))
    );
    assert_eq!(first["remedy"], "did you mean `guide`?");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["chek"],
        &["check"],
        &["run", "--confg", "x"],
        &["demo", "--for", "10"],
    ] {
        let output = h2gate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!err(&output).is_empty(), "{arguments:?}");
    }
    let output = h2gate(&["demo", "--for", "10"]);
    assert!(
        err(&output).contains("write `10s` for seconds"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_missing_file_is_exit_code_1_and_named() {
    let output = h2gate(&["check", "-c", "no/such/file.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("no/such/file.yaml: error: cannot read the file"),
        "{}",
        out(&output)
    );
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let folder = Folder::with(GOOD).and_pair();
    let mut command = Command::new(env!("CARGO_BIN_EXE_h2gate"));
    let output = command
        .arg("check")
        .env("H2GATE_CONFIG", folder.file())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
}

#[test]
fn help_has_examples_exit_codes_and_the_way_to_the_reference() {
    let output = h2gate(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for words in [
        "h2gate demo",
        "h2gate check -c h2gate.yaml",
        "Exit codes",
        "docs/configuration.md",
    ] {
        assert!(
            out(&output).contains(words),
            "{words} is missing:\n{}",
            out(&output)
        );
    }
    for file in ["examples/full.yaml", "docs/configuration.md"] {
        assert!(out(&output).contains(file));
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(file)
                .exists(),
            "{file}"
        );
    }
}

#[test]
fn version_tells_target_and_tls_provider() {
    for arguments in [&["version"][..], &["--version"]] {
        let text = out(&h2gate(arguments));
        assert!(
            text.starts_with(&format!("h2gate {}", env!("CARGO_PKG_VERSION"))),
            "{text}"
        );
        assert!(
            text.contains("aws-lc-rs") && text.contains(std::env::consts::ARCH),
            "{text}"
        );
    }
    assert_eq!(
        out(&h2gate(&["-V"])).trim(),
        format!("h2gate {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn schema_is_json_and_describes_the_top_level() {
    let schema = serde_json::from_str::<serde_json::Value>(&out(&h2gate(&["schema"]))).unwrap();
    assert!(schema["properties"]["listeners"]["items"]["properties"]["tls"].is_object());
}
