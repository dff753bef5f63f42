//! Certificates and trust bundles in the shape of the file.

use std::time::Duration;

use certmgr::{
    AcmeSource, Aws, Ca, CertificateConfig, Challenge, DnsProvider, KeyType, S3Object, S3Objects, S3Source,
    SecretFormat, SecretReference, SecretsManagerSource, Source, TrustConfig,
};
use serde_json::{Map, Value, json};

use super::REDACTED;
use crate::config::certificate::SEPARATOR;
use crate::config::keys::CAS;
use crate::config::values::write_duration;

/// The entries of the file: certificates that differ in the kind of their key alone are one.
pub(super) fn certificates(all: &[CertificateConfig]) -> Value {
    all.iter()
        .filter(|one| is_written(&one.name))
        .map(|one| certificate(one, all))
        .collect()
}

/// Says if the file has a certificate of this name: further keys of the same entry have derived names.
pub(super) fn is_written(name: &str) -> bool {
    !name.contains(SEPARATOR)
}

fn certificate(one: &CertificateConfig, all: &[CertificateConfig]) -> Value {
    let mut map = Map::new();
    insert(&mut map, "name", one.name.as_str());
    if !one.domains.is_empty() {
        let domains = one.domains.iter().map(ToString::to_string).collect::<Vec<_>>();
        insert(&mut map, "domains", domains);
    }
    insert_some(&mut map, "trust", one.trust.as_ref());
    insert(&mut map, "allow_rollback", one.allow_rollback);
    let source = match &one.source {
        Source::Files(files) => {
            json!({ "chain": files.chain.display().to_string(), "key": files.key.display().to_string() })
        }
        Source::S3(s3) => s3_source(s3, "chain", "key", "bundle"),
        Source::SecretsManager(secret) => secrets_manager(secret, "chain", "key"),
        Source::Acme(acme) => {
            let siblings =
                all.iter()
                    .filter_map(|other| match (&other.source, other.name.split_once(SEPARATOR)) {
                        (Source::Acme(acme), Some((first, _))) if first == one.name => Some(acme.key),
                        _ => None,
                    });
            acme_source(acme, std::iter::once(acme.key).chain(siblings).collect())
        }
    };
    insert(&mut map, one.source.kind(), source);
    map.into()
}

pub(super) fn trust_bundle(bundle: &TrustConfig) -> Value {
    let mut map = Map::new();
    insert(&mut map, "name", bundle.name.as_str());
    insert(&mut map, "revocation", bundle.revocation);
    let source = match &bundle.source {
        Source::Files(files) => {
            let mut source = Map::new();
            insert(&mut source, "ca", files.chain.display().to_string());
            if files.key != files.chain {
                insert(&mut source, "crl", files.key.display().to_string());
            }
            source.into()
        }
        Source::S3(s3) => s3_source(s3, "ca", "crl", "ca"),
        Source::SecretsManager(secret) => secrets_manager(secret, "ca", "crl"),
        // No entry of the file becomes this.
        Source::Acme(_) => Value::Null,
    };
    insert(&mut map, bundle.source.kind(), source);
    map.into()
}

fn insert(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    map.insert(name.to_owned(), value.into());
}

fn insert_some(map: &mut Map<String, Value>, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), json!(value));
    }
}

fn insert_duration(map: &mut Map<String, Value>, name: &str, value: Duration) {
    map.insert(name.to_owned(), json!(write_duration(value)));
}

fn insert_aws(map: &mut Map<String, Value>, aws: &Aws) {
    insert_some(map, "region", aws.region.as_ref());
    insert_some(map, "endpoint", aws.endpoint.as_ref());
    insert_some(map, "role", aws.role.as_ref());
}

fn s3_source(s3: &S3Source, first: &str, second: &str, both: &str) -> Value {
    let mut map = Map::new();
    insert(&mut map, "bucket", s3.bucket.as_str());
    let mut object = |name: &str, object: &S3Object| {
        insert(&mut map, name, object.key.as_str());
        insert_some(&mut map, &format!("{name}_version"), object.version.as_ref());
    };
    match &s3.objects {
        S3Objects::Pair { chain, key } => {
            object(first, chain);
            object(second, key);
        }
        S3Objects::Bundle(bundle) => object(both, bundle),
    }
    insert_aws(&mut map, &s3.aws);
    insert(&mut map, "path_style", s3.path_style);
    insert_duration(&mut map, "poll", s3.poll);
    insert_some(&mut map, "queue", s3.queue.as_ref());
    map.into()
}

