//! `h2gate certs` against a program that runs with certificates from files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod certs_support;
mod run_support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use certs_support::{TestPair, becomes, certs, command, run, shown};
use run_support::{Folder, Program, Running, config, nobody};
use serde_json::{Value, json};

/// A program with the certificate `local`, and `missing`, whose files are not there.
struct Serving {
    folder: Folder,
    program: Program,
    plain: SocketAddr,
    admin: SocketAddr,
    first: String,
}

impl Serving {
    fn start() -> Self {
        let folder = Folder::new();
        let first = TestPair::new();
        folder.put_pair(&first.chain, &first.key);
        let missing =
            "certificates:\n  - name: missing\n    files: { chain: \"$DIR/no.pem\", key: \"$DIR/no.key\" }\n";
        let text = config(nobody())
            .replace("certificates:\n", missing)
            .replace("[local]", "[local, missing]");
        let Running {
            folder,
            program,
            plain,
            admin,
        } = Running::start(folder, &text);
        Self {
            folder,
            program,
            plain,
            admin,
            first: first.fingerprint(),
        }
    }

    fn certs(&self, arguments: &[&str]) -> certs_support::Ran {
        certs(self.admin, arguments)
    }

    /// Puts a pair in place and waits until it serves.
    fn serves(&self, pair: &TestPair) {
        self.folder.put_pair(&pair.chain, &pair.key);
        let wanted = pair.fingerprint();
        becomes(self.admin, "local", |now| {
            now["serving"]["fingerprint"] == *wanted
        });
    }
}

#[test]
fn list_is_a_table_of_what_serves_until_when_and_of_what_happens_next() {
    let it = Serving::start();
    becomes(it.admin, "missing", |now| now["trouble"].is_object());
    let table = it.certs(&["list"]).worked();
    let lines: Vec<_> = table.lines().collect();
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["NAME", "SOURCE", "SERVES", "UNTIL", "NEXT"]);
    assert_eq!(
        words(1)[..5],
        ["local", "files", &it.first[..12], "2099-01-02T00:00:00Z", "(in"]
    );
    assert!(lines[1].contains(" d)  read "), "{table}");
    assert_eq!(words(2)[..4], ["missing", "files", "nothing", "-"]);
    assert!(lines[3].starts_with("  trouble for "), "{table}");
    assert!(lines[3].contains("no.pem: cannot be read"), "{table}");
    assert!(
        lines[3].ends_with("check the path, or put the file there"),
        "{table}"
    );
    assert_eq!(lines.len(), 4, "{table}");
    // Columns begin below their names.
    let serves = lines[0].find("SERVES").unwrap();
    assert!(lines[1][serves..].starts_with(&it.first[..12]) && lines[2][serves..].starts_with("nothing"));
}

#[test]
fn show_tells_everything_about_one() {
    let it = Serving::start();
    let page = it.certs(&["show", "local"]).worked();
    for words in [
        "\n  source        files\n",
        "/chain.pem\n",
        "\n  next          read at 20",
        &format!("\n  serves        {}\n", it.first),
        "\n    name        localhost\n",
        "\n    key         ECDSA P-256\n",
        "\n    valid until 2099-01-02T00:00:00Z (in ",
        "\n    warning     self-signed",
    ] {
        assert!(page.contains(words), "{words:?} is missing:\n{page}");
    }
    let page = it.certs(&["show", "missing"]).worked();
    for words in [
        "\n  serves        nothing yet\n",
        "cannot be read",
        "\n    remedy      check the path, or put the file there\n",
    ] {
        assert!(page.contains(words), "{words:?} is missing:\n{page}");
    }
}

#[test]
fn json_has_every_key_whether_or_not_there_is_something_to_say() {
    let it = Serving::start();
    let missing = becomes(it.admin, "missing", |now| now["trouble"].is_object());
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let list = it.certs(&["list", "--output", "json"]);
    let list = list.json();
    let local = &list["certificates"][0];
    assert_eq!(list["certificates"].as_array().unwrap().len(), 2);
    assert_eq!(keys(local), keys(&missing));
    for key in [
        "name",
        "source",
        "places",
        "domains",
        "serving",
        "previous",
        "next",
        "trouble",
        "last_success_time",
        "acme",
    ] {
        assert!(local.get(key).is_some(), "{key}");
    }
    assert_eq!(missing["serving"], Value::Null);
    assert_eq!(missing["trouble"]["class"], "io");
    assert_eq!(
        missing["trouble"]["remedy"],
        "check the path, or put the file there"
    );
    let serving = &local["serving"];
    assert_eq!(serving["fingerprint"], *it.first);
    assert_eq!(serving["names"], json!(["localhost"]));
    assert_eq!(
        (&serving["not_before_time"], &serving["not_after_time"]),
        (&json!("2020-01-02T00:00:00Z"), &json!("2099-01-02T00:00:00Z"))
    );
    assert_eq!(
        (&serving["ca"], &serving["excluded"]),
        (&json!(""), &json!(false))
    );
    assert_eq!(local["next"]["action"], "ACTION_READ");
    assert!(!list.to_string().contains("PRIVATE KEY"));
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let it = Serving::start();
    for arguments in [
        &["show", "lokal"][..],
        &["renew", "lokal"],
        &["renew", "lokal", "--wait"],
        &["rollback", "lokal"],
        &["revoke", "lokal", "--yes"],
        &["roll-account-key", "lokal"],
        &["show", "lokal", "-o", "json"],
    ] {
        let ran = it.certs(arguments);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert_eq!(
            ran.failed(),
            "h2gate: no certificate is named lokal; there are local, missing\n",
            "{arguments:?}"
        );
    }
}

