//! Huffman strings (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: symbols sorted by length of code, then by value, have rising codes. So the lengths are
//! all that is written down, and every table comes from them at compile time.

use super::DecodeError;

/// The number of bytes that `len` Huffman bytes may become, since the shortest code has 5 bits, and as many more as
/// [`decode`] may write to beyond what it says.
pub(super) const fn decoded_bound(len: usize) -> usize {
    len / 5 * 8 + len % 5 * 8 / 5 + WINDOW
}

/// The target of four steps.
const WINDOW: usize = 9;

/// Decodes `source` into the front of `target`, which has [`decoded_bound`] bytes, and returns how many there are.
pub(super) fn decode(source: &[u8], target: &mut [u8]) -> Result<usize, DecodeError> {
    // The next bits of the string from the top of `bits`; `count` of them are accounted for. Below them there may
    // be more of the true next bits, which the next refill writes again.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let (mut rest, mut len) = (source, 0);
    while let Some(next) = rest.first_chunk::<8>() {
        bits |= u64::from_be_bytes(*next) >> count;
        let taken = (63 - count) / 8;
        rest = rest.get(taken as usize..).unwrap_or_default();
        count += taken * 8;
        // 56 bits or more: enough for four steps of PEEK bits.
        let window = window(target, len)?;
        let (mut written, mut stopped) = (0, false);
        for _ in 0..4 {
            let step = step_at(bits);
            if step.symbols == 0 {
                stopped = true;
                break;
            }
            put(window, written, step.pair);
            written += usize::from(step.symbols);
            bits <<= step.bits;
            count -= u32::from(step.bits);
        }
        len += written;
        if stopped && count >= 30 {
            let (symbol, length) = long_symbol(bits).ok_or(DecodeError::InvalidHuffman)?;
            put(self::window(target, len)?, 0, [symbol, 0]);
            len += 1;
            bits <<= length;
            count -= length;
        }
    }
    // Up to seven bytes more, from the top of `last`.
    let (mut last, mut left) = (last_bytes(source, rest.len()), 8 * rest.len() as u32);
    loop {
        bits |= last >> count;
        let taken = left.min(64 - count);
        last <<= taken;
        left -= taken;
        count += taken;
        while count >= PEEK {
            let step = step_at(bits);
            if step.symbols == 0 {
                break;
            }
            put(window(target, len)?, 0, step.pair);
            len += usize::from(step.symbols);
            bits <<= step.bits;
            count -= u32::from(step.bits);
        }
        if left > 0 && count < 30 {
            continue;
        }
        let step = step_at(bits);
        // RFC 7541 §5.2: what is left is padding if it is shorter than a byte and the front of EOS, all ones.
        if count < 8 && bits == !(u64::MAX >> count) {
            return Ok(len);
        }
        let (symbol, length) = match step.pair {
            [first, _] if step.symbols > 0 => (first, length_of(first)),
            _ => long_symbol(bits).ok_or(DecodeError::InvalidHuffman)?,
        };
        if length > count {
            return Err(DecodeError::InvalidHuffman);
        }
        put(window(target, len)?, 0, [symbol, 0]);
        len += 1;
        bits <<= length;
        count -= length;
    }
}

/// The last `len` bytes, fewer than eight, at the top of a word.
fn last_bytes(source: &[u8], len: usize) -> u64 {
    match source.last_chunk::<8>() {
        Some(_) if len == 0 => 0,
        Some(end) => u64::from_be_bytes(*end) << (64 - 8 * len),
        None => source
            .iter()
            .rev()
            .fold(0, |word, &byte| word >> 8 | u64::from(byte) << 56),
    }
}

fn window(target: &mut [u8], len: usize) -> Result<&mut [u8; WINDOW], DecodeError> {
    // Never missing: `target` has the room that the shortest codes would need, and a window more.
    target
        .get_mut(len..)
        .and_then(|rest| rest.first_chunk_mut())
        .ok_or(DecodeError::InvalidHuffman)
}

/// Writes both symbols at `at`, which is below eight.
#[expect(
    clippy::indexing_slicing,
    reason = "measured; the mask keeps both places inside the window"
)]
fn put(window: &mut [u8; WINDOW], at: usize, pair: [u8; 2]) {
    let at = at & 7;
    [window[at], window[at + 1]] = pair;
}

