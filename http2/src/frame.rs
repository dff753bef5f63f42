//! The ten frame types of RFC 9113 §6: heads parsed in place and written to a buffer.

pub(crate) mod settings;

use crate::error::ConnectionError;
use crate::error::ErrorCode;

/// The octets that a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of a frame's head (RFC 9113 §4.1).
pub(crate) const HEAD: usize = 9;
/// The largest payload that we take and send: the least that every peer must take (RFC 9113 §4.2). Larger frames only
/// delay the other streams.
pub(crate) const MAX_PAYLOAD: usize = 16_384;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITISED: u8 = 0x20;

/// A frame's head.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
}

impl Head {
    #[inline]
    pub(crate) fn parse(bytes: &[u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, i0, i1, i2, i3] = *bytes;
        Self {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            // RFC 9113 §4.1: the reserved bit is ignored.
            id: u32::from_be_bytes([i0 & 0x7f, i1, i2, i3]),
        }
    }

    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEAD] {
        let [_, l0, l1, l2] = self.len.to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, i0, i1, i2, i3]
    }

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The fragment of a HEADERS frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) bytes: &'a [u8],
    /// The deprecated priority names the stream itself as its parent (RFC 7540 §5.3.1).
    pub(crate) depends_on_itself: bool,
}

/// Takes padding and priority off a HEADERS frame's payload (RFC 9113 §6.2).
pub(crate) fn header_fragment(head: Head, payload: &[u8]) -> Result<Fragment<'_>, ConnectionError> {
    let mut bytes = payload;
    let mut padding = 0;
    if head.has(PADDED) {
        let (&length, rest) = bytes.split_first().ok_or(TOO_SHORT)?;
        (padding, bytes) = (usize::from(length), rest);
    }
    let mut depends_on_itself = false;
    if head.has(PRIORITISED) {
        let ([d0, d1, d2, d3, _weight], rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
        depends_on_itself = u32::from_be_bytes([d0 & 0x7f, *d1, *d2, *d3]) == head.id;
        bytes = rest;
    }
    // RFC 9113 §6.2: padding that exceeds what is left is a PROTOCOL_ERROR.
    let kept = bytes.len().checked_sub(padding).ok_or(BAD_PADDING)?;
    let bytes = bytes.get(..kept).ok_or(BAD_PADDING)?;
    Ok(Fragment {
        bytes,
        depends_on_itself,
    })
}

pub(crate) const TOO_SHORT: ConnectionError =
    ConnectionError::rule(ErrorCode::FRAME_SIZE_ERROR, "a frame is too short for its fields");
pub(crate) const BAD_PADDING: ConnectionError =
    ConnectionError::protocol("padding is longer than the frame that holds it");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_writing_and_parsing() {
        let head = Head {
            len: 0x01_0203,
            kind: 9,
            flags: 0x2d,
            id: 0x7fff_fffe,
        };
        assert_eq!(Head::parse(&head.bytes()), head);
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        let bytes = [0, 0, 0, 6, 0, 0x80, 0, 0, 1];
        assert_eq!(Head::parse(&bytes).id, 1);
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let head = Head {
            len: 11,
            kind: HEADERS,
            flags: PADDED | PRIORITISED,
            id: 3,
        };
        let payload = [2, 0x80, 0, 0, 3, 16, b'a', b'b', b'c', 0, 0];
        let fragment = header_fragment(head, &payload).unwrap();
        assert_eq!(
            fragment,
            Fragment {
                bytes: b"abc",
                depends_on_itself: true
            }
        );
    }

    #[test]
    fn padding_may_fill_the_frame_and_no_more() {
        let head = Head {
            len: 3,
            kind: HEADERS,
            flags: PADDED,
            id: 3,
        };
        assert_eq!(header_fragment(head, &[2, 0, 0]).unwrap().bytes, b"");
        assert_eq!(header_fragment(head, &[3, 0, 0]), Err(BAD_PADDING));
        assert_eq!(header_fragment(head, &[]), Err(TOO_SHORT));
    }
}