fn secrets_manager(secret: &SecretsManagerSource, first: &str, second: &str) -> Value {
    let mut map = Map::new();
    insert(&mut map, "secret", secret.secret.as_str());
    match &secret.format {
        SecretFormat::Json { chain, key } => {
            insert(&mut map, "format", "json");
            let mut fields = Map::new();
            insert(&mut fields, first, chain.as_str());
            // A trust bundle without lists has its one field twice.
            if chain != key {
                insert(&mut fields, second, key.as_str());
            }
            insert(&mut map, "fields", fields);
        }
        SecretFormat::Pem => insert(&mut map, "format", "pem"),
        SecretFormat::Pkcs12 { passphrase } => {
            insert(&mut map, "format", "pkcs12");
            if let Some(passphrase) = passphrase {
                insert(&mut map, "passphrase", reference(passphrase));
            }
        }
    }
    insert_aws(&mut map, &secret.aws);
    insert_duration(&mut map, "poll", secret.poll);
    map.into()
}

fn reference(secret: &SecretReference) -> Value {
    match secret {
        SecretReference::File(path) => json!({ "file": path.display().to_string() }),
        SecretReference::Environment(name) => json!({ "env": name }),
        SecretReference::SecretsManager { secret, aws } => {
            let mut map = Map::new();
            insert(&mut map, "secrets_manager", secret.as_str());
            insert_aws(&mut map, aws);
            map.into()
        }
    }
}

fn acme_source(acme: &AcmeSource, keys: Vec<KeyType>) -> Value {
    let mut cas = acme.cas.iter().map(ca);
    let mut map = cas.next().unwrap_or_default();
    insert(&mut map, "challenge", acme.challenge.name());
    if let Challenge::Dns01(provider) = &acme.challenge {
        insert(&mut map, "dns", dns(provider));
    }
    let keys = keys.into_iter().map(KeyType::name).collect::<Vec<_>>();
    match keys.as_slice() {
        [one] => insert(&mut map, "key", *one),
        _ => insert(&mut map, "key", keys),
    }
    insert_some(&mut map, "preferred_chain", acme.preferred_chain.as_ref());
    if !acme.resolvers.is_empty() {
        let resolvers = acme.resolvers.iter().map(ToString::to_string).collect::<Vec<_>>();
        insert(&mut map, "resolvers", resolvers);
    }
    insert_duration(&mut map, "min_interval", acme.min_interval);
    insert_duration(&mut map, "first_retry", acme.first_retry);
    let others = cas.map(Value::from).collect::<Vec<_>>();
    if !others.is_empty() {
        insert(&mut map, "fallback", others);
    }
    map.into()
}

fn ca(ca: &Ca) -> Map<String, Value> {
    let mut map = Map::new();
    let known = CAS.iter().find(|known| known.directory == ca.directory);
    let directory = known.map_or(ca.directory.as_str(), |known| known.name);
    insert(&mut map, "directory", directory);
    if !ca.contact.is_empty() {
        insert(&mut map, "contact", ca.contact.clone());
    }
    insert(&mut map, "accept_terms", true);
    if let Some(path) = &ca.ca_file {
        insert(&mut map, "ca_file", path.display().to_string());
    }
    insert_some(&mut map, "profile", ca.profile.as_ref());
    if let Some(account) = &ca.external_account {
        let account = json!({ "kid": account.kid, "hmac_key": reference(&account.hmac_key) });
        insert(&mut map, "external_account", account);
    }
    map
}

fn dns(provider: &DnsProvider) -> Value {
    let mut map = Map::new();
    match provider {
        DnsProvider::Route53(route53) => {
            insert_some(&mut map, "zone", route53.zone.as_ref());
            insert_aws(&mut map, &route53.aws);
            insert_duration(&mut map, "timeout", route53.propagation_timeout);
            json!({ "route53": map })
        }
        DnsProvider::Exec(exec) => {
            // Arguments may hold tokens of the provider; the program is told, and how many there are.
            let arguments = exec.command.iter().skip(1).map(|_| REDACTED);
            let program = exec.command.first().map(String::as_str);
            let command = program.into_iter().chain(arguments).collect::<Vec<_>>();
            insert(&mut map, "command", command);
            insert_duration(&mut map, "timeout", exec.timeout);
            insert_duration(&mut map, "propagation", exec.propagation);
            json!({ "exec": map })
        }
    }
}
