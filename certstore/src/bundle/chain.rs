//! The checks of a chain and its key, and what is learnt from them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AttributeTypeAndValue, SubjectPublicKeyInfo, X509Name, X509Version};

use super::error::BundleError;
use super::name::Name;
use super::signed::{self, Verdict};
use super::{
    CertBundle, Certificate, Fingerprint, KeyKind, MAX_CERTIFICATES, MIN_RSA_BITS, Warning, constraints, path,
};
use crate::is_shown;

/// The longest RSA key that TLS libraries verify.
const MAX_RSA_BITS: usize = 8192;

/// The most characters of a subject that a message shows.
const MAX_SUBJECT_CHARS: usize = 160;

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
    input: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertBundle, BundleError> {
    let mut warnings = Vec::new();
    let count = input.len();
    let input = each_once(input);
    if input.len() > MAX_CERTIFICATES {
        return Err(BundleError::ManyCertificates { count: input.len() });
    }
    if input.len() < count {
        warnings.push(Warning::Duplicates);
    }
    let parsed = parse(&input)?;
    let Some(first) = parsed.first() else {
        return Err(BundleError::NoCertificate {
            found: crate::pem::Found::Sections(Vec::new()),
        });
    };
    let Ok(signing) = any_supported_type(key) else {
        // A key of a kind that nobody could use is the error to report.
        return Err(check_strength(&[first]).err().unwrap_or(BundleError::BadKey));
    };
    let leaf = leaf_of(&parsed, &*signing)?;
    let chain = path::from_leaf(leaf, &parsed, &mut warnings)?;
    let key_kind = check_strength(&chain)?;
    constraints::check(&chain, &mut warnings)?;
    let self_signed = leaf.is_self_signed();
    check_purpose(leaf, self_signed, &mut warnings)?;
    let names = names(leaf, self_signed, &mut warnings)?;
    if chain.len() > 1 && chain.last().is_some_and(|top| top.is_self_signed()) {
        warnings.push(Warning::RootInChain);
    }
    let public_ca = is_of_public_ca(leaf);
    let is_also_root = |one: &Parsed<'_>| {
        let mut roots = parsed.iter().filter(|other| other.is_self_signed());
        roots.any(|root| root.is_of_same_name_and_key(one))
    };
    let certificates = chain.iter().map(|one| one.facts(is_also_root(one))).collect();
    let ders: Vec<_> = chain.iter().map(|one| one.der.clone()).collect();
    let fingerprint = fingerprint(&ders, leaf);
    let certified = Arc::new(CertifiedKey::new(ders, signing));
    Ok(CertBundle {
        certified,
        names,
        certificates,
        key_kind,
        fingerprint,
        warnings,
        public_ca,
    })
}

fn each_once(input: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let mut once: Vec<CertificateDer<'static>> = Vec::new();
    for der in input {
        if !once.contains(&der) {
            once.push(der);
        }
    }
    once
}

/// The places of a certificate and its issuers, as far as they are there, in the order in which they are served.
///
/// For containers whose certificates have no order. Each is in DER; `leaf` is a place, and what cannot be parsed is
/// passed over. Those that have the issuer's name and have not signed it follow if none has: [`CertBundle::parse`]
/// says so.
pub fn chain_order(certificates: &[&[u8]], leaf: usize) -> Vec<usize> {
    let ders: Vec<CertificateDer<'static>> = certificates
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let parsed: Vec<_> = ders
        .iter()
        .enumerate()
        .filter_map(|(index, der)| parse_one(index + 1, der).ok())
        .collect();
    let Some(first) = parsed.iter().find(|parsed| parsed.position == leaf + 1) else {
        return vec![leaf];
    };
    let chain = path::from_leaf(first, &parsed, &mut Vec::new()).unwrap_or_else(|_| {
        let namesakes = parsed
            .iter()
            .filter(|other| other.position != first.position && first.names_as_issuer(other));
        std::iter::once(first).chain(namesakes).collect()
    });
    chain.iter().map(|one| one.position - 1).collect()
}