/// Appends the code of `text`.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &byte in text {
        let (code, length) = CODES.get(usize::from(byte)).copied().unwrap_or_default();
        bits = bits << length | u64::from(code);
        count += u32::from(length);
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        // RFC 7541 §5.2: filled up with the first bits of EOS.
        out.push((bits << (8 - count)) as u8 | 0xFF >> count);
    }
}

/// The length of what [`encode`] would append.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    text.iter()
        .map(|&byte| length_of(byte) as usize)
        .sum::<usize>()
        .div_ceil(8)
}

fn length_of(byte: u8) -> u32 {
    LENGTHS
        .get(usize::from(byte))
        .map_or(0, |&length| u32::from(length))
}

/// The number of bits that are looked at in one step: enough for two of the common symbols.
const PEEK: u32 = 12;

/// The symbols with which the next bits begin: one or two; none if the first has a longer code.
#[derive(Copy, Clone)]
struct Step {
    pair: [u8; 2],
    symbols: u8,
    bits: u8,
}

fn step_at(bits: u64) -> Step {
    const NONE: Step = Step {
        pair: [0; 2],
        symbols: 0,
        bits: 0,
    };
    STEPS.get((bits >> (64 - PEEK)) as usize).copied().unwrap_or(NONE)
}

/// A symbol with a code of any length, at the top of `bits`. None for EOS (RFC 7541 §5.2: an error in a string).
#[cold]
fn long_symbol(bits: u64) -> Option<(u8, u32)> {
    let code = (bits >> 34) as u32;
    let range = RANGES.iter().find(|range| code < range.end)?;
    let symbol = SORTED.get(range.first_symbol + ((code - range.start) >> (30 - range.length)) as usize)?;
    Some((u8::try_from(*symbol).ok()?, range.length))
}

/// Codes of one length, moved up to 30 bits.
#[derive(Copy, Clone)]
struct CodesOfLength {
    start: u32,
    end: u32,
    length: u32,
    first_symbol: usize,
}

const EOS: usize = 256;

/// Length of each symbol's code in bits; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

