//! The configuration file: text → spanned tree → file values → [`Resolved`], with every mistake reported at
//! once. Running code gets [`gateway::settings::Settings`] and its like, and never sees this module.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::Duration;

use certmgr::{CertificateConfig, TrustConfig};
use gateway::access_log::Destination;
use gateway::settings::Settings;

mod backend;
mod bounds;
mod certificate;
mod cgroup;
mod diagnostic;
mod effective;
mod fields;
mod indentation;
mod keys;
mod listener;
mod names;
mod process;
mod reference;
mod resolve;
mod route;
mod tree;
mod trust;
mod unknown;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Remedy, Severity, Spanned};
pub(crate) use process::{ADMIN_ADDRESS, LOG_PARTS};
pub use reference::{Setting, schema, settings};
use values::{ValueError, ensure, value_error};

/// In place of a directory: nothing is kept.
const NO_STATE: &str = "none";

/// More text than any configuration needs.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration that can run.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The file it came from.
    pub path: PathBuf,
    /// For the data path.
    pub gateway: Settings,
    /// The certificates that listeners name.
    pub certificates: Vec<CertificateConfig>,
    /// Whom clients and certificates must come from.
    pub trust_bundles: Vec<TrustConfig>,
    /// The place where state is kept; `None` keeps nothing, and then there are no ACME certificates.
    pub state_dir: Option<PathBuf>,
    /// The permission for a crash to write the memory, with its keys, to disk.
    pub core_dumps: bool,
    /// Orders at CAs under way at once.
    pub max_orders: usize,
    /// The admin interface.
    pub admin: Admin,
    /// The program's own log.
    pub log: Log,
    /// The place where one line per RPC goes; `None` writes none.
    pub access_log: Option<Destination>,
    /// Warnings: settings that can run, but are probably not meant. Holds the text of the file as well.
    pub warnings: Diagnostics,
    /// The values that were read, defaults included, in the shape of the file.
    effective: serde_json::Value,
}

/// The admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// Names by which it may be asked, beside `localhost` and IP addresses; `*.example.com` for one label or more.
    pub hosts: Vec<String>,
}

/// The program's own log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Filter in the form that `tracing_subscriber::EnvFilter` reads: `info` or `info,gateway=debug`.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The result of reading one file.
#[derive(Debug)]
pub struct Examination {
    /// Errors and warnings, with the text of the file.
    pub found: Diagnostics,
    /// The certificates whose entries could be read, whatever else is wrong, so that their files can be
    /// checked as well.
    pub certificates: Vec<Located<CertificateConfig>>,
    /// The same for trust bundles.
    pub trust_bundles: Vec<Located<TrustConfig>>,
    /// The place where state is kept.
    pub state_dir: Option<Spanned<PathBuf>>,
    /// The file of the access log, if one is named.
    pub access_log: Option<Spanned<PathBuf>>,
    /// The configuration to run, if there was no error.
    pub resolved: Option<Resolved>,
}

impl Examination {
    /// Of a file of which nothing could be read.
    fn of_nothing(found: Diagnostics) -> Self {
        Self {
            found,
            certificates: Vec::new(),
            trust_bundles: Vec::new(),
            state_dir: None,
            access_log: None,
            resolved: None,
        }
    }
}

/// A certificate or a trust bundle, and where the file speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The certificate or trust bundle.
    pub config: T,
    /// Place of its name.
    pub name_place: Place,
    /// The paths that its source names.
    pub paths: Vec<LocatedPath>,
}

/// A path that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedPath {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// The place where it is written.
    pub place: Place,
    /// The purpose of the path.
    pub purpose: PathUse,
}

/// The purpose of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathUse {
    /// The PEM chain of a certificate.
    Chain,
    /// The PEM key of a certificate.
    Key,
    /// CA certificates of an ACME directory.
    CaFile,
    /// A secret and nothing else.
    Secret,
    /// No path: the name of a variable of the environment that holds a secret.
    Variable,
    /// A program that is run.
    Program,
    /// CA certificates of a trust bundle.
    TrustCa,
    /// Revocation lists of a trust bundle.
    TrustCrl,
}

/// Reads, decodes and resolves one file. The certificates that it names are not read.
pub fn load(path: &Path) -> Result<Resolved, Diagnostics> {
    let Examination { found, resolved, .. } = examine(path);
    resolved.ok_or(found)
}

/// Does the same as [`load`] with a text that was read from `path` (relative paths in it begin at its folder).
pub fn parse(path: &Path, text: &str) -> Result<Resolved, Diagnostics> {
    let Examination { found, resolved, .. } = examine_text(path, text);
    resolved.ok_or(found)
}

/// Does the same as [`load`], and keeps the readable parts of a file that cannot run.
pub fn examine(path: &Path) -> Examination {
    let text = read(path).and_then(|bytes| String::from_utf8(bytes).map_err(|error| not_text(&error)));
    match text {
        Ok(text) => examine_text(path, &text),
        Err(ValueError { message, remedy }) => {
            let mut found = Diagnostics::new(path, "");
            found.error(Place::FILE, message, remedy);
            Examination::of_nothing(found)
        }
    }
}

fn examine_text(path: &Path, text: &str) -> Examination {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // YAML 1.2.2 §5.4: a lone carriage return ends a line as well; from here on line feeds alone do.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Diagnostics::new(path, &text);
    match tree::parse(&mut found) {
        Some(root) => resolve::resolve(path, &root, found),
        None => Examination::of_nothing(found),
    }
}

fn not_text(error: &FromUtf8Error) -> ValueError {
    if error.as_bytes().contains(&0) {
        return value_error!("this is no text"; "name the file with the configuration");
    }
    let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
    let line = before.filter(|byte| **byte == b'\n').count() + 1;
    value_error!("line {line} is not UTF-8 text"; "save the file as UTF-8")
}

fn read(path: &Path) -> Result<Vec<u8>, ValueError> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            value_error!("cannot read the file: {error}"; "check the path, or put the file there")
        }
        _ => value_error!("cannot read the file: {error}"),
    };
    // Opening a pipe would wait for its writer.
    ensure!(
        std::fs::metadata(path).map_err(cannot)?.is_file(),
        "cannot read the file: it is not a regular file";
        "write the configuration to a file, and give its path"
    );
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "the file is larger than 1 MiB");
    Ok(bytes)
}

impl Resolved {
    /// The configuration that runs, with every default filled in and secrets redacted; the shape is that of the file.
    pub fn effective(&self) -> serde_json::Value {
        effective::json(self)
    }

    /// Shows in [`Self::effective`] the values that `keys` (`log.format`) have in `running`: they stay in force.
    pub fn keep_effective(&mut self, running: &Self, keys: &[&str]) {
        effective::keep(&mut self.effective, &running.effective, keys);
    }
}

/// Reads a duration such as `10s` or `1h30m`; for the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    values::duration(text).map_err(|error| match error.remedy {
        Some(remedy) => format!("{}: {remedy}", error.message),
        None => error.message,
    })
}
