//! RPCs for which too much is kept: their clients, the access log and the metrics are told which limit it was.

use std::io::Write;
use std::path::PathBuf;

use gateway::settings::Settings;

use crate::sent_away::{Open, request_on};
use crate::support::{TestGateway, eventually, tls};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// A gateway with a log, and one backend that answers nothing and takes 65,535 octets.
struct Scene {
    gateway: TestGateway,
    log: PathBuf,
}

impl Scene {
    fn set(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let log = std::env::temp_dir().join(format!("h2gate-{name}-{}.log", std::process::id()));
        let mut gateway = TestGateway::with_access_log(tls(), &log);
        gateway.serve_by_backend();
        gateway.reload(change);
        Self { gateway, log }
    }

    /// The log has a line with all of this.
    fn tells(&self, parts: &[&str]) {
        eventually("a line of the RPC", || {
            let text = std::fs::read_to_string(&self.log).ok()?;
            let all = |line: &str| parts.iter().all(|part| line.contains(part));
            text.lines().any(all).then_some(())
        });
    }

    fn reached(&self, limit: &str) -> bool {
        let limits = self.gateway.totals().limits;
        limits.iter().any(|(name, count)| *name == limit && *count > 0)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The first answer, which is whole.
fn answer(open: &mut Open) -> Vec<u8> {
    loop {
        match open.next().expect("an answer") {
            (HEADERS, flags, block) => {
                assert_eq!(flags & END_STREAM, END_STREAM);
                return block;
            }
            (RST_STREAM, _, code) => panic!("a reset without words: {code:?}"),
            (6, 0, payload) => {
                open.0
                    .write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat())
                    .unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn who_gives_way_for_memory_is_told_so() {
    let scene = Scene::set("process-memory", |settings| {
        settings.limits.process_memory = 256 << 10;
    });
    let mut open = Open::anyone(&scene.gateway);
    for number in 0..60 {
        let stream = 2 * number + 1;
        let mut request = request_on(stream);
        // The body goes on: its end would be the flag of this octet.
        request[4] = 4;
        open.0.write_all(&request).unwrap();
        // Kept for a second attempt, and beside that in the output and the queues.
        open.0.write_all(&data(stream, 8_000)).unwrap();
    }
    let _ = answer(&mut open);
    assert!(scene.reached("process_memory"));
    scene.tells(&[
        r#""reason":"limit""#,
        r#""detail":"process_memory""#,
        r#""grpc_status_name":"RESOURCE_EXHAUSTED""#,
    ]);
}

#[test]
fn who_waits_for_a_backend_that_has_too_much_waiting_is_told_so() {
    let scene = Scene::set("max-queued", |settings| {
        settings.limits.backend.max_queued = 30_000;
    });
    let mut open = Open::anyone(&scene.gateway);
    for stream in [1, 3] {
        let mut request = request_on(stream);
        request[4] = 4;
        open.0.write_all(&request).unwrap();
        for _ in 0..4 {
            open.0.write_all(&data(stream, 16_000)).unwrap();
        }
    }
    let _ = answer(&mut open);
    assert!(scene.reached("max_queued"));
    scene.tells(&[
        r#""reason":"limit""#,
        r#""detail":"max_queued""#,
        r#""grpc_status_name":"RESOURCE_EXHAUSTED""#,
    ]);
}

fn data(stream: u32, octets: usize) -> Vec<u8> {
    let length = u32::try_from(octets).unwrap().to_be_bytes();
    let head = [&length[1..], &[DATA, 0], &stream.to_be_bytes()].concat();
    [head, vec![0; octets]].concat()
}
