//! The promotion gate: [`prove()`] decides whether a bundle may serve now, and tries it in real handshakes.

mod error;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bundle::chain::leads_to;
use crate::bundle::{CertBundle, Certificate, Name, Warning};
use crate::serving::{Proved, Serving};

pub use error::{Evidence, ProveError};

/// The demands on a candidate: names, TLS versions, life, anchors, and the bundle that it would replace.
#[derive(Debug, Clone)]
pub struct Requirements {
    /// The ALPN lists of the listeners that will serve it, each proved by its own handshake. An empty list
    /// stands for a client without ALPN.
    pub alpn: Vec<Vec<Vec<u8>>>,
    /// The TLS versions, each proved by its own handshake.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// The names that the candidate must cover. Empty: any.
    pub domains: Vec<Name>,
    /// The bundle that serves now; a candidate may not be worse.
    pub serving: Option<Arc<Serving>>,
    /// Lets a candidate be older than the bundle that serves, and lack an intermediate that the latter has.
    pub allow_rollback: bool,
    /// The candidate came whole from a CA: no writer is about to add what it lacks.
    pub from_ca: bool,
    /// A candidate with less life left than this is refused as about to expire.
    pub min_remaining: Duration,
    /// The CA certificates to one of which the chain must lead. Empty: to any.
    pub anchors: Vec<CertificateDer<'static>>,
}

impl Default for Requirements {
    /// `h2` and no ALPN, TLS 1.2 and 1.3, any names, nothing serving, one minute of life.
    fn default() -> Self {
        Self {
            alpn: vec![vec![b"h2".to_vec()], Vec::new()],
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            domains: Vec::new(),
            serving: None,
            allow_rollback: false,
            from_ca: false,
            min_remaining: Duration::from_secs(60),
            anchors: Vec::new(),
        }
    }
}

/// Decides whether the bundle may serve, and proves by real handshakes in memory that it can.
///
/// The dates of a bundle that serves already are not checked again: it is never taken away because of its age. It must
/// still cover the wanted domains and lead to the given anchors.
///
/// A candidate may not be worse than the serving bundle, as long as that one is good: a serving bundle that has
/// expired, is not valid yet, lacks a wanted domain or leads to none of the anchors stops no candidate.
///
/// It proves the pair, under our own TLS library. It does not prove that each client trusts the CA, or can verify this
/// kind of key.
///
/// Costs a signature for each ALPN list and TLS version, and one more for each further kind of name.
pub fn prove(bundle: CertBundle, requirements: &Requirements, now: UnixTime) -> Result<Proved, ProveError> {
    let serving = requirements.serving.as_ref().map(|serving| serving.bundle());
    let unchanged = serving.is_some_and(|serving| serving.fingerprint() == bundle.fingerprint());
    let bundle = match unchanged {
        true => bundle,
        false => without_expired_tail(bundle, now),
    };
    if !unchanged {
        check_dates(&bundle, requirements.min_remaining, now)?;
    }
    check_names(&bundle, &requirements.domains)?;
    if unchanged {
        let within_life = now.max(bundle.not_before()).min(bundle.not_after());
        check_anchors(&bundle, requirements, within_life)?;
    } else {
        check_issuer(&bundle)?;
        check_anchors(&bundle, requirements, now)?;
        let rival =
            serving.filter(|serving| !requirements.allow_rollback && could_serve(serving, requirements, now));
        if let Some(serving) = rival {
            check_not_worse(&bundle, serving, requirements)?;
        }
    }
    let fingerprint = bundle.fingerprint();
    let proved = Proved::new(Arc::new(bundle), fingerprint);
    trial::handshakes(proved.bundle(), requirements)?;
    Ok(proved)
}

fn check_dates(bundle: &CertBundle, min_remaining: Duration, now: UnixTime) -> Result<(), ProveError> {
    let (not_before, not_after) = (bundle.not_before(), bundle.not_after());
    // RFC 5280 §4.1.2.5: both ends are inclusive.
    if now > not_after {
        return Err(ProveError::Expired { not_after, now });
    }
    if now < not_before {
        return Err(ProveError::NotYetValid { not_before, now });
    }
    // A certificate that lives for minutes only must not be refused at birth.
    let life = not_after.as_secs() - not_before.as_secs();
    let remaining = not_after.as_secs() - now.as_secs();
    if remaining < min_remaining.as_secs().min(life / 10) {
        return Err(ProveError::AboutToExpire { not_after, now });
    }
    for (index, certificate) in bundle.certificates().iter().enumerate().skip(1) {
        let Certificate {
            not_before,
            not_after,
            self_signed,
            ..
        } = *certificate;
        // A root is trusted by its key; clients that have it never look at the copy in the chain.
        if !self_signed && (now > not_after || now < not_before) {
            return Err(ProveError::IntermediateNotValid {
                position: index + 1,
                not_before,
                not_after,
                now,
            });
        }
    }
    Ok(())
}

