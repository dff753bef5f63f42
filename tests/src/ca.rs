use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};
use rustls::RootCertStore;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whom a client trusts.
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
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// A certificate authority of one test.
#[derive(Debug)]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    next_serial: AtomicU64,
    folder: tempfile::TempDir,
}

/// What a certificate shall be like. The default: ECDSA, for `localhost`, 127.0.0.1 and ::1, from yesterday for a month.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// The key.
    pub key: KeyKind,
    /// Relative to now.
    pub begins: Validity,
    /// Relative to now.
    pub ends: Validity,
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
    /// The chain: the certificate alone, its issuer being the root.
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
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(
            DnType::CommonName,
            format!("test CA {:016x}", rand::random::<u64>()),
        );
        params.not_before = Validity::Ago(30 * DAY).time().into();
        params.not_after = Validity::In(300 * DAY).time().into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self {
            issuer,
            next_serial: AtomicU64::new(1),
            folder,
        }
    }

    /// A file with the root, for clients in other languages.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The root, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The default certificate.
    pub fn pair(&self) -> Pair {
        self.issue(&Leaf::default())
    }

    /// A certificate as asked.
    pub fn issue(&self, leaf: &Leaf) -> Pair {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params.subject_alt_names = leaf.names.iter().map(|name| alternative_name(name)).collect();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("test certificate {serial}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = leaf.begins.time().into();
        params.not_after = leaf.ends.time().into();
        let key = match leaf.key {
            KeyKind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        let key = key.unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            serial,
        }
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key` into a folder.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.chain).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }
}

fn alternative_name(name: &str) -> SanType {
    match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}
