//! One field in one allocation, with everything that is ever asked of it worked out once.

use std::rc::Rc;

use super::predefined::{find_full, find_name};
use super::{Facts, Indexing, Name};
use crate::grammar;

/// A name and a value behind one count, after a header of [`HEADER`] bytes:
///
/// | bytes | content |
/// |---|---|
/// | 0–7 | hash of name and value; 0 unless [`Indexing::Incremental`], since nothing else is ever looked up |
/// | 8–11 | length of the name |
/// | 12 | [`Name`] |
/// | 13 | [`Indexing`] in the two low bits, then [`LEGAL_NAME`], [`LEGAL_VALUE`], [`OUTER_BLANKS`], [`FITS_NAME`], [`PLAIN_PATH`], [`MISCODED`] |
/// | 14 | static index of the name, or 0 |
/// | 15 | static index of the whole field, or 0 |
///
/// A slice in an `Rc` is the one way to have header and text in a single allocation without `unsafe`.
#[derive(Clone)]
pub(crate) struct Entry(Rc<[u8]>);

pub(crate) const HEADER: usize = 16;
const INDEXING: u8 = 0b0000_0011;
const LEGAL_NAME: u8 = 0b0000_0100;
const LEGAL_VALUE: u8 = 0b0000_1000;
const OUTER_BLANKS: u8 = 0b0001_0000;
const FITS_NAME: u8 = 0b0010_0000;
const PLAIN_PATH: u8 = 0b0100_0000;
const MISCODED: u8 = 0b1000_0000;

/// The facts about a name that are known before its value is read.
#[derive(Copy, Clone)]
pub(crate) struct NameFacts {
    pub(crate) known: Name,
    pub(crate) index: u8,
    pub(crate) legal: bool,
}

impl NameFacts {
    pub(crate) fn of(name: &[u8]) -> Self {
        if let Some(found) = find_name(name) {
            return Self {
                known: found.known,
                index: found.index,
                legal: true,
            };
        }
        let known = match name {
            [b':', ..] => Name::OtherPseudo,
            _ if is_client_claim(name) => Name::ClientClaim,
            _ => Name::Other,
        };
        Self {
            known,
            index: 0,
            legal: name_is_legal(name),
        }
    }
}

/// `true` if proxies say to backends by this name who a client is: RFC 7239, RFC 9440, and what nginx, HAProxy, Apache,
/// Envoy, AWS, Azure, App Engine, Akamai, Cloudflare and Fastly write. Servers of CGI's kind take `_`, `.` and `-` for
/// the same, so all are looked for. docs/security.md lists them.
fn is_client_claim(name: &[u8]) -> bool {
    const WHOLE: [&[u8]; 21] = [
        b"forwarded",
        b"x-forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"x-envoy-external-address",
        b"x-envoy-internal",
        b"x-request-id",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-appengine-user-ip",
        b"x-appengine-remote-addr",
        b"client-cert",
        b"client-cert-chain",
        b"x-client-dn",
        b"x-client-s-dn",
        b"x-client-i-dn",
        b"x-original-forwarded-for",
    ];
    const BEGINNINGS: [&[u8]; 14] = [
        b"x-forwarded-",
        b"x-client-cert",
        b"x-clientcert",
        b"x-client-verify",
        b"x-cert-subject",
        b"x-cert-issuer",
        b"x-mtls-",
        b"x-spiffe-",
        b"x-ssl-",
        b"x-tls-client-",
        b"ssl-client-",
        b"tls-client-",
        b"x-amzn-mtls-clientcert",
        b"x-arr-clientcert",
    ];
    let begins = |beginning: &&[u8]| {
        let letters = name.iter().zip(*beginning);
        name.len() >= beginning.len()
            && letters
                .into_iter()
                .all(|(is, wanted)| is == wanted || (matches!(is, b'_' | b'.') && *wanted == b'-'))
    };
    // Nearly every name differs in its first letter.
    matches!(name.first(), Some(b'x' | b'f' | b'c' | b's' | b't'))
        && (BEGINNINGS.iter().any(begins)
            || WHOLE
                .iter()
                .any(|whole| whole.len() == name.len() && begins(whole)))
}

