//! Trust bundles on disk, through the door that `run` uses.

use certmgr::Source;
use certstore::{Part, TrustBundle, UnixTime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::sources::{self, read};
use crate::config::{Diagnostics, LocatedPath, LocatedTrust, PathUse};

/// A trust bundle and what is known about it.
pub(super) struct CheckedTrust {
    pub(super) name: String,
    pub(super) source: &'static str,
    pub(super) state: TrustCondition,
}

pub(super) enum TrustCondition {
    /// Read, and it would be used.
    Usable(Contents),
    /// Read, or not, and refused.
    Unusable,
    /// Its source is elsewhere and was not asked; the words say where.
    NotAsked(String),
}

/// What a bundle holds.
pub(super) struct Contents {
    pub(super) authorities: usize,
    pub(super) revocation_lists: usize,
    /// When it needs a successor: the end of its last CA, or of its first revocation list.
    pub(super) until: Option<UnixTime>,
    /// The CA certificates themselves.
    anchors: Vec<CertificateDer<'static>>,
}

/// What the chain of a certificate with this `trust` must lead to; nothing if the bundle is not known here.
pub(super) fn anchors<'a>(bundles: &'a [CheckedTrust], trust: Option<&str>) -> &'a [CertificateDer<'static>] {
    let bundle = bundles.iter().find(|bundle| Some(bundle.name.as_str()) == trust);
    match bundle.map(|bundle| &bundle.state) {
        Some(TrustCondition::Usable(contents)) => &contents.anchors,
        _ => &[],
    }
}

pub(super) fn check(located: &LocatedTrust, now: UnixTime, found: &mut Diagnostics) -> CheckedTrust {
    let one = &located.trust;
    let state = match sources::elsewhere(&one.source) {
        Some(place) => TrustCondition::NotAsked(place),
        None => files(located, now, found).map_or(TrustCondition::Unusable, TrustCondition::Usable),
    };
    CheckedTrust {
        name: one.name.clone(),
        source: one.source.kind(),
        state,
    }
}

fn files(located: &LocatedTrust, now: UnixTime, found: &mut Diagnostics) -> Option<Contents> {
    let Source::Files(_) = located.trust.source else {
        return None;
    };
    let path = |purpose| located.paths.iter().find(|one| one.purpose == purpose);
    let ca = path(PathUse::TrustCa)?;
    let crl = path(PathUse::TrustCrl);
    let authorities = read(ca, "the CA certificates", found);
    let lists = crl.map(|crl| read(crl, "the revocation lists", found));
    let authorities = authorities?;
    let lists = match lists {
        None => authorities.clone(),
        Some(lists) => lists?,
    };
    match TrustBundle::parse(&authorities, &lists, located.trust.revocation, now) {
        Ok(proved) => Some(contents(proved.bundle(), &authorities)),
        Err(error) => {
            let blamed: &LocatedPath = match (error.part(), crl) {
                (Part::Key, Some(crl)) => crl,
                _ => ca,
            };
            let message = format!(
                "trust bundle `{}`: {}: {error}",
                located.trust.name,
                blamed.path.display()
            );
            found.error(blamed.place, message, Some(error.remedy().to_owned()));
            None
        }
    }
}

fn contents(bundle: &TrustBundle, pem: &[u8]) -> Contents {
    Contents {
        authorities: bundle.authorities().len(),
        revocation_lists: bundle.revocation_lists().len(),
        until: bundle.next_update().into_iter().chain(bundle.not_after()).min(),
        anchors: CertificateDer::pem_slice_iter(pem).flatten().collect(),
    }
}
