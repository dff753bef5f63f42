//! One wish in its form on disk. No secret in it.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certstore::{Fingerprint, UnixTime};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::acme::RevocationReason;
use crate::config::{Ca, ExternalAccount, SecretReference};
use crate::store::{DocumentError, decode, encode};

/// The document's format. Format 1 had other names for some fields, which are read as well.
const FORMAT: u32 = 2;

/// A wish to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) certificate: String,
    pub(crate) fingerprint: Fingerprint,
    /// DER.
    pub(crate) leaf: Vec<u8>,
    pub(crate) not_after: UnixTime,
    pub(crate) ca: Ca,
    pub(crate) reason: RevocationReason,
    pub(crate) asked_at: UnixTime,
    /// The CA's last answer, if it did not revoke.
    pub(crate) said: Option<RevocationAnswer>,
    pub(crate) revoked_at: Option<UnixTime>,
}

/// An answer by which a CA did not revoke. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevocationAnswer {
    pub(crate) at: u64,
    pub(crate) text: String,
    /// Time for which it is not asked again.
    pub(crate) wait: u64,
    /// The CA will not revoke it at all, as against not now.
    pub(crate) is_refusal: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredWish {
    format: u32,
    certificate: String,
    #[serde(alias = "generation")]
    fingerprint: String,
    leaf: String,
    not_after: u64,
    #[serde(alias = "authority")]
    ca: StoredCa,
    reason: String,
    asked_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<RevocationAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<u64>,
}

/// The data needed to find the CA, and our account there among the kept ones.
#[derive(Serialize, Deserialize)]
struct StoredCa {
    name: String,
    directory: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_account: Option<String>,
}

impl Wish {
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let ca = &self.ca;
        let stored = StoredWish {
            format: FORMAT,
            certificate: self.certificate.clone(),
            fingerprint: format!("{:x}", self.fingerprint),
            leaf: STANDARD.encode(&self.leaf),
            not_after: self.not_after.as_secs(),
            ca: StoredCa {
                name: ca.name.clone(),
                directory: ca.directory.clone(),
                ca_file: ca.ca_file.clone(),
                contact: ca.contact.clone(),
                external_account: ca.external_account.as_ref().map(|one| one.kid.clone()),
            },
            reason: self.reason.as_str().to_owned(),
            asked_at: self.asked_at.as_secs(),
            said: self.said.clone(),
            revoked_at: self.revoked_at.map(|at| at.as_secs()),
        };
        encode(&stored, 0)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let stored: StoredWish = decode(bytes, FORMAT)?;
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let broken = |what: &str| format!("holds no {what}");
        Ok(Self {
            certificate: stored.certificate,
            fingerprint: fingerprint(&stored.fingerprint).ok_or_else(|| broken("fingerprint"))?,
            leaf: STANDARD.decode(&stored.leaf).map_err(|_| broken("certificate"))?,
            not_after: at(stored.not_after),
            ca: Ca {
                name: stored.ca.name,
                directory: stored.ca.directory,
                ca_file: stored.ca.ca_file,
                contact: stored.ca.contact,
                profile: None,
                // It names the account. The HMAC key is for a new account, which could not revoke.
                external_account: stored.ca.external_account.map(|kid| ExternalAccount {
                    kid,
                    hmac_key: SecretReference::File(PathBuf::new()),
                }),
            },
            reason: RevocationReason::from_name(&stored.reason).ok_or_else(|| broken("reason"))?,
            asked_at: at(stored.asked_at),
            said: stored.said,
            revoked_at: stored.revoked_at.map(at),
        })
    }

    /// True if this is the CA, and our account there.
    pub(super) fn is_at(&self, ca: &Ca) -> bool {
        let kid = |one: &Ca| one.external_account.as_ref().map(|external| external.kid.clone());
        ca.directory == self.ca.directory && kid(ca) == kid(&self.ca)
    }
}

/// The whole hash, from hex.
fn fingerprint(hex: &str) -> Option<Fingerprint> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|one| u8::try_from(one).ok())
    };
    let mut bytes = Vec::with_capacity(32);
    for pair in hex.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(high)? * 16 + digit(low)?);
    }
    <[u8; 32]>::try_from(bytes).ok().map(Fingerprint::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let wish = Wish {
            certificate: "api".to_owned(),
            fingerprint: Fingerprint::from_bytes([0xa7; 32]),
            leaf: vec![0x30, 0, 0xff],
            not_after: at(9),
            ca: Ca {
                name: "test".to_owned(),
                directory: "https://ca.test/directory".to_owned(),
                ca_file: Some(PathBuf::from("/etc/ca.pem")),
                contact: vec!["a@b.test".to_owned()],
                profile: None,
                external_account: Some(ExternalAccount {
                    kid: "k".to_owned(),
                    hmac_key: SecretReference::File(PathBuf::new()),
                }),
            },
            reason: RevocationReason::KeyCompromise,
            asked_at: at(7),
            said: Some(RevocationAnswer {
                at: 8,
                text: "no".to_owned(),
                wait: 60,
                is_refusal: true,
            }),
            revoked_at: Some(at(9)),
        };
        let bytes = wish.to_json().unwrap();
        assert_eq!(Wish::parse(&bytes), Ok(wish.clone()));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let of_format_1 = text
            .replace("\"format\": 2", "\"format\": 1")
            .replace("\"fingerprint\"", "\"generation\"")
            .replace("\"ca\"", "\"authority\"");
        assert_ne!(of_format_1, text);
        assert_eq!(Wish::parse(of_format_1.as_bytes()), Ok(wish));
        for (from, to) in [
            ("a7a7", "a7"),
            ("\"format\": 2", "\"format\": 3"),
            ("key-compromise", "whim"),
            ("\"leaf\": \"", "\"leaf\": \"*"),
            ("{", "["),
        ] {
            assert!(
                Wish::parse(text.replacen(from, to, 1).as_bytes()).is_err(),
                "{to}"
            );
        }
    }
}
