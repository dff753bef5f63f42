use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn state() -> (TempDir, Disk) {
    let directory = TempDir::new().unwrap();
    crate::State::open(directory.path()).unwrap();
    let disk = Disk::new(directory.path());
    (directory, disk)
}

#[tokio::test]
async fn a_document_is_what_was_written_last_and_only_we_may_read_it() {
    let (directory, disk) = state();
    let document = Document::Certificate("api".to_owned());
    assert_eq!(disk.read(&document).await, Ok(None));
    disk.write(&document, b"one").await.unwrap();
    disk.write(&document, b"two").await.unwrap();
    assert_eq!(disk.read(&document).await.unwrap().unwrap().as_slice(), b"two");
    let path = directory.path().join("certificates/api.json");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    disk.remove(&document).await.unwrap();
    disk.remove(&document).await.unwrap();
    assert_eq!(disk.read(&document).await, Ok(None));
    let left = fs::read_dir(directory.path().join("certificates"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no temporary file stays");
}

#[tokio::test]
async fn a_trust_bundle_and_a_certificate_of_one_name_are_two_documents() {
    let (directory, disk) = state();
    let [certificate, trust] =
        [Document::Certificate, Document::Trust].map(|document| document("api".to_owned()));
    disk.write(&certificate, b"pair").await.unwrap();
    disk.write(&trust, b"bundle").await.unwrap();
    assert_eq!(
        disk.read(&certificate).await.unwrap().unwrap().as_slice(),
        b"pair"
    );
    assert_eq!(disk.read(&trust).await.unwrap().unwrap().as_slice(), b"bundle");
    assert!(directory.path().join("trust/api.json").exists());
}

#[test]
fn every_name_has_a_file_of_its_own_inside_the_directory() {
    let long = "x".repeat(400);
    let names = [
        "api",
        "API",
        "a/b",
        "a%2Fb",
        "..",
        ".",
        "",
        ".new-1",
        "api+rsa-2048",
        "å",
        "a\0b",
        "~",
        "a b",
        "https://ca.test/dir",
        &long,
        &format!("{long}y"),
    ];
    let files: HashSet<String> = names.iter().map(|name| file_name(name)).collect();
    assert_eq!(files.len(), names.len());
    for file in files {
        let file = format!("{file}.json");
        assert!(
            file.len() < 200 && !file.contains('/') && !file.starts_with(TEMPORARY_PREFIX),
            "{file}"
        );
        assert!(file != "." && file != "..", "{file}");
    }
}

#[test]
fn what_a_crash_left_is_removed_and_what_another_process_writes_is_not() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path(".new-crashed"), "half").unwrap();
    let living = File::create(path(".new-living")).unwrap();
    living.try_lock().unwrap();
    fs::write(path("api.json"), "whole").unwrap();
    remove_leftovers(directory.path()).unwrap();
    assert!(!path(".new-crashed").exists());
    assert!(path(".new-living").exists() && path("api.json").exists());
}

#[test]
fn a_write_goes_on_when_another_process_has_looked_whether_its_file_is_a_leftover() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("api.json");
    let new = NamedTempFile::new_in(directory.path()).unwrap();
    let other = new.reopen().unwrap();
    other.try_lock().unwrap();
    let looking = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(other);
    });
    put(new, &path, b"whole").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"whole");
    looking.join().unwrap();
}

#[tokio::test]
async fn a_write_that_fails_says_where_and_leaves_the_old_one() {
    let (directory, disk) = state();
    let document = Document::Order("api".to_owned());
    // A directory in the file's place: the rename fails, also for root.
    fs::create_dir(directory.path().join("orders/api.json")).unwrap();
    let error = disk.write(&document, b"new").await.unwrap_err();
    assert!(error.place.ends_with("orders/api.json"), "{error}");
    let left = fs::read_dir(directory.path().join("orders")).unwrap().count();
    assert_eq!(left, 1, "and no half file beside it");
}

#[test]
fn a_files_name_tells_the_certificates_unless_it_was_cut() {
    for name in [
        "api",
        "api+rsa-2048",
        "gate/way",
        "..",
        "a b",
        "größe",
        "100%",
        "%41",
    ] {
        assert_eq!(name_of(&file_name(name)).as_deref(), Some(name));
    }
    assert_eq!(name_of(&file_name(&"long".repeat(40))), None);
    for foreign in ["a b", "%4", "%zz", "%61", "a~b"] {
        assert_eq!(name_of(foreign), None, "{foreign}");
    }
}

#[tokio::test]
async fn a_directory_that_takes_no_file_is_named_and_the_temporary_file_is_not() {
    let directory = TempDir::new().unwrap();
    let disk = Disk::new(&directory.path().join("gone"));
    let document = Document::Certificate("api".to_owned());
    let error = disk.write(&document, b"{}").await.unwrap_err();
    let place = directory.path().join("gone/certificates");
    assert!(
        error
            .text
            .contains(&format!("no file can be made in {}", place.display())),
        "{error}"
    );
    assert!(!error.text.contains(TEMPORARY_PREFIX), "{error}");
}

/// The outcome of a call that has begun when its deadline passes.
async fn given_up<T>(call: impl Future<Output = T>) -> T {
    let deadline = async { tokio::time::advance(2 * STATE_DEADLINE).await };
    tokio::join!(call, deadline).0
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_given_up_and_never_puts_the_older_over_the_newer() {
    let (_directory, disk) = state();
    let document = Document::Order("a".to_owned());
    let (release, hanging) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = std::sync::mpsc::channel();
    let held = Arc::new(());
    let left = Arc::downgrade(&held);
    let hangs = disk.run(&document, move |path| {
        let _held = held;
        begins.send(()).unwrap();
        let _ = hanging.recv();
        replace(path, b"1")
    });
    let deadline = async {
        begun.recv().unwrap();
        tokio::time::advance(2 * STATE_DEADLINE).await;
    };
    let error = tokio::join!(hangs, deadline).0.unwrap_err();
    assert!(error.text.contains("no answer within 10 s"), "{error}");
    // The first write is still in progress: nothing is read or written beside it, but other documents are.
    let other = Document::Order("b".to_owned());
    assert_eq!(disk.read(&other).await, Ok(None));
    given_up(disk.read(&document)).await.unwrap_err();
    given_up(disk.write(&document, b"2")).await.unwrap_err();
    assert!(left.upgrade().is_some());
    drop(release);
    disk.write(&document, b"3").await.unwrap();
    assert!(left.upgrade().is_none());
    assert_eq!(disk.read(&document).await.unwrap().unwrap().as_slice(), b"3");
}
