//! Trust bundles: file → resolved. What they hold is not read here.

use std::path::Path;

use certmgr::{FileSource, S3Objects, SecretFormat, Source, TrustConfig};

use super::certificate::{Paths, bundle_s3, bundle_secrets_manager};
use super::diagnostic::{Diagnostics, Spanned};
use super::fields::Fields;
use super::values;
use super::{LocatedTrust, PathUse};

/// A trust bundle as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileTrust {
    pub(super) name: Option<Spanned<String>>,
    located: Option<LocatedTrust>,
}

impl FileTrust {
    pub(super) fn decode(fields: &Fields<'_>, folder: &Path, found: &mut Diagnostics) -> Self {
        let mut paths = Paths::new(folder);
        let name = fields.value("name", values::label, found);
        let given = fields.value("revocation", values::switch, found);
        let source = source(fields, &mut paths, found);
        let located = name.clone().zip(source).map(|(name, source)| LocatedTrust {
            trust: TrustConfig {
                name: name.value,
                revocation: given.map_or_else(|| names_lists(&source), |given| given.value),
                source,
            },
            name_place: name.place,
            paths: paths.into_found(),
        });
        Self { name, located }
    }

    pub(super) fn resolve(self) -> Option<LocatedTrust> {
        self.located
    }
}

fn source(fields: &Fields<'_>, paths: &mut Paths<'_>, found: &mut Diagnostics) -> Option<Source> {
    let files = fields.map("files", found).and_then(|files| {
        let ca = paths.read(&files, "ca", PathUse::TrustCa, found);
        let crl = paths.read(&files, "crl", PathUse::TrustCrl, found);
        let chain = ca?;
        let key = crl.unwrap_or_else(|| chain.clone());
        Some(Source::Files(FileSource { chain, key }))
    });
    let s3 = fields
        .map("s3", found)
        .and_then(|s3| bundle_s3(&s3, found))
        .map(Source::S3);
    let secret = fields
        .map("secrets_manager", found)
        .and_then(|secret| bundle_secrets_manager(&secret, found))
        .map(Source::SecretsManager);
    files.or(s3).or(secret)
}

/// Says if revocation lists have a place of their own.
pub(super) fn names_lists(source: &Source) -> bool {
    match source {
        Source::Files(files) => files.chain != files.key,
        Source::S3(s3) => matches!(s3.objects, S3Objects::Pair { .. }),
        Source::SecretsManager(secret) => {
            matches!(&secret.format, SecretFormat::Json { chain, key } if chain != key)
        }
        Source::Acme(_) => false,
    }
}
