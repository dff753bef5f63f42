//! Trust bundles: file → resolved. What they hold is not read here.

use certmgr::{FileSource, SecretFormat, Source, TrustConfig};

use super::certificate::{bundle_s3, bundle_secrets_manager};
use super::diagnostic::Spanned;
use super::fields::Fields;
use super::values;
use super::{Located, PathUse};

/// A trust bundle as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileTrust {
    pub(super) name: Option<Spanned<String>>,
    pub(super) located: Option<Located<TrustConfig>>,
}

impl FileTrust {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let name = fields.spanned("name", values::label);
        let revocation = fields.value("revocation", values::switch);
        let (source, paths) = (source(fields), fields.take_paths());
        let located = name.clone().zip(source).map(|(name, source)| {
            let revocation = revocation.unwrap_or_else(|| has_lists(&source));
            fields.set_effective("revocation", revocation);
            Located {
                config: TrustConfig {
                    name: name.value,
                    revocation,
                    source,
                },
                name_place: name.place,
                paths,
            }
        });
        Self { name, located }
    }
}

fn source(fields: &Fields<'_>) -> Option<Source> {
    let files = fields.map("files").and_then(|files| {
        let ca = files.path("ca", PathUse::TrustCa);
        let crl = files.path("crl", PathUse::TrustCrl);
        let chain = ca?;
        let key = crl.unwrap_or_else(|| chain.clone());
        Some(Source::Files(FileSource { chain, key }))
    });
    let s3 = fields.map("s3").and_then(|s3| bundle_s3(&s3));
    let secret = fields.map("secrets_manager");
    let secret = secret.and_then(|secret| bundle_secrets_manager(&secret));
    files
        .or(s3.map(Source::S3))
        .or(secret.map(Source::SecretsManager))
}

/// Says if revocation lists have a place of their own.
fn has_lists(source: &Source) -> bool {
    match source {
        Source::Files(files) => files.chain != files.key,
        Source::S3(s3) => s3.chain != s3.key,
        Source::SecretsManager(secret) => {
            matches!(&secret.format, SecretFormat::Json { chain, key } if chain != key)
        }
        Source::Acme(_) => false,
    }
}
