//! The program h2gate: command line, configuration, admin interface, and the assembly of gateway and
//! certificate manager into one process.
//!
//! It is a library with a thin `main.rs` so that tests drive the same code as the command line.

use std::process::ExitCode;

use clap::Parser as _;

pub mod admin;
pub mod cli;
pub mod command;
pub mod config;
pub mod counters;
pub mod logging;
pub mod process;
mod remote_text;
pub mod run;
mod version;

/// The program's table of contents. Exit codes: [`cli::EXIT_CODES`].
pub fn main() -> ExitCode {
    let done = match cli::Cli::parse().command {
        cli::Command::Run(arguments) => command::run::run(&arguments),
        cli::Command::Check(arguments) => command::check::check(&arguments),
        cli::Command::Demo(arguments) => command::demo::demo(&arguments),
        cli::Command::Certs(arguments) => command::certs::certs(&arguments),
        cli::Command::Schema => command::schema(),
        cli::Command::Version => command::version(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{}", remote_text::in_lines(&format!("h2gate: {error:#}")));
        ExitCode::FAILURE
    })
}
