//! Sources in AWS: pairs, and the CA certificates and revocation lists of trust bundles.

use certmgr::{Aws, S3Object, S3Objects, S3Source, SecretFormat, SecretsManagerSource};

use super::{Paths, secret};
use crate::config::diagnostic::Diagnostics;
use crate::config::fields::Fields;
use crate::config::keys::POLL;
use crate::config::values;

/// Region, endpoint and role.
pub(super) fn aws(fields: &Fields<'_>, found: &mut Diagnostics) -> Aws {
    Aws {
        region: fields
            .value("region", values::region, found)
            .map(|region| region.value),
        endpoint: fields.value("endpoint", values::url, found).map(|url| url.value),
        role: fields.value("role", values::role, found).map(|role| role.value),
    }
}

fn object(
    fields: &Fields<'_>,
    name: &'static str,
    version: &'static str,
    found: &mut Diagnostics,
) -> Option<S3Object> {
    let key = fields.value(name, values::text, found);
    if let Some(key) = &key
        && let Some(rest) = key.value.strip_prefix('/')
    {
        // S3 takes it for a part of the key, and says that the object is not there.
        let message = format!(
            "the key of the object begins with a slash: `{}`",
            values::shorten(&key.value)
        );
        let remedy = format!("write `{}`, unless the object is named so", values::shorten(rest));
        found.warning(key.place, message, Some(remedy));
    }
    let given = fields.value(version, values::text, found);
    if let (Some(given), false) = (&given, fields.has(name)) {
        let message = format!("`{version}` without `{name}` means nothing");
        found.error(given.place, message, Some(format!("add `{name}`, or remove it")));
    }
    Some(S3Object {
        key: key?.value,
        version: given.map(|version| version.value),
    })
}

/// `s3` of a certificate.
pub(super) fn pair_s3(fields: &Fields<'_>, found: &mut Diagnostics) -> Option<S3Source> {
    let chain = object(fields, "chain", "chain_version", found);
    let key = object(fields, "key", "key_version", found);
    let bundle = object(fields, "bundle", "bundle_version", found);
    let pair: [&'static str; 2] = ["chain", "key"];
    let remedy = "write `chain` and `key`, or `bundle` alone";
    if fields.has("bundle") && pair.iter().any(|name| fields.has(name)) {
        let place = fields.place_of("bundle");
        let message = "`s3` has `bundle` beside `chain` or `key`";
        found.error(place, message, Some(remedy.to_owned()));
    } else if !fields.has("bundle") {
        let lacks = |name: &&&'static str| !fields.has(name) && !fields.misspelled(name);
        let lacking = pair.iter().filter(lacks).map(|name| format!("`{name}`"));
        let lacking = lacking.collect::<Vec<_>>().join(" and ");
        if !lacking.is_empty() && !fields.misspelled("bundle") {
            let message = format!("`s3` lacks {lacking}");
            found.error(fields.place, message, Some(remedy.to_owned()));
        }
    }
    let objects = match (bundle, chain.zip(key)) {
        (Some(bundle), _) => Some(S3Objects::Bundle(bundle)),
        (None, Some((chain, key))) => Some(S3Objects::Pair { chain, key }),
        (None, None) => None,
    };
    s3(fields, objects, found)
}

/// `s3` of a trust bundle: its CA certificates where a pair has its chain, its lists where a pair has its key.
pub(in crate::config) fn bundle_s3(fields: &Fields<'_>, found: &mut Diagnostics) -> Option<S3Source> {
    let ca = object(fields, "ca", "ca_version", found);
    let crl = object(fields, "crl", "crl_version", found);
    let objects = ca.map(|ca| match crl {
        Some(crl) => S3Objects::Pair { chain: ca, key: crl },
        None => S3Objects::Bundle(ca),
    });
    s3(fields, objects, found)
}

fn s3(fields: &Fields<'_>, objects: Option<S3Objects>, found: &mut Diagnostics) -> Option<S3Source> {
    let bucket = fields.value("bucket", values::bucket, found);
    let aws = aws(fields, found);
    let path_style = fields.switch("path_style", found);
    let poll = fields.wait("poll", POLL, found).value;
    let queue = fields.value("queue", values::queue, found).map(|url| url.value);
    Some(S3Source {
        aws,
        bucket: bucket?.value,
        objects: objects?,
        path_style,
        poll,
        queue,
    })
}

/// `secrets_manager` of a certificate.
pub(super) fn pair_secrets_manager(
    fields: &Fields<'_>,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<SecretsManagerSource> {
    let format = fields.choice("format", found);
    let names = fields.map("fields", found);
    let aws = aws(fields, found);
    let passphrase = secret::reference(fields, "passphrase", &aws, paths, found);
    if fields.has("passphrase") && format != Some("pkcs12") {
        let place = fields.place_of("passphrase");
        let remedy = "write `format: pkcs12`, or remove it";
        found.error(
            place,
            "`passphrase` belongs to PKCS#12 alone",
            Some(remedy.to_owned()),
        );
    }
    refuse_fields(fields, format, found);
    let mut field =
        |name, fallback: &str| field_name(names.as_ref(), name, found).unwrap_or(fallback.to_owned());
    let format = match format {
        Some("pem") => SecretFormat::Pem,
        Some("pkcs12") => SecretFormat::Pkcs12 { passphrase },
        _ => SecretFormat::Json {
            chain: field("chain", "certificate"),
            key: field("key", "private_key"),
        },
    };
    secrets_manager(fields, aws, format, found)
}

/// `secrets_manager` of a trust bundle. Without a field for revocation lists, the field of the CA
/// certificates is named twice.
pub(in crate::config) fn bundle_secrets_manager(
    fields: &Fields<'_>,
    found: &mut Diagnostics,
) -> Option<SecretsManagerSource> {
    let format = fields.choice("format", found);
    let names = fields.map("fields", found);
    refuse_fields(fields, format, found);
    let ca = field_name(names.as_ref(), "ca", found).unwrap_or("ca".to_owned());
    let crl = field_name(names.as_ref(), "crl", found);
    let format = match format {
        Some("pem") => SecretFormat::Pem,
        _ => SecretFormat::Json {
            key: crl.unwrap_or(ca.clone()),
            chain: ca,
        },
    };
    secrets_manager(fields, aws(fields, found), format, found)
}

fn refuse_fields(fields: &Fields<'_>, format: Option<&'static str>, found: &mut Diagnostics) {
    if fields.has("fields") && format.is_some_and(|format| format != "json") {
        let place = fields.place_of("fields");
        let remedy = "write `format: json`, or remove them";
        found.error(place, "`fields` belong to JSON alone", Some(remedy.to_owned()));
    }
}

fn field_name(fields: Option<&Fields<'_>>, name: &'static str, found: &mut Diagnostics) -> Option<String> {
    fields?.value(name, values::text, found).map(|field| field.value)
}

fn secrets_manager(
    fields: &Fields<'_>,
    aws: Aws,
    format: SecretFormat,
    found: &mut Diagnostics,
) -> Option<SecretsManagerSource> {
    let secret = fields.value("secret", values::text, found);
    let poll = fields.wait("poll", POLL, found).value;
    Some(SecretsManagerSource {
        aws,
        secret: secret?.value,
        format,
        poll,
    })
}
