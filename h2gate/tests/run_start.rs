//! `h2gate run` from its start to a quiet end.

mod run_support;

use std::net::TcpListener;

use run_support::{Folder, config, get, nobody, shows};
use rustix::process::Signal;

#[test]
fn sigterm_and_sigint_end_an_idle_program_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        folder.config(&config(nobody()));
        let mut program = folder.run(&[]);
        program.started();
        program.signal(signal);
        program.says(&["drained; every stream has ended"]);
        assert_eq!(program.ends().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn it_becomes_ready_once_the_first_read_has_ended_with_or_without_a_certificate() {
    for missing in [false, true] {
        let folder = Folder::new();
        folder.config(&config(nobody()));
        if missing {
            std::fs::remove_file(folder.path("key.pem")).unwrap();
        }
        let mut program = folder.run(&[]);
        let (_, _, admin) = program.started();
        shows(admin, "/ready", |status, _| status == 200);
        let serving = format!(
            "h2gate_certificate_serving{{certificate=\"local\"}} {}\n",
            u8::from(!missing)
        );
        assert!(get(admin, "/metrics").1.contains(&serving), "{serving}");
    }
}

#[test]
fn every_mistake_of_the_file_is_told_and_nothing_starts() {
    let folder = Folder::new();
    let text = config(nobody())
        .replace("listeners:", "listener:")
        .replace("backend: one", "backend: two");
    folder.config(&text);
    let mut program = folder.run(&[]);
    assert_eq!(program.ends().code(), Some(1));
    let said = program.all_it_said();
    assert!(said.contains("listener") && said.contains("two"), "{said}");
    assert!(!said.contains("listening"), "{said}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let of_a_listener = config(nobody()).replacen("127.0.0.1:0", &address, 1);
    let of_admin = config(nobody()).replace(
        "admin: { address: \"127.0.0.1:0\"",
        &format!("admin: {{ address: \"{address}\""),
    );
    for (text, who) in [(of_a_listener, "plain"), (of_admin, "admin")] {
        let folder = Folder::new();
        folder.config(&text);
        let mut program = folder.run(&[]);
        assert_eq!(program.ends().code(), Some(1));
        let said = program.all_it_said();
        let last = said.lines().last().unwrap();
        assert!(last.contains(&address) && last.contains(who), "{said}");
    }
}

#[test]
fn the_log_is_json_if_asked_for_and_the_environment_decides_its_level() {
    let folder = Folder::new();
    folder.config(&format!(
        "{}log: {{ level: error, format: json }}\n",
        config(nobody())
    ));
    let mut program = folder.run(&[("H2GATE_LOG", "info")]);
    let line = program.says(&["listening", "secure"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["listener"].as_str()),
        (Some("INFO"), Some("secure"))
    );
    program.signal(Signal::TERM);
    assert_eq!(program.ends().code(), Some(0));
    for line in program.all_it_said().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_quoted() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    let mut program = folder.run(&[("H2GATE_LOG", "gateway=loud")]);
    assert_eq!(program.ends().code(), Some(1));
    let said = program.all_it_said();
    assert!(
        said.contains("\"gateway=loud\" of the environment variable H2GATE_LOG"),
        "{said}"
    );
}
