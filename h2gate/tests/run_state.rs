//! State outlives the process, and its memory must not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod run_support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use run_support::{Folder, config, get, nobody, shows};
use rustix::process::Signal;

const ACME: &str = "
  - name: ordered
    domains: [a.example.com]
    acme: { directory: \"https://127.0.0.1:9/dir\", accept_terms: true }
routes:";

fn in_place_of_state(text: &str) -> String {
    config(nobody()).replace("state_dir: \"$DIR/state\"", text)
}

#[test]
fn what_served_is_there_again_when_its_source_is_gone() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    let mut program = folder.run(&[]);
    let (_, _, admin) = program.started();
    shows(admin, "/certificates", |_, body| body.contains("localhost"));
    let state = fs::metadata(folder.path("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o7777, 0o700);
    program.signal(Signal::TERM);
    assert_eq!(program.ends().code(), Some(0));

    fs::remove_file(folder.path("chain.pem")).unwrap();
    fs::remove_file(folder.path("key.pem")).unwrap();
    let mut program = folder.run(&[]);
    let (_, _, admin) = program.started();
    shows(admin, "/ready", |status, _| status == 200);
    shows(admin, "/certificates", |_, body| body.contains("localhost"));
}

#[test]
fn without_a_place_for_state_files_serve_all_the_same_and_one_line_says_so() {
    let folder = Folder::new();
    folder.config(&in_place_of_state("state_dir: \"$DIR/key.pem\""));
    let mut program = folder.run(&[]);
    let warning = program.says(&["WARN", "nothing is kept"]);
    assert!(warning.contains("key.pem"), "{warning}");
    let (_, _, admin) = program.started();
    shows(admin, "/ready", |status, _| status == 200);
    program.signal(Signal::TERM);
    assert_eq!(program.ends().code(), Some(0));
    assert_eq!(program.all_it_said().matches("nothing is kept").count(), 1);
}

#[test]
fn orders_need_a_place_for_state() {
    let folder = Folder::new();
    let text = in_place_of_state("state_dir: \"$DIR/key.pem\"").replace("\nroutes:", ACME);
    folder.config(&text);
    let mut program = folder.run(&[]);
    assert_eq!(program.ends().code(), Some(1));
    let said = program.all_it_said();
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("ACME certificates need a state directory") && last.contains("key.pem"),
        "{said}"
    );
}

#[test]
fn another_state_directory_waits_for_the_next_start() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    let mut program = folder.run(&[]);
    let (_, _, admin) = program.started();
    folder.config(&in_place_of_state(
        "state_dir: \"$DIR/another\"\ncore_dumps: true\nlimits: { max_orders: 2 }",
    ));
    program.signal(Signal::HUP);
    program.says(&["next start", "state_dir"]);
    program.says(&["next start", "core_dumps"]);
    program.says(&["next start", "limits.max_orders"]);
    let in_force = get(admin, "/config").1;
    let kept = folder.path("state").display().to_string();
    assert!(
        in_force.contains(&kept) && !in_force.contains("/another"),
        "{in_force}"
    );
    assert!(!folder.path("another").exists());
}

#[test]
fn a_crash_writes_no_memory_to_disk_unless_that_is_asked_for() {
    for asked_for in [false, true] {
        let folder = Folder::new();
        folder.config(&in_place_of_state(&format!(
            "state_dir: none\ncore_dumps: {asked_for}"
        )));
        let mut program = folder.run_as_nobody();
        let (_, _, admin) = program.started();
        let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        let hard = line.split_whitespace().rev().nth(1);
        assert!(asked_for || hard == Some("0"), "{line}");
        // proc(5): the files of a process that is not dumpable belong to root.
        let memory = format!("/proc/{}/mem", program.id());
        let owner = fs::metadata(memory).unwrap().uid();
        assert_eq!(owner == 0, !asked_for, "owner {owner}");
        // Its own figures are not hidden from itself.
        let metrics = get(admin, "/metrics").1;
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name));
            let value = value.unwrap_or_else(|| panic!("no {name}in {metrics}"));
            assert!(value.parse::<f64>().unwrap() > 0.0, "{name}{value}");
        }
    }
}
