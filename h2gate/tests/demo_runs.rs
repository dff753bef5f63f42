//! The demo as a person runs it: the program in a process of its own, the real gateway inside.
#![cfg(test)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h2gate"));
    command
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", temporary)
        .env_remove("H2GATE_LOG");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status)
}

/// Waits for the end of a program that should end by itself; kills it if it does not.
fn within(limit: Duration, mut child: Child) -> Output {
    let began_at = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began_at.elapsed() > limit {
            child.kill().unwrap();
            panic!(
                "still running after {limit:?}\n{}",
                text(&child.wait_with_output().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// The figure in front of `word` in the line that begins with `start`.
fn figure(output: &str, start: &str, word: &str) -> u64 {
    let line = output
        .lines()
        .find(|line| line.trim_start().starts_with(start))
        .unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let at = words.iter().position(|found| found.starts_with(word)).unwrap();
    words[at - 1].parse().unwrap()
}

#[test]
fn five_seconds_with_rotations_end_without_a_failure() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = [
        "--for",
        "5s",
        "--rotate-every",
        "1s",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    let child = demo(temporary.path(), &arguments).spawn().unwrap();
    let output = within(Duration::from_secs(60), child);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    let out = String::from_utf8(output.stdout.clone()).unwrap();
    let (_instructions, out) = out.split_once("h2gate demo ran for").unwrap();
    assert!(out.contains("Result: good."), "{}", text(&output));
    assert!(figure(out, "certificates", "written") >= 4, "{}", text(&output));
    assert!(figure(out, "certificates", "rotation") >= 2, "{}", text(&output));
    assert_eq!(figure(out, "reconnects", "of"), 0);
    for kind in ["GetFeature", "ListFeatures", "RecordRoute", "RouteChat"] {
        let row = out
            .lines()
            .find(|line| line.trim_start().starts_with(kind))
            .unwrap();
        let columns: Vec<_> = row.split_whitespace().collect();
        assert!(
            columns[1].parse::<u64>().unwrap() > 0 && columns[2] == "0",
            "{row}"
        );
    }
    assert!(
        out.contains("guide-1 ") && out.contains("guide-2 "),
        "both backends answer: {out}"
    );
    assert!(is_empty(temporary.path()), "the temporary folder is removed");
}

#[test]
fn ctrl_c_ends_with_the_summary_and_removes_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut child = demo(temporary.path(), &arguments).spawn().unwrap();
    // The first line of progress: RPCs have been made, so the summary has something to report.
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let line = lines.find(|line| line.contains(" RPCs  ")).unwrap();
    let root = std::fs::read_dir(temporary.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(root.join("h2gate.yaml").exists(), "{line}");

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = within(Duration::from_secs(60), child);
    let rest: Vec<_> = lines.collect();
    assert_eq!(output.status.code(), Some(0), "{rest:?}\n{}", text(&output));
    assert!(text(&output).contains("Result: good."), "{}", text(&output));
    assert!(is_empty(temporary.path()));
}

#[test]
fn an_address_in_use_is_told_with_a_remedy() {
    let temporary = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--admin"] {
        let other = if option == "--listen" {
            "--admin"
        } else {
            "--listen"
        };
        let arguments = ["--for", "1s", option, &address, other, "127.0.0.1:0"];
        let output = within(
            Duration::from_secs(60),
            demo(temporary.path(), &arguments).spawn().unwrap(),
        );
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains(&format!("{address} is in use")) && told.contains(&format!("{option} 127.0.0.1:0")),
            "{told}"
        );
        assert!(is_empty(temporary.path()));
    }
}
