//! Configuration of orders: the CAs, and the proof of control of the names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::SecretReference;
use super::aws::Aws;

/// A certificate ordered by ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSource {
    /// The CAs, never empty. Each attempt asks the first, and the next only when that fails.
    pub cas: Vec<Ca>,
    /// The proof of control of the names.
    pub challenge: Challenge,
    /// The kind of the certificate's key. A fresh one for each certificate.
    pub key: KeyType,
    /// Common name of the issuer at the top of the chain to choose among those that the CA offers. `None`:
    /// the CA's default.
    pub preferred_chain: Option<String>,
    /// Name servers to ask in the self-check and for the delegation of challenges; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Least time between two orders for these names, unless an operator asks for one by name.
    pub min_interval: Duration,
    /// The wait after the first failure; ten times longer after each further one, up to a day.
    pub first_retry: Duration,
}

impl AcmeSource {
    /// A source to speak with these CAs; it orders nothing.
    pub(crate) fn of(cas: Vec<Ca>) -> Self {
        Self {
            cas,
            challenge: Challenge::Http01,
            key: KeyType::EcdsaP256,
            preferred_chain: None,
            resolvers: Vec::new(),
            min_interval: Duration::ZERO,
            first_retry: Duration::ZERO,
        }
    }
}

/// A CA and our account there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ca {
    /// Name for people and labels: `letsencrypt`, or the host of the directory.
    pub name: String,
    /// URL of its directory.
    pub directory: String,
    /// PEM file of the CA certificates that its own TLS certificate leads to; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Mail addresses for the account, without `mailto:`.
    pub contact: Vec<String>,
    /// The profile to ask for (`tlsserver`, `shortlived`). `None`: the CA's default.
    pub profile: Option<String>,
    /// The account at the CA that ours is bound to (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// RFC 8555 §7.3.4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExternalAccount {
    /// The key identifier that the CA gave.
    pub kid: String,
    /// The HMAC key that it gave with it, base64url.
    pub hmac_key: SecretReference,
}

/// The proof of control of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// RFC 8737: inside the TLS listeners; port 443 must lead to one of them.
    TlsAlpn01,
    /// RFC 8555 §8.3: on an HTTP listener; port 80 must lead to one.
    Http01,
    /// RFC 8555 §8.4: a TXT record. The only one for wildcards.
    Dns01(DnsProvider),
}

impl Challenge {
    /// Its name in ACME and in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01(_) => "dns-01",
        }
    }
}

/// A writer of TXT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsProvider {
    /// Amazon Route 53.
    Route53(Route53),
    /// A command.
    Exec(ExecHook),
}

/// Amazon Route 53.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route53 {
    /// The AWS account and identity.
    pub aws: Aws,
    /// The hosted zone's id; `None`: the public zone with the longest name that the record ends in.
    pub zone: Option<String>,
    /// Longest wait until a change is on all name servers.
    pub propagation_timeout: Duration,
}

/// A command that writes and removes TXT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecHook {
    /// The program and its first arguments; `present` or `cleanup`, the record's name and its value follow.
    pub command: Vec<String>,
    /// Time after which it is killed, and the challenge has failed.
    pub timeout: Duration,
    /// Wait after the last `present` before the CA is asked to validate.
    pub propagation: Duration,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// All of them with their names in the configuration.
    pub const ALL: [(&'static str, Self); 5] = [
        ("ecdsa-p256", Self::EcdsaP256),
        ("ecdsa-p384", Self::EcdsaP384),
        ("rsa-2048", Self::Rsa2048),
        ("rsa-3072", Self::Rsa3072),
        ("rsa-4096", Self::Rsa4096),
    ];

    /// Its name in the configuration, in kept documents and in views.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, one)| *one == self)
            .map_or("", |(name, _)| name)
    }
}
