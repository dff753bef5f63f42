//! The bytes that wait to be written: one growing buffer with an offset.

use super::spare;
use crate::frame::{self, HEAD, Head, MAX_PAYLOAD};

/// Frames for the peer, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    /// The position of the first octet that was not written yet.
    start: usize,
    /// The last frame if it is DATA: more of the same stream is added to it.
    tail: Option<Tail>,
    /// Octets of answers that the peer asked for and has not read.
    unread_answers: usize,
}

#[derive(Debug)]
struct Tail {
    id: u32,
    head_at: usize,
    len: usize,
}

impl Output {
    pub(super) fn heap(&self) -> usize {
        self.buffer.capacity()
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Octets of unread answers.
    pub(super) fn unread_answers(&self) -> usize {
        self.unread_answers
    }

    /// The last `n` octets answer the peer.
    pub(super) fn add_unread_answer(&mut self, n: usize) {
        self.unread_answers += n;
    }

    pub(super) fn advance(&mut self, n: usize) {
        // Whatever is read counts as an answer that was read. So a peer that reads slowly is never blamed, and one that
        // does not read gains nothing: every octet that it takes makes room for the one that it asked for.
        self.unread_answers = self.unread_answers.saturating_sub(n);
        self.start = self.buffer.len().min(self.start + n);
        if self.start == self.buffer.len() {
            spare::give_back(&mut self.buffer);
            (self.start, self.tail, self.unread_answers) = (0, None, 0);
            return;
        }
        // Written octets are dropped once they are most of the buffer.
        if self.start > self.buffer.len() / 2 && self.start > spare::KEPT {
            self.buffer.drain(..self.start);
            if let Some(tail) = &mut self.tail {
                match tail.head_at.checked_sub(self.start) {
                    Some(head_at) => tail.head_at = head_at,
                    None => self.tail = None,
                }
            }
            self.start = 0;
        }
    }

    #[inline]
    fn room(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare::buffer();
        }
        &mut self.buffer
    }

    pub(super) fn preface(&mut self) {
        self.room().extend_from_slice(frame::PREFACE);
    }

