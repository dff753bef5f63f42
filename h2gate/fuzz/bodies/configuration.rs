//! Any text as a configuration file.

use std::path::Path;

use h2gate::config;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = Path::new("/nowhere/h2gate.yaml");
    match config::parse(file, &text) {
        Ok(resolved) => {
            let effective = resolved.effective().to_string();
            let again = config::parse(file, &effective)
                .unwrap_or_else(|found| panic!("{found}\nin\n{effective}\nof\n{text}"));
            assert_eq!(again.effective(), resolved.effective(), "{text}");
        }
        // Escaped where it is printed.
        Err(found) => assert!(found.errors() > 0 && !found.to_string().is_empty()),
    }
}
