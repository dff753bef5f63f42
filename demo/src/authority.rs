//! A throwaway certificate authority: ECDSA P-256, alive for as long as the demo runs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::CertificateDer;

/// The age of a new certificate, for clients whose clock is behind.
const SKEW: Duration = Duration::from_secs(60);
const CA_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    names: Vec<String>,
}

/// A server certificate with its key. The chain is the certificate alone: its issuer is the root.
pub(super) struct Pair {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
    pub(super) leaf: CertificateDer<'static>,
}

impl Authority {
    /// An authority whose server certificates carry these DNS names and IP addresses.
    pub(super) fn new(names: Vec<String>) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Serial numbers begin at 1 in every demo. A subject of its own keeps two demos apart in
        // clients that remember issuer and serial number.
        let token: String = key
            .public_key_raw()
            .iter()
            .rev()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("h2gate demo CA {token}"));
        valid(&mut params, CA_LIFE);
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key)?,
            names,
        })
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// A new pair; `number` becomes the serial number.
    pub(super) fn issue(&self, number: u64) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("h2gate demo certificate {number}"));
        params.serial_number = Some(SerialNumber::from(number));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, LEAF_LIFE);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            leaf: certificate.der().clone(),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the certificates live from now on")]
fn valid(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
}
