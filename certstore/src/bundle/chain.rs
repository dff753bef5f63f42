//! The checks of a chain and its key, and what is learnt from them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, signature};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Name, X509Version};

use super::error::BundleError;
use super::name::Name;
use super::{CertBundle, Certificate, Generation, KeyKind, MIN_RSA_BITS, Warning};
use crate::is_shown;

/// The longest RSA key that TLS libraries verify.
const MAX_RSA_BITS: usize = 8192;

/// How much of a subject a message shows.
const SHOWN_SUBJECT_CHARS: usize = 160;

/// Signature algorithms that clients refuse, by OID.
const WEAK_SIGNATURES: [(&str, &str); 6] = [
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
];

/// RFC 6962 §3.3: signed certificate timestamps, which only public CAs embed.
const SIGNED_CERTIFICATE_TIMESTAMPS: &str = "1.3.6.1.4.1.11129.2.4.2";

/// RFC 7633 §6.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// The policies of the CA/Browser Forum's Baseline Requirements (§7.1.6.1) and EV guidelines.
const PUBLIC_CA_POLICIES: &str = "2.23.140.1.";

pub(super) fn check(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertBundle, BundleError> {
    let parsed = parse(&chain)?;
    let Some(leaf) = parsed.first() else {
        return Err(BundleError::NoCertificate {
            found: super::Found::Sections(Vec::new()),
        });
    };
    let key_kind = check_strength(&parsed)?;
    let signing = any_supported_type(key).map_err(|_| BundleError::BadKey)?;
    check_key_is_of_leaf(&parsed, &*signing)?;
    check_order(&parsed)?;
    let self_signed = leaf.is_self_signed();
    let mut warnings = check_purpose(leaf, self_signed)?;
    let names = names(leaf, self_signed, &mut warnings)?;
    if parsed.len() > 1 && parsed.last().is_some_and(Parsed::is_self_signed) {
        warnings.push(Warning::RootInChain);
    }
    let public_ca = is_of_public_ca(leaf);
    let certificates = parsed.iter().map(Parsed::facts).collect();
    let generation = generation(&chain, leaf);
    drop(parsed);
    let certified = Arc::new(CertifiedKey::new(chain, signing));
    Ok(CertBundle {
        certified,
        names,
        certificates,
        key_kind,
        generation,
        warnings,
        public_ca,
    })
}

struct Parsed<'a> {
    position: usize,
    x509: X509Certificate<'a>,
}

fn parse<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<Parsed<'a>>, BundleError> {
    let mut parsed: Vec<Parsed<'a>> = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let position = index + 1;
        let bad = |reason: String| BundleError::BadCertificate { position, reason };
        let (rest, x509) =
            x509_parser::parse_x509_certificate(der).map_err(|error| bad(error.to_string()))?;
        if !rest.is_empty() {
            return Err(bad(format!("{} bytes follow its end", rest.len())));
        }
        // RFC 5280 §4.1.2.1: 2 stands for version 3.
        if x509.version() != X509Version::V3 {
            return Err(BundleError::OldVersion {
                position,
                version: x509.version().0.saturating_add(1),
            });
        }
        if let Some(first) = parsed
            .iter()
            .find(|earlier| earlier.x509.as_raw() == x509.as_raw())
        {
            return Err(BundleError::Duplicate {
                position,
                first: first.position,
            });
        }
        parsed.push(Parsed { position, x509 });
    }
    Ok(parsed)
}

/// Refuses weak keys and signatures anywhere in the chain. Gives the kind of the leaf's key.
fn check_strength(parsed: &[Parsed<'_>]) -> Result<KeyKind, BundleError> {
    let mut leaf_kind = None;
    for Parsed { position, x509 } in parsed {
        let position = *position;
        let kind = match key_kind(x509.public_key()) {
            Some(KeyKind::Rsa(bits)) if usize::from(bits) < MIN_RSA_BITS => {
                return Err(BundleError::WeakKey {
                    position,
                    bits: bits.into(),
                });
            }
            kind => kind,
        };
        if position == 1 {
            leaf_kind = kind;
        }
        // The signature of a self-issued certificate proves nothing to anybody, so its strength is no matter.
        if x509.issuer() != x509.subject() {
            let oid = x509.signature_algorithm.algorithm.to_id_string();
            if let Some((_, algorithm)) = WEAK_SIGNATURES.iter().find(|(weak, _)| *weak == oid) {
                return Err(BundleError::WeakSignature { position, algorithm });
            }
        }
    }
    leaf_kind.ok_or(BundleError::UnsupportedKey { position: 1 })
}

fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    match spki.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => match spki.parsed().ok()? {
            PublicKey::RSA(rsa) => {
                // Counted here, for the leading zero byte is there only if the top bit is set.
                let modulus = rsa
                    .modulus
                    .iter()
                    .position(|byte| *byte != 0)
                    .map(|at| rsa.modulus.split_at(at).1)?;
                let top = modulus.first()?;
                let bits = modulus.len() * 8 - usize::try_from(top.leading_zeros()).ok()?;
                (bits <= MAX_RSA_BITS).then_some(KeyKind::Rsa(u16::try_from(bits).ok()?))
            }
            _ => None,
        },
        "1.2.840.10045.2.1" => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            match curve.to_id_string().as_str() {
                "1.2.840.10045.3.1.7" => Some(KeyKind::EcdsaP256),
                "1.3.132.0.34" => Some(KeyKind::EcdsaP384),
                "1.3.132.0.35" => Some(KeyKind::EcdsaP521),
                _ => None,
            }
        }
        "1.3.101.112" => Some(KeyKind::Ed25519),
        _ => None,
    }
}

