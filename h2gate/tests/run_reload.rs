//! A reload: by SIGHUP, by a file written or moved into place; all or nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod run_support;

use std::net::{TcpListener, TcpStream};

use run_support::{Folder, Running, config, get, nobody, shows};
use rustix::process::Signal;

fn serving() -> Running {
    Running::start(Folder::new(), &config(nobody()))
}

impl Running {
    fn assert_unharmed(&self, config_before: &str) {
        assert_eq!(get(self.admin, "/config").1, config_before);
        assert_eq!(get(self.admin, "/ready").0, 200);
        TcpStream::connect(self.plain).unwrap();
        let metrics = get(self.admin, "/metrics").1;
        assert!(
            metrics.contains("h2gate_config_reloads_total{result=\"refused\"} 1\n"),
            "{metrics}"
        );
        assert!(
            metrics.contains("h2gate_config_last_reload_successful 0\n"),
            "{metrics}"
        );
    }
}

const APPLIED: &str = "h2gate_config_reloads_total{result=\"applied\"} 1\n";

#[test]
fn sighup_with_a_bad_file_changes_nothing_and_tells_every_mistake() {
    let mut it = serving();
    let before = get(it.admin, "/config").1;
    // One mistake for the tree, one for the references.
    it.folder.config(
        &config(nobody())
            .replace("endpoints:", "endpoint:")
            .replace("[local]", "[other]"),
    );
    it.program.signal(Signal::HUP);
    it.program.says(&["ERROR", "reload refused"]);
    it.program.says(&["endpoint"]);
    shows(it.admin, "/metrics", |_, page| {
        page.contains("{result=\"refused\"} 1\n")
    });
    it.assert_unharmed(&before);
}

#[test]
fn a_reload_that_cannot_bind_changes_nothing_and_names_the_listener() {
    let mut it = serving();
    let before = get(it.admin, "/config").1;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let another = format!("listeners:\n  - name: third\n    address: \"{address}\"\n");
    it.folder
        .move_config(&config(nobody()).replace("listeners:\n", &another));
    let line = it.program.says(&["ERROR", "reload refused"]);
    assert!(
        line.contains("third") && line.contains(&address.to_string()),
        "{line}"
    );
    it.assert_unharmed(&before);
}

#[test]
fn a_file_moved_into_place_is_applied() {
    let mut it = serving();
    let another = "listeners:\n  - name: third\n    address: \"127.0.0.1:0\"\n";
    it.folder
        .move_config(&config(nobody()).replace("listeners:\n", another));
    it.program
        .says(&["reload applied", "listeners_kept=2", "listeners_new=1"]);
    shows(it.admin, "/config", |_, page| page.contains("name: third"));
    assert!(get(it.admin, "/metrics").1.contains(APPLIED));
    TcpStream::connect(it.plain).unwrap();
}

#[test]
fn a_file_written_in_place_is_applied() {
    let mut it = serving();
    it.folder
        .config(&format!("{}timeouts: {{ drain: 7s }}\n", config(nobody())));
    it.program.says(&["reload applied"]);
    shows(it.admin, "/config?format=json", |_, page| {
        page.contains("\"drain\": \"7s\"")
    });
}

#[test]
fn a_new_certificate_serves_once_the_reload_is_applied() {
    let mut it = serving();
    let text = config(nobody())
        .replace("name: local", "name: another")
        .replace("[local]", "[another]");
    it.folder.config(&text);
    it.program.signal(Signal::HUP);
    it.program.says(&["reload applied"]);
    let page = get(it.admin, "/certificates").1;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let names: Vec<_> = page["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["another"],
        "what the configuration names no longer is forgotten"
    );
    assert!(page["certificates"][0]["install"].is_u64(), "{page}");
}

#[test]
fn what_only_a_restart_can_change_is_told() {
    let mut it = serving();
    let text = config(nobody()).replace(
        "admin: { address: \"127.0.0.1:0\" }",
        "admin: { address: \"127.0.0.1:1\" }",
    );
    it.folder.config(&format!(
        "{text}log: {{ format: json }}\naccess_log: {{ path: \"$DIR/a.log\" }}\n"
    ));
    it.program.signal(Signal::HUP);
    it.program.says(&["reload applied"]);
    for setting in ["admin", "access_log", "log.format"] {
        it.program
            .says(&["WARN", "next start", &format!("\"{setting}\"")]);
    }
    let (_, page) = get(it.admin, "/config");
    assert!(
        page.starts_with("# pending_restart: admin, access_log, log.format"),
        "{page}"
    );
    assert!(
        !page.contains("127.0.0.1:1\"") && !page.contains("access_log:"),
        "{page}"
    );
    assert!(page.contains("format: text"), "{page}");
    let (_, page) = get(it.admin, "/config?format=json");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["pending_restart"].as_array().unwrap().len(), 3, "{page}");
    assert_eq!(get(it.admin, "/ready").0, 200);
}

#[test]
fn the_level_of_the_log_changes_at_once() {
    let mut it = serving();
    it.folder
        .config(&format!("{}log: {{ level: error }}\n", config(nobody())));
    it.program.signal(Signal::HUP);
    it.program.says(&["reload applied"]);
    it.program.signal(Signal::HUP);
    shows(it.admin, "/metrics", |_, page| {
        page.contains("{result=\"applied\"} 2\n")
    });
    it.program.signal(Signal::TERM);
    assert_eq!(it.program.ends().code(), Some(0));
    let said = it.program.all_it_said();
    assert_eq!(said.matches("reload applied").count(), 1, "{said}");
    assert!(!said.contains("draining"), "{said}");
}

#[test]
fn a_deleted_file_is_told_and_nothing_else_happens() {
    let mut it = serving();
    std::fs::remove_file(it.folder.path("h2gate.yaml")).unwrap();
    it.program.says(&["WARN", "the configuration file is gone"]);
    assert_eq!(get(it.admin, "/ready").0, 200);
}
