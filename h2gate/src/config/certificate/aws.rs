//! Sources in AWS: pairs, and the CA certificates and revocation lists of trust bundles.

use certmgr::{Aws, S3Object, S3Source, SecretFormat, SecretsManagerSource};

use super::secret;
use crate::config::fields::Fields;
use crate::config::values::{self, ValueError, listed, shorten};

/// Region, endpoint and role; what is not given is that of `around`.
pub(super) fn aws(fields: &Fields<'_>, around: &Aws) -> Aws {
    let value = |name, read: fn(&str) -> Result<String, ValueError>, around: &Option<String>| {
        let given = fields.value(name, read);
        if let (None, Some(around)) = (&given, around) {
            fields.set_effective(name, around.as_str());
        }
        given.or_else(|| around.clone())
    };
    Aws {
        region: value("region", values::region, &around.region),
        endpoint: value("endpoint", values::url, &around.endpoint),
        role: value("role", values::role, &around.role),
    }
}

fn object(fields: &Fields<'_>, name: &'static str, version: &'static str) -> Option<S3Object> {
    let key = fields.spanned(name, values::text);
    if let Some(key) = &key
        && let Some(rest) = key.value.strip_prefix('/')
    {
        // S3 takes it for a part of the key, and says that the object is not there.
        let given = shorten(&key.value);
        let message = format!("the key of the object begins with a slash: `{given}`");
        let remedy = format!("write `{}`, unless the object is named so", shorten(rest));
        fields.warning(key.place, message, remedy);
    }
    let given = fields.spanned(version, values::text);
    if let (Some(given), false) = (&given, fields.has(name)) {
        let message = format!("`{version}` without `{name}` means nothing");
        fields.error(given.place, message, format!("add `{name}`, or remove it"));
    }
    Some(S3Object {
        key: key?.value,
        version: given.map(|version| version.value),
    })
}

/// `s3` of a certificate.
pub(super) fn pair_s3(fields: &Fields<'_>) -> Option<S3Source> {
    let chain = object(fields, "chain", "chain_version");
    let key = object(fields, "key", "key_version");
    let bundle = object(fields, "bundle", "bundle_version");
    let remedy = "write `chain` and `key`, or `bundle` alone";
    let has_bundle = fields.has("bundle");
    if has_bundle && (fields.has("chain") || fields.has("key")) {
        let message = "`s3` has `bundle` beside `chain` or `key`";
        fields.error(fields.place_of("bundle"), message, remedy);
    } else if !has_bundle && !fields.misspelled("bundle") {
        let is_lacking = |name: &&str| !fields.has(name) && !fields.misspelled(name);
        let lacking = ["chain", "key"]
            .into_iter()
            .filter(is_lacking)
            .collect::<Vec<_>>();
        if !lacking.is_empty() {
            let message = format!("`s3` lacks {}", listed(&lacking).replace(", ", " and "));
            fields.error(fields.place, message, remedy);
        }
    }
    let bundle = bundle.map(|both| (both.clone(), both));
    s3(fields, bundle.or(chain.zip(key)))
}

/// `s3` of a trust bundle: its CA certificates where a pair has its chain, its lists where a pair has its key.
pub(in crate::config) fn bundle_s3(fields: &Fields<'_>) -> Option<S3Source> {
    let ca = object(fields, "ca", "ca_version");
    let crl = object(fields, "crl", "crl_version");
    let objects = ca.map(|ca| (ca.clone(), crl.unwrap_or(ca)));
    s3(fields, objects)
}

fn s3(fields: &Fields<'_>, objects: Option<(S3Object, S3Object)>) -> Option<S3Source> {
    let bucket = fields.value("bucket", values::bucket);
    let aws = aws(fields, &Aws::default());
    let path_style = fields.switch("path_style");
    let poll = fields.duration("poll").value;
    let queue = fields.value("queue", values::queue);
    let (chain, key) = objects?;
    Some(S3Source {
        aws,
        bucket: bucket?,
        chain,
        key,
        path_style,
        poll,
        queue,
    })
}

/// `secrets_manager` of a certificate.
pub(super) fn pair_secrets_manager(fields: &Fields<'_>) -> Option<SecretsManagerSource> {
    let aws = aws(fields, &Aws::default());
    let passphrase = secret::reference(fields, "passphrase", &aws);
    let format = fields.choice("format");
    if fields.has("passphrase") && format != "pkcs12" {
        let place = fields.place_of("passphrase");
        let remedy = "write `format: pkcs12`, or remove it";
        fields.error(place, "`passphrase` belongs to PKCS#12 alone", remedy);
    }
    let names = json_fields(fields, format);
    let format = match format {
        "pem" => SecretFormat::Pem,
        "pkcs12" => SecretFormat::Pkcs12 { passphrase },
        _ => SecretFormat::Json {
            chain: names.as_ref()?.value("chain", values::text)?,
            key: names?.value("key", values::text)?,
        },
    };
    secrets_manager(fields, aws, format)
}

/// `secrets_manager` of a trust bundle. Without a field for revocation lists, the field of the CA
/// certificates is named twice.
pub(in crate::config) fn bundle_secrets_manager(fields: &Fields<'_>) -> Option<SecretsManagerSource> {
    let format = fields.choice("format");
    let format = match json_fields(fields, format) {
        Some(names) if format == "json" => {
            let ca = names.value("ca", values::text)?;
            let crl = names.value("crl", values::text);
            SecretFormat::Json {
                key: crl.unwrap_or(ca.clone()),
                chain: ca,
            }
        }
        _ => SecretFormat::Pem,
    };
    secrets_manager(fields, aws(fields, &Aws::default()), format)
}

/// The names of fields, if the format has any.
fn json_fields<'a>(fields: &Fields<'a>, format: &str) -> Option<Fields<'a>> {
    if fields.has("fields") && format != "json" {
        let place = fields.place_of("fields");
        let remedy = "write `format: json`, or remove them";
        fields.error(place, "`fields` belong to JSON alone", remedy);
        // Unknown keys in them are reported all the same.
        drop(fields.map("fields"));
    }
    (format == "json").then(|| fields.inner("fields"))
}

fn secrets_manager(fields: &Fields<'_>, aws: Aws, format: SecretFormat) -> Option<SecretsManagerSource> {
    let secret = fields.value("secret", values::text);
    let poll = fields.duration("poll").value;
    Some(SecretsManagerSource {
        aws,
        secret: secret?,
        format,
        poll,
    })
}
