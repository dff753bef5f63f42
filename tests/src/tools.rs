//! The outside judges that `scripts/install-tools` brings.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::within;

/// Path of an installed tool: `bin/h2spec`, `clients/go`.
pub fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tools = std::env::var_os("H2GATE_TOOLS").map_or_else(|| root.join(".tools"), PathBuf::from);
    let path = tools.join(name);
    assert!(
        path.exists(),
        "{name} is not installed: run scripts/install-tools"
    );
    path
}

/// Runs a program to its end, at most five minutes.
pub async fn run_tool(program: impl AsRef<Path>, arguments: &[&str]) -> Output {
    let program = program.as_ref();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{} starts: {error}", program.display()));
    let ended = within(
        format!("{} ends", program.display()),
        Duration::from_secs(300),
        child.wait_with_output(),
    );
    ended.await.unwrap()
}
