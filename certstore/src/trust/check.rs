//! The checks of CA certificates and revocation lists, and what is learnt from them.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::{MAX_CAS, MAX_TRUST_BYTES, RevocationList, TrustAnchor, TrustBundle, TrustError};
use crate::bundle::Fingerprint;
use crate::bundle::chain::text;
use crate::bundle::signed::{self, Verdict};
use crate::pem::{PemError, Section, labels, sections};

/// RFC 7468 §6.
const REVOCATION_LIST: &str = "X509 CRL";

pub(super) fn bundle(ca_pem: &[u8], crl_pem: &[u8], revocation: bool) -> Result<TrustBundle, TrustError> {
    let anchors = certificates(ca_pem)?;
    let parsed = anchors
        .iter()
        .enumerate()
        .map(|(index, der)| ca(index + 1, der))
        .collect::<Result<Vec<_>, _>>()?;
    let lists = revocation_lists(crl_pem)?;
    let revocation_lists = check_lists(&parsed, &lists, revocation)?;
    let demanded = [u8::from(revocation)];
    let pieces = anchors
        .iter()
        .map(|der| &**der)
        .chain(lists.iter().map(|list| &**list))
        .chain([&demanded[..]]);
    let fingerprint = Fingerprint::of(pieces);
    let cas = parsed.iter().map(facts).collect();
    drop(parsed);
    Ok(TrustBundle {
        cas,
        revocation_lists,
        fingerprint,
        verifier: verifier(&anchors, lists, revocation)?,
        anchors,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let sections = sections(pem, MAX_TRUST_BYTES).map_err(TrustError::Cas)?;
    let wanted = sections.iter().filter(|section| section.is_certificate());
    let certificates = each_once(wanted, "CA certificates", TrustError::Cas)?;
    match certificates.is_empty() {
        true => Err(TrustError::NoCa {
            found: labels(&sections),
        }),
        false => Ok(certificates),
    }
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustError> {
    let sections = match sections(pem, MAX_TRUST_BYTES) {
        Err(PemError::Empty) => return Ok(Vec::new()),
        sections => sections.map_err(TrustError::RevocationLists)?,
    };
    let wanted = sections.iter().filter(|section| section.is(REVOCATION_LIST));
    each_once(wanted, "revocation lists", TrustError::RevocationLists)
}

/// The content of the sections, each once.
fn each_once<'a, D: From<Vec<u8>> + PartialEq>(
    sections: impl Iterator<Item = &'a Section>,
    what: &'static str,
    unreadable: fn(PemError) -> TrustError,
) -> Result<Vec<D>, TrustError> {
    let mut ders: Vec<D> = Vec::new();
    for section in sections {
        let der = D::from(section.der().map_err(unreadable)?.to_vec());
        if !ders.contains(&der) {
            ders.push(der);
        }
    }
    match ders.len() {
        count if count > MAX_CAS => Err(TrustError::TooMany { what, count }),
        _ => Ok(ders),
    }
}

fn ca<'a>(position: usize, der: &'a CertificateDer<'static>) -> Result<X509Certificate<'a>, TrustError> {
    let bad = |reason: String| TrustError::BadCa { position, reason };
    let (rest, x509) = X509Certificate::from_der(der).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes follow its end", rest.len())));
    }
    // RFC 5280 §4.2.1.9, §4.2.1.3: a CA has cA set, and keyCertSign if it has key usage at all.
    let usage = x509.key_usage().map_err(|error| bad(error.to_string()))?;
    if !x509.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(TrustError::NotAnCa {
            position,
            subject: text(x509.subject()),
        });
    }
    webpki::anchor_from_trusted_cert(der).map_err(|error| bad(error.to_string()))?;
    Ok(x509)
}

fn check_lists(
    cas: &[X509Certificate<'_>],
    lists: &[CertificateRevocationListDer<'static>],
    revocation: bool,
) -> Result<Vec<RevocationList>, TrustError> {
    let mut facts: Vec<RevocationList> = Vec::new();
    let mut without_list: Vec<&X509Certificate<'_>> = cas.iter().collect();
    for (index, der) in lists.iter().enumerate() {
        let position = index + 1;
        let bad = |reason: String| TrustError::BadRevocationList { position, reason };
        // A list that the verifier would refuse later is refused now.
        webpki::BorrowedCertRevocationList::from_der(der).map_err(|error| bad(error.to_string()))?;
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| bad(error.to_string()))?;
        let issuer = text(list.issuer());
        let verdicts = cas.iter().map(|ca| verdict(&list, ca));
        match verdicts.max_by_key(|verdict| rank(*verdict)) {
            Some(Verdict::Signed) => without_list.retain(|ca| verdict(&list, ca) != Verdict::Signed),
            Some(Verdict::Unsupported(algorithm)) => {
                return Err(TrustError::UnsupportedRevocationList {
                    position,
                    issuer,
                    algorithm,
                });
            }
            Some(Verdict::NotSigned) | None => {
                return Err(TrustError::StrangeRevocationList { position, issuer });
            }
        }
        let raw_issuer = list.issuer().as_raw().to_vec();
        // RFC 5280 §5.2.5: a CA may split its list by distribution points; ours are whole.
        if let Some(first) = facts.iter().position(|earlier| earlier.raw_issuer == raw_issuer) {
            return Err(TrustError::SecondRevocationList {
                position,
                first: first + 1,
                issuer,
            });
        }
        let next_update = list
            .next_update()
            .ok_or_else(|| bad("it has no nextUpdate".to_owned()))?;
        facts.push(RevocationList {
            issuer,
            this_update: instant(list.last_update()),
            next_update: instant(next_update),
            revoked: list.iter_revoked_certificates().count(),
            raw_issuer,
            number: list.crl_number().map(|number| number.to_bytes_be()),
        });
    }
    match without_list.first() {
        Some(ca) if revocation => Err(TrustError::NoRevocationList {
            subject: text(ca.subject()),
        }),
        _ => Ok(facts),
    }
}

fn verdict(list: &CertificateRevocationList<'_>, ca: &X509Certificate<'_>) -> Verdict {
    match list.issuer().as_raw() == ca.subject().as_raw() {
        true => signed::of_list(list, ca.public_key()),
        false => Verdict::NotSigned,
    }
}

/// Of several CAs of one name the one that has signed it counts.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotSigned => 0,
        Verdict::Unsupported(_) => 1,
        Verdict::Signed => 2,
    }
}

fn verifier(
    anchors: &[CertificateDer<'static>],
    lists: Vec<CertificateRevocationListDer<'static>>,
    revocation: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    for (index, anchor) in anchors.iter().enumerate() {
        roots.add(anchor.clone()).map_err(|error| TrustError::BadCa {
            position: index + 1,
            reason: error.to_string(),
        })?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    // An expired list still counts, for it knows who was revoked. The watcher of its source reports the expiry.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .clear_root_hint_subjects()
        .with_crls(lists);
    let builder = if revocation {
        builder
    } else {
        builder.allow_unknown_revocation_status()
    };
    builder.build().map_err(|error| TrustError::BadRevocationList {
        position: 1,
        reason: error.to_string(),
    })
}

fn facts(ca: &X509Certificate<'_>) -> TrustAnchor {
    TrustAnchor {
        subject: text(ca.subject()),
        not_before: instant(ca.validity().not_before),
        not_after: instant(ca.validity().not_after),
    }
}

fn instant(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.timestamp().try_into().unwrap_or(0)))
}
