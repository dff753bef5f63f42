//! The place where secrets are.

use certmgr::{Aws, SecretReference};

use super::{Paths, aws};
use crate::config::PathUse;
use crate::config::diagnostic::Diagnostics;
use crate::config::fields::Fields;
use crate::config::values;

/// The reference behind `name`. What it does not say of AWS itself is that of the `source` in which it stands.
pub(super) fn reference(
    fields: &Fields<'_>,
    name: &'static str,
    source: &Aws,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<SecretReference> {
    let secret = fields.secret(name, found)?;
    let file = paths
        .read(&secret, "file", PathUse::Secret, found)
        .map(SecretReference::File);
    let variable = secret.value("env", values::variable, found).map(|name| {
        paths.note_variable(&name);
        SecretReference::Environment(name.value)
    });
    let own = aws::aws(&secret, found);
    let aws = Aws {
        region: own.region.or_else(|| source.region.clone()),
        endpoint: own.endpoint.or_else(|| source.endpoint.clone()),
        role: own.role.or_else(|| source.role.clone()),
    };
    let stored = secret.value("secrets_manager", values::text, found);
    let stored = stored.map(|name| SecretReference::SecretsManager {
        secret: name.value,
        aws,
    });
    refuse_aws_elsewhere(&secret, found);
    file.or(variable).or(stored)
}

fn refuse_aws_elsewhere(secret: &Fields<'_>, found: &mut Diagnostics) {
    if !["file", "env"].iter().any(|place| secret.has(place)) {
        return;
    }
    for name in ["region", "endpoint", "role"] {
        if secret.has(name) {
            let message = format!("`{name}` of a secret reference belongs to `secrets_manager` alone");
            found.error(secret.place_of(name), message, Some("remove it".to_owned()));
        }
    }
}
