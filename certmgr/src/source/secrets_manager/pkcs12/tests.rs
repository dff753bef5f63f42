//! The containers are OpenSSL's: leaf, then root before intermediate, so that their order has to be found out.

use certstore::CertBundle;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

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

/// Content of a container without a MAC: as many parts, each encrypted with as many rounds.
fn encrypted(parts: usize, algorithm: &[u8]) -> Vec<u8> {
    let content = [oid(&[0x01, 0x07, 0x01]), algorithm.to_vec(), tlv(0x80, &[0; 32])].concat();
    let encrypted = tlv(0x30, &[tlv(0x02, &[0]), tlv(0x30, &content)].concat());
    let part = tlv(0x30, &[oid(&[0x01, 0x07, 0x06]), tlv(0xa0, &encrypted)].concat());
    container(&part.repeat(parts), &[])
}

fn container(parts: &[u8], mac: &[u8]) -> Vec<u8> {
    let safe = tlv(
        0x30,
        &[oid(&[0x01, 0x07, 0x01]), tlv(0xa0, &tlv(0x04, &tlv(0x30, parts)))].concat(),
    );
    tlv(0x30, &[tlv(0x02, &[3]), safe, mac.to_vec()].concat())
}

fn pbes2(rounds: u32) -> Vec<u8> {
    pbes2_by(&oid(&[0x01, 0x05, 0x0c]), &integer(rounds))
}

fn scrypt(cost: u32, size: u32) -> Vec<u8> {
    let function = tlv(0x06, &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b]);
    pbes2_by(&function, &[integer(cost), integer(size), integer(1)].concat())
}

/// PBES2 with a key by this function, whose parameters follow the salt.
fn pbes2_by(function: &[u8], parameters: &[u8]) -> Vec<u8> {
    let parameters = tlv(0x30, &[&tlv(0x04, &[0; 8]), parameters].concat());
    let function = tlv(0x30, &[function, &parameters].concat());
    let cipher = tlv(
        0x30,
        &[
            tlv(0x06, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a]),
            tlv(0x04, &[0; 16]),
        ]
        .concat(),
    );
    let parameters = tlv(0x30, &[function, cipher].concat());
    tlv(0x30, &[oid(&[0x01, 0x05, 0x0d]), parameters].concat())
}

fn pbes1(rounds: u32) -> Vec<u8> {
    let parameters = tlv(0x30, &[tlv(0x04, &[0; 8]), integer(rounds)].concat());
    tlv(0x30, &[oid(&[0x01, 0x0c, 0x01, 0x03]), parameters].concat())
}

fn mac(rounds: u32) -> Vec<u8> {
    let sha256 = tlv(0x06, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]);
    let digest = tlv(0x30, &[tlv(0x30, &sha256), tlv(0x04, &[0; 32])].concat());
    tlv(0x30, &[digest, tlv(0x04, &[0; 8]), integer(rounds)].concat())
}

/// An object identifier below 1.2.840.113549.1.
fn oid(last: &[u8]) -> Vec<u8> {
    tlv(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d], last].concat())
}

fn integer(value: u32) -> Vec<u8> {
    let value = u64::from(value);
    let bits = u64::BITS - value.leading_zeros();
    let spare = 7 - bits as usize / 8;
    tlv(0x02, &value.to_be_bytes()[spare..])
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag], shortest(&length).as_slice(), content].concat()
}

fn shortest(length: &[u8; 2]) -> Vec<u8> {
    match *length {
        [0, low @ 0..0x80] => vec![low],
        [0, low] => vec![0x81, low],
        [high, low] => vec![0x82, high, low],
    }
}

#[test]
fn what_a_container_costs_is_bounded_before_anything_is_derived() {
    let told = |container: &[u8]| open(container, PASSPHRASE).unwrap_err();
    let wrong = "passphrase is wrong";
    for algorithm in [pbes1 as fn(u32) -> Vec<u8>, pbes2] {
        // Each alone is valid, and so is the output of any program.
        assert!(told(&encrypted(8, &algorithm(1))).contains(wrong));
        assert!(told(&encrypted(2, &algorithm(10_000))).contains(wrong));
        let text = told(&encrypted(9, &algorithm(1)));
        assert!(
            text.contains("has 9 encrypted parts; at most 8 are opened"),
            "{text}"
        );
        let text = told(&encrypted(4, &algorithm(1_000_000)));
        assert!(text.contains("4000000 rounds in all; at most 3000000"), "{text}");
        assert!(text.contains("-iter"), "{text}");
    }
    // The form that OpenSSL writes.
    assert!(told(&encrypted(2, &scrypt(16_384, 8))).contains(wrong));
    let text = told(&encrypted(1, &scrypt(1 << 18, 11)));
    assert!(
        text.contains("asks for 352 MiB") && text.contains("at most 64"),
        "{text}"
    );
    let text = told(&container(&[], &mac(3_000_001)));
    assert!(text.contains("3000001 rounds in all"), "{text}");
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
