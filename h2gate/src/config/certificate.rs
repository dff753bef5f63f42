//! Certificates: file → resolved. What their sources hold is not read here.

mod acme;
mod aws;
mod secret;

use std::path::{Path, PathBuf};

use certmgr::{CertificateConfig, FileSource, KeyType, Source};
use certstore::Name;

pub(super) use acme::{Surroundings, report_same_orders};
pub(super) use aws::{bundle_s3, bundle_secrets_manager};

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::names::Names;
use super::values::{self, Wrong};
use super::{LocatedCertificate, LocatedPath, PathUse, path};

/// A certificate as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileCertificate {
    pub(super) name: Option<Spanned<String>>,
    pub(super) domains: Vec<Spanned<Name>>,
    /// All of the domains could be read.
    domains_whole: bool,
    allow_rollback: bool,
    pub(super) trust: Option<Spanned<String>>,
    source: Option<Spanned<FileCertificateSource>>,
    paths: Vec<LocatedPath>,
}

#[derive(Debug)]
enum FileCertificateSource {
    Files(FileSource),
    S3(certmgr::S3Source),
    SecretsManager(certmgr::SecretsManagerSource),
    Acme(acme::FileAcme),
}

/// The paths that a part of the file names, for `check`.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    folder: &'a Path,
    found: Vec<LocatedPath>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            found: Vec::new(),
        }
    }

    /// The path behind `name`, from the folder of the file.
    pub(super) fn read(
        &mut self,
        fields: &Fields<'_>,
        name: &'static str,
        purpose: PathUse,
        found: &mut Diagnostics,
    ) -> Option<PathBuf> {
        let given = fields.value(name, path_text, found)?;
        Some(self.note(path(self.folder, &given.value), given.place, purpose))
    }

    fn note(&mut self, path: PathBuf, place: Place, purpose: PathUse) -> PathBuf {
        self.found.push(LocatedPath {
            path: path.clone(),
            place,
            purpose,
        });
        path
    }

    /// Notes a variable of the environment, for `check` to look for.
    fn note_variable(&mut self, name: &Spanned<String>) {
        self.note(PathBuf::from(&name.value), name.place, PathUse::Variable);
    }

    pub(super) fn into_found(self) -> Vec<LocatedPath> {
        self.found
    }
}

impl FileCertificate {
    pub(super) fn decode(fields: &Fields<'_>, folder: &Path, found: &mut Diagnostics) -> Self {
        let mut paths = Paths::new(folder);
        let before = found.errors();
        let domains = fields.values("domains", domain, found);
        let domains_whole = found.errors() == before && !fields.misspelled("domains");
        let source = source(fields, &mut paths, found);
        Self {
            name: fields.value("name", values::label, found),
            domains,
            domains_whole,
            allow_rollback: fields.switch("allow_rollback", found),
            trust: fields.value("trust", values::label, found),
            source,
            paths: paths.into_found(),
        }
    }

    /// The order, if the certificate comes from a CA.
    fn acme(&self) -> Option<&acme::FileAcme> {
        match &self.source {
            Some(Spanned {
                value: FileCertificateSource::Acme(acme),
                ..
            }) => Some(acme),
            _ => None,
        }
    }

    /// Says if it is ordered from a CA.
    pub(super) fn is_acme(&self) -> bool {
        self.acme().is_some()
    }