#[test]
fn renew_reads_the_files_and_wait_tells_how_it_ended() {
    let it = Serving::start();
    let begun = it.certs(&["renew", "local"]).worked();
    assert!(begun.contains("`h2gate certs show local` shows"), "{begun}");
    assert_eq!(
        it.certs(&["renew", "local", "-o", "json"]).json(),
        json!({"name": "local", "outcome": "begun"})
    );

    let said = it.certs(&["renew", "local", "--wait"]).worked();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("the source still holds certificate"), "{said}");
    assert!(
        lines[1].starts_with("local: nothing new at its source; certificate "),
        "{said}"
    );

    fs::remove_file(it.folder.path("key.pem")).unwrap();
    let ran = it.certs(&["renew", "local", "--wait"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("key.pem: cannot be read"), "{}", ran.out);
    assert!(
        ran.out.contains("check the path, or put the file there"),
        "{}",
        ran.out
    );
    let end = ran.out.lines().last().unwrap();
    let serves = format!("certificate {} serves until 2099", &it.first[..12]);
    let again = end.split("not renewed; it is tried again by itself ").nth(1);
    assert!(
        again.is_some_and(|when| when.starts_with("in ") || when.starts_with("now")),
        "{end}"
    );
    assert!(end.contains(&serves), "{end}");

    let ran = it.certs(&["renew", "local", "--wait", "-o", "json"]);
    assert_eq!((ran.code, &ran.json()["outcome"]), (Some(1), &json!("failed")));
    let answer = ran.json();
    let last = answer["events"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["kind"], &last["is_error"]),
        (&json!("unreadable"), &json!(true))
    );
    assert_eq!(answer["certificate"]["serving"]["fingerprint"], *it.first);
}

