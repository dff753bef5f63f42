//! The kept texts of a trust bundle, for the next start.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certstore::{Fingerprint, TrustBundle};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::pair::Pair;

/// The document's format. Format 1 had another name for the fingerprint, which is read as well.
const FORMAT: u32 = 2;

/// Upper limit for the fields beside the texts.
const FIELDS_BYTES: usize = 1024;

/// Reason why a document is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A newer h2gate has written it.
    Newer(String),
    /// No h2gate writes such a document, or it does not meet the present demand.
    Broken(String),
}

impl From<String> for Unusable {
    fn from(text: String) -> Self {
        Self::Broken(text)
    }
}

/// The part that every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The texts are base64 of the bytes that the source gave.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
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
    let ca = encode(&pair.chain);
    let crl = (pair.key != pair.chain).then(|| encode(&pair.key));
    let size = ca.len() + crl.as_ref().map_or(0, |crl| crl.len());
    let document = Document {
        format: FORMAT,
        fingerprint: fingerprint.to_string().into(),
        revocation,
        ca: ca.as_str().into(),
        crl: crl.as_ref().map(|crl| crl.as_str().into()),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + FIELDS_BYTES));
    serde_json::to_writer_pretty(&mut *bytes, &document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a document. Checks the bundle in it, which costs milliseconds.
pub(crate) fn parse(bytes: &[u8]) -> Result<Pair, Unusable> {
    // The text of the error holds a position and no content.
    let broken =
        |error: serde_json::Error| format!("is broken at line {} column {}", error.line(), error.column());
    let Format { format } = serde_json::from_slice(bytes).map_err(broken)?;
    let unknown = format!("has format {format}, and this h2gate knows {FORMAT}");
    match format {
        0 => return Err(Unusable::Broken(unknown)),
        1..=FORMAT => {}
        _ => return Err(Unusable::Newer(unknown)),
    }
    let document: Document<'_> = serde_json::from_slice(bytes).map_err(broken)?;
    let ca = decode(&document.ca)?;
    let pair = Pair {
        key: match &document.crl {
            Some(crl) => decode(crl)?,
            None => ca.clone(),
        },
        chain: ca,
    };
    let restored = TrustBundle::restore(&pair.chain, &pair.key, document.revocation)
        .map_err(|error| format!("cannot be used: {error}"))?;
    if restored.bundle().fingerprint().to_string() != document.fingerprint {
        return Err("is not what its name says".to_owned().into());
    }
    Ok(pair)
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    STANDARD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| "is not base64".to_owned())
}
