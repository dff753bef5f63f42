//! Bytes to frames. Whole frames are read where they lie in the input; only a frame that is cut by the end of the input
//! is copied, and DATA never is.

use super::{Connection, Event, spare};
use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{self, HEAD, Head, MAX_PAYLOAD, PREFACE};
use crate::limits::Limit;
use crate::stream::StreamKey;

/// The place where the reading of the peer's bytes stands.
#[derive(Debug)]
pub(super) struct Reader {
    /// Octets of the client's preface that are still to come.
    preface_left: usize,
    /// The beginning of a frame that the input cut: a part of its head, or its head and a part of its payload.
    partial: Vec<u8>,
    /// DATA whose payload is being handed on.
    pub(super) data: Option<Payload>,
    /// Octets to pass over: padding, unknown frames, DATA of streams that are gone.
    pub(super) skip: usize,
    /// Padding behind `data`.
    pub(super) padding: usize,
    /// A header block whose CONTINUATION is to come.
    pub(super) block: Option<Box<Block>>,
}

/// The part of the DATA frame being read that is still to come.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) key: StreamKey,
    pub(super) left: usize,
    pub(super) end: bool,
}

/// A header block without END_HEADERS so far (RFC 9113 §4.3).
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: u32,
    pub(super) end: bool,
    pub(super) depends_on_itself: bool,
    pub(super) continuations: u32,
    pub(super) bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(preface: bool) -> Self {
        Self {
            preface_left: if preface { PREFACE.len() } else { 0 },
            partial: Vec::new(),
            data: None,
            skip: 0,
            padding: 0,
            block: None,
        }
    }

    pub(super) fn heap(&self) -> usize {
        self.partial.capacity()
            + self
                .block
                .as_ref()
                .map_or(0, |b| size_of::<Block>() + b.bytes.capacity())
    }

    /// A HEADERS frame has come as far as its type, and is not whole.
    pub(super) fn headers_begun(&self) -> bool {
        self.partial.get(3) == Some(&frame::HEADERS)
    }

    pub(super) fn is_frame_open(&self) -> bool {
        self.block.is_some() || !self.partial.is_empty()
    }

    pub(super) fn header_block_open(&self) -> bool {
        self.block.is_some() || matches!(self.partial.get(3), Some(&(frame::HEADERS | frame::CONTINUATION)))
    }
}

/// The number of octets from a frame's first one that must lie together before it can be worked on.
fn wanted(head: Head) -> usize {
    match head.kind {
        // The length of the padding decides over the payload's.
        frame::DATA if head.has(frame::PADDED) && head.len > 0 => HEAD + 1,
        frame::DATA => HEAD,
        frame::HEADERS..=frame::CONTINUATION => HEAD + head.len as usize,
        _ => HEAD,
    }
}

