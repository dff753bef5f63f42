//! The kept texts of a trust bundle, for the next start.

use std::borrow::Cow;

use certstore::{Fingerprint, TrustBundle};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::pair::Pair;
use crate::store::{DocumentError, decode, decode_base64, encode, encode_base64};

/// The document's format. Format 1 had another name for the fingerprint, which is read as well.
const FORMAT: u32 = 2;

/// Upper limit for the fields beside the texts.
const FIELDS_BYTES: usize = 1024;

/// The texts are base64 of the bytes that the source gave.
#[derive(Serialize, Deserialize)]
struct StoredTrust<'a> {
    format: u32,
    /// In the form shown to people: proves that the texts are unchanged.
    #[serde(borrow, alias = "generation")]
    fingerprint: Cow<'a, str>,
    /// Revocation lists were demanded.
    revocation: bool,
    #[serde(borrow)]
    ca: Cow<'a, str>,
    /// Missing if both are one text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    crl: Option<Cow<'a, str>>,
}

/// The document. A combined text may hold a key as well, so no copy of it stays behind.
pub(super) fn to_json(
    fingerprint: Fingerprint,
    revocation: bool,
    pair: &Pair,
) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let ca = encode_base64(&pair.chain);
    let crl = (pair.key != pair.chain).then(|| encode_base64(&pair.key));
    let size = ca.len() + crl.as_ref().map_or(0, |crl| crl.len());
    let document = StoredTrust {
        format: FORMAT,
        fingerprint: fingerprint.to_string().into(),
        revocation,
        ca: ca.as_str().into(),
        crl: crl.as_ref().map(|crl| crl.as_str().into()),
    };
    encode(&document, size + FIELDS_BYTES)
}

/// Reads a document. Checks the bundle in it, which costs milliseconds.
pub(crate) fn parse(bytes: &[u8]) -> Result<Pair, DocumentError> {
    let document: StoredTrust<'_> = decode(bytes, FORMAT)?;
    let chain = decode_base64(&document.ca)?;
    let key = match &document.crl {
        Some(crl) => decode_base64(crl)?,
        None => chain.clone(),
    };
    let restored = TrustBundle::restore(&chain, &key, document.revocation)
        .map_err(|error| format!("cannot be used: {error}"))?;
    if restored.bundle().fingerprint().to_string() != document.fingerprint {
        return Err("is not what its name says".to_owned().into());
    }
    Ok(Pair { chain, key })
}
