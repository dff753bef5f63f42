//! The command line, as clap sees it. Each command gets its arguments parsed and typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;

// Macros and not constants: `concat!` takes literals only, and clap here takes `&'static str` only.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  it worked; for `run`, a clean drain
  1  it failed: a mistake in the configuration, an address in use, a failed RPC in the demo
  2  the command line itself was wrong"
    };
}

macro_rules! signals {
    () => {
        "\
Signals:
  SIGTERM, SIGINT  drain, then end; SIGINT during a drain ends at once
  SIGHUP           read the configuration again
  SIGUSR1          open the access log's file again

Environment:
  H2GATE_LOG       level of the log, such as info,gateway=debug; overrides log.level"
    };
}

macro_rules! examples {
    () => {
        "\
Examples:
  h2gate demo                          see it work: TLS, four kinds of RPC, rotating certificates
  h2gate check -c h2gate.yaml          every mistake at once, with line, column and remedy
  h2gate run -c h2gate.yaml            serve; SIGHUP or a moved file reloads, SIGTERM drains
  h2gate schema > h2gate.schema.json   completion and checks in an editor"
    };
}

macro_rules! reference {
    () => {
        "Every key with its default: examples/full.yaml and docs/configuration.md"
    };
}

/// What each exit code means; shown by `--help`.
pub const EXIT_CODES: &str = exit_codes!();

const EXAMPLES: &str = examples!();

/// A gRPC gateway with certificate lifecycle management built in.
///
/// It ends TLS with ALPN h2 behind an L4 load balancer, routes every RPC to gRPC backends over
/// HTTP/2, and swaps certificates without touching a connection.
#[derive(Debug, Parser)]
#[command(
    name = "h2gate",
    version = crate::command::version::SHORT,
    long_version = crate::command::version::LONG,
    after_help = EXAMPLES,
    after_long_help = concat!(examples!(), "\n\n", exit_codes!(), "\n\n", reference!()),
    subcommand_required = true,
    arg_required_else_help = true,
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve what a configuration file describes, until SIGTERM
    #[command(after_long_help = concat!(signals!(), "\n\n", exit_codes!()))]
    Run(RunArguments),
    /// Check a configuration file and its certificates, and change nothing
    #[command(after_long_help = EXIT_CODES)]
    Check(CheckArguments),
    /// Show the gateway at work with backends, clients and certificates of its own
    #[command(after_long_help = EXIT_CODES)]
    Demo(DemoArguments),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print the version, the target and the TLS provider
    Version,
}

/// Arguments of `h2gate run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Configuration file (YAML); watched, and read again on SIGHUP
    #[arg(short, long, value_name = "FILE", env = "H2GATE_CONFIG")]
    pub config: PathBuf,
}

/// Arguments of `h2gate check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Configuration file (YAML)
    #[arg(short, long, value_name = "FILE", env = "H2GATE_CONFIG")]
    pub config: PathBuf,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs: one JSON object
    Json,
}

/// Arguments of `h2gate demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Stop after this long and print a summary; without it the demo runs until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration)]
    pub run_for: Option<Duration>,
    /// Address of the gateway
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Address of the admin interface
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// How often a new certificate is put in place
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::duration)]
    pub rotate_every: Duration,
    /// No live line, only the summary
    #[arg(short, long)]
    pub quiet: bool,
}