impl Entry {
    /// Makes an entry of `text`: [`HEADER`] bytes to be overwritten, the name, the value.
    pub(crate) fn seal(text: &mut [u8], name_len: usize, name: NameFacts, indexing: Indexing) -> Self {
        if let Some((header, field)) = text.split_first_chunk_mut::<HEADER>() {
            let (own_name, value) = field.split_at_checked(name_len).unwrap_or_default();
            let hash = match indexing {
                Indexing::Incremental => hash(field, name_len),
                Indexing::Without | Indexing::Never => 0,
            };
            let of_value = if name.known == Name::Path && grammar::is_plain_path(value) {
                PLAIN_PATH | LEGAL_VALUE | FITS_NAME
            } else {
                (if has_breaks(value) { 0 } else { LEGAL_VALUE })
                    | if has_outer_blanks(value) { OUTER_BLANKS } else { 0 }
                    | if fits(name.known, value) { FITS_NAME } else { 0 }
                    | if is_miscoded(own_name, value) { MISCODED } else { 0 }
            };
            let flags = indexing as u8 | if name.legal { LEGAL_NAME } else { 0 } | of_value;
            let [h0, h1, h2, h3, h4, h5, h6, h7] = hash.to_le_bytes();
            let [n0, n1, n2, n3] = (name_len as u32).to_le_bytes();
            let full = find_full(name.index, value);
            *header = [
                h0,
                h1,
                h2,
                h3,
                h4,
                h5,
                h6,
                h7,
                n0,
                n1,
                n2,
                n3,
                name.known as u8,
                flags,
                name.index,
                full,
            ];
        }
        Self(Rc::from(&*text))
    }

    fn header(&self) -> [u8; HEADER] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    pub(crate) fn hash(&self) -> u64 {
        let [h0, h1, h2, h3, h4, h5, h6, h7, ..] = self.header();
        u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7])
    }

    /// Name and value, one after the other.
    pub(crate) fn text(&self) -> (&[u8], &[u8]) {
        let [_, _, _, _, _, _, _, _, n0, n1, n2, n3, ..] = self.header();
        let field = self.0.get(HEADER..).unwrap_or_default();
        field
            .split_at_checked(u32::from_le_bytes([n0, n1, n2, n3]) as usize)
            .unwrap_or_default()
    }

    pub(crate) fn known(&self) -> Name {
        Name::from_u8(self.header()[12])
    }

    pub(crate) fn indexing(&self) -> Indexing {
        match self.header()[13] & INDEXING {
            0 => Indexing::Incremental,
            1 => Indexing::Without,
            _ => Indexing::Never,
        }
    }

    /// All that [`Facts`] ask for.
    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        let flags = self.header()[13];
        flags & (LEGAL_NAME | LEGAL_VALUE | FITS_NAME | OUTER_BLANKS) == LEGAL_NAME | LEGAL_VALUE | FITS_NAME
    }

    pub(crate) fn is_plain_path(&self) -> bool {
        self.header()[13] & PLAIN_PATH != 0
    }

    pub(crate) fn is_miscoded(&self) -> bool {
        self.header()[13] & MISCODED != 0
    }

    pub(crate) fn facts(&self) -> Facts {
        let flags = self.header()[13];
        Facts {
            name_legal: flags & LEGAL_NAME != 0,
            value_legal: flags & LEGAL_VALUE != 0,
            outer_blanks: flags & OUTER_BLANKS != 0,
            fits_name: flags & FITS_NAME != 0,
        }
    }

    pub(crate) fn name_facts(&self) -> NameFacts {
        NameFacts {
            known: self.known(),
            index: self.static_name(),
            legal: self.header()[13] & LEGAL_NAME != 0,
        }
    }

    /// Static index of the name, 0 if it has none.
    pub(crate) fn static_name(&self) -> u8 {
        self.header()[14]
    }

    /// Static index of name and value together, 0 if they have none.
    pub(crate) fn static_field(&self) -> u8 {
        self.header()[15]
    }

    /// RFC 7541 §4.1: the lengths of name and value, and 32.
    pub(crate) fn size(&self) -> usize {
        self.0.len() - HEADER + 32
    }

    /// Octets that it has from the allocator, by how many hold it beside a table.
    pub(crate) fn heap_share(&self) -> usize {
        self.size() / Rc::strong_count(&self.0).saturating_sub(1).max(1)
    }

    pub(crate) fn address(&self) -> usize {
        Rc::as_ptr(&self.0).cast::<u8>().addr()
    }

    /// `true` if both stand for the same bytes. The header is compared with them: equal text sent the same way has
    /// an equal header, and only entries sent the same way are ever compared.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// RFC 9113 §8.2.1 and RFC 9110 §5.6.2: lower-case token characters; a pseudo-field has one colon before them.
