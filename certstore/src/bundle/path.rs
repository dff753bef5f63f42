//! From the leaf upwards: each next certificate is the issuer of the one before, found by its signature.
//!
//! CAs and operators send certificates twice, in another order, and some that belong to no chain. RFC 8446 §4.4.2 lets
//! clients cope with that, and not all do: what is served is put in order (RFC 5246 §7.4.2: each certificate must
//! directly certify the one preceding it), and the rest is left out.

use x509_parser::x509::X509Version;

use super::Warning;
use super::chain::{Parsed, text};
use super::error::BundleError;
use super::signed::Verdict;

/// The leaf, its issuer, and so on as far as it goes.
///
/// A leaf whose issuer is not among other CAs' certificates is refused: somebody meant to put it there.
pub(super) fn from_leaf<'a, 'b>(
    leaf: &'b Parsed<'a>,
    parsed: &'b [Parsed<'a>],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<&'b Parsed<'a>>, BundleError> {
    let mut chain = vec![leaf];
    let mut last = leaf;
    while !last.is_self_signed() {
        let Some((issuer, verdict)) = issuer_of(last, parsed, &chain) else {
            break;
        };
        // RFC 5280 §6.1: a root is trusted by its name and key; one without extensions need not be sent.
        if issuer.x509.version() != X509Version::V3 && issuer.is_self_signed() {
            break;
        }
        if !issuer.may_issue() {
            return Err(BundleError::IssuerNotCa {
                position: issuer.position,
            });
        }
        if let Verdict::Unsupported(algorithm) = verdict {
            warnings.push(Warning::Unverified {
                position: chain.len(),
                algorithm,
            });
        }
        let mut warn = |reason| {
            warnings.push(Warning::Path {
                position: chain.len(),
                reason,
            });
        };
        if !last.has_issuer_bytes(issuer) {
            warn(
                "spells its issuer's name otherwise than the issuer does: Go refuses the chain, OpenSSL and Java do not",
            );
        }
        if last.has_other_authority_key(issuer) {
            warn(
                "names another certificate as its issuer's (authority key identifier): OpenSSL refuses the chain, Go and \
                 Java do not",
            );
        }
        chain.push(issuer);
        last = issuer;
    }
    if chain.len() == 1 && !leaf.is_self_signed() {
        check_alone(leaf, parsed)?;
    }
    if chain.len() < parsed.len() {
        warnings.push(Warning::Superfluous);
    }
    if !chain.is_sorted_by_key(|one| one.position) || leaf.position != 1 {
        warnings.push(Warning::Reordered);
    }
    Ok(chain)
}

/// By signature, for there may be several of one name. Among those that have signed it: one that may issue, then
/// one that leads on (a root needs not be sent, its cross-signed form may), then the one that ends last.
fn issuer_of<'a, 'b>(
    certificate: &Parsed<'a>,
    parsed: &'b [Parsed<'a>],
    chain: &[&Parsed<'a>],
) -> Option<(&'b Parsed<'a>, Verdict)> {
    let identifier = certificate.authority_key();
    parsed
        .iter()
        .filter(|candidate| !chain.iter().any(|known| known.is_of_same_name_and_key(candidate)))
        .map(|candidate| (candidate, certificate.signed_by(candidate)))
        .filter(|(_, verdict)| *verdict != Verdict::NotSigned)
        .max_by_key(|(candidate, verdict)| {
            (
                *verdict == Verdict::Signed,
                candidate.may_issue(),
                // The only evidence for a signature that cannot be verified.
                identifier.is_some() && candidate.subject_key() == identifier,
                !candidate.is_self_signed(),
                candidate.x509.validity().not_after.timestamp(),
                std::cmp::Reverse(candidate.position),
            )
        })
}

fn check_alone(leaf: &Parsed<'_>, parsed: &[Parsed<'_>]) -> Result<(), BundleError> {
    let others = || parsed.iter().filter(|other| other.position != leaf.position);
    // It has signed it, and is left out for its version.
    if others().any(|other| leaf.signed_by(other) != Verdict::NotSigned) {
        return Ok(());
    }
    let position = leaf.position;
    if let Some(namesake) = others().find(|other| leaf.names_as_issuer(other)) {
        return Err(BundleError::BadSignature {
            position,
            issuer_position: namesake.position,
            issuer: text(namesake.x509.subject()),
        });
    }
    match others().find(|other| other.may_issue()) {
        Some(other) => Err(BundleError::ChainBroken {
            position,
            wanted: text(leaf.x509.issuer()),
            found: text(other.x509.subject()),
        }),
        None => Ok(()),
    }
}
