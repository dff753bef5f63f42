//! Integers with a prefix (RFC 7541 §5.1).

use super::DecodeError;

/// Reads the integer whose prefix is the low `prefix` bits of `first`; `rest` is what comes behind it and is moved on.
///
/// # Errors
/// The bytes end, or the integer does not fit 32 bits or takes more than five further bytes. RFC 7541 §5.1:
/// encodings that are too long in value or in bytes must be refused.
pub(super) fn decode(first: u8, prefix: u32, rest: &mut &[u8]) -> Result<usize, DecodeError> {
    let mask = (1_u8 << prefix) - 1;
    if first & mask < mask {
        return Ok(usize::from(first & mask));
    }
    let mut value = u64::from(mask);
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
        *rest = after;
        value += u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| DecodeError::IntegerOverflow)?;
            return usize::try_from(value).map_err(|_| DecodeError::IntegerOverflow);
        }
    }
    Err(DecodeError::IntegerOverflow)
}

/// Appends `value` with the high bits of `first` above a prefix of `prefix` bits.
#[inline]
pub(super) fn encode(first: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
    } else {
        encode_long(first | mask as u8, value - mask, out);
    }
}

#[inline(never)]
fn encode_long(first: u8, mut left: usize, out: &mut Vec<u8>) {
    out.push(first);
    while left >= 128 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], prefix: u32) -> Result<(usize, usize), DecodeError> {
        let (first, mut rest) = bytes.split_first().expect("not empty");
        decode(*first, prefix, &mut rest).map(|value| (value, rest.len()))
    }

    fn encoded(value: usize, prefix: u32) -> Vec<u8> {
        let mut out = Vec::new();
        encode(0, prefix, value, &mut out);
        out
    }

    #[test]
    fn examples_of_rfc_7541_c_1() {
        for (value, prefix, bytes) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8 - 1, &[42])] {
            assert_eq!(encoded(value, prefix), bytes);
            assert_eq!(decoded(bytes, prefix), Ok((value, 0)));
        }
        // C.1.1 with what a representation puts above the prefix.
        assert_eq!(decoded(&[0b1110_1010, 7], 5), Ok((10, 1)));
    }

    #[test]
    fn every_prefix_and_size_round_trips() {
        for prefix in 4..=7 {
            let edges = (0..=32)
                .map(|bits| (1_usize << bits) - 1)
                .filter(|v| *v <= u32::MAX as usize);
            for value in edges.flat_map(|v| [v, v.saturating_sub(1), (v + 1).min(u32::MAX as usize)]) {
                assert_eq!(
                    decoded(&encoded(value, prefix), prefix),
                    Ok((value, 0)),
                    "{value} in {prefix}"
                );
            }
        }
    }

    #[test]
    fn too_long_or_too_large_is_an_overflow() {
        let above = encoded(u32::MAX as usize + 1, 7);
        assert_eq!(decoded(&above, 7), Err(DecodeError::IntegerOverflow));
        assert_eq!(
            decoded(&[127, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 7),
            Err(DecodeError::IntegerOverflow)
        );
        assert_eq!(
            decoded(&[127, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 7),
            Err(DecodeError::IntegerOverflow)
        );
        // Five bytes of zeros are clumsy but hold a valid value.
        assert_eq!(decoded(&[127, 0x80, 0x80, 0x80, 0x80, 0], 7), Ok((127, 0)));
    }

    #[test]
    fn an_integer_that_ends_early_is_truncated() {
        for len in 1..6 {
            let bytes = &[127, 0x80, 0x80, 0x80, 0x80, 0][..len];
            assert_eq!(decoded(bytes, 7), Err(DecodeError::Truncated));
        }
    }
}
