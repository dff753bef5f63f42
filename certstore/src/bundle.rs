//! [`CertBundle::parse`], the only constructor of a bundle: PEM bytes become a chain and a key that fit each other, or
//! an error that says what is wrong.
//!
//! Policy, where the standards leave a choice:
//! - A self-signed pair as `openssl req -x509` makes it (CA:TRUE, no key usage, only a common name, even no
//!   name at all) is accepted, with a [`Warning`] for each oddity. So is CA:TRUE in a certificate that a CA issued;
//!   without any alternative name that one is refused, for every client refuses it.
//! - A root at the end of the chain is accepted: superfluous, and common.
//! - Certificates twice, in another order, or of no use are put in order or left out, with a warning. A leaf whose
//!   issuer is not among the CA certificates that come with it is refused.
//! - Names and path lengths that an issuer does not allow are refused; what only some clients refuse is warned of.
//! - A signature that is not right is refused; one of an algorithm that is not supported is warned of.
//! - Keys in the chain's input and certificates in the key's are skipped, so one combined file may be passed
//!   as both.

pub(crate) mod chain;
mod constraints;
mod error;
mod name;
mod path;
mod pem;
pub(crate) mod signed;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;

pub use chain::chain_order;
pub use error::{BundleError, Part};
pub use name::{BadName, Name};

/// The most bytes that either input may have. The longest valid chain is far below it: a TLS peer refuses a
/// certificate message over 64 KiB.
pub const MAX_PEM_BYTES: usize = 256 * 1024;

/// The most certificates that a chain may have.
pub const MAX_CERTIFICATES: usize = 10;

/// The shortest RSA key. CA/Browser Forum Baseline Requirements §6.1.5.
pub const MIN_RSA_BITS: usize = 2048;

/// A chain and its private key that [`CertBundle::parse`] has checked: order, signatures, strength, usage, and that the
/// key is the leaf's. No clock and no configuration takes part: [`prove`](crate::prove()) decides whether the pair may
/// serve now, for these domains. It never changes.
pub struct CertBundle {
    certified: Arc<CertifiedKey>,
    names: Vec<Name>,
    certificates: Vec<Certificate>,
    key_kind: KeyKind,
    fingerprint: Fingerprint,
    warnings: Vec<Warning>,
    public_ca: bool,
}

/// The facts about one certificate of the chain that [`prove`](crate::prove()) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) self_signed: bool,
    /// The input has a self-signed certificate of the same name and key as well.
    pub(crate) is_also_root: bool,
    /// DER.
    pub(crate) subject: Vec<u8>,
    /// DER.
    pub(crate) issuer: Vec<u8>,
    /// The issuer for people.
    pub(crate) issuer_text: String,
}

/// Succeeds if a PEM text holds certificates, whatever they are. A response without any is not a wrong certificate.
pub fn look_for_certificates(chain_pem: &[u8]) -> Result<(), BundleError> {
    pem::certificates(chain_pem).map(drop)
}

impl CertBundle {
    /// Parses and checks a PEM chain and a PEM key (PKCS#8, PKCS#1 or SEC1). The only way to get a bundle.
    ///
    /// Reads no clock: an expired pair parses. The caller keeps `key_pem` and should zeroize it.
    pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, BundleError> {
        let chain = pem::certificates(chain_pem)?;
        let key = pem::private_key(key_pem)?;
        chain::check(chain, &key)
    }

    /// The names that the leaf is good for, each once, in the leaf's order. May be empty, with a warning.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The leaf is valid from this instant.
    pub fn not_before(&self) -> UnixTime {
        self.certificates.first().map_or(EPOCH, |leaf| leaf.not_before)
    }

    /// The leaf is valid until this instant, inclusive.
    pub fn not_after(&self) -> UnixTime {
        self.certificates.first().map_or(EPOCH, |leaf| leaf.not_after)
    }

    /// The kind of the key.
    pub fn key_kind(&self) -> KeyKind {
        self.key_kind
    }

    /// The hash of the chain and the public key. Never of the secret.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Oddities of the pair that are valid but worth knowing.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Number of certificates of the chain.
    pub fn chain_len(&self) -> usize {
        self.certified.cert.len()
    }

    /// The name of the leaf's issuer, for people.
    pub fn issuer(&self) -> &str {
        self.certificates.first().map_or("", |leaf| &leaf.issuer_text)
    }

    /// The chain and the key, as rustls serves them.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The certificates of the chain, from the leaf on.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The bundle with only the first `chain_len` certificates of its chain. Its fingerprint stays that of the whole
    /// input.
    pub(crate) fn cut_to(mut self, chain_len: usize) -> Self {
        if chain_len < self.chain_len() {
            let chain = self.certified.cert.iter().take(chain_len).cloned().collect();
            self.certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.certified.key)));
            self.certificates.truncate(chain_len);
            self.warnings.retain(|warning| *warning != Warning::RootInChain);
            self.warnings.push(Warning::ExpiredLeftOut);
        }
        self
    }

    /// True if the leaf has an extension or a policy that only public CAs set.
    pub(crate) fn is_of_public_ca(&self) -> bool {
        self.public_ca
    }
}