fn check_key_is_of_leaf(parsed: &[Parsed<'_>], signing: &dyn SigningKey) -> Result<(), BundleError> {
    let Some(public) = signing.public_key() else {
        // No key kind that gets here hides its public key; if one did, the trial handshakes would tell.
        return Ok(());
    };
    let owner = parsed
        .iter()
        .find(|certificate| certificate.x509.public_key().raw == public.as_ref());
    let subject = |certificate: &Parsed<'_>| text(certificate.x509.subject());
    match owner {
        Some(Parsed { position: 1, .. }) => Ok(()),
        Some(owner) => Err(BundleError::LeafNotFirst {
            position: owner.position,
            subject: subject(owner),
        }),
        None => Err(BundleError::KeyMismatch {
            subject: parsed.first().map(subject).unwrap_or_default(),
        }),
    }
}

/// RFC 5246 §7.4.2: each certificate must directly certify the one preceding it. RFC 8446 §4.4.2 lets
/// servers be lax, but not all clients can cope.
fn check_order(parsed: &[Parsed<'_>]) -> Result<(), BundleError> {
    for (certificate, next) in parsed.iter().zip(parsed.iter().skip(1)) {
        let position = certificate.position;
        if certificate.is_issued_by(next) {
            if !next.may_issue() {
                return Err(BundleError::IssuerNotCa {
                    position: next.position,
                });
            }
            continue;
        }
        let elsewhere = parsed
            .iter()
            .find(|other| other.position != position && certificate.is_issued_by(other))
            .map(|issuer| issuer.position);
        return Err(match elsewhere {
            Some(issuer_position) => BundleError::WrongOrder {
                position,
                issuer_position,
            },
            None if certificate.x509.issuer() == next.x509.subject() => BundleError::BadSignature {
                position,
                issuer: text(next.x509.subject()),
            },
            None => BundleError::ChainBroken {
                position,
                wanted: text(certificate.x509.issuer()),
                found: text(next.x509.subject()),
            },
        });
    }
    Ok(())
}

/// Whether the leaf may be a TLS server's.
fn check_purpose(leaf: &Parsed<'_>, self_signed: bool) -> Result<Vec<Warning>, BundleError> {
    let mut warnings = Vec::new();
    if self_signed {
        warnings.push(Warning::SelfSigned);
    }
    if leaf.x509.is_ca() {
        warnings.push(Warning::CaAsServer);
    }
    if demands_stapling(leaf) {
        warnings.push(Warning::MustStaple);
    }
    let bad = |error: X509Error| leaf.bad(&error);
    // RFC 5280 §4.2.1.3, RFC 8446 §4.4.2.2: digitalSignature must be set if the extension is present.
    if leaf
        .x509
        .key_usage()
        .map_err(bad)?
        .is_some_and(|usage| !usage.value.digital_signature())
    {
        return Err(BundleError::KeyUsage);
    }
    let extended = leaf.x509.extended_key_usage().map_err(bad)?;
    if extended.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(BundleError::ExtendedKeyUsage);
    }
    Ok(warnings)
}

/// RFC 7633 §4: the feature status_request (5) in the list.
fn demands_stapling(leaf: &Parsed<'_>) -> bool {
    leaf.x509.extensions().iter().any(|extension| {
        extension.oid.to_id_string() == TLS_FEATURE
            && extension
                .value
                .windows(3)
                .any(|feature| feature == [0x02, 0x01, 0x05])
    })
}

fn names(
    leaf: &Parsed<'_>,
    self_signed: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Name>, BundleError> {
    let mut names: Vec<Name> = Vec::new();
    let mut add = |name: Name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    match leaf
        .x509
        .subject_alternative_name()
        .map_err(|error| leaf.bad(&error))?
    {
        Some(alternative) => {
            let mut odd = false;
            for name in &alternative.value.general_names {
                match name {
                    GeneralName::DNSName(text) => match Name::parse(text) {
                        Ok(name @ (Name::Dns(_) | Name::Wildcard(_))) => add(name),
                        Ok(Name::Ip(_)) | Err(_) => odd = true,
                    },
                    GeneralName::IPAddress(bytes) => match address(bytes) {
                        Some(ip) => add(Name::Ip(ip)),
                        None => odd = true,
                    },
                    _ => {}
                }
            }
            if odd {
                warnings.push(Warning::OddNames);
            }
        }
        // RFC 9525 §6.1: clients no longer look at the common name.
        None if !self_signed => return Err(BundleError::NoNames),
        None => {
            let common_names = leaf
                .x509
                .subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok());
            common_names
                .filter_map(|text| Name::parse(text).ok())
                .for_each(add);
            if !names.is_empty() {
                warnings.push(Warning::NamesFromCommonName);
            }
        }
    }
    if names.is_empty() {
        warnings.push(Warning::NoNames);
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn is_of_public_ca(leaf: &Parsed<'_>) -> bool {
    leaf.x509
        .extensions()
        .iter()
        .any(|extension| match extension.parsed_extension() {
            ParsedExtension::CertificatePolicies(policies) => policies
                .iter()
                .any(|policy| policy.policy_id.to_id_string().starts_with(PUBLIC_CA_POLICIES)),
            _ => extension.oid.to_id_string() == SIGNED_CERTIFICATE_TIMESTAMPS,
        })
}

/// Each certificate is preceded by its length, so that no two chains have the same bytes.
fn generation(chain: &[CertificateDer<'_>], leaf: &Parsed<'_>) -> Generation {
    let mut context = digest::Context::new(&digest::SHA256);
    for der in chain {
        context.update(&der.len().to_be_bytes());
        context.update(der);
    }
    context.update(leaf.x509.public_key().raw);
    Generation::finish(context)
}

impl Parsed<'_> {
    fn is_self_signed(&self) -> bool {
        self.is_issued_by(self)
    }

    fn is_issued_by(&self, issuer: &Self) -> bool {
        self.x509.issuer().as_raw() == issuer.x509.subject().as_raw()
            && is_signed_by(&self.x509, issuer.x509.public_key())
    }

    /// RFC 5280 §4.2.1.9, §4.2.1.3: an issuer has cA set, and keyCertSign if it has key usage at all.
    fn may_issue(&self) -> bool {
        let usage = self.x509.key_usage().ok().flatten();
        self.x509.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
    }

    fn facts(&self) -> Certificate {
        let instant =
            |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or(0)));
        let validity = self.x509.validity();
        Certificate {
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            self_signed: self.is_self_signed(),
            subject: self.x509.subject().as_raw().to_vec(),
            issuer: self.x509.issuer().as_raw().to_vec(),
            issuer_text: text(self.x509.issuer()),
        }
    }

    fn bad(&self, error: &X509Error) -> BundleError {
        BundleError::BadCertificate {
            position: self.position,
            reason: error.to_string(),
        }
    }
}

fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &SubjectPublicKeyInfo<'_>) -> bool {
    match certificate.verify_signature(Some(issuer)) {
        Ok(()) => true,
        Err(X509Error::SignatureUnsupportedAlgorithm) => is_signed_by_p521(
            &certificate.signature_algorithm,
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value.data,
            issuer,
        ),
        Err(_) => false,
    }
}

