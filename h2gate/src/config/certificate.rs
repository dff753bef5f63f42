//! Certificates: file → resolved. What their sources hold is not read here.

mod acme;
mod aws;
mod secret;

use certmgr::{CertificateConfig, FileSource, KeyType, Source};
use certstore::Name;

pub(super) use acme::report_same_orders;
pub(super) use aws::{bundle_s3, bundle_secrets_manager};

use super::diagnostic::{Diagnostics, Spanned};
use super::fields::Fields;
use super::resolve::Lists;
use super::values::{self, ValueError};
use super::{Located, LocatedPath, PathUse};

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
    Fetched(Source),
    Ordered(acme::FileAcme),
}

impl FileCertificate {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let before = fields.errors();
        let domains = fields.values("domains", domain);
        let domains_whole = fields.errors() == before && !fields.misspelled("domains");
        Self {
            source: source(fields),
            name: fields.spanned("name", values::label),
            domains,
            domains_whole,
            allow_rollback: fields.switch("allow_rollback"),
            trust: fields.spanned("trust", values::label),
            paths: fields.take_paths(),
        }
    }

    /// The order and its place, if the certificate comes from a CA.
    fn acme(&self) -> Option<Spanned<&acme::FileAcme>> {
        let source = self.source.as_ref()?;
        match &source.value {
            FileCertificateSource::Ordered(acme) => Some(Spanned::new(acme, source.place)),
            FileCertificateSource::Fetched(_) => None,
        }
    }

    /// Says if it is ordered from a CA.
    pub(super) fn is_acme(&self) -> bool {
        self.acme().is_some()
    }

    /// One certificate for each kind of key.
    pub(super) fn resolve(&self, lists: &Lists, found: &mut Diagnostics) -> Vec<Located<CertificateConfig>> {
        if let Some(trust) = &self.trust {
            lists.trust_bundle_names.position(trust, found);
        }
        if let (Some(acme), true) = (self.acme(), self.domains_whole) {
            acme.value.check(acme.place, self, lists, found);
        }
        let (Some(name), Some(source)) = (&self.name, &self.source) else {
            return Vec::new();
        };
        let located = |name_text: String, source: Source| Located {
            config: CertificateConfig {
                name: name_text,
                domains: self.domains.iter().map(|domain| domain.value.clone()).collect(),
                source,
                allow_rollback: self.allow_rollback,
                trust: self.trust.as_ref().map(|trust| trust.value.clone()),
            },
            name_place: name.place,
            paths: self.paths.clone(),
        };
        match &source.value {
            FileCertificateSource::Fetched(source) => vec![located(name.value.clone(), source.clone())],
            FileCertificateSource::Ordered(acme) => acme
                .each_key()
                .map(|(key, source)| located(name_of(&name.value, key), source))
                .collect(),
        }
    }

    /// The names under which it is installed: one for each kind of key.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(name) = &self.name else { return Vec::new() };
        match self.acme() {
            Some(acme) => acme.value.keys().map(|key| name_of(&name.value, key)).collect(),
            None => vec![name.value.clone()],
        }
    }
}

/// `api` for the first kind of key, `api+rsa-2048` for another. No name of the file has a `+`.
fn name_of(name: &str, key: Option<KeyType>) -> String {
    match key {
        None => name.to_owned(),
        Some(key) => format!("{name}+{}", key.name()),
    }
}

fn source(fields: &Fields<'_>) -> Option<Spanned<FileCertificateSource>> {
    let files = fields.map("files").and_then(|files| {
        let chain = files.path("chain", PathUse::Chain);
        let key = files.path("key", PathUse::Key);
        let (chain, key) = chain.zip(key)?;
        Some(Source::Files(FileSource { chain, key }))
    });
    let acme = fields.map("acme").map(|acme| acme::FileAcme::decode(&acme));
    let s3 = fields.map("s3").and_then(|s3| aws::pair_s3(&s3));
    let secret = fields.map("secrets_manager");
    let secret = secret.and_then(|secret| aws::pair_secrets_manager(&secret));
    let fetched = files
        .or(s3.map(Source::S3))
        .or(secret.map(Source::SecretsManager));
    let fetched = fetched.map(FileCertificateSource::Fetched);
    let source = fetched.or(acme.map(FileCertificateSource::Ordered))?;
    let mut names = ["files", "acme", "s3", "secrets_manager"].into_iter();
    let name = names.find(|name| fields.has(name));
    Some(Spanned::new(source, fields.place_of(name.unwrap_or("files"))))
}

fn domain(text: &str) -> Result<Name, ValueError> {
    let lower = values::domain(text)?;
    Name::parse(&lower).map_err(|error| ValueError::new(error.to_string()))
}