static SORTED: [u16; 257] = sorted();
static RANGES: [CodesOfLength; 31] = ranges();
static CODES: [(u32, u8); 256] = codes();
static STEPS: [Step; 1 << PEEK] = steps();

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn sorted() -> [u16; 257] {
    let mut sorted = [0; 257];
    let (mut count, mut length) = (0, 0);
    while length <= 30 {
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] == length {
                sorted[count] = symbol as u16;
                count += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(count == 257);
    sorted
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn ranges() -> [CodesOfLength; 31] {
    let sorted = sorted();
    let mut ranges = [CodesOfLength {
        start: 0,
        end: 0,
        length: 0,
        first_symbol: 0,
    }; 31];
    let (mut symbol, mut start, mut length) = (0, 0_u32, 0);
    while length <= 30 {
        let first_symbol = symbol;
        let mut end = start;
        while symbol < 257 && LENGTHS[sorted[symbol] as usize] as usize == length {
            end += 1 << (30 - length);
            symbol += 1;
        }
        ranges[length] = CodesOfLength {
            start,
            end,
            length: length as u32,
            first_symbol,
        };
        start = end;
        length += 1;
    }
    // A full code: the last one, EOS, is thirty ones.
    assert!(start == 1 << 30);
    ranges
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn codes() -> [(u32, u8); 256] {
    let sorted = sorted();
    let mut codes = [(0, 0); 256];
    let (mut i, mut next) = (0, 0_u32);
    while i < 257 {
        let symbol = sorted[i] as usize;
        let length = LENGTHS[symbol];
        if symbol != EOS {
            codes[symbol] = (next >> (30 - length), length);
        }
        next += 1 << (30 - length);
        i += 1;
    }
    codes
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn steps() -> [Step; 1 << PEEK] {
    let codes = codes();
    let mut steps = [Step {
        pair: [0; 2],
        symbols: 0,
        bits: 0,
    }; 1 << PEEK];
    let mut first = 0;
    while first < 256 {
        let (code, length) = codes[first];
        if length as u32 <= PEEK {
            let left = PEEK - length as u32;
            let start = (code as usize) << left;
            let mut i = start;
            while i < start + (1 << left) {
                steps[i] = Step {
                    pair: [first as u8, 0],
                    symbols: 1,
                    bits: length,
                };
                i += 1;
            }
            // The second symbol is whole if its code fits in the bits that are left.
            let mut second = 0;
            while second < 256 {
                let (next, more) = codes[second];
                if more as u32 <= left {
                    let from = start + ((next as usize) << (left - more as u32));
                    let mut i = from;
                    while i < from + (1 << (left - more as u32)) {
                        steps[i] = Step {
                            pair: [first as u8, second as u8],
                            symbols: 2,
                            bits: length + more,
                        };
                        i += 1;
                    }
                }
                second += 1;
            }
        }
        first += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut target = vec![0; decoded_bound(code.len())];
        let len = decode(code, &mut target)?;
        target.truncate(len);
        Ok(target)
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut code = Vec::new();
        encode(text, &mut code);
        assert_eq!(code.len(), encoded_len(text));
        code
    }

    #[test]
    fn codes_of_appendix_b() {
        let codes = [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b' ', 0x14, 6),
            (b'X', 0xfc, 8),
            (b'!', 0x3f8, 10),
        ];
        let rare = [
            (0, 0x1ff8, 13),
            (b'\\', 0x7fff0, 19),
            (10, 0x3fff_fffc, 30),
            (255, 0x3ff_ffee, 26),
        ];
        for (symbol, code, length) in codes.into_iter().chain(rare) {
            assert_eq!(CODES[usize::from(symbol)], (code, length), "{symbol}");
        }
        assert_eq!(SORTED[256], 256);
    }

    #[test]
    fn every_pair_of_bytes_survives_at_every_bit_offset() {
        for a in 0..=255 {
            for b in 0..=255 {
                for front in 0..8 {
                    // Each '0' moves what comes behind it by five bits.
                    let mut text = vec![b'0'; front];
                    text.extend([a, b]);
                    assert_eq!(decoded(&encoded(&text)).as_deref(), Ok(&text[..]));
                }
            }
        }
    }

    #[test]
    fn long_strings_of_all_bytes_survive() {
        let all: Vec<u8> = (0..=255)
            .chain((0..=255).rev())
            .chain(*b"/routeguide.RouteGuide/RouteChat")
            .collect();
        for cut in 0..all.len() {
            assert_eq!(decoded(&encoded(&all[cut..])).as_deref(), Ok(&all[cut..]));
            assert_eq!(decoded(&encoded(&all[..cut])).as_deref(), Ok(&all[..cut]));
        }
    }

    #[test]
    fn the_shortest_codes_fit_the_bound() {
        for len in 0..100 {
            let text = vec![b'a'; len];
            assert_eq!(decoded(&encoded(&text)).as_deref(), Ok(&text[..]));
        }
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        // 'a' is 00011; three ones fill the byte.
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        for bad in [0b0001_1000, 0b0001_1110, 0b0001_1011] {
            assert_eq!(decoded(&[bad]), Err(DecodeError::InvalidHuffman));
        }
        // A whole byte of ones, alone or after a symbol that ends on a byte.
        assert_eq!(decoded(&[0xFF]), Err(DecodeError::InvalidHuffman));
        assert_eq!(decoded(&[0b0001_1111, 0xFF]), Err(DecodeError::InvalidHuffman));
        assert_eq!(decoded(&[0xF8]).as_deref(), Ok(&b"&"[..]));
        assert_eq!(decoded(&[0xF8, 0xFF]), Err(DecodeError::InvalidHuffman));
        assert_eq!(decoded(&[]).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn eos_in_a_string_is_an_error() {
        for front in [&b""[..], b"a", b"aaaaaaaaaaaaaaaa", b"www.example.com"] {
            for back in [&[][..], &[0x1F], &[0x1F; 20]] {
                let code = [&encoded(front), &[0xFF; 4][..], back].concat();
                assert_eq!(
                    decoded(&code),
                    Err(DecodeError::InvalidHuffman),
                    "{front:?} {back:?}"
                );
            }
        }
    }

    #[test]
    fn a_code_cut_short_is_an_error() {
        // 10 has a code of thirty bits: each cut leaves a byte or more that is no symbol.
        let code = encoded(&[10]);
        for cut in 1..code.len() {
            assert_eq!(decoded(&code[..cut]), Err(DecodeError::InvalidHuffman));
        }
    }
}
