//! `h2gate run` where the system is tight.

mod run_support;

use std::net::TcpStream;

use run_support::{Folder, config, get, nobody, shows};
use rustix::process::Signal;

#[test]
fn clients_cannot_take_the_descriptors_of_probes() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    let mut program = folder.run_with_open_files(300);
    program.says(&["WARN", "max_connections is lowered", "fitting=", "open_files=300"]);
    let (plain, _, admin) = program.started();
    let held: Vec<_> = (0..400).map(|_| TcpStream::connect(plain)).collect();
    for _ in 0..20 {
        assert_eq!(get(admin, "/live").0, 200);
    }
    drop(held);
    program.signal(Signal::TERM);
    assert_eq!(program.ends().code(), Some(0));
}

#[test]
fn the_admin_port_answers_again_after_it_ran_out_of_descriptors() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    // It needs about 40 itself, and the admin port takes up to 64 connections.
    let mut program = folder.run_with_open_files(64);
    let (_, _, admin) = program.started();
    let held: Vec<_> = (0..64).map(|_| TcpStream::connect(admin).unwrap()).collect();
    program.says(&["WARN", "admin: cannot accept"]);
    drop(held);
    assert_eq!(get(admin, "/live").0, 200);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = Folder::new();
    folder.config(&config(nobody()));
    let mut program = folder.run(&[]);
    let (_, _, admin) = program.started();
    program.is_read_no_more();
    // Each refused reload reports all of these, some 40 kB; a pipe holds 64 KiB.
    let unknown: String = (0..900).map(|number| format!("key{number}: 1\n")).collect();
    folder.config(&unknown);
    for refused in 1..=6 {
        program.signal(Signal::HUP);
        let counted = format!("{{result=\"refused\"}} {refused}\n");
        shows(admin, "/metrics", |_, page| page.contains(&counted));
    }
    assert_eq!(get(admin, "/ready").0, 200);
    program.signal(Signal::TERM);
    assert_eq!(program.ends().code(), Some(0));
}
