//! `h2gate certs`: the certificates of a running program, over its admin address.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::CertsArguments;

/// Does what the arguments say; tells the exit code.
pub fn certs(arguments: &CertsArguments) -> Result<ExitCode> {
    let _ = arguments;
    Ok(ExitCode::FAILURE)
}
