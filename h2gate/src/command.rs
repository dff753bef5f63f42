//! The commands; each is called by [`crate::main`] with its arguments and returns the exit code. Longer ones have a file
//! of their own.

pub mod certs;
pub mod check;
pub mod demo;
pub mod run;

use std::process::ExitCode;

use crate::remote_text::in_lines;
use crate::{config, version};

/// Prints version, target and TLS provider.
pub fn version() -> anyhow::Result<ExitCode> {
    print(&format!("h2gate {}\n", version::LONG))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the JSON Schema of the configuration file, with which editors complete and check it.
pub fn schema() -> anyhow::Result<ExitCode> {
    print(&format!("{:#}\n", config::schema()))?;
    Ok(ExitCode::SUCCESS)
}

/// `1 order`, `2 orders`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// 0 if it worked, else 1.
fn exit_code(worked: bool) -> ExitCode {
    match worked {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Writes lines to standard output, which may be a terminal: it has nothing to obey. A reader that has seen
/// enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out
        .write_all(in_lines(text).as_bytes())
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
