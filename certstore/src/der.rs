//! The elements of ASN.1 in DER (X.690), as far as keys and containers are looked at before a library parses them.

/// INTEGER.
pub const INTEGER: u8 = 0x02;

/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;

/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// The bit of a tag whose element holds elements.
pub const CONSTRUCTED: u8 = 0x20;

/// The value of an integer; one that is too large for 64 bits counts as the largest.
pub fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0_u64, |number, octet| {
        number.saturating_mul(256).saturating_add(u64::from(*octet))
    })
}

/// An element, which may itself hold elements.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// The first octet of its tag.
    pub tag: u8,
    /// The octets of its value.
    pub content: &'a [u8],
}

/// The elements that stand one after another, up to octets that are none. Lengths may have more octets than they need.
#[derive(Debug, Clone)]
pub struct Elements<'a>(pub &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, mut rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            // X.690 §8.1.2.4: the number of the tag follows, up to an octet without the first bit.
            let last = rest.iter().position(|octet| octet & 0x80 == 0)?;
            rest = rest.get(last + 1..)?;
        }
        let (first, mut rest) = rest.split_first()?;
        let length = match first {
            0..0x80 => usize::from(*first),
            // X.690 §10.1: the length is definite.
            0x80 => return None,
            _ => {
                let (length, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                usize::try_from(number(length)).ok()?
            }
        };
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some(Element { tag: *tag, content })
    }
}
