//! Picks one of the chains that a CA offers for a certificate (RFC 8555 §7.4.2).

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::event::EventKind;

use super::account::AccountSession;
use super::http::CaResponse;
use super::problem::named;

/// Number of chains beside the default that are looked at. CAs have offered two at most.
const MAX_ALTERNATES: usize = 4;

/// Returns the chain whose last certificate is issued by `preferred`, else the default of the CA. A chain that cannot
/// be downloaded counts as not offered: a certificate with the default chain is better than none.
pub(super) async fn choose(
    account: &AccountSession,
    default: CaResponse,
    preferred: Option<&str>,
    report: impl Fn(EventKind),
) -> Bytes {
    let Some(preferred) = preferred else {
        return default.body;
    };
    let mut offered = Vec::new();
    let mut is_preferred = |chain: &[u8]| {
        let issuer = top_issuer(chain);
        let is_preferred = issuer.as_deref() == Some(preferred);
        offered.extend(issuer.as_deref().map(named));
        is_preferred
    };
    if is_preferred(&default.body) {
        return default.body;
    }
    for url in default.head.alternates.iter().take(MAX_ALTERNATES) {
        match account.post("certificate", url, None).await {
            Ok(chain) if is_preferred(&chain.body) => return chain.body,
            Ok(_) => {}
            Err(error) => {
                let error = error.into_error(&account.session.ca, "download another chain");
                report(EventKind::ChainUnread { error });
            }
        }
    }
    report(EventKind::ChainNotOffered {
        ca: account.session.ca.name.clone(),
        preferred: preferred.to_owned(),
        offered: offered.join(", "),
    });
    default.body
}

/// Common name of the issuer of the last certificate of a chain.
fn top_issuer(chain: &[u8]) -> Option<String> {
    let last = CertificateDer::pem_slice_iter(chain).last()?.ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&last).ok()?;
    let name = certificate.issuer().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

    use super::*;

    #[test]
    fn the_top_of_a_chain_is_the_issuer_of_its_last_certificate() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Root X");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Issuer 1");
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
        let leaf = CertificateParams::new(vec!["a.example".to_owned()])
            .unwrap()
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let chain = format!("{}{}", leaf.pem(), issuer.as_ref().pem());
        assert_eq!(top_issuer(chain.as_bytes()).as_deref(), Some("Root X"));
        assert_eq!(top_issuer(leaf.pem().as_bytes()).as_deref(), Some("Issuer 1"));
        assert_eq!(top_issuer(b"rubbish"), None);
    }
}
