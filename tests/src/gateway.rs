use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Lines;
use crate::{
    Handshake, Metrics, Pair, PairFiles, TestBackend, TestCa, TlsOptions, Trust, eventually, free_port,
    program,
};

const START: Duration = Duration::from_secs(60);

/// A gateway that will be started: its configuration as JSON, which is YAML too.
#[derive(Debug)]
pub struct TestGatewayBuilder {
    config: Value,
    folder: TempDir,
    environment: Vec<(String, String)>,
    under: Vec<String>,
    program: Option<PathBuf>,
}

/// The real program, running.
///
/// Dropped, it gets SIGTERM and, if it has not ended after a moment, SIGKILL. Ask for [`TestGateway::terminate`] where
/// its end matters.
#[derive(Debug)]
pub struct TestGateway {
    child: Child,
    config: Value,
    folder: TempDir,
    environment: Vec<(String, String)>,
    under: Vec<String>,
    program: Option<PathBuf>,
    log: Lines,
    output: Lines,
    address: SocketAddr,
    admin: SocketAddr,
}

impl TestGatewayBuilder {
    /// A TLS listener `public` on 127.0.0.1 with the default certificate of `ca`, a route for everything to `backend`.
    fn new(ca: &TestCa, endpoints: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = PairFiles::plain(&folder.path().join("main"), &ca.pair());
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        let config = json!({
            "listeners": [{
                "name": "public",
                "address": format!("127.0.0.1:{}", free_port()),
                "tls": { "certificates": ["main"] },
            }],
            "certificates": [{ "name": "main", "files": { "chain": files.chain(), "key": files.key() } }],
            "routes": [{ "name": "all", "match": {}, "backend": "guide" }],
            "backends": [{ "name": "guide", "endpoints": endpoints }],
            "admin": { "address": format!("127.0.0.1:{}", free_port()) },
            "state_dir": folder.path().join("state"),
            "workers": 2,
        });
        Self {
            config,
            folder,
            environment: Vec::new(),
            under: Vec::new(),
            program: None,
        }
    }

    /// Sets one value by its JSON pointer: `/listeners/0/tls/min_version`. The parent must be there.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        set(&mut self.config, pointer, value.into());
        self
    }

    /// One value of its configuration.
    pub fn value(&self, pointer: &str) -> &Value {
        self.config.pointer(pointer).expect("in the configuration")
    }

    /// Appends to a list by its JSON pointer.
    pub fn add(mut self, pointer: &str, value: Value) -> Self {
        self.config
            .pointer_mut(pointer)
            .and_then(Value::as_array_mut)
            .expect("a list")
            .push(value);
        self
    }

    /// A second listener, without TLS.
    pub fn plaintext_listener(self) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        self.add("/listeners", json!({ "name": "plain", "address": address }))
    }

    /// Another certificate, served by the first listener after the ones before it.
    pub fn certificate(self, name: &str, pair: &Pair) -> Self {
        let files = PairFiles::plain(&self.folder.path().join(name), pair);
        self.add(
            "/certificates",
            json!({ "name": name, "files": { "chain": files.chain(), "key": files.key() } }),
        )
        .add("/listeners/0/tls/certificates", json!(name))
    }

    /// The first listener's address.
    pub(crate) fn listen(self, port: u16) -> Self {
        self.set("/listeners/0/address", format!("127.0.0.1:{port}"))
    }

    /// One more certificate for the first listener.
    pub fn source(self, certificate: Value) -> Self {
        let name = certificate["name"].clone();
        self.add("/certificates", certificate)
            .add("/listeners/0/tls/certificates", name)
    }

    /// Without the certificate `main`: what is added next is the default.
    pub fn without_main(self) -> Self {
        self.set("/certificates", json!([]))
            .set("/listeners/0/tls/certificates", json!([]))
    }

    /// The folder of its files; gone with the gateway.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started by this command, which becomes the program that its last arguments name.
    /// Twice: the later command inside the earlier.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under.extend(command.iter().map(|&word| word.to_owned()));
        self
    }

    /// Another program than the one under test, as one of an earlier version.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> TestGateway {
        let mut gateway = self.spawn();
        gateway.ready().await;
        gateway
    }

    /// Starts it and does not wait.
    pub fn spawn(self) -> TestGateway {
        let path = self.folder.path().join("h2gate.yaml");
        std::fs::write(&path, text(&self.config)).unwrap();
        let (child, log, output) = launch(&path, &self.environment, &self.under, self.program.as_deref());
        let address = listener_address(&self.config, 0);
        let admin = self.config["admin"]["address"].as_str().unwrap().parse().unwrap();
        TestGateway {
            child,
            config: self.config,
            folder: self.folder,
            environment: self.environment,
            under: self.under,
            program: self.program,
            log,
            output,
            address,
            admin,
        }
    }
}

