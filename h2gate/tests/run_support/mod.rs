//! The program as a process of its own, with a folder for its files.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything that does happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A folder with a configuration and a certificate; nothing runs yet.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// With a self-signed pair in it.
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path("chain.pem"), pair.cert.pem()).unwrap();
        fs::write(folder.path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a configuration in place; `$DIR` stands for the folder.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let path = self.path("h2gate.yaml");
        fs::write(&path, text.replace("$DIR", self.0.path().to_str().unwrap())).unwrap();
        path
    }

    /// Moves a configuration into place.
    pub(crate) fn move_config(&self, text: &str) {
        let new = self.path("new.yaml");
        fs::write(&new, text.replace("$DIR", self.0.path().to_str().unwrap())).unwrap();
        fs::rename(new, self.path("h2gate.yaml")).unwrap();
    }

    /// Puts a pair in place of the one that is there, each file by a rename.
    pub(crate) fn put_pair(&self, chain: &str, key: &str) {
        for (name, text) in [("chain.pem", chain), ("key.pem", key)] {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    /// Starts the program.
    pub(crate) fn run(&self, environment: &[(&str, &str)]) -> Program {
        self.start(Command::new(env!("CARGO_BIN_EXE_h2gate")), environment)
    }

    /// Starts the program with at most this many open files.
    pub(crate) fn run_with_open_files(&self, limit: usize) -> Program {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_h2gate"));
        self.start(command, &[])
    }

    /// Starts the program as a user that is not root, by whatever user the test runs.
    pub(crate) fn run_as_nobody(&self) -> Program {
        if !rustix::process::geteuid().is_root() {
            return self.run(&[]);
        }
        const NOBODY: u32 = 65_534;
        // Nobody may look into the folders of root: the program comes along.
        let program = self.path("h2gate");
        fs::copy(env!("CARGO_BIN_EXE_h2gate"), &program).unwrap();
        for path in [self.0.path().to_owned(), program.clone()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY);
        self.start(command, &[])
    }

    fn start(&self, mut command: Command, environment: &[(&str, &str)]) -> Program {
        command
            .arg("run")
            .arg("-c")
            .arg(self.path("h2gate.yaml"))
            .env_remove("H2GATE_LOG");
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = sync_channel(10_000);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let deaf = Arc::new(AtomicBool::new(false));
        let is_deaf = deaf.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                while is_deaf.load(Ordering::Relaxed) {
                    std::thread::park();
                }
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            child,
            lines,
            seen: Vec::new(),
            deaf,
        }
    }
}

/// One listener without TLS, one with, and one route to a backend.
pub(crate) fn config(backend: SocketAddr) -> String {
    format!(
        r#"
listeners:
  - name: plain
    address: "127.0.0.1:0"
  - name: secure
    address: "127.0.0.1:0"
    tls: {{ certificates: [local] }}
certificates:
  - name: local
    files: {{ chain: "$DIR/chain.pem", key: "$DIR/key.pem" }}
routes:
  - match: {{ service: grpc.health.v1.Health }}
    backend: one
backends:
  - name: one
    endpoints: ["{backend}"]
admin: {{ address: "127.0.0.1:0" }}
state_dir: "$DIR/state"
"#
    )
}

/// Nobody listens there.
pub(crate) fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// The program at work; killed if the test ends before it does.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    deaf: Arc<AtomicBool>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// The first line of the log, from here on, that holds all of these words.
    pub(crate) fn says(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("never said {words:?}; it said:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    /// The address that it listens on, from its line in the log.
    pub(crate) fn address(&mut self, words: &[&str]) -> SocketAddr {
        let line = self.says(words);
        line.split("address=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Once it has started: the addresses of `plain`, `secure` and the admin interface.
    pub(crate) fn started(&mut self) -> (SocketAddr, SocketAddr, SocketAddr) {
        let (plain, secure) = (
            self.address(&["listening", "plain"]),
            self.address(&["listening", "secure"]),
        );
        (plain, secure, self.address(&["admin interface"]))
    }

    /// From here on its log stays in the pipe, and nobody closes that.
    pub(crate) fn is_read_no_more(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.seen.extend(self.lines.try_iter());
        panic!("it did not end; it said:\n{}", self.seen.join("\n"));
    }

    /// Everything it said on standard error until its end.
    pub(crate) fn all_it_said(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.join("\n")
    }

    /// Everything it wrote to standard output until its end.
    pub(crate) fn all_it_wrote(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

/// The program at work, once it is ready.
pub(crate) struct Running {
    pub(crate) folder: Folder,
    pub(crate) program: Program,
    /// The listener without TLS.
    pub(crate) plain: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Running {
    /// With this configuration, which has the listeners of [`config`].
    pub(crate) fn start(folder: Folder, text: &str) -> Self {
        folder.config(text);
        let mut program = folder.run(&[]);
        let (plain, _, admin) = program.started();
        shows(admin, "/ready", |status, _| status == 200);
        Self {
            folder,
            program,
            plain,
            admin,
        }
    }
}

/// Status and body of a GET on the admin port.
pub(crate) fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until a page says something.
pub(crate) fn shows(admin: SocketAddr, path: &str, wanted: impl Fn(u16, &str) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let (status, body) = get(admin, path);
        if wanted(status, &body) {
            return;
        }
        assert!(Instant::now() < deadline, "{path} still says {status}\n{body}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a file is there and has these words.
pub(crate) fn holds(path: &Path, wanted: &str) {
    let deadline = Instant::now() + SOON;
    while !fs::read_to_string(path).is_ok_and(|text| text.contains(wanted)) {
        assert!(
            Instant::now() < deadline,
            "{} never held {wanted:?}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
