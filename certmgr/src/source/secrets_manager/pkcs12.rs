//! PKCS#12 (RFC 7292): one key and its chain, from any program.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use certstore::bundle::chain_order;
use certstore::der::SEQUENCE;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::pair::Pair;

mod cost;

/// Opens a container, in binary or in base64, and puts its chain in order. Costs up to seconds.
///
/// Bags have no reliable order: the leaf is the certificate with the key's public half, and each next one is the issuer
/// that signed the one before. Certificates outside of that chain are left out.
pub(crate) fn open(container: &[u8], passphrase: &str) -> Result<Pair, String> {
    let decoded;
    let container = match container {
        // Base64 of a container begins otherwise.
        [SEQUENCE, ..] => container,
        _ => {
            decoded = from_base64(container)?;
            decoded.as_slice()
        }
    };
    cost::check(container)?;
    let archive = Pkcs12Archive::from_pkcs12(container, passphrase).map_err(|error| describe(&error))?;
    let key = match archive.keys.as_slice() {
        [key] => &key.key,
        [] => return Err("the PKCS#12 container holds no private key".to_owned()),
        keys => {
            return Err(format!(
                "the PKCS#12 container holds {} private keys, not one",
                keys.len()
            ));
        }
    };
    let certificates: Vec<&[u8]> = archive.certs.iter().map(|bag| bag.cert.as_der()).collect();
    let chain = chain_of(key.as_der(), &certificates)?;
    Ok(Pair {
        chain: Zeroizing::new(
            chain
                .flat_map(|der| to_pem("CERTIFICATE", der).to_vec())
                .collect(),
        ),
        key: to_pem("PRIVATE KEY", key.as_der()),
    })
}

fn from_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.collect());
    BASE64_STANDARD
        .decode(&*text)
        .ok()
        .filter(|container| container.first() == Some(&SEQUENCE))
        .map(Zeroizing::new)
        .ok_or_else(|| "it is no PKCS#12 container, neither in binary nor in base64".to_owned())
}

fn describe(error: &Error) -> String {
    match error {
        Error::MacError(_) => "the passphrase of the PKCS#12 container is wrong".to_owned(),
        Error::Pkcs5Error(_) | Error::UnpadError | Error::InvalidData => {
            "the PKCS#12 container cannot be decrypted: the passphrase is wrong, or the container is broken"
                .to_owned()
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            "the PKCS#12 container is encrypted in a way that is not supported; AES-256 is, and 3DES"
                .to_owned()
        }
        Error::InvalidParameters => "the PKCS#12 container has parameters out of bounds".to_owned(),
        Error::IoError(_)
        | Error::DerError(_)
        | Error::InvalidVersion
        | Error::UnsupportedContentType
        | Error::UnsupportedCertificateType
        | Error::X509Error(_)
        | Error::InvalidLength
        | Error::InvalidPrivateKey => "it is a broken PKCS#12 container".to_owned(),
    }
}

/// The leaf, its issuer, and so on as far as it goes.
fn chain_of<'a>(key: &[u8], certificates: &[&'a [u8]]) -> Result<impl Iterator<Item = &'a [u8]>, String> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let public = any_supported_type(&key)
        .ok()
        .and_then(|key| Some(key.public_key()?.to_vec()))
        .ok_or("the private key in the PKCS#12 container is of a kind that is not supported")?;
    let leaf = certificates
        .iter()
        .position(|certificate| public_key(certificate).as_ref() == Some(&public))
        .ok_or("no certificate in the PKCS#12 container belongs to its private key")?;
    let order = chain_order(certificates, leaf);
    Ok(order
        .into_iter()
        .filter_map(|place| certificates.get(place).copied()))
}

/// The SubjectPublicKeyInfo of a certificate.
fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// RFC 7468: lines of 64 characters.
fn to_pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(der));
    // Enough for a line break after each line and for the two boundaries: the buffer never grows.
    let mut pem = Zeroizing::new(Vec::with_capacity(
        base64.len() + base64.len() / 64 + 2 * label.len() + 64,
    ));
    pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    pem
}

#[cfg(test)]
mod tests;
