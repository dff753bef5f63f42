//! Trust bundles on disk, through the door that `run` uses.

use std::path::Path;

use certmgr::{Source, TrustConfig};
use certstore::{Part, ProvedTrust, TrustBundle, UnixTime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::sources::{self, Checked, Condition, read};
use crate::config::{Diagnostics, Located, LocatedPath, PathUse};

/// The content of a bundle.
pub(super) struct Contents {
    pub(super) cas: usize,
    pub(super) revocation_lists: usize,
    /// The time until which it needs no successor: the end of its last CA, or of its first revocation list.
    pub(super) until: Option<UnixTime>,
    /// The CA certificates themselves.
    anchors: Vec<CertificateDer<'static>>,
}

/// The CAs that the chain of a certificate with this `trust` must lead to; nothing if the bundle is not known here.
pub(super) fn anchors<'a>(
    bundles: &'a [Checked<Contents>],
    trust: Option<&str>,
) -> &'a [CertificateDer<'static>] {
    let bundle = bundles.iter().find(|bundle| Some(bundle.name.as_str()) == trust);
    bundle
        .and_then(Checked::contents)
        .map_or(&[], |contents| &contents.anchors)
}

/// Checks a bundle against the one that `state_dir` keeps, whose place it would take.
pub(super) fn check(
    located: &Located<TrustConfig>,
    state_dir: Option<&Path>,
    now: UnixTime,
    found: &mut Diagnostics,
) -> Checked<Contents> {
    let one = &located.config;
    let state = match sources::elsewhere(&one.source) {
        Some(place) => Condition::NotAsked(place),
        None => files(located, state_dir, now, found).map_or(Condition::Unusable, Condition::Usable),
    };
    Checked {
        name: one.name.clone(),
        source: one.source.kind(),
        state,
    }
}

fn files(
    located: &Located<TrustConfig>,
    state_dir: Option<&Path>,
    now: UnixTime,
    found: &mut Diagnostics,
) -> Option<Contents> {
    let Source::Files(_) = located.config.source else {
        return None;
    };
    let path = |purpose| located.paths.iter().find(|one| one.purpose == purpose);
    let ca = path(PathUse::TrustCa)?;
    let crl = path(PathUse::TrustCrl);
    let cas = read(ca, "the CA certificates", found);
    let lists = crl.map(|crl| read(crl, "the revocation lists", found));
    let cas = cas?;
    let lists = match lists {
        None => cas.clone(),
        Some(lists) => lists?,
    };
    let kept = state_dir.and_then(|directory| certmgr::kept_trust(directory, &located.config));
    let parsed = TrustBundle::parse(&cas, &lists, located.config.revocation, now);
    let not_older = |proved: ProvedTrust| match &kept {
        Some(kept) => proved.not_older_than(kept),
        None => Ok(proved),
    };
    match parsed.and_then(not_older) {
        Ok(proved) => Some(contents(proved.bundle(), &cas)),
        Err(error) => {
            let blamed: &LocatedPath = match (error.part(), crl) {
                (Part::Key, Some(crl)) => crl,
                _ => ca,
            };
            let message = format!(
                "trust bundle `{}`: {}: {error}",
                located.config.name,
                blamed.path.display()
            );
            found.error(blamed.place, message, Some(error.remedy().to_owned()));
            None
        }
    }
}

fn contents(bundle: &TrustBundle, pem: &[u8]) -> Contents {
    Contents {
        cas: bundle.cas().len(),
        revocation_lists: bundle.revocation_lists().len(),
        until: bundle.next_update().into_iter().chain(bundle.not_after()).min(),
        anchors: CertificateDer::pem_slice_iter(pem).flatten().collect(),
    }
}