fn name_is_legal(name: &[u8]) -> bool {
    let token = name.strip_prefix(b":").unwrap_or(name);
    !token.is_empty()
        && token
            .iter()
            .all(|&b| TOKEN.get(usize::from(b)).is_some_and(|&legal| legal))
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
static TOKEN: [bool; 256] = {
    let marks = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut token = [false; 256];
    let mut i = 0;
    while i < marks.len() {
        token[marks[i] as usize] = true;
        i += 1;
    }
    token
};

/// RFC 9113 §8.3.1: the values that decide where a request goes.
fn fits(name: Name, value: &[u8]) -> bool {
    match name {
        Name::Authority | Name::Host => grammar::is_authority(value),
        Name::Path => grammar::is_path(value),
        Name::Scheme => grammar::is_scheme(value),
        _ => true,
    }
}

/// gRPC over HTTP/2, *Binary-Header*: a name that ends with `-bin` has a value in base64.
fn is_miscoded(name: &[u8], value: &[u8]) -> bool {
    name.ends_with(b"-bin") && !grammar::is_base64_list(value)
}

/// RFC 9113 §8.2.1: a space or a tab at either end.
fn has_outer_blanks(value: &[u8]) -> bool {
    let blank = |edge: Option<&u8>| matches!(edge, Some(b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}

/// RFC 9113 §8.2.1: NUL, CR or LF.
fn has_breaks(value: &[u8]) -> bool {
    grammar::any(value, |b| (b == 0) | (b == b'\r') | (b == b'\n'))
}

/// Multiply and fold, 16 bytes a step. It is not keyed: a peer that makes fields meet loses compression and
/// nothing else, since the encoder looks at four places and compares the bytes.
fn hash(text: &[u8], name_len: usize) -> u64 {
    const A: u64 = 0x9E37_79B9_7F4A_7C15;
    const B: u64 = 0xD6E8_FEB8_6659_FD93;
    fn fold(a: u64, b: u64) -> u64 {
        let wide = u128::from(a) * u128::from(b);
        wide as u64 ^ (wide >> 64) as u64
    }
    fn word(bytes: &[u8]) -> u64 {
        bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
    }
    let seed = A ^ ((name_len as u64) << 32 | text.len() as u64);
    let mut state = seed;
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        if after.is_empty() {
            break;
        }
        state = fold(word(chunk) ^ state, word(chunk.get(8..).unwrap_or_default()) ^ B);
        rest = after;
    }
    // The last 1 to 16 bytes; where there are more than 16 in all, they may overlap with the step before.
    let (low, high) = if let Some(tail) = text.last_chunk::<16>() {
        (word(tail), word(tail.get(8..).unwrap_or_default()))
    } else if rest.len() >= 8 {
        (
            word(rest),
            rest.last_chunk().map_or(0, |b| u64::from_le_bytes(*b)),
        )
    } else {
        (rest.iter().fold(0, |word, &b| word << 8 | u64::from(b)), 0)
    };
    fold(fold(low ^ state, high ^ B) ^ A, B)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], value: &[u8]) -> Entry {
        let mut text = [&[0; HEADER], name, value].concat();
        Entry::seal(&mut text, name.len(), NameFacts::of(name), Indexing::Incremental)
    }

    #[test]
    fn the_hash_sees_every_byte_and_the_cut_between_name_and_value() {
        for len in 0..70 {
            let value: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let whole = entry(b"n", &value).hash();
            for at in 0..len {
                let mut other = value.clone();
                other[at] ^= 1;
                assert_ne!(entry(b"n", &other).hash(), whole, "byte {at} of {len}");
            }
        }
        assert_ne!(entry(b"ab", b"c").hash(), entry(b"a", b"bc").hash());
        assert_ne!(entry(b"a", b"").hash(), entry(b"a", b"\0").hash());
    }

    #[test]
    fn legal_names_are_lower_case_tokens_with_at_most_one_colon_before_them() {
        for name in ["te", "x-a_b.c", ":path", ":own", "grpc-encoding", "a"] {
            assert!(NameFacts::of(name.as_bytes()).legal, "{name:?}");
        }
        for name in [
            "", ":", "::path", "a:b", "Te", "x a", "x\0", "a\u{7f}", "é", "x\"y", "a/b",
        ] {
            assert!(!NameFacts::of(name.as_bytes()).legal, "{name:?}");
        }
    }

    #[test]
    fn line_ends_and_nul_are_not_legal_and_outer_blanks_are_noticed() {
        for value in ["", "a", "a b", "\u{1}", "\u{7f}", "é", &"x".repeat(99)] {
            let facts = entry(b"n", value.as_bytes()).facts();
            assert!(facts.value_legal && !facts.outer_blanks, "{value:?}");
        }
        for len in 1..70 {
            for (at, mark) in (0..len).flat_map(|at| [(at, 0), (at, b'\r'), (at, b'\n')]) {
                let mut value = vec![b'x'; len];
                assert!(!has_breaks(&value));
                value[at] = mark;
                assert!(has_breaks(&value), "{mark} at {at} of {len}");
            }
        }
        for value in ["a\0b", "a\rb", "a\nb", &("x".repeat(37) + "\n")] {
            assert!(!entry(b"n", value.as_bytes()).facts().value_legal, "{value:?}");
        }
        for value in [" a", "a ", "\ta", "a\t", " "] {
            let facts = entry(b"n", value.as_bytes()).facts();
            assert!(facts.value_legal && facts.outer_blanks, "{value:?}");
        }
    }
}
