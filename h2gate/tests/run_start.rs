//! `h2gate run` from its start to a quiet end.

mod run_support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

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

/// A ClientHello of TLS 1.3 (RFC 8446 §4.1.2) that asks for a name which is none (RFC 6066 §3), of `length` octets.
fn hello_for_no_name(length: usize) -> Vec<u8> {
    let with_length = |octets: &[u8]| {
        let length = u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&length[..], octets].concat()
    };
    let extension = |kind: u16, octets: &[u8]| [&kind.to_be_bytes()[..], &with_length(octets)].concat();
    let name = [&[0][..], &with_length(&b"\x01_".repeat(length / 2))].concat();
    let key_share = [&[0, 29][..], &with_length(&[9; 32])].concat();
    let extensions = [
        extension(0, &with_length(&name)),
        extension(10, &[0, 2, 0, 29]),
        extension(13, &[0, 2, 4, 3]),
        extension(43, &[2, 3, 4]),
        extension(51, &with_length(&key_share)),
    ];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1, 1, 0],
        &with_length(&extensions.concat()),
    ];
    let message = [&[1, 0][..], &with_length(&body.concat())].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

#[test]
fn strangers_cannot_make_libraries_fill_the_log() {
    for (level, lines) in [("info", 0), ("debug", 0), ("info,rustls=warn", 1)] {
        let folder = Folder::new();
        folder.config(&config(nobody()));
        let mut program = folder.run(&[("H2GATE_LOG", level)]);
        let (_, secure, admin) = program.started();
        shows(admin, "/ready", |status, _| status == 200);
        for _ in 0..50 {
            let mut stream = TcpStream::connect(secure).unwrap();
            stream.write_all(&hello_for_no_name(14_000)).unwrap();
            // Until it has an answer, it may not have been read.
            let _ = stream.read(&mut [0; 64]).unwrap();
        }
        program.signal(Signal::TERM);
        program.ends();
        let said = program.all_it_said();
        assert_eq!(said.matches("Illegal SNI").count(), lines, "{level}: {said}");
        assert!(said.lines().all(|line| line.len() <= 4096), "{level}");
    }
}