/// True if a chain in order leads to one of these anchors by signatures, and keeps to the limits of its issuers and of
/// the anchor. Dates are not looked at. For leaves that the verifier does not take.
pub(crate) fn leads_to(chain: &[CertificateDer<'static>], anchors: &[CertificateDer<'static>]) -> bool {
    let parse = |ders| parse(ders).unwrap_or_default();
    let (chain, anchors): (Vec<Parsed<'_>>, Vec<Parsed<'_>>) = (parse(chain), parse(anchors));
    let mut path: Vec<&Parsed<'_>> = Vec::new();
    for certificate in &chain {
        path.push(certificate);
        let issued_by = |anchor: &&Parsed<'_>| certificate.signed_by(anchor) == Verdict::Signed;
        for anchor in anchors.iter().filter(issued_by) {
            let mut to_anchor = path.clone();
            to_anchor.push(anchor);
            let mut warnings = Vec::new();
            let position = to_anchor.len();
            let is_of_anchor =
                |warning: &Warning| matches!(warning, Warning::Path { position: of, .. } if *of == position);
            if constraints::check(&to_anchor, &mut warnings).is_ok() && !warnings.iter().any(is_of_anchor) {
                return true;
            }
        }
    }
    false
}

/// A certificate of the input.
pub(super) struct Parsed<'a> {
    /// Its place in the input, from 1.
    pub(super) position: usize,
    pub(super) x509: X509Certificate<'a>,
    der: &'a CertificateDer<'static>,
}

fn parse<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<Parsed<'a>>, BundleError> {
    chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse_one(index + 1, der))
        .collect()
}

fn parse_one<'a>(position: usize, der: &'a CertificateDer<'static>) -> Result<Parsed<'a>, BundleError> {
    let bad = |reason: String| BundleError::BadCertificate { position, reason };
    let (rest, x509) = x509_parser::parse_x509_certificate(der).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes follow its end", rest.len())));
    }
    Ok(Parsed { position, x509, der })
}

