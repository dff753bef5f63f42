//! Heads of requests that cost their sender as little as can be: all that repeats is put into the table once.

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, flags, kind, literal_block};

/// The first entry of the dynamic table (RFC 7541 §2.3.3).
const FIRST: u8 = 62;
/// The bit of an indexed field (RFC 7541 §6.1).
const INDEXED: u8 = 0x80;

/// A request that is sent again and again on one connection.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    first: Bytes,
    again: Bytes,
}

impl Head {
    /// A gRPC request; `more` fields are put into the table as well, and each is sent `times` times.
    pub(crate) fn new(authority: &str, path: &str, more: &[(&str, &str)], times: usize) -> Self {
        let usual = [
            (":path", path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        // POST and https are entries of the static table.
        let mut first = BytesMut::from(&[INDEXED | 3, INDEXED | 7][..]);
        let mut again = first.clone();
        let entries = usual.iter().chain(more);
        for field in entries.clone() {
            first.put(indexing(field.0, field.1));
        }
        let count = (usual.len() + more.len()) as u8;
        // The newest entry has the lowest number.
        again.extend((0..usual.len() as u8).map(|place| INDEXED | (FIRST + count - 1 - place)));
        for place in usual.len() as u8..count {
            let entry = INDEXED | (FIRST + count - 1 - place);
            first.put_bytes(entry, times.saturating_sub(1));
            again.put_bytes(entry, times);
        }
        Self {
            first: first.freeze(),
            again: again.freeze(),
        }
    }

    /// Its frame for the request of this number on a connection, counted from 0.
    pub(crate) fn frame(&self, number: u32, end: bool) -> Bytes {
        let block = if number == 0 { &self.first } else { &self.again };
        let flags = flags::END_HEADERS | if end { flags::END_STREAM } else { 0 };
        Frame::bytes(kind::HEADERS, flags, stream(number), block)
    }

    /// The block that puts it into the table.
    pub(crate) fn first(&self) -> &Bytes {
        &self.first
    }
}

/// The stream of the request of this number on a connection, counted from 0.
pub(crate) fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// A literal field that is put into the table (RFC 7541 §6.2.1).
pub(crate) fn indexing(name: &str, value: &str) -> Bytes {
    let mut literal = BytesMut::from(&literal_block(&[(name, value)])[..]);
    literal[0] = 0x40;
    literal.freeze()
}

/// A header block in as many frames as it needs.
pub(crate) fn in_frames(stream: u32, block: &Bytes) -> Bytes {
    let mut frames = BytesMut::new();
    let mut pieces = block.chunks(16_384).peekable();
    let mut of = kind::HEADERS;
    let mut flag = flags::END_STREAM;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flag |= flags::END_HEADERS;
        }
        frames.put(Frame::bytes(of, flag, stream, piece));
        (of, flag) = (kind::CONTINUATION, 0);
    }
    frames.freeze()
}
