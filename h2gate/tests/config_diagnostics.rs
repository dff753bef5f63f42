//! The messages about mistakes in a configuration: `config_diagnostics/NAME.yaml` is the file, `NAME.txt` the messages.
//! `UPDATE_DIAGNOSTICS=1` writes the messages; read them before they are kept.

use std::path::Path;

use h2gate::config;

#[test]
fn mistakes_are_reported_with_place_and_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_diagnostics");
    let mut cases = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(cases.len() >= 12, "the cases are not where they are expected");
    let mut wrong = String::new();
    for case in cases {
        let text = std::fs::read_to_string(&case).unwrap();
        let found = match config::parse(Path::new(case.file_name().unwrap()), &text) {
            Ok(resolved) => resolved.warnings,
            Err(found) => found,
        };
        assert!(!found.is_empty(), "{} has no mistake", case.display());
        let reported = format!("{found}{}\n", found.count());
        let words = case.with_extension("txt");
        if std::env::var_os("UPDATE_DIAGNOSTICS").is_some() {
            std::fs::write(&words, &reported).unwrap();
        }
        let expected = std::fs::read_to_string(&words).unwrap_or_default();
        if reported != expected {
            wrong.push_str(&format!("--- expected\n{expected}--- reported\n{reported}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
