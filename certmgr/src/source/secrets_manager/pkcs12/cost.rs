//! The cost of opening a container, found without deriving anything.

use certstore::der::{
    CONSTRUCTED, Element, Elements, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, number,
};

/// Number of encrypted parts, each with a derivation of its own: the certificates, the key.
const MAX_ENCRYPTED_PARTS: usize = 8;

/// Rounds of all derivations: two parts and the check of the whole with as many as the library takes for one, about
/// three seconds. OpenSSL and Windows write some 6,000, Java 30,000.
const MAX_ROUNDS: u64 = 3_000_000;

/// Memory that one derivation holds at once, in bytes: only scrypt's does. OpenSSL's takes 16 MiB.
const MAX_MEMORY: u64 = 64 << 20;

/// Depth beyond any container, and beyond the certificates in it.
const MAX_DEPTH: u32 = 32;

/// PBES2 (RFC 8018 A.4), PBKDF2 (A.2) and scrypt (RFC 7914 §7), and the prefix of the algorithms of RFC 7292 C.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
const PBES1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];

/// Refuses a container that would keep a core busy for longer than any that a program writes. Parts inside of an
/// encrypted part are not seen.
pub(super) fn check(container: &[u8]) -> Result<(), String> {
    let mut cost = Cost::default();
    cost.see_mac(container);
    cost.see(container, MAX_DEPTH);
    if cost.parts > MAX_ENCRYPTED_PARTS {
        return Err(format!(
            "the PKCS#12 container has {} encrypted parts; at most {MAX_ENCRYPTED_PARTS} are opened: export the one \
             key and its chain anew",
            cost.parts
        ));
    }
    if cost.memory > MAX_MEMORY {
        return Err(format!(
            "the PKCS#12 container asks for {} MiB to derive a key by scrypt; at most {} are given: export it anew with \
             PBKDF2 (openssl pkcs12 -export)",
            cost.memory >> 20,
            MAX_MEMORY >> 20
        ));
    }
    if cost.rounds > MAX_ROUNDS {
        return Err(format!(
            "the PKCS#12 container asks for {} rounds in all; at most {MAX_ROUNDS} are derived: export it anew with \
             fewer (openssl pkcs12 -export -iter 100000)",
            cost.rounds
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Cost {
    parts: usize,
    rounds: u64,
    memory: u64,
}

impl Cost {
    /// RFC 7292 §4: the third of the container's own fields is the MacData, the third of which are the rounds.
    fn see_mac(&mut self, container: &[u8]) {
        fn third(of: Element<'_>) -> Option<Element<'_>> {
            Elements(of.content).nth(2)
        }
        let mac = Elements(container).next().and_then(third);
        if let Some(rounds) = mac.and_then(third)
            && rounds.tag == INTEGER
        {
            self.add(number(rounds.content));
        }
    }

    /// Counts the costs in an element; also inside of octet strings, for containers hold their parts there.
    fn see(&mut self, der: &[u8], depth: u32) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        for element in Elements(der) {
            if element.tag == SEQUENCE {
                self.see_algorithm(element.content);
            }
            if element.tag & CONSTRUCTED != 0 || element.tag == OCTET_STRING {
                self.see(element.content, depth);
            }
        }
    }

    fn see_algorithm(&mut self, sequence: &[u8]) {
        let mut fields = Elements(sequence);
        let (Some(algorithm), Some(parameters)) = (fields.next(), fields.next()) else {
            return;
        };
        if algorithm.tag != OBJECT_IDENTIFIER {
            return;
        }
        let mut numbers = Elements(parameters.content)
            .filter(|field| field.tag == INTEGER)
            .map(|field| number(field.content));
        match algorithm.content {
            PBES2 => self.parts += 1,
            PBKDF2 => self.add(numbers.next().unwrap_or(1)),
            SCRYPT => {
                let mut number = || numbers.next().unwrap_or(1);
                // RFC 7914 §2: cost, block size, repetitions. Their product takes about as long as so many rounds.
                let (cost, size, times) = (number(), number(), number());
                let at_once = cost.saturating_mul(size);
                self.add(at_once.saturating_mul(times));
                self.memory = self.memory.max(at_once.saturating_mul(128));
            }
            kind if kind.starts_with(PBES1) => {
                self.parts += 1;
                self.add(numbers.next().unwrap_or(1));
            }
            _ => {}
        }
    }

    fn add(&mut self, rounds: u64) {
        self.rounds = self.rounds.saturating_add(rounds);
    }
}
