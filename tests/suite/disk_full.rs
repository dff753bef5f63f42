//! The state directory is full, read-only or broken: serving goes on, old state stays as it was, nothing half-written
//! is left, and no certificate is ordered whose key could not be kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::{
    Fault, Load, PairFiles, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TestPebble, TlsOptions,
    eventually, run_tool,
};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(15);

/// A gateway whose state is on a file system of its own, 64 KiB large, seen by nobody else.
async fn on_a_small_disk(builder: TestGatewayBuilder) -> (TestGateway, PathBuf) {
    let state = builder.folder().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 none {} && exec \"$@\"",
        state.display()
    );
    let gateway = builder
        .under(&["unshare", "--mount", "sh", "-c", &script, "sh"])
        .start()
        .await;
    let seen = PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), state.display()));
    (gateway, seen)
}

/// Everything in the directory, byte for byte.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_none_or(|name| name != FILLER)
                && let Ok(bytes) = std::fs::read(&path)
            {
                // A file that is gone by now was a new one that could not be completed.
                found.insert(path, bytes);
            }
        }
    }
    found
}

const FILLER: &str = "filler";

/// Takes every block that is left.
fn fill(state: &Path) {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(state.join(FILLER)).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
}

/// A fault of the disk, to be set and removed.
enum Ailment {
    Full,
    ReadOnly,
    InputOutputError(Option<Child>),
}

impl Ailment {
    async fn begin(&mut self, gateway: &TestGateway, state: &Path) {
        match self {
            Self::Full => fill(state),
            Self::ReadOnly => remount(gateway, "ro").await,
            Self::InputOutputError(strace) => {
                let pid = gateway.pid().to_string();
                let arguments = ["-f", "-qq", "-p", &pid, "-e", "trace=fsync,fdatasync", "-e"];
                let mut child = Command::new("strace")
                    .args(arguments)
                    .arg("inject=fsync,fdatasync:error=EIO")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .expect("strace is installed");
                eventually("strace has attached", LIMIT, async || {
                    assert!(child.try_wait().unwrap().is_none(), "strace may attach");
                    traced(gateway.pid()).then_some(())
                })
                .await;
                *strace = Some(child);
            }
        }
    }

    async fn end(&mut self, gateway: &TestGateway, state: &Path) {
        match self {
            Self::Full => std::fs::remove_file(state.join(FILLER)).unwrap(),
            Self::ReadOnly => remount(gateway, "rw").await,
            Self::InputOutputError(strace) => {
                strace.take().unwrap().kill().await.unwrap();
                eventually("strace has let go", LIMIT, async || {
                    (!traced(gateway.pid())).then_some(())
                })
                .await;
            }
        }
    }
}

async fn remount(gateway: &TestGateway, how: &str) {
    let (pid, folder) = (gateway.pid().to_string(), gateway.folder().join("state"));
    let how = format!("remount,{how},size=64k");
    let arguments = ["-t", &pid, "-m", "mount", "-o", &how, folder.to_str().unwrap()];
    let ended = run_tool("nsenter", &arguments).await;
    assert!(ended.status.success(), "{ended:?}");
}

/// All of its threads are.
fn traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// A gateway under load with a pair of files, kept on a disk of its own.
struct Scene {
    ca: TestCa,
    _backend: TestBackend,
    files: PairFiles,
    gateway: TestGateway,
    state: PathBuf,
    load: Load,
}

impl Scene {
    async fn start() -> Self {
        let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
        let builder = TestGateway::builder(&ca, &backend);
        let files = PairFiles::plain(&builder.folder().join("main"), &ca.pair());
        let (gateway, state) = on_a_small_disk(builder).await;
        eventually("the first pair is kept", LIMIT, async || {
            state.join(KEPT).exists().then_some(())
        })
        .await;
        let load = Load::start(gateway.address(), &ca, TlsOptions::default()).await;
        Self {
            ca,
            _backend: backend,
            files,
            gateway,
            state,
            load,
        }
    }

    /// A rotation that serves.
    async fn rotates(&self, complains: bool) {
        let next = self.ca.pair();
        self.files.rename(&next);
        if complains {
            self.gateway.logs_within(LIMIT, &["ERROR", "main", "state"]).await;
        }
        eventually("the new pair serves", LIMIT, async || {
            let shown = TlsOptions::default()
                .connect(self.gateway.address(), &self.ca)
                .await;
            (shown.unwrap().serial() == next.serial).then_some(())
        })
        .await;
    }

    async fn is_kept_anew(&self, before: &BTreeMap<PathBuf, Vec<u8>>) {
        let kept = self.state.join(KEPT);
        eventually("the new pair is kept", LIMIT, async || {
            (content(&self.state).get(&kept) != before.get(&kept)).then_some(())
        })
        .await;
    }
}

const KEPT: &str = "certificates/main.json";

/// A rotation while the disk is ill is served, and kept once the disk is well.
async fn serving_goes_on(mut ailment: Ailment) {
    let scene = Scene::start().await;
    let before = content(&scene.state);
    ailment.begin(&scene.gateway, &scene.state).await;
    scene.rotates(true).await;
    // It is tried again and again; what an attempt leaves it takes away.
    eventually(
        "the old state is untouched, and nothing lies beside it",
        LIMIT,
        async || (content(&scene.state) == before).then_some(()),
    )
    .await;
    ailment.end(&scene.gateway, &scene.state).await;
    scene.is_kept_anew(&before).await;
    assert_eq!(content(&scene.state).len(), before.len(), "no half files");
    scene.load.unharmed().await;
}

/// The control: where nothing is wrong with the disk, the same looks see that the state changes.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_well_disk_a_rotation_is_seen_in_the_state() {
    let scene = Scene::start().await;
    let before = content(&scene.state);
    scene.rotates(false).await;
    scene.is_kept_anew(&before).await;
    assert_eq!(scene.gateway.log_count(&["ERROR"]), 0, "{}", scene.gateway.log());
    std::fs::write(scene.state.join("certificates/.half"), "half").unwrap();
    assert_ne!(content(&scene.state).len(), before.len(), "a half file is seen");
    scene.load.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_rotation() {
    serving_goes_on(Ailment::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_stops_no_rotation() {
    serving_goes_on(Ailment::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_stops_no_rotation() {
    serving_goes_on(Ailment::InputOutputError(None)).await;
}

#[tokio::test]
async fn nothing_is_ordered_whose_key_could_not_be_kept() {
    let pebble = TestPebble::start().await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    pebble.proxy.spoil("GET /dir", Fault::Hold);
    let builder = TestGateway::builder(&ca, &backend).acme(&pebble, &["api.example.com"]);
    let (gateway, state) = on_a_small_disk(builder).await;
    fill(&state);
    pebble.proxy.heal();
    gateway.logs_within(LIMIT, &["ERROR", "acme", "state"]).await;
    assert_eq!(pebble.orders(), 0, "{}", pebble.log());

    std::fs::remove_file(state.join(FILLER)).unwrap();
    let roots = pebble.roots().await;
    gateway.shows(&roots, "api.example.com", 4 * LIMIT).await;
    assert_eq!(pebble.orders(), 1);
}
