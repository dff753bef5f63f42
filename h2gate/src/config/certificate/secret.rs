//! Where secrets are.

use certmgr::SecretReference;

use super::Paths;
use crate::config::PathUse;
use crate::config::diagnostic::Diagnostics;
use crate::config::fields::Fields;
use crate::config::values;

/// The reference behind `name`.
pub(super) fn reference(
    fields: &Fields<'_>,
    name: &'static str,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<SecretReference> {
    let secret = fields.secret(name, found)?;
    let file = paths
        .read(&secret, "file", PathUse::Secret, found)
        .map(SecretReference::File);
    let variable = secret
        .value("env", values::variable, found)
        .map(|name| SecretReference::Environment(name.value));
    let stored = secret
        .value("secrets_manager", values::text, found)
        .map(|name| SecretReference::SecretsManager(name.value));
    file.or(variable).or(stored)
}
