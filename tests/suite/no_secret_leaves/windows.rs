//! Looks for pieces of secrets in whatever spelling.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// So many octets of a secret must not be seen together; in base64 that many are eight letters.
const WINDOW: usize = 6;
const LETTERS: usize = 8;

/// Bytes before and behind the beginning of a find that are shown.
const AROUND: usize = 60;

/// The secrets that must not be seen.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    octets: HashSet<[u8; WINDOW]>,
    base64: HashSet<[u8; LETTERS]>,
}

impl Secrets {
    /// Also what it is in base64 of base64, as `state_dir` has it.
    pub(super) fn add(&mut self, secret: &[u8]) {
        let octets = secret.windows(WINDOW);
        self.octets
            .extend(octets.map(|window| <[u8; WINDOW]>::try_from(window).unwrap()));
        for letters in in_base64(secret) {
            self.add_letters(&letters);
            in_base64(&letters).for_each(|twice| self.add_letters(&twice));
        }
    }

    fn add_letters(&mut self, letters: &[u8]) {
        let windows = letters.windows(LETTERS);
        self.base64
            .extend(windows.map(|window| <[u8; LETTERS]>::try_from(window).unwrap()));
    }

    /// The first piece that is seen, with what is around it: raw, in hexadecimal with or without what stands between
    /// the octets, in decimal numbers, or in base64 of either alphabet and any alignment.
    pub(super) fn seen(&self, text: &[u8]) -> Option<String> {
        let around = |at: usize, how: &str| {
            let part = &text[at.saturating_sub(AROUND)..text.len().min(at + AROUND)];
            format!("{how}: {}", String::from_utf8_lossy(part))
        };
        let is_secret = |window: &[u8]| self.octets.contains(window);
        if let Some(at) = text.windows(WINDOW).position(is_secret) {
            return Some(around(at, "raw"));
        }
        let letters: Vec<u8> = text
            .iter()
            .map(|letter| match letter {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        let is_base64 = |window: &[u8]| self.base64.contains(window);
        if let Some(at) = letters.windows(LETTERS).position(is_base64) {
            return Some(around(at, "base64"));
        }
        let numbers = numbers(text);
        if let Some(at) = numbers.windows(WINDOW).position(is_secret) {
            return Some(format!("numbers: {:?}", &numbers[at..at + WINDOW]));
        }
        for digits in [
            digits(text, b""),
            digits(text, b":"),
            digits(text, b"\\x"),
            digits(text, b" ,0x"),
        ] {
            for run in digits.split(|digit| *digit == OTHER) {
                for run in [run, run.get(1..).unwrap_or_default()] {
                    let octets: Vec<u8> = run.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect();
                    if octets.windows(WINDOW).any(is_secret) {
                        let shown: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
                        return Some(format!("hexadecimal: {shown}"));
                    }
                }
            }
        }
        None
    }
}

/// In each alignment; whole letters alone, for what follows a secret decides about the others.
fn in_base64(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..3.min(octets.len())).map(|skipped| {
        let mut letters = BASE64_STANDARD_NO_PAD.encode(&octets[skipped..]).into_bytes();
        letters.truncate((octets.len() - skipped) * 8 / 6);
        letters
    })
}

/// No hexadecimal digit.
const OTHER: u8 = 16;

/// The values of the digits; whatever is between them and not in `passed`, as [`OTHER`].
fn digits(text: &[u8], passed: &[u8]) -> Vec<u8> {
    let values = text.iter().filter(|letter| !passed.contains(letter));
    let value = |letter: &u8| (*letter as char).to_digit(16).map_or(OTHER, |value| value as u8);
    values.map(value).collect()
}

/// Decimal numbers of an octet each, as in a list; a number that is none is 0.
fn numbers(text: &[u8]) -> Vec<u8> {
    let runs = text
        .split(|letter| !letter.is_ascii_digit())
        .filter(|run| !run.is_empty());
    runs.map(|run| std::str::from_utf8(run).unwrap().parse().unwrap_or_default())
        .collect()
}

#[test]
fn each_spelling_is_found() {
    let secret: Vec<u8> = (0..32_u8).map(|n| n.wrapping_mul(167).wrapping_add(91)).collect();
    let mut secrets = Secrets::default();
    secrets.add(&secret);
    let piece = &secret[9..17];
    let hex = |between: &str| {
        piece
            .iter()
            .map(|octet| format!("{octet:02x}{between}"))
            .collect::<String>()
    };
    let mut spelt = vec![
        piece.to_vec(),
        format!("{piece:?}").into_bytes(),
        hex("").into_bytes(),
        hex("").to_uppercase().into_bytes(),
        hex(":").into_bytes(),
        hex(", 0x").into_bytes(),
        hex("\\x").into_bytes(),
    ];
    for before in ["", "a", "ab"] {
        let whole = [before.as_bytes(), &secret, b"after"].concat();
        spelt.push(BASE64_STANDARD_NO_PAD.encode(&whole).into_bytes());
        spelt.push(base64::prelude::BASE64_URL_SAFE.encode(&whole).into_bytes());
        let twice = BASE64_STANDARD_NO_PAD.encode(BASE64_STANDARD_NO_PAD.encode(&whole));
        spelt.push(twice.into_bytes());
    }
    for text in spelt {
        let text = [&b"level=ERROR 17 key="[..], &text, b" 3 end"].concat();
        assert!(
            secrets.seen(&text).is_some(),
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    assert_eq!(
        secrets.seen(b"certificate=a 1, 2, 3, 4, 5, 6, 7 deadbeefdeadbeef"),
        None
    );
    assert_eq!(secrets.seen(&secret[..5]), None);
}
