//! Prints the facts of the crates of this workspace, or of another one whose folder is the argument: one line for each, and
//! the names and circles below it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use facts::Facts;

/// Crates with code of their own.
const CRATES: [&str; 6] = ["http2", "certstore", "certmgr", "gateway", "h2gate", "demo"];

fn print(root: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<10} {:>7} {:>9} {:>6} {:>9} {:>13} {:>8}",
        "crate", "code", "comments", "docs", "clauses", "shared names", "circles"
    )?;
    for name in CRATES {
        let facts = Facts::of(&root.join(name).join("src"))?;
        let circles: Vec<_> = facts.circles.iter().map(|one| one.len().to_string()).collect();
        let share = 100.0 * facts.clauses as f64 / facts.docs.max(1) as f64;
        writeln!(
            out,
            "{name:<10} {:>7} {:>9} {:>6} {:>7.1} % {:>13} {:>8}",
            facts.code,
            facts.comments,
            facts.docs,
            share,
            facts.shared_names.len(),
            if circles.is_empty() {
                "none".to_owned()
            } else {
                circles.join(", ")
            }
        )?;
        for (shared, count) in &facts.shared_names {
            writeln!(out, "  {count} types are called {shared}")?;
        }
        for circle in &facts.circles {
            let names: Vec<_> = circle.iter().map(String::as_str).collect();
            writeln!(out, "  a circle: {}", names.join(", "))?;
        }
    }
    out.flush()
}

fn main() -> ExitCode {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::args_os().nth(1).map_or_else(own, PathBuf::from);
    match print(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("facts: {error}");
            ExitCode::FAILURE
        }
    }
}
