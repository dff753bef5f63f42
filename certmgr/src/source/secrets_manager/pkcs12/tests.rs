//! The containers are OpenSSL's: leaf, then root before intermediate, so that their order has to be found out.

use certstore::CertBundle;
use p12_keystore::{KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

use super::*;

const PASSPHRASE: &str = "changeit";
const CHAIN: &str = include_str!("chain.pem");

/// AES-256 by PBES2, SHA-256 MAC: today's default.
const MODERN: &str = include_str!("modern.p12.base64");
/// RC2 with 40 bits for certificates, 3DES for the key, SHA-1 MAC: the default up to OpenSSL 1.1 and in Windows.
const LEGACY: &str = include_str!("legacy.p12.base64");
const TRIPLE_DES: &str = include_str!("triple_des.p12.base64");
const EMPTY_PASSPHRASE: &str = include_str!("empty.p12.base64");
const WITHOUT_MAC: &str = include_str!("nomac.p12.base64");
const WITHOUT_KEY: &str = include_str!("nokey.p12.base64");
const WITHOUT_CERTIFICATE: &str = include_str!("nocert.p12.base64");
/// An intermediate of the same name before the one that signed the leaf, made by make_namesakes.py.
const NAMESAKES: &str = include_str!("namesakes.p12.base64");
/// Neither encrypted nor with a MAC: every byte of it reaches the parsers.
const BARE: &str = include_str!("bare.p12.base64");

fn open_text(text: &str, passphrase: &str) -> Result<Pair, String> {
    open(text.as_bytes(), passphrase)
}

#[test]
fn a_container_of_each_kind_gives_its_key_and_its_chain_in_order() {
    for (container, passphrase) in [
        (MODERN, PASSPHRASE),
        (LEGACY, PASSPHRASE),
        (TRIPLE_DES, PASSPHRASE),
        (BARE, PASSPHRASE),
        (EMPTY_PASSPHRASE, ""),
    ] {
        let pair = open_text(container, passphrase).unwrap();
        assert_eq!(std::str::from_utf8(&pair.chain).unwrap(), CHAIN);
        let bundle = CertBundle::parse(&pair.chain, &pair.key).unwrap();
        assert_eq!(bundle.chain_len(), 3);
    }
    let pair = open_text(WITHOUT_MAC, PASSPHRASE).unwrap();
    assert_eq!(CertBundle::parse(&pair.chain, &pair.key).unwrap().chain_len(), 1);
}

#[test]
fn of_two_issuers_of_one_name_the_one_that_signed_is_taken() {
    let pair = open_text(NAMESAKES, PASSPHRASE).unwrap();
    let bundle = CertBundle::parse(&pair.chain, &pair.key).unwrap();
    assert_eq!((bundle.chain_len(), bundle.warnings()), (2, &[][..]));
}

#[test]
fn binary_and_base64_are_the_same() {
    let binary = from_base64(MODERN.as_bytes()).unwrap();
    let pair = open(&binary, PASSPHRASE).unwrap();
    assert!(pair.content() == open_text(MODERN, PASSPHRASE).unwrap().content());
    let one_line = MODERN.replace('\n', "");
    assert!(pair.content() == open_text(&one_line, PASSPHRASE).unwrap().content());
}

#[test]
fn each_mistake_has_its_words() {
    let told = |container: &str, passphrase: &str| open_text(container, passphrase).unwrap_err();
    for container in [MODERN, LEGACY, TRIPLE_DES] {
        assert_eq!(
            told(container, "SECRET"),
            "the passphrase of the PKCS#12 container is wrong"
        );
    }
    assert!(told(WITHOUT_MAC, "SECRET").contains("passphrase is wrong"));
    assert_eq!(
        told(WITHOUT_KEY, PASSPHRASE),
        "the PKCS#12 container holds no private key"
    );
    assert_eq!(
        told(WITHOUT_CERTIFICATE, PASSPHRASE),
        "no certificate in the PKCS#12 container belongs to its private key"
    );
    let none = "it is no PKCS#12 container, neither in binary nor in base64";
    assert_eq!(told(CHAIN, PASSPHRASE), none);
    assert_eq!(told("", PASSPHRASE), none);
    assert_eq!(told("{}", PASSPHRASE), none);
    assert_eq!(
        open(b"0\x82", PASSPHRASE).unwrap_err(),
        "it is a broken PKCS#12 container"
    );
}

#[test]
fn two_keys_are_refused() {
    let pair = open_text(MODERN, PASSPHRASE).unwrap();
    let (key, certificate) = (
        der(&pair.key),
        der(CHAIN
            .split_inclusive("-----END CERTIFICATE-----")
            .next()
            .unwrap()
            .as_bytes()),
    );
    let mut store = KeyStore::new();
    for alias in ["one", "two"] {
        let chain = PrivateKeyChain::new(
            alias,
            PrivateKey::from_der(&key).unwrap(),
            [Certificate::from_der(&certificate).unwrap()],
        );
        store.add_entry(alias, KeyStoreEntry::PrivateKeyChain(chain));
    }
    let container = store.writer(PASSPHRASE).write().unwrap();
    let told = open(&container, PASSPHRASE).unwrap_err();
    assert_eq!(told, "the PKCS#12 container holds 2 private keys, not one");
}

#[test]
fn no_truncated_or_spoilt_container_panics() {
    let whole = from_base64(BARE.as_bytes()).unwrap();
    for length in 0..whole.len() {
        assert!(open(&whole[..length], PASSPHRASE).is_err(), "{length}");
    }
    for index in 0..whole.len() {
        let mut spoilt = whole.to_vec();
        spoilt[index] ^= 0xff;
        let _ = open(&spoilt, PASSPHRASE);
    }
}

fn der(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(base64).unwrap()
}