/// The same of a revocation list.
pub(crate) fn is_list_signed_by(
    list: &CertificateRevocationList<'_>,
    issuer: &SubjectPublicKeyInfo<'_>,
) -> bool {
    match list.verify_signature(issuer) {
        Ok(()) => true,
        Err(X509Error::SignatureUnsupportedAlgorithm) => is_signed_by_p521(
            &list.signature_algorithm,
            list.tbs_cert_list.as_ref(),
            &list.signature_value.data,
            issuer,
        ),
        Err(_) => false,
    }
}

/// The parser's own verification stops at P-384.
fn is_signed_by_p521(
    signed_with: &AlgorithmIdentifier<'_>,
    signed: &[u8],
    signature: &[u8],
    issuer: &SubjectPublicKeyInfo<'_>,
) -> bool {
    if key_kind(issuer) != Some(KeyKind::EcdsaP521) {
        return false;
    }
    let algorithm: &dyn signature::VerificationAlgorithm = match signed_with.algorithm.to_id_string().as_str()
    {
        "1.2.840.10045.4.3.2" => &signature::ECDSA_P521_SHA256_ASN1,
        "1.2.840.10045.4.3.3" => &signature::ECDSA_P521_SHA384_ASN1,
        "1.2.840.10045.4.3.4" => &signature::ECDSA_P521_SHA512_ASN1,
        _ => return false,
    };
    let key = signature::UnparsedPublicKey::new(algorithm, &issuer.subject_public_key.data);
    key.verify(signed, signature).is_ok()
}

/// A name for people.
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let text: String = name
        .to_string()
        .chars()
        .filter(|letter| is_shown(*letter))
        .take(SHOWN_SUBJECT_CHARS)
        .collect();
    if text.is_empty() {
        "(no subject)".to_owned()
    } else {
        text
    }
}
