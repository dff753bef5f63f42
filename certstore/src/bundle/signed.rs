//! The check that a certificate or a revocation list was signed by an issuer: yes, no, or not known.
//!
//! "Cannot be verified" is another answer than "not signed by": clients know algorithms that our library does not.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// The longest modulus that is verified, and a byte for its sign and some for its frame.
const MAX_RSA_KEY_BYTES: usize = 8192 / 8 + 32;

/// The result of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The issuer has signed it.
    Signed,
    /// The issuer has not signed it.
    NotSigned,
    /// Not known, for this algorithm is not supported.
    Unsupported(&'static str),
}

/// The algorithm that verifies a signature, or the verdict without one.
type Method = Result<&'static dyn VerificationAlgorithm, Verdict>;

pub(crate) fn of_certificate(
    certificate: &X509Certificate<'_>,
    issuer: &SubjectPublicKeyInfo<'_>,
) -> Verdict {
    verdict(
        &certificate.signature_algorithm,
        certificate.tbs_certificate.as_ref(),
        &certificate.signature_value.data,
        issuer,
    )
}

pub(crate) fn of_list(list: &CertificateRevocationList<'_>, issuer: &SubjectPublicKeyInfo<'_>) -> Verdict {
    verdict(
        &list.signature_algorithm,
        list.tbs_cert_list.as_ref(),
        &list.signature_value.data,
        issuer,
    )
}

fn verdict(
    signed_with: &AlgorithmIdentifier<'_>,
    signed: &[u8],
    signature: &[u8],
    issuer: &SubjectPublicKeyInfo<'_>,
) -> Verdict {
    match method(signed_with, issuer) {
        Ok(algorithm) => {
            let key = UnparsedPublicKey::new(algorithm, &issuer.subject_public_key.data);
            match key.verify(signed, signature) {
                Ok(()) => Verdict::Signed,
                Err(_) => Verdict::NotSigned,
            }
        }
        Err(verdict) => verdict,
    }
}

fn method(signed_with: &AlgorithmIdentifier<'_>, issuer: &SubjectPublicKeyInfo<'_>) -> Method {
    let key = issuer.algorithm.algorithm.to_id_string();
    let is_rsa = key == "1.2.840.113549.1.1.1" || key == "1.2.840.113549.1.1.10";
    let of = |fits: bool, method: Method| if fits { method } else { Err(Verdict::NotSigned) };
    let rsa = |method: &'static dyn VerificationAlgorithm| {
        let is_long = issuer.subject_public_key.data.len() > MAX_RSA_KEY_BYTES;
        let method = match is_long {
            true => unsupported("an RSA key of more than 8192 bits"),
            false => Ok(method),
        };
        of(is_rsa, method)
    };
    let ecdsa = |hash| of(key == "1.2.840.10045.2.1", ecdsa(issuer, hash));
    match signed_with.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => rsa(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        // Short keys are refused for what they are, and not for their signatures.
        "1.2.840.113549.1.1.11" => rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        "1.2.840.113549.1.1.12" => rsa(&RSA_PKCS1_2048_8192_SHA384),
        "1.2.840.113549.1.1.13" => rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        "1.2.840.113549.1.1.10" => pss(signed_with).and_then(rsa),
        "1.2.840.10045.4.3.2" => ecdsa(256),
        "1.2.840.10045.4.3.3" => ecdsa(384),
        "1.2.840.10045.4.3.4" => ecdsa(512),
        "1.3.101.112" => of(key == "1.3.101.112", Ok(&ED25519)),
        "1.3.101.113" => of(key == "1.3.101.113", unsupported("Ed448")),
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.1" => of(
            key == "1.2.840.10045.2.1",
            unsupported("ECDSA with a hash that is too short"),
        ),
        // RFC 9881 §2.
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => {
            unsupported("ML-DSA")
        }
        _ => unsupported("an algorithm that is not known"),
    }
}

fn unsupported(algorithm: &'static str) -> Method {
    Err(Verdict::Unsupported(algorithm))
}

/// RFC 5758 §3.2: any hash goes with any curve.
fn ecdsa(issuer: &SubjectPublicKeyInfo<'_>, hash: u16) -> Method {
    let curve = issuer.algorithm.parameters.as_ref();
    let curve = curve.and_then(|curve| Some(curve.as_oid().ok()?.to_id_string()));
    Ok(match (curve.unwrap_or_default().as_str(), hash) {
        ("1.2.840.10045.3.1.7", 256) => &ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.3.1.7", 384) => &ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.3.1.7", _) => &ECDSA_P256_SHA512_ASN1,
        ("1.3.132.0.34", 256) => &ECDSA_P384_SHA256_ASN1,
        ("1.3.132.0.34", 384) => &ECDSA_P384_SHA384_ASN1,
        ("1.3.132.0.34", _) => &ECDSA_P384_SHA512_ASN1,
        ("1.3.132.0.35", 256) => &ECDSA_P521_SHA256_ASN1,
        ("1.3.132.0.35", 384) => &ECDSA_P521_SHA384_ASN1,
        ("1.3.132.0.35", _) => &ECDSA_P521_SHA512_ASN1,
        // RFC 5639 §4.1.
        (curve, _) if curve.starts_with("1.3.36.3.3.2.8.1.1.") => {
            return unsupported("ECDSA on a brainpool curve");
        }
        _ => return unsupported("ECDSA on another curve than P-256, P-384 and P-521"),
    })
}

/// RFC 4055 §3.1: the parameters name hash, mask and salt. Our library knows salts as long as the hash.
fn pss(signed_with: &AlgorithmIdentifier<'_>) -> Result<&'static dyn VerificationAlgorithm, Verdict> {
    let unusual = Err(Verdict::Unsupported(
        "RSA-PSS with another salt or hash than is usual",
    ));
    let parameters = signed_with.parameters.as_ref();
    let Some(parameters) = parameters.and_then(|any| RsaSsaPssParams::try_from(any).ok()) else {
        return unusual;
    };
    let hash = parameters.hash_algorithm_oid().to_id_string();
    let mask = parameters.mask_gen_algorithm();
    if mask.is_ok_and(|mask| mask.hash.to_id_string() != hash) || parameters.trailer_field() != 1 {
        return unusual;
    }
    match (hash.as_str(), parameters.salt_length()) {
        ("2.16.840.1.101.3.4.2.1", 32) => Ok(&RSA_PSS_2048_8192_SHA256),
        ("2.16.840.1.101.3.4.2.2", 48) => Ok(&RSA_PSS_2048_8192_SHA384),
        ("2.16.840.1.101.3.4.2.3", 64) => Ok(&RSA_PSS_2048_8192_SHA512),
        _ => unusual,
    }
}
