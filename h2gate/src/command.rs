//! One file per command; each is called by [`crate::main`] with its arguments and tells the exit code.

pub mod certs;
pub mod check;
pub mod demo;
pub mod run;
pub mod schema;
pub mod version;

use crate::remote_text::in_lines;

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