fn launch(
    config: &Path,
    environment: &[(String, String)],
    under: &[String],
    program: Option<&Path>,
) -> (Child, Lines, Lines) {
    let mut words = under.iter().map(AsRef::<OsStr>::as_ref).collect::<Vec<_>>();
    words.push(program.unwrap_or_else(|| program::h2gate()).as_os_str());
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(["run", "-c"])
        .arg(config)
        // The image sets this too: free memory goes back soon, so that the measured memory is in use.
        .env("MIMALLOC_PURGE_DELAY", "100")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("h2gate starts");
    let (log, output) = (Lines::default(), Lines::default());
    log.clone().follow(child.stderr.take().unwrap());
    output.clone().follow(child.stdout.take().unwrap());
    (child, log, output)
}

impl TestGateway {
    /// A gateway with one TLS listener before one backend.
    pub fn builder(ca: &TestCa, backend: &TestBackend) -> TestGatewayBuilder {
        TestGatewayBuilder::new(ca, &[backend.address()])
    }

    /// Like [`TestGateway::builder`], with these endpoints.
    pub fn before(ca: &TestCa, endpoints: &[SocketAddr]) -> TestGatewayBuilder {
        TestGatewayBuilder::new(ca, endpoints)
    }

    /// The default gateway, ready.
    pub async fn start(ca: &TestCa, backend: &TestBackend) -> Self {
        Self::builder(ca, backend).start().await
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let ready = eventually("the gateway is ready", START, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(Err(status));
            }
            (self.get("/ready").await?.0 == 200).then_some(Ok(()))
        });
        if let Err(status) = ready.await {
            panic!("the gateway did not start: {status}\n{}", self.log());
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The next process has no such variable.
    pub fn forget_environment(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// The next process runs this program; without a path, the one under test.
    pub fn change_program(&mut self, path: Option<&Path>) {
        self.program = path.map(Path::to_owned);
    }

    /// Another process with the same configuration and folder, once the one before has ended. Its log begins anew.
    pub fn spawn_again(&mut self, environment: &[(&str, &str)]) {
        self.kill();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let whole: Vec<_> = self
            .environment
            .iter()
            .cloned()
            .chain(environment.iter().map(own))
            .collect();
        let path = self.folder.path().join("h2gate.yaml");
        (self.child, self.log, self.output) = launch(&path, &whole, &self.under, self.program.as_deref());
    }

    /// Like [`TestGateway::spawn_again`], and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.spawn_again(&[]);
        self.ready().await;
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the listener at this position.
    pub fn listener(&self, position: usize) -> SocketAddr {
        listener_address(&self.config, position)
    }

    /// The address of the admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The paths of the pair of the certificate of this name: chain and key.
    pub fn pair_path(&self, name: &str) -> (PathBuf, PathBuf) {
        let folder = self.folder.path().join(name);
        (folder.join("chain.pem"), folder.join("key.pem"))
    }

    /// Waits until a client that trusts `trust` alone is shown a certificate for `name`; at most this long.
    pub async fn shows(&self, trust: &impl Trust, name: &str, limit: Duration) -> Handshake {
        let options = TlsOptions::name(name);
        let shown = eventually(format!("{name} is served"), limit, async || {
            options.connect(self.address, trust).await.ok()
        });
        shown.await
    }

    /// Waits until a certificate for `name` with a serial number other than `old` is shown; at most this long.
    pub async fn shows_another(
        &self,
        trust: &impl Trust,
        name: &str,
        old: u64,
        limit: Duration,
    ) -> Handshake {
        let options = TlsOptions::name(name);
        let shown = eventually(
            format!("another certificate for {name} is served"),
            limit,
            async || {
                let shaken = options.connect(self.address, trust).await.ok()?;
                (shaken.serial() != old).then_some(shaken)
            },
        );
        shown.await
    }

    /// The log that it has written so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The standard output so far (the access log).
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits until a line of the log holds all of these.
    pub async fn logs(&self, words: &[&str]) -> String {
        self.logs_within(Duration::from_secs(30), words).await
    }

    /// Like [`TestGateway::logs`], waiting for at most `limit`.
    pub async fn logs_within(&self, limit: Duration, words: &[&str]) -> String {
        let what = format!("the log says {words:?}");
        eventually(what, limit, async || self.log.find(words)).await
    }

    /// Number of lines of its log that contain all of these words.
    pub fn log_count(&self, words: &[&str]) -> usize {
        self.log.count(words)
    }

    /// GET from the admin interface: status and body. `None` if it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        crate::metrics::get(self.admin, path).await
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Metrics {
        let (status, page) = self.get("/metrics").await.expect("the admin interface answers");
        assert_eq!(status, 200, "{page}");
        Metrics::parse(&page)
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    /// The most resident memory that it has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    /// Threads now.
    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("a living process has it");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// CPU time used so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // Linux gives these in hundredths of a second on every platform we build for.
        Duration::from_millis(ticks * 10)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Another value for the next [`TestGateway::rewrite`].
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) {
        set(&mut self.config, pointer, value.into());
    }

    /// Changes one value of the configuration file, which is moved into place; nothing is signalled.
    pub fn rewrite(&mut self, pointer: &str, value: impl Into<Value>) {
        self.set(pointer, value);
        self.write_config(&text(&self.config));
    }

    /// Moves this text into the place of the configuration file.
    pub fn write_config(&self, text: &str) {
        let path = self.folder.path().join("h2gate.yaml");
        let aside = path.with_extension("new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }

    /// Writes this text over the configuration file, byte by byte in place.
    pub fn write_config_in_place(&self, text: &str) {
        std::fs::write(self.folder.path().join("h2gate.yaml"), text).unwrap();
    }

    /// The configuration as last written by [`TestGateway::rewrite`].
    pub fn config_text(&self) -> String {
        text(&self.config)
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: nothing runs until [`TestGateway::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the gateway runs");
    }

    /// Waits for its end.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        eventually("the gateway ends", limit, async || child.try_wait().unwrap()).await
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.log.tail(60));
        }
        self.terminate();
        let give_up_at = Instant::now() + Duration::from_millis(300);
        while Instant::now() < give_up_at {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            // A panic ends one connection and the program goes on: no test would see it.
            let log = self.log();
            assert!(!log.contains("this is a bug in h2gate"), "{log}");
        }
    }
}

fn text(config: &Value) -> String {
    serde_json::to_string_pretty(config).unwrap()
}

fn set(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
    let parent = config
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{parent} is in the configuration"));
    match parent {
        Value::Array(list) => {
            let position: usize = key.parse().unwrap();
            list[position] = value;
        }
        _ => parent[key] = value,
    }
}

fn listener_address(config: &Value, position: usize) -> SocketAddr {
    config["listeners"][position]["address"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}