    /// One certificate for each kind of key.
    pub(super) fn resolve(
        self,
        surroundings: &Surroundings,
        bundles: &Names,
        found: &mut Diagnostics,
    ) -> Vec<LocatedCertificate> {
        if let Some(trust) = &self.trust {
            bundles.position(trust, found);
        }
        let domains = self.domains_whole.then_some(self.domains.as_slice());
        if let (Some(source), Some(domains)) = (&self.source, domains)
            && let FileCertificateSource::Acme(acme) = &source.value
        {
            acme.check(source.place, self.name.as_ref(), domains, surroundings, found);
        }
        let (Some(name), Some(source)) = (self.name, self.source) else {
            return Vec::new();
        };
        let located = |name_text: String, source: Source| LocatedCertificate {
            certificate: CertificateConfig {
                name: name_text,
                domains: self.domains.iter().map(|domain| domain.value.clone()).collect(),
                source,
                allow_rollback: self.allow_rollback,
                trust: self.trust.as_ref().map(|trust| trust.value.clone()),
            },
            name_place: name.place,
            paths: self.paths.clone(),
        };
        match source.value {
            FileCertificateSource::Files(files) => vec![located(name.value.clone(), Source::Files(files))],
            FileCertificateSource::S3(s3) => vec![located(name.value.clone(), Source::S3(s3))],
            FileCertificateSource::SecretsManager(secret) => {
                vec![located(name.value.clone(), Source::SecretsManager(secret))]
            }
            FileCertificateSource::Acme(acme) => acme
                .each_key()
                .map(|(key, source)| located(name_of(&name.value, key), source))
                .collect(),
        }
    }

    /// The names under which it is kept: one for each kind of key.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(name) = &self.name else { return Vec::new() };
        match self.acme() {
            Some(acme) => acme.keys().map(|key| name_of(&name.value, key)).collect(),
            None => vec![name.value.clone()],
        }
    }
}

/// The separator of a certificate's name and the kind of its key, where one entry of the file orders several. No
/// name of the file has it.
pub(super) const SEPARATOR: char = '+';

/// `api` for the first kind of key, `api+rsa-2048` for another.
fn name_of(name: &str, key: Option<KeyType>) -> String {
    match key {
        None => name.to_owned(),
        Some(key) => format!("{name}{SEPARATOR}{}", key.name()),
    }
}

fn source(
    fields: &Fields<'_>,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<Spanned<FileCertificateSource>> {
    let mut source = None;
    if let Some(files) = fields.map("files", found) {
        let chain = paths.read(&files, "chain", PathUse::Chain, found);
        let key = paths.read(&files, "key", PathUse::Key, found);
        let pair = chain.zip(key);
        source = source.or(pair.map(|(chain, key)| FileCertificateSource::Files(FileSource { chain, key })));
    }
    if let Some(acme) = fields.map("acme", found) {
        let acme = acme::FileAcme::decode(&acme, paths, found);
        source = source.or(Some(FileCertificateSource::Acme(acme)));
    }
    if let Some(s3) = fields.map("s3", found) {
        source = source.or(aws::pair_s3(&s3, found).map(FileCertificateSource::S3));
    }
    if let Some(secret) = fields.map("secrets_manager", found) {
        let secret = aws::pair_secrets_manager(&secret, paths, found);
        source = source.or(secret.map(FileCertificateSource::SecretsManager));
    }
    let place = ["files", "acme", "s3", "secrets_manager"]
        .into_iter()
        .find(|name| fields.has(name))
        .map_or(fields.place, |name| fields.place_of(name));
    source.map(|value| Spanned { value, place })
}

fn domain(text: &str) -> Result<Name, Wrong> {
    let lower = values::domain(text)?;
    Name::parse(&lower).map_err(|error| Wrong::new(error.to_string()))
}

/// A path; PEM text itself in its place is a common slip, and must not be repeated in a message.
pub(super) fn path_text(text: &str) -> Result<String, Wrong> {
    if text.contains("-----BEGIN") {
        return Err(Wrong::but(
            "this is PEM text",
            "write it to a file and give the path",
        ));
    }
    if text.is_empty() || text.contains('\0') || text.contains('\n') {
        return Err(Wrong::but(
            "this is not a path",
            "write the path of a file in one line",
        ));
    }
    if text.contains("${") || text.contains("$(") {
        return Err(Wrong::but(
            format!("`{}`: variables are not expanded here", values::shorten(text)),
            "write the path itself, or let another program (envsubst) write this file before the start",
        ));
    }
    Ok(text.to_owned())
}
