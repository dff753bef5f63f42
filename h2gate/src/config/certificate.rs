//! Certificates: file → resolved. The files themselves are not read here.

use std::path::Path;

use super::diagnostic::{Diagnostics, Spanned};
use super::fields::Fields;
use super::values::{self, Wrong};
use super::{Certificate, LocatedCertificate, path};

/// A certificate as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileCertificate {
    pub(super) name: Option<Spanned<String>>,
    pub(super) domains: Vec<Spanned<String>>,
    chain: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
}

impl FileCertificate {
    pub(super) fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        let files = fields.map("files", found);
        let mut file = |name| {
            files
                .as_ref()
                .and_then(|files| files.value(name, path_text, found))
        };
        let (chain, key) = (file("chain"), file("key"));
        Self {
            name: fields.value("name", values::label, found),
            domains: fields.values("domains", values::domain, found),
            chain,
            key,
        }
    }

    pub(super) fn resolve(self, folder: &Path) -> Option<LocatedCertificate> {
        let (name, chain, key) = (self.name?, self.chain?, self.key?);
        Some(LocatedCertificate {
            certificate: Certificate {
                name: name.value,
                domains: self.domains.into_iter().map(|domain| domain.value).collect(),
                chain: path(folder, &chain.value),
                key: path(folder, &key.value),
            },
            name_place: name.place,
            chain_place: chain.place,
            key_place: key.place,
        })
    }
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
        return Err(Wrong::new("this is not a path"));
    }
    Ok(text.to_owned())
}
