//! The command line, as clap sees it. Each command gets its arguments parsed and typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{config, version};

mod admin_address;

pub use admin_address::AdminAddress;

// Macros and not constants: `concat!` takes literals only, and clap here takes `&'static str` only.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  it worked; for `run`, a clean drain
  1  it failed: a mistake in the configuration, an address in use, a failed RPC in the demo, a
     refused or failed command of `certs`, a plan that breaks a CA's limit
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
  h2gate certs list                    what serves, until when, and what happens next
  h2gate schema > h2gate.schema.json   completion and checks in an editor"
    };
}

macro_rules! certs_examples {
    () => {
        "\
Examples:
  h2gate certs list                       what serves, until when, and what happens next
  h2gate certs show api                   with earlier versions, and the last error
  h2gate certs renew api --wait           follow it to its end
  h2gate certs rollback api --to 1f0c2a   the beginning of a fingerprint is enough
  h2gate certs plan --for 90d             orders to come, and the limits of the CAs
  h2gate certs -o json list -c FILE       for programs; the address of FILE's `admin`

What changes something is done only for callers on a loopback address of the gateway."
    };
}

/// The meaning of each exit code; shown by `--help`.
pub const EXIT_CODES: &str = exit_codes!();

const EXAMPLES: &str = examples!();

/// A gRPC gateway with certificate lifecycle management built in.
///
/// It ends TLS with ALPN h2 behind an L4 load balancer, routes every RPC to gRPC backends over
/// HTTP/2, and swaps certificates without touching a connection.
#[derive(Debug, Parser)]
#[command(
    name = "h2gate",
    version = version::SHORT,
    long_version = version::LONG,
    after_help = EXAMPLES,
    after_long_help = concat!(
        examples!(),
        "\n\n",
        exit_codes!(),
        "\n\nEvery key with its default: examples/full.yaml and docs/configuration.md"
    ),
    subcommand_required = true,
    arg_required_else_help = true,
)]
pub struct Cli {
    /// The command.
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
    /// Look at the certificates of a running h2gate, and act on them
    #[command(after_long_help = concat!(certs_examples!(), "\n\n", exit_codes!()))]
    Certs(CertsArguments),
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
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// Arguments of `h2gate certs`.
#[derive(Debug, Clone, Args)]
pub struct CertsArguments {
    /// Admin address of the running h2gate [env: H2GATE_ADMIN=] [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", global = true)]
    pub admin: Option<AdminAddress>,
    /// Take the admin address from this configuration file [env: H2GATE_CONFIG=]
    #[arg(short, long, value_name = "FILE", global = true, conflicts_with = "admin")]
    pub config: Option<PathBuf>,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t = Output::Text, global = true)]
    pub output: Output,
    /// The command.
    #[command(subcommand)]
    pub command: CertsCommand,
}

/// The commands for the certificates of a running h2gate.
#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// One line for each certificate: what serves, until when, what happens next
    List,
    /// Everything about one certificate
    Show {
        /// Its name in the configuration
        name: String,
    },
    /// Read the source now, or order from the CA now
    Renew {
        /// Name in the configuration
        name: String,
        /// Wait until it has ended, and print each step
        #[arg(long)]
        wait: bool,
        /// With --wait: give up watching after this long; the renewal itself goes on
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = config::duration)]
        timeout: Duration,
    },
    /// Serve an earlier version again; what serves now is excluded
    Rollback {
        /// Name in the configuration
        name: String,
        /// The fingerprint to serve, or its beginning; without it: the one that served before
        #[arg(long, value_name = "GENERATION", value_parser = NonEmptyStringValueParser::new())]
        to: Option<String>,
    },
    /// Replace a certificate that came by ACME, then revoke the old one at its CA
    Revoke {
        /// Name in the configuration
        name: String,
        /// Why, for the CA
        #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
        reason: Reason,
        /// Do not ask whether it is meant
        #[arg(short, long)]
        yes: bool,
    },
    /// Replace the key of the account at the CA that a certificate is ordered from
    RollAccountKey {
        /// Name of the certificate in the configuration
        name: String,
    },
    /// Show which orders are due over the next year, and if the CAs allow them; orders nothing
    Plan {
        /// Time to look ahead, such as 90d
        #[arg(long = "for", value_name = "DURATION", default_value = "365d", value_parser = config::duration)]
        horizon: Duration,
    },
}

/// Why a certificate is revoked (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    /// No reason given
    Unspecified,
    /// The key is in other hands
    KeyCompromise,
    /// It names what is not ours any more
    AffiliationChanged,
    /// Another one has taken its place
    Superseded,
    /// The service is gone
    CessationOfOperation,
}

/// The format of a result.
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
    /// Time between two new certificates
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::duration)]
    pub rotate_every: Duration,
    /// No live line, only the summary
    #[arg(short, long)]
    pub quiet: bool,
}