/// Refuses weak keys and signatures anywhere in the chain. Gives the kind of the leaf's key.
fn check_strength(chain: &[&Parsed<'_>]) -> Result<KeyKind, BundleError> {
    let mut leaf_kind = None;
    for (index, one) in chain.iter().enumerate() {
        let (position, x509) = (one.position, &one.x509);
        // RFC 5280 §4.1.2.1: 2 stands for version 3.
        if x509.version() != X509Version::V3 {
            return Err(BundleError::OldVersion {
                position,
                version: x509.version().0.saturating_add(1),
            });
        }
        let kind = match key_kind(x509.public_key()) {
            Some(KeyKind::Rsa(bits)) if usize::from(bits) < MIN_RSA_BITS => {
                return Err(BundleError::WeakKey {
                    position,
                    bits: bits.into(),
                });
            }
            kind => kind,
        };
        if index == 0 {
            leaf_kind = kind.ok_or(BundleError::UnsupportedKey { position })?.into();
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

/// The certificate of this key, wherever it stands. Of several the first.
fn leaf_of<'a, 'b>(
    parsed: &'b [Parsed<'a>],
    signing: &dyn SigningKey,
) -> Result<&'b Parsed<'a>, BundleError> {
    let first = || parsed.first().map(|first| text(first.x509.subject()));
    let mismatch = || BundleError::KeyMismatch {
        subject: first().unwrap_or_default(),
    };
    let Some(public) = signing.public_key() else {
        // No key kind that gets here hides its public key; if one did, the trial handshakes would fail.
        return parsed.first().ok_or_else(mismatch);
    };
    parsed
        .iter()
        .find(|certificate| certificate.x509.public_key().raw == public.as_ref())
        .ok_or_else(mismatch)
}

/// Refuses a leaf that may not be a TLS server's.
fn check_purpose(
    leaf: &Parsed<'_>,
    self_signed: bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), BundleError> {
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
    Ok(())
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

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
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
fn fingerprint(chain: &[CertificateDer<'_>], leaf: &Parsed<'_>) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    for der in chain {
        context.update(&der.len().to_be_bytes());
        context.update(der);
    }
    context.update(leaf.x509.public_key().raw);
    Fingerprint::finish(context)
}

impl Parsed<'_> {
    /// True if the certificate names itself as its issuer, and its signature is right or cannot be verified here.
    pub(super) fn is_self_signed(&self) -> bool {
        self.signed_by(self) != Verdict::NotSigned
    }

    /// The verdict on `issuer` as the issuer of this certificate, by name and signature.
    pub(super) fn signed_by(&self, issuer: &Self) -> Verdict {
        if self.names_as_issuer(issuer) {
            signed::of_certificate(&self.x509, issuer.x509.public_key())
        } else {
            Verdict::NotSigned
        }
    }

    /// True if this certificate names `issuer` as its issuer, in whatever spelling: RFC 5280 §7.1.
    pub(super) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.has_issuer_bytes(issuer) || components(self.x509.issuer()) == components(issuer.x509.subject())
    }

    /// True if this certificate names `issuer` as its issuer in the same octets.
    pub(super) fn has_issuer_bytes(&self, issuer: &Self) -> bool {
        self.x509.issuer().as_raw() == issuer.x509.subject().as_raw()
    }

    /// True if the authority key identifier of this certificate names another certificate than `issuer` (RFC 5280
    /// §4.2.1.1).
    pub(super) fn has_other_authority_key(&self, issuer: &Self) -> bool {
        let mut extensions = self.x509.extensions().iter();
        let authority = extensions.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => Some(authority),
            _ => None,
        });
        let Some(authority) = authority else { return false };
        let differ = |one: Option<&[u8]>, other: Option<&[u8]>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        let key = authority.key_identifier.as_ref().map(|identifier| identifier.0);
        let names = authority.authority_cert_issuer.iter().flatten();
        let mut names = names.filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(components(name)),
            _ => None,
        });
        differ(key, issuer.subject_key())
            || differ(authority.authority_cert_serial, Some(issuer.x509.raw_serial()))
            || names
                .next()
                .is_some_and(|name| name != components(issuer.x509.issuer()))
    }

    pub(super) fn is_of_same_name_and_key(&self, other: &Self) -> bool {
        self.x509.subject().as_raw() == other.x509.subject().as_raw()
            && self.x509.public_key().raw == other.x509.public_key().raw
    }

    /// The key identifier of the issuer: RFC 5280 §4.2.1.1.
    pub(super) fn authority_key(&self) -> Option<&[u8]> {
        let mut extensions = self.x509.extensions().iter();
        extensions.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => Some(authority.key_identifier.as_ref()?.0),
            _ => None,
        })
    }

    /// The key identifier of the subject: RFC 5280 §4.2.1.2.
    pub(super) fn subject_key(&self) -> Option<&[u8]> {
        let mut extensions = self.x509.extensions().iter();
        extensions.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
    }

    /// RFC 5280 §4.2.1.9, §4.2.1.3: an issuer has cA set, and keyCertSign if it has key usage at all.
    pub(super) fn may_issue(&self) -> bool {
        let usage = self.x509.key_usage().ok().flatten();
        self.x509.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
    }

    fn facts(&self, is_also_root: bool) -> Certificate {
        let instant =
            |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or(0)));
        let validity = self.x509.validity();
        Certificate {
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            self_signed: self.is_self_signed(),
            is_also_root,
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

/// The parts of a name, from the root of the directory on. RFC 5280 §7.1: case and blanks do not count.
pub(super) fn components(name: &X509Name<'_>) -> Vec<String> {
    let part = |attribute: &AttributeTypeAndValue<'_>| {
        let value = match attribute.as_str() {
            Ok(text) => text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase(),
            Err(_) => format!("{:?}", attribute.as_slice()),
        };
        format!("{}={value}", attribute.attr_type())
    };
    let parts = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(part).collect::<Vec<_>>().join("+"));
    parts.collect()
}

/// A name for people.
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let text: String = name
        .to_string()
        .chars()
        .filter(|letter| is_shown(*letter))
        .take(MAX_SUBJECT_CHARS)
        .collect();
    if text.is_empty() {
        "(no subject)".to_owned()
    } else {
        text
    }
}