#[test]
fn rollback_goes_to_the_version_before_and_the_source_does_not_bring_back_what_was_left() {
    let it = Serving::start();
    let second = TestPair::new();
    it.serves(&second);
    let said = it.certs(&["rollback", "local"]).worked();
    let first = &it.first[..12];
    assert_eq!(
        said,
        format!("local: certificate {first} serves again; what served before is excluded\n")
    );
    let now = shown(it.admin, "local");
    assert_eq!(now["serving"]["fingerprint"], *it.first);
    assert_eq!(now["previous"][0]["fingerprint"], *second.fingerprint());
    assert_eq!(now["previous"][0]["excluded"], true);
    let page = it.certs(&["show", "local"]).worked();
    assert!(
        page.contains(&format!("\n  before        {}\n", second.fingerprint())),
        "{page}"
    );
    assert!(
        page.contains("\n    excluded    an operator rolled back from it\n"),
        "{page}"
    );

    let ran = it.certs(&["renew", "local", "--wait"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("an operator rolled back from"), "{}", ran.out);

    let beginning = &second.fingerprint()[..6];
    let back = it.certs(&["rollback", "local", "--to", beginning, "-o", "json"]);
    assert_eq!(
        back.json(),
        json!({"name": "local", "outcome": "rolled_back", "fingerprint": second.fingerprint()})
    );
}

#[test]
fn a_beginning_that_fits_two_versions_or_none_is_refused() {
    let it = Serving::start();
    let mut pairs: Vec<TestPair> = Vec::new();
    let digit = |pair: &TestPair| pair.fingerprint().remove(0);
    let (one, other) = loop {
        let new = TestPair::new();
        if let Some(at) = pairs.iter().position(|old| digit(old) == digit(&new)) {
            break (pairs.swap_remove(at), new);
        }
        pairs.push(new);
    };
    it.serves(&one);
    it.serves(&other);
    it.serves(&TestPair::new());
    let beginning = digit(&one).to_string();
    let before = shown(it.admin, "local")["serving"].clone();
    let said = it.certs(&["rollback", "local", "--to", &beginning]).failed();
    for pair in [&one, &other] {
        assert!(said.contains(&pair.fingerprint()[..12]), "{said}");
    }
    let said = it.certs(&["rollback", "local", "--to", "no-hex"]).failed();
    assert!(said.contains("begins with no-hex; there are "), "{said}");
    let said = it.certs(&["rollback", "missing"]).failed();
    assert!(said.contains("nothing to go back to"), "{said}");
    let empty = it.certs(&["rollback", "local", "--to", ""]);
    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert_eq!(shown(it.admin, "local")["serving"], before);
}

#[test]
fn files_are_not_revoked_here_and_have_no_account() {
    let it = Serving::start();
    for arguments in [&["revoke", "local", "--yes"][..], &["roll-account-key", "local"]] {
        let said = it.certs(arguments).failed();
        assert!(said.contains("local comes from files, not by ACME"), "{said}");
        assert!(said.contains("revoke it where it was issued"), "{said}");
    }
}

#[test]
fn revoke_without_a_terminal_does_nothing_unless_it_is_told_not_to_ask() {
    let mut it = Serving::start();
    let said = it.certs(&["revoke", "local"]).failed();
    assert!(
        said.contains("no terminal to ask on") && said.contains("--yes"),
        "{said}"
    );
    it.certs(&["revoke", "local", "--yes"]).failed();
    it.certs(&["renew", "local"]).worked();
    it.program.says(&["asks for renew"]);
    it.program.signal(rustix::process::Signal::TERM);
    it.program.ends();
    let log = it.program.all_it_said();
    assert_eq!(log.matches("asks for revoke").count(), 1, "{log}");
}

#[test]
fn plan_says_when_there_is_nothing_to_order() {
    let it = Serving::start();
    let said = it.certs(&["plan", "--for", "30d"]).worked();
    assert!(said.starts_with("nothing will be ordered until 20"), "{said}");
    assert_eq!(
        it.certs(&["plan", "-o", "json"]).json(),
        json!({"orders": [], "limits": [], "complete": true, "inside": true})
    );
    let said = it.certs(&["plan", "--for", "1000d"]).failed();
    assert!(said.contains("at most two years"), "{said}");
}

#[test]
fn nobody_at_the_address_is_told_with_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = certs(closed, &["list"]).failed();
    for words in [
        &closed.to_string(),
        "refused",
        "is it running?",
        "admin address",
        "--admin",
    ] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    let mut from_environment = command(&["list"]);
    from_environment.env("H2GATE_ADMIN", closed.to_string());
    let said = run(from_environment).failed();
    assert!(said.contains(&format!("{closed} (from H2GATE_ADMIN)")), "{said}");
}

#[test]
fn the_address_comes_from_the_command_line_then_the_environment_then_a_configuration() {
    let it = Serving::start();
    let text = fs::read_to_string(it.folder.path("h2gate.yaml")).unwrap();
    let own = it.folder.path("own.yaml");
    let known = text.replace(
        "admin: { address: \"127.0.0.1:0\"",
        &format!("admin: {{ address: \"{}\"", it.admin),
    );
    assert_ne!(known, text);
    fs::write(&own, known).unwrap();
    let own = own.to_str().unwrap();
    assert!(run(command(&["list", "-c", own])).worked().contains("local"));
    let with = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = command(arguments);
        command.envs(environment.iter().copied());
        run(command)
    };
    let admin = it.admin.to_string();
    let nowhere = ("H2GATE_ADMIN", "127.0.0.1:1");
    with(&[nowhere], &["list", "--admin", &admin]).worked();
    with(&[nowhere], &["list", "-c", own]).worked();
    with(
        &[("H2GATE_ADMIN", &admin), ("H2GATE_CONFIG", "no.yaml")],
        &["list"],
    )
    .worked();
    with(&[("H2GATE_CONFIG", own)], &["list"]).worked();

    let open = it.folder.path("h2gate.yaml");
    let said = run(command(&["list", "-c", open.to_str().unwrap()])).failed();
    assert!(said.contains("name it with --admin"), "{said}");
    let said = run(command(&["list", "-c", "no.yaml"])).failed();
    assert!(said.contains("no.yaml: error: cannot read the file"), "{said}");
    assert_eq!(
        run(command(&["list", "-c", own, "--admin", &admin])).code,
        Some(2)
    );
    assert_eq!(run(command(&["list", "--admin", "localhost"])).code, Some(2));
    let said = with(&[("H2GATE_ADMIN", "localhost")], &["list"]).failed();
    assert!(
        said.contains("H2GATE_ADMIN") && said.contains("write HOST:PORT"),
        "{said}"
    );
}

#[test]
fn what_is_no_admin_interface_is_told_from_one() {
    let it = Serving::start();
    let said = certs(it.plain, &["list"]).failed();
    assert!(said.contains("not the admin interface"), "{said}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let said = certs(address, &["list"]).failed();
    assert!(said.contains("this is not its admin interface"), "{said}");
    server.join().unwrap();
}
