//! Keys of certificates, signing requests, and the certificate that answers TLS-ALPN-01.

use std::sync::Arc;

use certstore::Name;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::config::KeyType;

/// A key could not be made or used. The cause is never the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct KeyError(String);

impl From<rcgen::Error> for KeyError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// Makes a key, as PKCS#8 in PEM. RSA takes up to seconds, on the blocking pool.
pub(super) async fn generate(kind: KeyType) -> Result<Zeroizing<String>, KeyError> {
    tokio::task::spawn_blocking(move || {
        let pair = match kind {
            KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
            KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        let pair = Zeroizing::new(pair?);
        Ok(Zeroizing::new(pair.serialize_pem()))
    })
    .await
    .unwrap_or_else(|panicked| Err(KeyError(panicked.to_string())))
}

/// Makes the signing request in DER (RFC 8555 §7.4): all names as alternative names, and no common name.
pub(super) fn signing_request(key_pem: &str, domains: &[Name]) -> Result<Vec<u8>, KeyError> {
    let key = Zeroizing::new(KeyPair::from_pem(key_pem)?);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = domains
        .iter()
        .map(|domain| match domain {
            Name::Ip(address) => Ok(SanType::IpAddress(*address)),
            name => Ok(SanType::DnsName(Ia5String::try_from(name.to_string())?)),
        })
        .collect::<Result<_, rcgen::Error>>()?;
    Ok(params.serialize_request(&*key)?.der().to_vec())
}

/// Makes the certificate that answers TLS-ALPN-01 (RFC 8737 §3): self-signed, for exactly this name or address, with
/// the digest of the key authorization.
pub(super) fn tls_alpn_certificate(domain: &str, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, KeyError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_ecdsa_type(&key).map_err(|error| KeyError(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| Name::parse(text).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_request_names_hosts_and_addresses_and_has_no_subject() {
        for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = generate(kind).await.unwrap();
            let der = signing_request(&key, &names(&["*.example.com", "::1"])).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
            request.verify_signature().unwrap();
            assert_eq!(request.certification_request_info.subject.iter().count(), 0);
            let extensions: Vec<_> = request.requested_extensions().unwrap().collect();
            let [ParsedExtension::SubjectAlternativeName(san)] = extensions.as_slice() else {
                panic!("{extensions:?}");
            };
            let address = std::net::Ipv6Addr::LOCALHOST.octets();
            assert_eq!(
                san.general_names,
                [
                    GeneralName::DNSName("*.example.com"),
                    GeneralName::IPAddress(&address)
                ]
            );
        }
    }

    #[test]
    fn the_answer_to_tls_alpn_has_one_name_and_a_critical_digest() {
        let answer = tls_alpn_certificate("api.example.com", &[7; 32]).unwrap();
        let (_, certificate) =
            x509_parser::parse_x509_certificate(answer.end_entity_cert().unwrap()).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [GeneralName::DNSName("api.example.com")]
        );
        let acme = certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(acme.critical);
        assert_eq!(acme.value, [[4, 32].as_slice(), &[7; 32]].concat());
    }
}
