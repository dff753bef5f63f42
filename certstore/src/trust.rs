//! Trust bundles: the CA certificates and revocation lists by which a listener verifies its clients.
//!
//! [`TrustBundle::parse`] checks a candidate, and only a [`ProvedTrust`] can be installed. Policy, where RFC 5280
//! leaves a choice:
//! - The dates of a CA are not looked at when a peer is verified (§6.1.1 (d): a trust anchor is a name and a
//!   key). A bundle of which every CA has expired is refused as a candidate.
//! - A revocation list past its nextUpdate is refused as a candidate, and one that is in use goes on being
//!   used: it still knows who was revoked.
//! - A revocation list is refused as a candidate if the one in force of that CA is newer: revoked clients would be let
//!   in again.
//! - With `revocation` each CA of the bundle has its list, and a peer whose status no list gives is refused.
//!   Without it the lists that are there count, and other peers pass.

mod check;
mod error;
mod identity;
mod verifier;

use std::fmt;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bundle::Fingerprint;
use crate::serving::Proved;

pub use error::TrustError;
pub use identity::{Identity, MAX_NAMES};
pub(crate) use verifier::Verifier;
pub use verifier::{MAX_CLIENT_CHAIN, lacks_bundle};

/// The most bytes that the CA certificates or the revocation lists may have.
pub const MAX_TRUST_BYTES: usize = 4 << 20;

/// The most CA certificates, and the most revocation lists, of one bundle.
pub const MAX_CAS: usize = 512;

/// CA certificates and revocation lists that fit each other, with the verifier made of them. It never changes.
pub struct TrustBundle {
    cas: Vec<TrustAnchor>,
    revocation_lists: Vec<RevocationList>,
    anchors: Vec<CertificateDer<'static>>,
    fingerprint: Fingerprint,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A bundle that passed [`TrustBundle::parse`].
pub type ProvedTrust = Proved<TrustBundle>;

/// A CA of a bundle, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    /// Its name.
    pub subject: String,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
}

/// A revocation list of a bundle, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// The CA that signed it.
    pub issuer: String,
    /// The time at which the list was made.
    pub this_update: UnixTime,
    /// The time by which there should be a newer list.
    pub next_update: UnixTime,
    /// Number of certificates that the list revokes.
    pub revoked: usize,
    pub(crate) raw_issuer: Vec<u8>,
    /// The list's number (RFC 5280 §5.2.3), without zeros at its beginning; `None`: it has none.
    pub(crate) number: Option<Vec<u8>>,
}

impl RevocationList {
    /// True if the CA has made this list before the other. Number and date may contradict each other, as when a CA has
    /// begun to count anew: then the answer is no, for a list must not be refused for ever.
    fn is_older_than(&self, other: &Self) -> bool {
        let by_date = self.this_update.cmp(&other.this_update);
        let by_number = match (&self.number, &other.number) {
            (Some(one), Some(other)) => one.len().cmp(&other.len()).then_with(|| one.cmp(other)),
            _ => by_date,
        };
        by_date.is_le() && by_number.is_le() && (by_date.is_lt() || by_number.is_lt())
    }
}

impl TrustBundle {
    /// Parses and checks a candidate. `crl_pem` may be empty, and may be the same text as `ca_pem`: what is
    /// not wanted of either is skipped.
    pub fn parse(
        ca_pem: &[u8],
        crl_pem: &[u8],
        revocation: bool,
        now: UnixTime,
    ) -> Result<ProvedTrust, TrustError> {
        let proved = Self::restore(ca_pem, crl_pem, revocation)?;
        proved.bundle().check_dates(now)?;
        Ok(proved)
    }

    /// Like `parse`, for the bundle that served last and was kept: its dates are not checked.
    pub fn restore(ca_pem: &[u8], crl_pem: &[u8], revocation: bool) -> Result<ProvedTrust, TrustError> {
        let bundle = check::bundle(ca_pem, crl_pem, revocation)?;
        let fingerprint = bundle.fingerprint();
        Ok(Proved::new(Arc::new(bundle), fingerprint))
    }

    /// Its CAs, each once, in the order of the text.
    pub fn cas(&self) -> &[TrustAnchor] {
        &self.cas
    }

    /// Its revocation lists.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        &self.revocation_lists
    }

    /// The hash of CAs, revocation lists and `revocation`.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The earliest time by which one of its revocation lists should have been replaced.
    pub fn next_update(&self) -> Option<UnixTime> {
        self.revocation_lists.iter().map(|list| list.next_update).min()
    }

    /// The time at which the last of its CAs expires.
    pub fn not_after(&self) -> Option<UnixTime> {
        self.cas.iter().map(|ca| ca.not_after).max()
    }

    pub(crate) fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    pub(crate) fn verifier(&self) -> &dyn ClientCertVerifier {
        &*self.verifier
    }

    fn check_dates(&self, now: UnixTime) -> Result<(), TrustError> {
        let last = self.cas.iter().max_by_key(|ca| ca.not_after);
        if let Some(last) = last.filter(|last| last.not_after < now) {
            return Err(TrustError::Expired {
                subject: last.subject.clone(),
                not_after: last.not_after,
                now,
            });
        }
        match self.revocation_lists.iter().find(|list| list.next_update < now) {
            Some(list) => Err(TrustError::RevocationListExpired {
                issuer: list.issuer.clone(),
                next_update: list.next_update,
                now,
            }),
            None => Ok(()),
        }
    }
}

impl ProvedTrust {
    /// Refuses the candidate if it brings back a revocation list that is older than one in force.
    pub fn not_older_than(self, in_force: &TrustBundle) -> Result<Self, TrustError> {
        for list in &self.bundle().revocation_lists {
            let of_its_ca = |other: &&RevocationList| other.raw_issuer == list.raw_issuer;
            let known = in_force.revocation_lists.iter().find(of_its_ca);
            if let Some(known) = known.filter(|known| list.is_older_than(known)) {
                return Err(TrustError::OlderRevocationList {
                    issuer: list.issuer.clone(),
                    this_update: list.this_update,
                    known: known.this_update,
                });
            }
        }
        Ok(self)
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("fingerprint", &self.fingerprint)
            .field("cas", &self.cas)
            .field("revocation_lists", &self.revocation_lists)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