fn check_names(bundle: &CertBundle, domains: &[Name]) -> Result<(), ProveError> {
    let covered = |wanted: &&Name| bundle.names().iter().any(|name| name.covers(wanted));
    let missing: Vec<Name> = domains
        .iter()
        .filter(|wanted| !covered(wanted))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ProveError::WrongNames {
        missing,
        names: bundle.names().to_vec(),
    })
}

/// Cuts the tail of a chain from the first expired certificate on.
///
/// The one before it has not, so its issuer signs beyond the end of this certificate, and must have another one: a
/// root's, of which this is the cross-signed form, or a renewed one. Clients that trust that one do not need this one;
/// others refuse it. The leaf's own issuer is needed, unless the input shows that it is a root.
fn without_expired_tail(bundle: CertBundle, now: UnixTime) -> CertBundle {
    let certificates = bundle.certificates();
    let needed = certificates
        .get(1)
        .map_or(1, |issuer| if issuer.is_also_root { 1 } else { 2 });
    let expired = |certificate: &Certificate| now > certificate.not_after && !certificate.self_signed;
    let tail = certificates.iter().position(expired);
    match tail.filter(|at| *at >= needed) {
        Some(at) => bundle.cut_to(at),
        None => bundle,
    }
}

fn check_issuer(bundle: &CertBundle) -> Result<(), ProveError> {
    // Baseline Requirements §6.1.7: a root's key signs no subscriber's certificate.
    if is_alone(bundle) && bundle.is_of_public_ca() {
        return Err(missing_intermediate(bundle, Evidence::PublicCa));
    }
    Ok(())
}

fn missing_intermediate(bundle: &CertBundle, evidence: Evidence) -> ProveError {
    ProveError::MissingIntermediate {
        issuer: bundle.issuer().to_owned(),
        evidence,
    }
}

/// True for a chain of the leaf alone that is not self-signed: its issuer is missing.
fn is_alone(bundle: &CertBundle) -> bool {
    let leaf = bundle.certificates().first();
    bundle.chain_len() == 1 && leaf.is_some_and(|leaf| !leaf.self_signed)
}

fn check_anchors(bundle: &CertBundle, requirements: &Requirements, at: UnixTime) -> Result<(), ProveError> {
    if requirements.anchors.is_empty() {
        return Ok(());
    }
    match verify_to_anchors(bundle, &requirements.anchors, at) {
        Ok(()) => Ok(()),
        // Clients take such a leaf, the verifier does not.
        Err(webpki::Error::CaUsedAsEndEntity)
            if leads_to(&bundle.certified_key().cert, &requirements.anchors) =>
        {
            Ok(())
        }
        Err(webpki::Error::UnknownIssuer) if is_alone(bundle) => {
            Err(missing_intermediate(bundle, Evidence::Anchors))
        }
        Err(error) => Err(ProveError::Untrusted {
            reason: unsupported(bundle).unwrap_or_else(|| error.to_string()),
        }),
    }
}

/// The signature in the chain that cannot be verified here, for a message.
fn unsupported(bundle: &CertBundle) -> Option<String> {
    bundle.warnings().iter().find_map(|warning| match warning {
        Warning::Unverified { position, algorithm } => Some(format!(
            "certificate {position} of the chain is signed with {algorithm}, which is not supported"
        )),
        _ => None,
    })
}

fn verify_to_anchors(
    bundle: &CertBundle,
    anchors: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let anchors = anchors
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>()?;
    let chain = &bundle.certified_key().cert;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(webpki::Error::UnknownIssuer);
    };
    let leaf = webpki::EndEntityCert::try_from(leaf)?;
    let usage = webpki::KeyUsage::server_auth();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, &anchors, intermediates, now, usage, None, None)
        .map(|_| ())
}

/// True if the serving bundle is valid now, has the wanted names, and leads to the anchors.
fn could_serve(serving: &CertBundle, requirements: &Requirements, now: UnixTime) -> bool {
    (serving.not_before()..=serving.not_after()).contains(&now)
        && check_names(serving, &requirements.domains).is_ok()
        && check_anchors(serving, requirements, now).is_ok()
}

fn check_not_worse(
    bundle: &CertBundle,
    serving: &CertBundle,
    requirements: &Requirements,
) -> Result<(), ProveError> {
    // The half of a file that is being written can end exactly behind the leaf. A longer chain that ends earlier than
    // before is a CA's own doing, and a root, which is all that a leaf alone may lack, is nobody's need.
    let issuer = bundle.certificates().first().map(|leaf| leaf.issuer.as_slice());
    let had_it = || {
        let mut intermediates = serving.certificates().iter().skip(1);
        intermediates.any(|other| {
            !other.self_signed && !other.is_also_root && Some(other.subject.as_slice()) == issuer
        })
    };
    if is_alone(bundle) && !requirements.from_ca && had_it() {
        return Err(missing_intermediate(bundle, Evidence::ServedBefore));
    }
    // Fewer days of life are accepted: that is a switch to a profile of the CA with a shorter life. An earlier start is not.
    let (not_before, serving_not_before) = (bundle.not_before(), serving.not_before());
    if not_before < serving_not_before {
        return Err(ProveError::Older {
            not_before,
            serving_not_before,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
