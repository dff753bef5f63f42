//! The key of an account, and the requests that are signed with it (RFC 7515 as RFC 8555 §6.2 uses it).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An ECDSA key on P-256: all CAs accept this kind.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The bytes are no P-256 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no P-256 key")]
pub(super) struct BadKey;

/// The signer of a request.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    /// The key itself, for requests that need no account.
    Key(&'a AccountKey),
    /// The account with this URL.
    Account(&'a AccountKey, &'a str),
}

impl AccountKey {
    pub(super) fn generate() -> Result<Self, BadKey> {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(|_| BadKey)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| BadKey)?;
        Ok(Self {
            pair,
            pkcs8: Zeroizing::new(der.to_vec()),
        })
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, RFC 7517.
    pub(super) fn jwk(&self) -> Value {
        // An uncompressed point: 0x04, then both coordinates in 32 bytes each.
        let (x, y) = self
            .pair
            .public_key()
            .as_ref()
            .get(1..)
            .and_then(|point| point.split_at_checked(32))
            .unwrap_or_default();
        json!({ "crv": "P-256", "kty": "EC", "x": base64(x), "y": base64(y) })
    }

    /// The thumbprint of the public half (RFC 7638): the members that [`AccountKey::jwk`] has, in the order of their
    /// names.
    pub(super) fn thumbprint(&self) -> String {
        base64(&sha256(self.jwk().to_string().as_bytes()))
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey").finish_non_exhaustive()
    }
}

impl Signer<'_> {
    /// Makes a signed request. Without a payload it is a POST-as-GET (RFC 8555 §6.3); without a nonce it is the inner
    /// part of another request.
    pub(super) fn sign(
        self,
        url: &str,
        nonce: Option<&str>,
        payload: Option<&Value>,
    ) -> Result<Value, BadKey> {
        let (key, name, value) = match self {
            Self::Key(key) => (key, "jwk", key.jwk()),
            Self::Account(key, url) => (key, "kid", json!(url)),
        };
        let mut protected = json!({ "alg": "ES256", "url": url, name: value });
        if let (Some(nonce), Some(fields)) = (nonce, protected.as_object_mut()) {
            fields.insert("nonce".to_owned(), json!(nonce));
        }
        let random = SystemRandom::new();
        envelope(&protected, payload, |text| {
            let signature = key.pair.sign(&random, text).map_err(|_| BadKey)?;
            Ok(base64(signature.as_ref()))
        })
    }
}

/// Makes an external account binding (RFC 8555 §7.3.4): the customer of the CA vouches for the key of our account.
pub(super) fn external_binding(
    kid: &str,
    hmac_key: &[u8],
    url: &str,
    account: &AccountKey,
) -> Result<Value, BadKey> {
    let protected = json!({ "alg": "HS256", "kid": kid, "url": url });
    let key = hmac::Key::new(hmac::HMAC_SHA256, hmac_key);
    envelope(&protected, Some(&account.jwk()), |text| {
        Ok(base64(hmac::sign(&key, text).as_ref()))
    })
}

fn envelope(
    protected: &Value,
    payload: Option<&Value>,
    sign: impl FnOnce(&[u8]) -> Result<String, BadKey>,
) -> Result<Value, BadKey> {
    let protected = base64(protected.to_string().as_bytes());
    let payload = payload.map_or_else(String::new, |payload| base64(payload.to_string().as_bytes()));
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
}

pub(super) fn sha256(text: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, text);
    <[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn decode(value: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
    }

    #[test]
    fn what_is_signed_verifies_and_says_by_whom() {
        let key = AccountKey::generate().unwrap();
        let signed = Signer::Account(&key, "https://ca/acct/1")
            .sign("https://ca/x", Some("n1"), None)
            .unwrap();
        let protected: Value = serde_json::from_slice(&decode(&signed["protected"])).unwrap();
        assert_eq!(
            protected,
            json!({ "alg": "ES256", "kid": "https://ca/acct/1", "nonce": "n1", "url": "https://ca/x" })
        );
        assert_eq!(signed["payload"], "");
        let text = format!("{}.", signed["protected"].as_str().unwrap());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref())
            .verify(text.as_bytes(), &decode(&signed["signature"]))
            .unwrap();
    }

    #[test]
    fn a_key_comes_back_from_its_bytes() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(again.jwk(), key.jwk());
        assert_eq!(AccountKey::from_pkcs8(b"no key").unwrap_err(), BadKey);
        assert_eq!(format!("{key:?}"), "AccountKey { .. }");
    }
}