    /// A whole frame. Returns its size.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> usize {
        self.tail = None;
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let buffer = self.room();
        buffer.extend_from_slice(&Head { len, kind, flags, id }.bytes());
        buffer.extend_from_slice(payload);
        HEAD + payload.len()
    }

    /// DATA of any length: added to the last frame where that is DATA of the same stream and nothing of it was
    /// written, else in frames of its own.
    pub(super) fn data(&mut self, id: u32, mut payload: &[u8], end: bool) {
        let start = self.start;
        self.room();
        if let Some(tail) = &mut self.tail
            && tail.id == id
            && tail.head_at >= start
            && tail.len < MAX_PAYLOAD
        {
            let (more, rest) = payload.split_at(payload.len().min(MAX_PAYLOAD - tail.len));
            payload = rest;
            tail.len += more.len();
            self.buffer.extend_from_slice(more);
            let flags = if end && payload.is_empty() {
                frame::END_STREAM
            } else {
                0
            };
            let head = Head {
                len: u32::try_from(tail.len).unwrap_or(u32::MAX),
                kind: frame::DATA,
                flags,
                id,
            }
            .bytes();
            if let Some(place) = self
                .buffer
                .get_mut(tail.head_at..)
                .and_then(|b| b.first_chunk_mut::<HEAD>())
            {
                *place = head;
            }
            if payload.is_empty() {
                return;
            }
        }
        loop {
            let (now, rest) = payload.split_at(payload.len().min(MAX_PAYLOAD));
            let flags = if end && rest.is_empty() {
                frame::END_STREAM
            } else {
                0
            };
            let head_at = self.buffer.len();
            self.frame(frame::DATA, flags, id, now);
            self.tail = Some(Tail {
                id,
                head_at,
                len: now.len(),
            });
            if rest.is_empty() {
                return;
            }
            payload = rest;
        }
    }

    /// HEADERS, and CONTINUATION frames where the block needs them; `encode` appends the header block. Returns the size
    /// of it all.
    #[inline]
    pub(super) fn headers(&mut self, id: u32, end: bool, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.tail = None;
        let end_stream = if end { frame::END_STREAM } else { 0 };
        let buffer = self.room();
        let head_at = buffer.len();
        buffer.extend_from_slice(&[0; HEAD]);
        encode(buffer);
        let len = buffer.len() - head_at - HEAD;
        if len <= MAX_PAYLOAD {
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            let head = Head {
                len,
                kind: frame::HEADERS,
                flags: end_stream | frame::END_HEADERS,
                id,
            };
            if let Some(place) = buffer
                .get_mut(head_at..)
                .and_then(|b| b.first_chunk_mut::<HEAD>())
            {
                *place = head.bytes();
            }
            return self.buffer.len() - head_at;
        }
        let block = buffer.split_off(head_at + HEAD);
        buffer.truncate(head_at);
        let (mut kind, mut flags, mut rest) = (frame::HEADERS, end_stream, block.as_slice());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            if later.is_empty() {
                flags |= frame::END_HEADERS;
            }
            self.frame(kind, flags, id, now);
            (kind, flags, rest) = (frame::CONTINUATION, 0, later);
        }
        self.buffer.len() - head_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(mut bytes: &[u8]) -> Vec<(u8, u8, u32, u32)> {
        let mut heads = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let head = Head::parse(head);
            heads.push((head.kind, head.flags, head.id, head.len));
            bytes = &rest[head.len as usize..];
        }
        assert!(bytes.is_empty());
        heads
    }

    #[test]
    fn data_of_one_stream_at_the_tail_is_merged() {
        let mut out = Output::default();
        for _ in 0..10_000 {
            out.data(1, b"12345", false);
        }
        out.data(1, b"", true);
        assert_eq!(
            heads(out.bytes()),
            [
                (0, 0, 1, 16384),
                (0, 0, 1, 16384),
                (0, 0, 1, 16384),
                (0, 1, 1, 848)
            ]
        );
    }

    #[test]
    fn data_is_not_merged_over_another_frame_nor_into_one_that_is_half_written() {
        let mut out = Output::default();
        out.data(1, b"a", false);
        out.data(3, b"b", false);
        out.data(1, b"c", false);
        out.frame(frame::PING, 0, 0, &[0; 8]);
        out.data(1, b"d", false);
        assert_eq!(
            heads(out.bytes()),
            [
                (0, 0, 1, 1),
                (0, 0, 3, 1),
                (0, 0, 1, 1),
                (6, 0, 0, 8),
                (0, 0, 1, 1)
            ]
        );
        out.advance(10 + 10 + 10 + 17 + 9);
        out.data(1, b"e", true);
        assert_eq!(out.bytes(), [b'd', 0, 0, 1, 0, 1, 0, 0, 0, 1, b'e']);
    }

    #[test]
    fn merging_survives_the_dropping_of_written_bytes() {
        let mut out = Output::default();
        out.data(1, &[0; 16_384], false);
        out.data(3, b"a", false);
        out.advance(16_384 + 9);
        out.data(3, b"b", false);
        assert_eq!(out.bytes(), [0, 0, 2, 0, 0, 0, 0, 0, 3, b'a', b'b']);
    }

    #[test]
    fn a_long_header_block_continues() {
        for (len, want) in [
            (16_384, vec![(1, 5, 7, 16_384)]),
            (16_385, vec![(1, 1, 7, 16_384), (9, 4, 7, 1)]),
            (32_768, vec![(1, 1, 7, 16_384), (9, 4, 7, 16_384)]),
            (
                40_000,
                vec![(1, 1, 7, 16_384), (9, 0, 7, 16_384), (9, 4, 7, 7_232)],
            ),
        ] {
            let mut out = Output::default();
            let size = out.headers(7, true, |block| block.resize(block.len() + len, 0x55));
            assert_eq!((heads(out.bytes()), size), (want, out.len()));
        }
    }

    #[test]
    fn buffers_are_given_back_when_all_is_written() {
        let mut out = Output::default();
        out.data(1, &[0; 50_000], false);
        let len = out.len();
        out.advance(len - 1);
        assert_eq!(out.len(), 1);
        out.advance(1);
        assert_eq!((out.len(), out.buffer.capacity()), (0, 0));
        out.advance(1000);
        assert_eq!(out.len(), 0);
    }
}
