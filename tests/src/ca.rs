use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The roots that a client trusts.
pub trait Trust {
    /// The roots and nothing else.
    fn roots(&self) -> Arc<RootCertStore>;
}

impl<T: Trust> Trust for Arc<T> {
    fn roots(&self) -> Arc<RootCertStore> {
        T::roots(self)
    }
}

impl Trust for RootCertStore {
    fn roots(&self) -> Arc<RootCertStore> {
        Arc::new(self.clone())
    }
}

impl Trust for TestCa {
    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }
}

/// A certificate authority of one test.
#[derive(Debug)]
pub struct TestCa {
    /// Signs the leaves.
    issuer: CertifiedIssuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// The certificates behind the leaf in a chain, PEM: the issuer, if it is not the root.
    above: String,
    next_serial: AtomicU64,
    folder: tempfile::TempDir,
}

/// The properties of a certificate. The default: ECDSA, for `localhost`, 127.0.0.1 and ::1, from yesterday for a month.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// DNS names, IP addresses and URIs.
    pub names: Vec<String>,
    /// The key.
    pub key: KeyKind,
    /// Relative to now.
    pub begins: Validity,
    /// Relative to now.
    pub ends: Validity,
    /// The purpose that its extended key usage names.
    pub usage: ExtendedKeyUsagePurpose,
}

/// A time relative to now.
#[derive(Debug, Clone, Copy)]
pub enum Validity {
    /// So long ago.
    Ago(Duration),
    /// In so long.
    In(Duration),
}

/// Kind of key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 4096 bits; takes seconds to make.
    Rsa4096,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The chain but for the root.
    pub chain: String,
    /// The key.
    pub key: String,
    /// Serial number; grows with each certificate of one CA.
    pub serial: u64,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            key: KeyKind::Ecdsa,
            begins: Validity::Ago(DAY),
            ends: Validity::In(30 * DAY),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

impl Leaf {
    /// For these names only.
    pub fn named(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// With this kind of key.
    pub fn key(self, key: KeyKind) -> Self {
        Self { key, ..self }
    }

    /// For a client.
    pub fn client(self) -> Self {
        Self {
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            ..self
        }
    }

    /// Ended yesterday.
    pub fn expired(self) -> Self {
        Self {
            begins: Validity::Ago(3 * DAY),
            ends: Validity::Ago(DAY),
            ..self
        }
    }

    /// Begins tomorrow.
    pub fn not_yet_valid(self) -> Self {
        Self {
            begins: Validity::In(DAY),
            ..self
        }
    }
}

impl Validity {
    fn time(self) -> SystemTime {
        match self {
            Self::Ago(age) => SystemTime::now() - age,
            Self::In(wait) => SystemTime::now() + wait,
        }
    }
}

impl TestCa {
    /// An authority that no other test knows.
    pub fn new() -> Self {
        crate::tls::install_provider();
        let (params, key) = authority("test CA", 1);
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let (root, pem) = (issuer.der().clone(), issuer.pem());
        Self::with(issuer, root, &pem, String::new())
    }

    /// An authority whose leaves are signed by an intermediate.
    pub fn with_intermediate() -> Self {
        crate::tls::install_provider();
        let (params, key) = authority("test root", 1);
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        let (params, key) = authority("test intermediate", 0);
        let issuer = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        let above = issuer.pem();
        Self::with(issuer, root.der().clone(), &root.pem(), above)
    }

    fn with(
        issuer: CertifiedIssuer<'static, KeyPair>,
        root: CertificateDer<'static>,
        root_pem: &str,
        above: String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), root_pem).unwrap();
        Self {
            issuer,
            root,
            above,
            next_serial: AtomicU64::new(1),
            folder,
        }
    }

    /// A file with the root, for clients in other languages.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A revocation list with these serial numbers, good for a month, PEM.
    pub fn revocation_list(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: Validity::Ago(DAY).time().into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: Validity::Ago(DAY).time().into(),
            next_update: Validity::In(30 * DAY).time().into(),
            crl_number: SerialNumber::from(self.next_serial.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// The issuer of the leaves: certificate and key, PEM.
    pub fn issuer(&self) -> (String, String) {
        (self.issuer.pem(), self.issuer.key().serialize_pem())
    }

    /// The default certificate.
    pub fn pair(&self) -> Pair {
        self.issue(&Leaf::default())
    }

    /// A certificate as asked.
    pub fn issue(&self, leaf: &Leaf) -> Pair {
        let (serial, params) = self.params(leaf);
        let key = match leaf.key {
            KeyKind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        let key = key.unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            chain: certificate.pem() + &self.above,
            key: key.serialize_pem(),
            serial,
        }
    }

    /// A chain for somebody else's public key (DER, RFC 5280 §4.1.2.7), PEM.
    pub fn certify(&self, public_key: &[u8], leaf: &Leaf) -> String {
        let key = SubjectPublicKeyInfo::from_der(public_key).unwrap();
        let (_, params) = self.params(leaf);
        params.signed_by(&key, &self.issuer).unwrap().pem() + &self.above
    }

    fn params(&self, leaf: &Leaf) -> (u64, CertificateParams) {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params.subject_alt_names = leaf.names.iter().map(|name| alternative_name(name)).collect();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("test certificate {serial}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![leaf.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        params.not_before = leaf.begins.time().into();
        params.not_after = leaf.ends.time().into();
        (serial, params)
    }
}

fn authority(name: &str, depth: u8) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(
        DnType::CommonName,
        format!("{name} {:016x}", rand::random::<u64>()),
    );
    params.not_before = Validity::Ago(30 * DAY).time().into();
    params.not_after = Validity::In(300 * DAY).time().into();
    (params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// The pair as rustls takes it.
    pub fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (chain.unwrap(), key.unwrap())
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.chain).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }
}

fn alternative_name(name: &str) -> SanType {
    if name.contains("://") {
        return SanType::URI(name.try_into().unwrap());
    }
    match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}
