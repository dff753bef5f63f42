use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn refused(directory: &Path) -> String {
    State::open(directory).unwrap_err().to_string()
}

#[test]
fn a_new_directory_is_ours_alone_and_says_its_format() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("deep/state");
    State::open(&directory).unwrap();
    assert_eq!(
        fs::metadata(&directory).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(fs::read_to_string(directory.join("format")).unwrap(), "1\n");
    State::open(&directory).unwrap();
}

#[test]
fn an_older_format_is_brought_up_to_date_and_keeps_what_it_has() {
    let directory = TempDir::new().unwrap();
    State::open(directory.path()).unwrap();
    fs::remove_file(directory.path().join("format")).unwrap();
    fs::write(directory.path().join("certificates/api.json"), "{}").unwrap();
    State::open(directory.path()).unwrap();
    assert_eq!(
        fs::read_to_string(directory.path().join("format")).unwrap(),
        "1\n"
    );
    assert!(directory.path().join("certificates/api.json").exists());
}

#[test]
fn a_directory_from_before_trust_bundles_has_a_place_for_them() {
    let directory = TempDir::new().unwrap();
    State::open(directory.path()).unwrap();
    fs::remove_dir(directory.path().join("trust")).unwrap();
    State::open(directory.path()).unwrap();
    assert!(directory.path().join("trust").is_dir());
}

#[test]
fn a_newer_format_is_refused_with_a_way_out_and_left_alone() {
    let directory = TempDir::new().unwrap();
    State::open(directory.path()).unwrap();
    fs::write(directory.path().join("format"), "2\n").unwrap();
    let text = refused(directory.path());
    assert!(
        text.contains("newer h2gate (format 2; this one knows up to 1)"),
        "{text}"
    );
    assert!(text.contains("`state_dir`"), "{text}");
    assert_eq!(
        fs::read_to_string(directory.path().join("format")).unwrap(),
        "2\n"
    );
    fs::write(directory.path().join("format"), "x").unwrap();
    assert!(refused(directory.path()).contains("holds no number"));
}

#[test]
fn a_format_of_any_size_costs_no_memory() {
    let directory = TempDir::new().unwrap();
    State::open(directory.path()).unwrap();
    let format = directory.path().join("format");
    let padded = |octets: usize| fs::write(&format, format!("{:octets$}", 1)).unwrap();
    padded(32);
    State::open(directory.path()).unwrap();
    padded(33);
    let text = refused(directory.path());
    assert!(text.contains("holds more than a number"), "{text}");
}

#[test]
fn what_others_may_write_to_is_refused() {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("others may write there (mode 777)"), "{text}");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    State::open(directory.path()).unwrap();
    let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "and nobody else may read it");
}

#[test]
fn a_directory_with_other_things_in_it_is_refused() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("passwd"), "").unwrap();
    let text = refused(directory.path());
    assert!(text.contains("passwd"), "{text}");
    assert!(!directory.path().join("format").exists());
    let file = directory.path().join("passwd");
    assert!(refused(&file).contains("state directory"));
}
