//! `h2gate certs` as a process of its own, against whatever listens at an address.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use certstore::CertBundle;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

/// Long enough for anything that does happen.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `h2gate certs` without a terminal, in an environment without words for it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h2gate"));
    command
        .arg("certs")
        .args(arguments)
        .env_remove("H2GATE_ADMIN")
        .env_remove("H2GATE_CONFIG")
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `h2gate certs` with what listens there.
pub(crate) fn certs(admin: SocketAddr, arguments: &[&str]) -> Ran {
    let mut command = command(&["--admin", &admin.to_string()]);
    command.args(arguments);
    run(command)
}

impl Ran {
    /// The standard output of a command that must have succeeded.
    pub(crate) fn worked(self) -> String {
        assert_eq!((self.code, &*self.err), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// The words of its failure, if it failed with exit code 1.
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(
            !self.err.contains("status:") && !self.err.contains("code:"),
            "{}",
            self.err
        );
        self.err
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// One certificate as `show` has it.
pub(crate) fn shown(admin: SocketAddr, name: &str) -> Value {
    certs(admin, &["-o", "json", "show", name]).json()
}

/// Asks again until it is so.
pub(crate) fn becomes(admin: SocketAddr, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LONG;
    loop {
        let now = shown(admin, name);
        if wanted(&now) {
            return now;
        }
        assert!(Instant::now() < deadline, "it is still {now:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A self-signed pair for `localhost`, valid from 2020 until 2099.
pub(crate) struct TestPair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl TestPair {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 2);
        params.not_after = date_time_ymd(2099, 1, 2);
        let key = KeyPair::generate().unwrap();
        Self {
            chain: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The fingerprint in hex, as programs get it.
    pub(crate) fn fingerprint(&self) -> String {
        let bundle = CertBundle::parse(self.chain.as_bytes(), self.key.as_bytes()).unwrap();
        format!("{:x}", bundle.fingerprint())
    }
}
