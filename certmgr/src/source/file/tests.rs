use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;

fn source(directory: &Path) -> FileSource {
    FileSource {
        chain: directory.join("tls.crt"),
        key: directory.join("tls.key"),
    }
}

#[test]
fn chain_and_key_are_of_one_state_however_fast_the_symlink_is_swapped() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |turn: u32| {
        let new = format!("..{turn}");
        fs::create_dir(path(&new)).unwrap();
        fs::write(path(&new).join("tls.crt"), turn.to_string()).unwrap();
        fs::write(path(&new).join("tls.key"), turn.to_string()).unwrap();
        symlink(&new, path("..tmp")).unwrap();
        fs::rename(path("..tmp"), path("..data")).unwrap();
        let _ = fs::remove_dir_all(path(&format!("..{}", turn.wrapping_sub(1))));
    };
    write(1);
    symlink("..data/tls.crt", path("tls.crt")).unwrap();
    symlink("..data/tls.key", path("tls.key")).unwrap();
    let source = source(directory.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 2..1_000 {
                write(turn);
            }
            done.store(true, Ordering::Release);
        });
        let mut newest = 0;
        while !done.load(Ordering::Acquire) {
            match read(&source) {
                Ok(pair) => {
                    let turn: u32 = std::str::from_utf8(&pair.chain).unwrap().parse().unwrap();
                    assert_eq!(pair.chain, pair.key);
                    assert!(turn >= newest, "{turn} after {newest}");
                    newest = turn;
                }
                Err(error) => assert_eq!(error.reason, Reason::Moving),
            }
        }
    });
    assert_eq!(*read(&source).unwrap().chain, b"999");
}

/// A file of an environment is such a file: the system reports its size as 0.
#[test]
fn what_has_a_size_of_0_is_read_all_the_same() {
    let content = format!("\n-----BEGIN CERTIFICATE-----\n{}", "AAAA".repeat(3_000));
    let mut process = std::process::Command::new("cat")
        .env_clear()
        .env("PEM", &content)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let environ = PathBuf::from(format!("/proc/{}/environ", process.id()));
    let source = FileSource {
        chain: environ.clone(),
        key: environ.clone(),
    };
    let told = [
        fs::metadata(&environ).unwrap().len(),
        read(&source).unwrap().key.len() as u64,
    ];
    let bounded = read_up_to(&source, 1_000);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(told, [0, "PEM=".len() as u64 + content.len() as u64 + 1]);
    assert!(
        matches!(
            bounded.unwrap_err().reason,
            Reason::Remote {
                fault: RemoteFault::TooLarge,
                ..
            }
        ),
        "no more than is allowed"
    );
}

#[test]
fn all_that_a_change_can_happen_to_is_named_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("mount/..1")).unwrap();
    fs::write(root.join("mount/..1/tls.crt"), "").unwrap();
    fs::write(root.join("mount/tls.log"), "").unwrap();
    symlink("..1", root.join("mount/..data")).unwrap();
    symlink("..data/tls.crt", root.join("mount/tls.crt")).unwrap();
    symlink("mount", root.join("link")).unwrap();
    symlink(root.join("loop"), root.join("loop")).unwrap();
    let found = |chain: &str| {
        let source = FileSource {
            chain: root.join(chain),
            key: PathBuf::from("tls.key"),
        };
        let mut found = entries(&source);
        assert!(found.remove(&std::env::current_dir().unwrap().join("tls.key")));
        found
    };
    let paths = |paths: &[&str]| paths.iter().map(|path| root.join(path)).collect::<BTreeSet<_>>();
    let through_links = ["link", "mount/tls.crt", "mount/..data", "mount/..1/tls.crt"];
    assert_eq!(found("link/tls.crt"), paths(&through_links));
    assert_eq!(
        found("link/../mount/./..1/tls.crt"),
        paths(&["link", "mount/..1/tls.crt"])
    );
    assert_eq!(found("gone/tls.crt"), paths(&["gone"]));
    assert_eq!(found("loop/tls.crt"), paths(&["loop"]));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_all_the_time_is_read_ten_times_a_second() {
    let directory = TempDir::new().unwrap();
    let mut reader = FileReader::new(source(directory.path()), 100, Duration::from_secs(2), None);
    let began = Instant::now();
    let mut followed = Vec::new();
    while began.elapsed() < Duration::from_secs(10) {
        reader.changed.notify_one();
        reader.hint().await;
        // The change is read.
        reader.seen_at = None;
        followed.push(began.elapsed());
    }
    assert!(
        followed.len() <= 100 + MAX_SIGNS_AT_ONCE as usize,
        "{}",
        followed.len()
    );
    // A few are followed at once: a chain, its key, and the files after them.
    assert!(followed[29] <= 30 * DEBOUNCE, "{followed:?}");
    sleep(Duration::from_secs(5)).await;
    let again = Instant::now();
    reader.changed.notify_one();
    reader.hint().await;
    assert_eq!(again.elapsed(), DEBOUNCE);
}
