//! The checks of certificates that ask nobody: files are read and proved; of remote sources,
//! the paths that the file names for them are looked at.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use certmgr::{CertificateConfig, READ_DEADLINE, Source, Summary, within};
use certstore::UnixTime;
use certstore::trust::MAX_TRUST_BYTES;
use rustix::fs::{Access, access};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::date;
use crate::config::{Diagnostics, Located, LocatedPath, PathUse, Place, Spanned};

/// Placeholders of examples, which nobody means as values, in capitals.
const PLACEHOLDERS: [&str; 5] = ["REPLACE-ME", "REPLACE_ME", "CHANGE-ME", "CHANGE_ME", "CHANGEME"];

/// A certificate with less time left than this is worth a word.
const SOON_SECONDS: u64 = 14 * 86_400;

/// A certificate or a trust bundle, and what is known about it.
pub(super) struct Checked<T> {
    pub(super) name: String,
    /// The key of the configuration: `files`, `acme` and so on.
    pub(super) source: &'static str,
    pub(super) state: Condition<T>,
}

/// The condition of a checked certificate or trust bundle.
pub(super) enum Condition<T> {
    /// Read, and it would be used.
    Usable(T),
    /// Read, or not, and refused.
    Unusable,
    /// Its source is elsewhere and was not asked; the words say where.
    NotAsked(String),
}

impl<T> Checked<T> {
    /// The content, if it is usable.
    pub(super) fn contents(&self) -> Option<&T> {
        match &self.state {
            Condition::Usable(contents) => Some(contents),
            Condition::Unusable | Condition::NotAsked(_) => None,
        }
    }

    /// `None`: its source was not asked.
    pub(super) fn is_usable(&self) -> Option<bool> {
        match self.state {
            Condition::Usable(_) => Some(true),
            Condition::Unusable => Some(false),
            Condition::NotAsked(_) => None,
        }
    }
}