const EPOCH: UnixTime = UnixTime::since_unix_epoch(std::time::Duration::ZERO);

impl fmt::Debug for CertBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertBundle")
            .field("fingerprint", &self.fingerprint)
            .field("names", &self.names)
            .field("key_kind", &self.key_kind)
            .field("chain_len", &self.chain_len())
            .finish_non_exhaustive()
    }
}

/// The identity of a bundle: SHA-256 over its chain in DER, in order and each certificate once, and its public key.
/// Shown as 12 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of which [`Fingerprint::as_bytes`] gave these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of these pieces, in their order. Each is preceded by its length, so that no two lists have the same
    /// bytes.
    pub(crate) fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for piece in pieces {
            context.update(&piece.len().to_be_bytes());
            context.update(piece);
        }
        Self::finish(context)
    }

    fn finish(context: digest::Context) -> Self {
        let mut hash = [0; 32];
        hash.iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(hash)
    }

    /// The whole hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The whole hash.
impl fmt::LowerHex for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The kind of a bundle's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with this many bits.
    Rsa(u16),
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// True for RSA.
    pub fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa(_))
    }

    /// True if a client that offers these signature schemes can verify this key's signatures.
    pub fn usable_with(self, schemes: &[SignatureScheme]) -> bool {
        schemes.iter().any(|scheme| match self {
            Self::Rsa(_) => matches!(
                scheme,
                SignatureScheme::RSA_PSS_SHA256
                    | SignatureScheme::RSA_PSS_SHA384
                    | SignatureScheme::RSA_PSS_SHA512
                    | SignatureScheme::RSA_PKCS1_SHA256
                    | SignatureScheme::RSA_PKCS1_SHA384
                    | SignatureScheme::RSA_PKCS1_SHA512
            ),
            Self::EcdsaP256 => *scheme == SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::EcdsaP384 => *scheme == SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::EcdsaP521 => *scheme == SignatureScheme::ECDSA_NISTP521_SHA512,
            Self::Ed25519 => *scheme == SignatureScheme::ED25519,
        })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// An oddity of a pair: valid, but worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    /// Self-signed: clients must be configured to trust exactly this certificate.
    SelfSigned,
    /// No subject alternative name: the names are taken from the common name, which Go and rustls ignore.
    NamesFromCommonName,
    /// It names no host at all.
    NoNames,
    /// A subject alternative name that no client can ask for was skipped.
    OddNames,
    /// A leaf with CA:TRUE: OpenSSL, curl, Go and Java accept a CA certificate as a server's, rustls refuses it.
    CaAsServer,
    /// The leaf demands a stapled OCSP response (RFC 7633), and none is sent.
    MustStaple,
    /// The chain ends with a root, which clients do not need.
    RootInChain,
    /// A certificate came more than once; it is served once.
    Duplicates,
    /// An issuer's certificate has expired that clients need not have; it is not served, nor what follows it.
    ExpiredLeftOut,
    /// Certificates that belong to no chain of the leaf are not served.
    Superfluous,
    /// The certificates came in another order than they are served in.
    Reordered,
    /// An issuer's certificate for which some clients refuse the chain, and others do not.
    Path {
        /// Position among the certificates that are served, counted from 1, the leaf.
        position: usize,
        /// The oddity, and the clients that refuse it.
        reason: &'static str,
    },
    /// A certificate whose signature by its issuer cannot be verified here.
    Unverified {
        /// Position among the certificates that are served, counted from 1, the leaf.
        position: usize,
        /// The signature algorithm.
        algorithm: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unverified { position, algorithm } => {
                return write!(
                    f,
                    "certificate {position} of the chain is signed with {algorithm}, which is not supported: that its \
                     issuer has signed it is not verified, and not all clients can"
                );
            }
            Self::Path { position, reason } => {
                return write!(f, "certificate {position} of the chain {reason}");
            }
            Self::SelfSigned => "self-signed: clients must be told to trust exactly this certificate",
            Self::NamesFromCommonName => {
                "no subject alternative name: the common name is used, but many clients ignore it"
            }
            Self::NoNames => "names no host: clients refuse it, unless they fall back on the common name or verify nothing",
            Self::OddNames => "has alternative names that are no host names; they are skipped",
            Self::CaAsServer => "is a CA certificate: some clients refuse it as a server's",
            Self::MustStaple => {
                "demands a stapled OCSP response (must-staple), which is not sent: clients that look at it will refuse it; \
                 issue it without"
            }
            Self::Duplicates => "has certificates more than once; each is served once",
            Self::ExpiredLeftOut => {
                "has an expired certificate of an issuer; it is not served: clients that trust that issuer itself do \
                 not need it, others refuse it"
            }
            Self::Superfluous => {
                "has certificates that are in no chain from the server's to a root; they are not served"
            }
            Self::Reordered => {
                "has its certificates in the wrong order; they are served in the right one: the server's, then each \
                 one's issuer"
            }
            Self::RootInChain => "the chain ends with a root certificate, which clients do not need",
        })
    }
}

#[cfg(test)]
mod tests;