impl Connection {
    /// Frame by frame until there is something to report.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ConnectionError> {
        if self.reader.preface_left > 0
            && let Err(error) = self.read_preface(input)
        {
            return Err(self.fail(error));
        }
        loop {
            if self.reader.skip > 0 {
                let (_, rest) = input.split_at(self.reader.skip.min(input.len()));
                self.reader.skip -= input.len() - rest.len();
                *input = rest;
            }
            if self.reader.data.is_some()
                && let Some(event) = self.data_piece(input)
            {
                return Ok(Some(event));
            }
            if input.is_empty() {
                return Ok(None);
            }
            if self.reader.data.is_some() || self.reader.skip > 0 {
                // The piece was of a stream that is gone or swallowed; its padding is next.
                continue;
            }
            let result = if self.reader.partial.is_empty() {
                let Some((head, rest)) = input.split_first_chunk::<HEAD>() else {
                    self.stash(input);
                    return Ok(None);
                };
                let head = Head::parse(head);
                if let Err(error) = self.check_head(head) {
                    return Err(self.fail(error));
                }
                let Some((payload, rest)) = rest.split_at_checked(wanted(head) - HEAD) else {
                    self.stash(input);
                    return Ok(None);
                };
                *input = rest;
                self.frame(head, payload)
            } else {
                match self.complete(input) {
                    Ok(None) => return Ok(None),
                    Ok(Some(head)) => self.stashed_frame(head),
                    Err(error) => Err(error),
                }
            };
            match result {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// A frame that the input had cut, whole now.
    fn stashed_frame<'a>(&mut self, head: Head) -> Result<Option<Event<'a>>, ConnectionError> {
        let mut bytes = std::mem::take(&mut self.reader.partial);
        let event = self.frame(head, bytes.get(HEAD..).unwrap_or_default());
        spare::give_back(&mut bytes);
        self.reader.partial = bytes;
        event
    }

    /// RFC 9113 §3.4.
    fn read_preface(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        let expected = PREFACE
            .get(PREFACE.len() - self.reader.preface_left..)
            .unwrap_or_default();
        let (got, rest) = input.split_at(expected.len().min(input.len()));
        if !expected.starts_with(got) {
            return Err(ConnectionError::protocol("the client's preface is wrong"));
        }
        self.reader.preface_left -= got.len();
        *input = rest;
        Ok(())
    }

    fn stash(&mut self, input: &mut &[u8]) {
        if self.reader.partial.capacity() == 0 && input.len() > spare::KEPT {
            self.reader.partial = spare::buffer();
        }
        self.reader.partial.extend_from_slice(input);
        *input = &[];
    }

    /// Moves from the input what the stashed frame lacks. `None`: it lacks more.
    fn complete(&mut self, input: &mut &[u8]) -> Result<Option<Head>, ConnectionError> {
        loop {
            let partial = &mut self.reader.partial;
            let head = partial.first_chunk::<HEAD>().map(Head::parse);
            let want = head.map_or(HEAD, wanted);
            let (more, rest) = input.split_at(want.saturating_sub(partial.len()).min(input.len()));
            partial.extend_from_slice(more);
            *input = rest;
            if partial.len() < want {
                return Ok(None);
            }
            match head {
                Some(head) => return Ok(Some(head)),
                None => {
                    if let Some(head) = partial.first_chunk::<HEAD>().map(Head::parse) {
                        self.check_head(head)?;
                    }
                }
            }
        }
    }

    /// The checks that need no payload.
    #[inline]
    fn check_head(&self, head: Head) -> Result<(), ConnectionError> {
        // RFC 9113 §4.2: we never raised SETTINGS_MAX_FRAME_SIZE.
        if head.len as usize > MAX_PAYLOAD {
            return Err(ConnectionError::rule(
                ErrorCode::FRAME_SIZE_ERROR,
                "a frame is longer than 16,384 octets",
            ));
        }
        // RFC 9113 §3.4: SETTINGS are the first frame.
        if !self.settings_received && (head.kind != frame::SETTINGS || head.has(frame::ACK)) {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
        }
        // RFC 9113 §6.10: nothing comes between the frames of a header block.
        match &self.reader.block {
            None if head.kind == frame::CONTINUATION => {
                return Err(ConnectionError::protocol("CONTINUATION without a header block"));
            }
            Some(block) if head.kind != frame::CONTINUATION || head.id != block.id => {
                return Err(ConnectionError::protocol("another frame within a header block"));
            }
            _ => {}
        }
        let of_a_stream = match head.kind {
            frame::DATA
            | frame::HEADERS
            | frame::PRIORITY
            | frame::RST_STREAM
            | frame::PUSH_PROMISE
            | frame::CONTINUATION => true,
            frame::SETTINGS | frame::PING | frame::GOAWAY => false,
            _ => return Ok(()),
        };
        if of_a_stream != (head.id != 0) {
            return Err(ConnectionError::protocol(
                "a frame has a stream id that its type does not allow",
            ));
        }
        Ok(())
    }

    /// One frame: DATA with nothing but the length of its padding, unknown ones with nothing, all others whole.
    #[inline]
    fn frame<'a>(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event<'a>>, ConnectionError> {
        match head.kind {
            frame::DATA => self.data_frame(head, payload),
            frame::HEADERS => self.headers_frame(head, payload),
            frame::CONTINUATION => self.continuation_frame(head, payload),
            frame::PRIORITY => self.priority_frame(head, payload),
            frame::RST_STREAM => self.rst_stream_frame(head, payload),
            frame::SETTINGS => self.settings_frame(head, payload),
            // RFC 9113 §8.4: clients do not push, and our SETTINGS say to servers that they must not.
            frame::PUSH_PROMISE => Err(ConnectionError::protocol("PUSH_PROMISE, which was never allowed")),
            frame::PING => self.ping_frame(head, payload),
            frame::GOAWAY => self.goaway_received(payload),
            frame::WINDOW_UPDATE => self.window_update_frame(head, payload),
            _ => {
                // RFC 9113 §5.5: frames of unknown types are passed over.
                let (limits, clock) = (&self.config.limits, &self.clock);
                if clock.is_some_and(|c| !self.buckets.unknown_frames.take(limits.unknown_frames, &c)) {
                    return Err(ConnectionError::limit(Limit::UnknownFrames));
                }
                self.reader.skip = head.len as usize;
                Ok(None)
            }
        }
    }
}
