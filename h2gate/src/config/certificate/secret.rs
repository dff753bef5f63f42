//! The place where secrets are.

use certmgr::{Aws, SecretReference};

use super::aws;
use crate::config::PathUse;
use crate::config::fields::Fields;
use crate::config::values;

/// The reference behind `name`. What it does not say of AWS itself is that of the `source` in which it stands.
pub(super) fn reference(fields: &Fields<'_>, name: &'static str, source: &Aws) -> Option<SecretReference> {
    let secret = fields.secret(name)?;
    let file = secret.path("file", PathUse::Secret).map(SecretReference::File);
    let variable = secret.spanned("env", values::variable).map(|name| {
        secret.note_path(name.value.clone().into(), name.place, PathUse::Variable);
        SecretReference::Environment(name.value)
    });
    let elsewhere = Aws::default();
    let is_stored = secret.has("secrets_manager");
    let aws = aws::aws(&secret, if is_stored { source } else { &elsewhere });
    let stored = secret.value("secrets_manager", values::text);
    let stored = stored.map(|secret| SecretReference::SecretsManager { secret, aws });
    if secret.has("file") || secret.has("env") {
        for name in ["region", "endpoint", "role"] {
            if secret.has(name) {
                let message = format!("`{name}` of a secret reference belongs to `secrets_manager` alone");
                secret.error(secret.place_of(name), message, "remove it");
            }
        }
    }
    file.or(variable).or(stored)
}