/// With `anchors` the chain must lead to one of them. What `state_dir` keeps is what it would take the place of.
pub(super) fn certificate(
    located: &Located<CertificateConfig>,
    anchors: &[CertificateDer<'static>],
    state_dir: Option<&Path>,
    now: UnixTime,
    found: &mut Diagnostics,
) -> Checked<Summary> {
    let one = &located.config;
    paths(&located.paths, found);
    let state = match elsewhere(&one.source) {
        Some(place) => Condition::NotAsked(place),
        None => files(located, anchors, state_dir, now, found).map_or(Condition::Unusable, Condition::Usable),
    };
    Checked {
        name: one.name.clone(),
        source: one.source.kind(),
        state,
    }
}

/// The origin of something that is not on this disk.
pub(super) fn elsewhere(source: &Source) -> Option<String> {
    match source {
        Source::Files(_) => None,
        Source::Acme(acme) => {
            let names = acme.cas.iter().map(|ca| ca.name.as_str());
            let names = names.collect::<Vec<_>>().join(", then ");
            Some(format!("ordered from {names} by {}", acme.challenge.name()))
        }
        Source::S3(s3) => Some(format!("from the S3 bucket {}", s3.bucket)),
        Source::SecretsManager(secret) => Some(format!("from the secret {}", secret.secret)),
    }
}

fn files(
    located: &Located<CertificateConfig>,
    anchors: &[CertificateDer<'static>],
    state_dir: Option<&Path>,
    now: UnixTime,
    found: &mut Diagnostics,
) -> Option<Summary> {
    let (one, place) = (&located.config, located.name_place);
    let summary = match certmgr::check(one, anchors, state_dir, now) {
        Ok(summary) => summary,
        Err(error) => {
            report(&error, located, found);
            report_unreadable_key(&error, located, now, found);
            return None;
        }
    };
    for warning in &summary.warnings {
        found.warning(place, format!("certificate `{}`: {warning}", one.name), None);
    }
    if summary.excluded {
        let message = format!(
            "certificate `{}`: version {} does not serve, for it was rolled back from",
            one.name, summary.fingerprint
        );
        let remedy = format!(
            "put another pair in its place, or `h2gate certs rollback {} --to {}`",
            one.name, summary.fingerprint
        );
        found.warning(place, message, Some(remedy));
    }
    if summary.to_be_revoked {
        let message = format!(
            "certificate `{}`: version {} does not serve, for it is to be revoked, or is",
            one.name, summary.fingerprint
        );
        found.warning(place, message, Some("put another pair in its place".to_owned()));
    }
    let left = summary.not_after.as_secs().saturating_sub(now.as_secs());
    if left < SOON_SECONDS {
        let until = date::date(summary.not_after);
        let message = format!(
            "certificate `{}` is valid only until {until}, {}",
            one.name,
            date::time_left(summary.not_after, now)
        );
        found.warning(place, message, Some("put a newer pair in its place".to_owned()));
    }
    Some(summary)
}

/// The chain is read first; what the key's path leads to is worth a look all the same.
fn report_unreadable_key(
    error: &certmgr::Error,
    located: &Located<CertificateConfig>,
    now: UnixTime,
    found: &mut Diagnostics,
) {
    let Source::Files(files) = &located.config.source else {
        return;
    };
    if error.places != [files.chain.display().to_string()] || files.key == files.chain {
        return;
    }
    let name = located.config.name.clone();
    let alone = CertificateConfig::from_files(name, files.key.clone(), files.key.clone());
    let unreadable = certmgr::check(&alone, &[], None, now)
        .err()
        .filter(certmgr::Error::is_unreadable);
    if let Some(error) = unreadable {
        report(&error, located, found);
    }
}

/// At the path, if one file alone is to blame.
fn report(error: &certmgr::Error, located: &Located<CertificateConfig>, found: &mut Diagnostics) {
    let message = format!(
        "certificate `{}`: {}: {}",
        located.config.name,
        error.places.join(", "),
        error.reason
    );
    let blamed = match error.places.as_slice() {
        [file] => located
            .paths
            .iter()
            .find(|one| one.path.display().to_string() == *file),
        _ => None,
    };
    let place = blamed.map_or(located.name_place, |one| one.place);
    found.error(place, message, Some(error.remedy().to_owned()));
}

/// The paths beside what is read as a whole: pairs, and trust bundles.
fn paths(paths: &[LocatedPath], found: &mut Diagnostics) {
    for one in paths {
        match one.purpose {
            PathUse::Chain | PathUse::TrustCa | PathUse::TrustCrl => {}
            PathUse::Key => private(one, "the private key", found),
            PathUse::CaFile => ca_file(one, found),
            PathUse::Secret => {
                secret(one, found);
                private(one, "the secret", found);
            }
            PathUse::Variable => variable(one, found),
            PathUse::Program => program(one, found),
        }
    }
}

/// All of a file that holds at most [`MAX_TRUST_BYTES`].
pub(super) fn read(one: &LocatedPath, what: &str, found: &mut Diagnostics) -> Option<Vec<u8>> {
    let path = one.path.clone();
    let there = "put the file there, and let the user that h2gate runs as read it";
    let (wrong, remedy) = match within(READ_DEADLINE, move || bounded(&path)) {
        Some(Ok(bytes)) if bytes.len() <= MAX_TRUST_BYTES => return Some(bytes),
        Some(Ok(_)) => (format!("has more than {} MiB", MAX_TRUST_BYTES >> 20), there),
        Some(Err(error)) => (format!("cannot be read: {error}"), there),
        None => (
            format!(
                "cannot be read: the file system gave no answer within {} s",
                READ_DEADLINE.as_secs()
            ),
            "check the file system that the path is on",
        ),
    };
    let message = format!("{what} in {} {wrong}", one.path.display());
    found.error(one.place, message, Some(remedy.to_owned()));
    None
}

/// The content of a file, at most one byte more than is valid. Nothing but a file is opened, for a pipe could block.
fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let limit = u64::try_from(MAX_TRUST_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn ca_file(one: &LocatedPath, found: &mut Diagnostics) {
    let Some(bytes) = read(one, "the CA certificates", found) else {
        return;
    };
    let first = CertificateDer::pem_slice_iter(&bytes).next();
    let wrong = match first {
        Some(Ok(_)) => return,
        Some(Err(error)) => format!("{} is no PEM: {error}", one.path.display()),
        None => format!("{} holds no certificate", one.path.display()),
    };
    let remedy = "write the CA's certificate to it, in PEM".to_owned();
    found.error(one.place, wrong, Some(remedy));
}

/// The secret itself is not read.
fn secret(one: &LocatedPath, found: &mut Diagnostics) {
    let readable = access(&one.path, Access::READ_OK).map_err(std::io::Error::from);
    let wrong = match readable.and_then(|()| std::fs::metadata(&one.path)) {
        Ok(file) if file.is_file() && file.len() > 0 => return,
        Ok(_) => "holds nothing".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let message = format!("the file of a secret, {}, {wrong}", one.path.display());
    let remedy = "write the secret to it, and let the user that h2gate runs as read it";
    found.error(one.place, message, Some(remedy.to_owned()));
}

/// A warning alone: `check` may be run elsewhere, and without secrets. The value itself is not shown.
fn variable(one: &LocatedPath, found: &mut Diagnostics) {
    let what = match std::env::var_os(&one.path) {
        None => "is not set",
        Some(value) if value.is_empty() => "is empty",
        Some(_) => return,
    };
    let name = one.path.display();
    let message = format!("the variable of the environment that holds a secret, {name}, {what} here");
    let remedy = "set it where h2gate runs, or write the secret to a file and give `{ file: PATH }`";
    found.warning(one.place, message, Some(remedy.to_owned()));
}

/// Words of examples that were left as they are.
pub(super) fn placeholders(found: &mut Diagnostics) {
    let text = found.text().to_owned();
    for (number, line) in text.lines().enumerate() {
        let is_comment = |(at, _): &(usize, &str)| {
            let before = line.get(..*at).unwrap_or_default();
            before.is_empty() || before.ends_with([' ', '\t'])
        };
        let end = line
            .match_indices('#')
            .find(is_comment)
            .map_or(line.len(), |(at, _)| at);
        let written = line.get(..end).unwrap_or_default();
        let upper = written.to_ascii_uppercase();
        let first = PLACEHOLDERS
            .iter()
            .filter_map(|word| Some((upper.find(word)?, word)))
            .min();
        let Some((at, word)) = first else { continue };
        let place = Place {
            line: number + 1,
            column: written.get(..at).unwrap_or_default().chars().count() + 1,
            length: word.len(),
        };
        let left = written.get(at..at + word.len()).unwrap_or(word);
        let remedy = "write the value that belongs here".to_owned();
        found.warning(
            place,
            format!("`{left}` stands for a value that is yours to give"),
            Some(remedy),
        );
    }
}

/// A file that is read by its owner, or through its group, and written by its owner alone. A missing one is
/// reported elsewhere.
fn private(one: &LocatedPath, what: &str, found: &mut Diagnostics) {
    let path = one.path.display();
    let mut warn = |message: String, remedy: String| found.warning(one.place, message, Some(remedy));
    if let Ok(file) = std::fs::metadata(&one.path)
        && let Some(who) = open_to(file.mode(), 0o006, 0o020)
    {
        warn(
            format!(
                "{who} may read or change {what} in {path} (mode {:04o})",
                file.mode() & 0o7777
            ),
            format!("chmod 0600 {path}; for a Secret in Kubernetes set `defaultMode: 0400`"),
        );
    }
    let folder = folder_of(&one.path);
    if let Ok(directory) = std::fs::metadata(folder)
        // In a directory with the sticky bit nobody may replace what is another's (unlink(2)).
        && directory.mode() & 0o1000 == 0
        && let Some(who) = open_to(directory.mode(), 0o002, 0o020)
    {
        warn(
            format!(
                "{who} may replace {what} in {path}: they may write in {} (mode {:04o})",
                folder.display(),
                directory.mode() & 0o7777
            ),
            format!("chmod go-w {}", folder.display()),
        );
    }
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// The users that have one of these rights: all others, or the file's group.
fn open_to(mode: u32, others: u32, group: u32) -> Option<&'static str> {
    match (mode & others != 0, mode & group != 0) {
        (true, _) => Some("every user"),
        (false, true) => Some("the group"),
        (false, false) => None,
    }
}

fn program(one: &LocatedPath, found: &mut Diagnostics) {
    if let Err(error) = access(&one.path, Access::EXEC_OK) {
        let message = format!("{} cannot be run: {error}", one.path.display());
        let remedy = "put the program there, and make it executable (chmod +x)".to_owned();
        found.error(one.place, message, Some(remedy));
    }
}

/// Reports if `run` could not keep state there. Nothing is created. The default that nobody wrote and nobody needs is
/// worth a word in the summary alone: this may be another machine.
pub(super) fn state_dir(directory: &Spanned<std::path::PathBuf>, needed: bool, found: &mut Diagnostics) {
    if !needed && directory.place == Place::FILE {
        return;
    }
    let path = directory.value.as_path();
    let Some((what, remedy)) = unusable(path) else {
        return;
    };
    let message = format!("the state directory {} {what}", path.display());
    match needed {
        true => found.error(directory.place, message, Some(remedy)),
        // The program runs without it, and says so.
        false => found.warning(directory.place, message, Some(remedy)),
    }
}

/// Reports documents in it that `run` would not use.
pub(super) fn unread(
    directory: &Spanned<std::path::PathBuf>,
    certificates: &[Checked<Summary>],
    found: &mut Diagnostics,
) {
    let names = certificates.iter().map(|one| one.name.as_str());
    for one in certmgr::unread(&directory.value, names) {
        let message = format!("{} {}", one.file.display(), one.text);
        found.warning(directory.place, message, Some(one.remedy.to_owned()));
    }
}

/// The reason why the state directory cannot be used, and the remedy.
pub(super) fn unusable(path: &Path) -> Option<(String, String)> {
    let writable = |directory: &Path| access(directory, Access::WRITE_OK | Access::EXEC_OK);
    if path.is_dir() {
        if let Err(error) = writable(path) {
            let remedy = "let the user that h2gate runs as write in it, and nobody else".to_owned();
            return Some((format!("cannot be written: {error}"), remedy));
        }
        let metadata = std::fs::metadata(path).ok()?;
        let mode = metadata.mode() & 0o7777;
        // As `run` judges it: a volume in Kubernetes belongs to root and is written through its group (fsGroup).
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        let who = open_to(mode, 0o002, if is_ours { 0o020 } else { 0 })?;
        let remedy = format!("chmod 0700 {}, or give a directory of its own", path.display());
        return Some((
            format!("may be written by {who} (mode {mode:04o}), and it holds private keys"),
            remedy,
        ));
    }
    if path.exists() {
        return Some(("is no directory".to_owned(), "give another path".to_owned()));
    }
    let nearest = path.ancestors().skip(1).find(|parent| parent.exists());
    let nearest = nearest.unwrap_or(Path::new("."));
    let error = writable(nearest).err()?;
    let remedy = format!(
        "create it for the user that h2gate runs as, or set `state_dir`: install -d -m 0700 -o USER {}",
        path.display()
    );
    Some((format!("cannot be created: {error}"), remedy))
}
