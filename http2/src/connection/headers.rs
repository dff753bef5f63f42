//! Header blocks that come in, and the messages that they make (RFC 9113 §4.3, §8).

use super::receive::Block;
use super::{Connection, Drain, Event, Role, spare};
use crate::Field;
use crate::Name;
use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{self, Head};
use crate::hpack::Decoded;
use crate::limits::Limit;
use crate::message::{self, UNKNOWN_LENGTH};
use crate::stream::{Stream, StreamKey};

type Told<'a> = Result<Option<Event<'a>>, ConnectionError>;

/// A header block and the frame that began it.
#[derive(Copy, Clone)]
struct Whole<'b> {
    id: u32,
    end: bool,
    depends_on_itself: bool,
    bytes: &'b [u8],
}

impl Connection {
    /// HEADERS (RFC 9113 §6.2).
    pub(super) fn headers_frame<'a>(&mut self, head: Head, payload: &[u8]) -> Told<'a> {
        self.headers_frames += 1;
        let fragment = frame::header_fragment(head, payload)?;
        let end = head.has(frame::END_STREAM);
        let depends_on_itself = fragment.depends_on_itself;
        if head.has(frame::END_HEADERS) {
            return self.block(Whole {
                id: head.id,
                end,
                depends_on_itself,
                bytes: fragment.bytes,
            });
        }
        let block = Block {
            id: head.id,
            end,
            depends_on_itself,
            continuations: 0,
            bytes: fragment.bytes.to_vec(),
        };
        self.reader.block = Some(Box::new(block));
        Ok(None)
    }

    /// CONTINUATION (RFC 9113 §6.10), of the block that is open.
    pub(super) fn continuation_frame<'a>(&mut self, head: Head, payload: &[u8]) -> Told<'a> {
        let Some(mut block) = self.reader.block.take() else {
            return Ok(None);
        };
        block.continuations += 1;
        // CVE-2024-27983 and its like: neither many frames nor many octets.
        if block.continuations > self.config.limits.max_continuations {
            return Err(ConnectionError::limit(Limit::Continuations));
        }
        if block.bytes.len() + payload.len() > self.config.limits.max_header_block as usize {
            return Err(ConnectionError::limit(Limit::HeaderBlock));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            let Block {
                id,
                end,
                depends_on_itself,
                ref bytes,
                ..
            } = *block;
            return self.block(Whole {
                id,
                end,
                depends_on_itself,
                bytes,
            });
        }
        self.reader.block = Some(block);
        Ok(None)
    }

    fn block<'a>(&mut self, block: Whole<'_>) -> Told<'a> {
        if let Some(key) = self.streams.find(block.id) {
            return match self.role {
                Role::Client => self.block_from_server(key, block),
                Role::Server => self.trailers(key, block),
            };
        }
        if self.role == Role::Client || block.id.is_multiple_of(2) || block.id <= self.highest_seen {
            return self.block_without_stream(block);
        }
        self.request(block)
    }

    /// Neither an open stream nor a new one.
    fn block_without_stream<'a>(&mut self, block: Whole<'_>) -> Told<'a> {
        if self.role == Role::Client || block.id.is_multiple_of(2) {
            // RFC 9113 §5.1.1: even ids belong to servers, which we forbade to push. A client's own streams that are
            // gone may still be answered.
            self.check_not_idle(block.id)?;
        } else if self.closed.has_ended(block.id) {
            return Err(ConnectionError::rule(
                ErrorCode::STREAM_CLOSED,
                "HEADERS on a stream that its sender had ended",
            ));
        } else if !self.closed.was_reset(block.id) {
            return Err(ConnectionError::protocol(
                "HEADERS with a stream id below an earlier one",
            ));
        }
        self.decode_for_nobody(block.bytes)?;
        Ok(None)
    }

    /// The first header block of a new stream.
    fn request<'a>(&mut self, block: Whole<'_>) -> Told<'a> {
        self.highest_seen = block.id;
        self.buckets.stream_began(&self.config.limits);
        // CVE-2019-9517: whoever reads no answers gets no more.
        self.check_answers()?;
        let full = self.streams.len() >= self.config.limits.max_concurrent_streams as usize;
        if full || self.drain == Drain::Last {
            self.decode_for_nobody(block.bytes)?;
            if full {
                self.note_reached(Limit::ConcurrentStreams);
            }
            return self.refuse(block.id);
        }
        let (fields, decoded) = self.decode(block.bytes)?;
        if block.depends_on_itself {
            spare::give_back_list(fields);
            self.reset_provoked(block.id, ErrorCode::PROTOCOL_ERROR)?;
            return Ok(None);
        }
        let window = self
            .initial_stream_window()
            .max(self.window_before_acknowledgement());
        let mut stream = Stream::new(self.peer_initial_window, window, 0, self.now());
        stream.remote_ended = block.end;
        if decoded.too_large {
            spare::give_back_list(fields);
            stream.swallow = true;
            self.highest_told = block.id;
            let stream = self.streams.insert(block.id, stream);
            return Ok(Some(Event::RequestTooLarge {
                stream,
                end: block.end,
            }));
        }
        match message::request(&fields) {
            // RFC 9113 §8.1.1: a promise of content and no DATA.
            Ok(length) if block.end && length != UNKNOWN_LENGTH && length != 0 => {}
            Ok(length) => {
                stream.content_left = length;
                self.highest_told = block.id;
                let stream = self.streams.insert(block.id, stream);
                return Ok(Some(Event::Request {
                    stream,
                    fields,
                    end: block.end,
                }));
            }
            Err(_) => {}
        }
        spare::give_back_list(fields);
        self.reset_provoked(block.id, ErrorCode::PROTOCOL_ERROR)?;
        Ok(None)
    }

    /// RFC 9113 §5.1.2, §6.8: not processed, so it may be tried again elsewhere.
    fn refuse<'a>(&mut self, id: u32) -> Told<'a> {
        let (limits, clock) = (&self.config.limits, &self.clock);
        if clock.is_some_and(|c| !self.buckets.refused_streams.take(limits.refused_streams, &c)) {
            return Err(ConnectionError::limit(Limit::RefusedStreams));
        }
        self.closed.reset(id);
        self.reset_frame(id, ErrorCode::REFUSED_STREAM)?;
        Ok(None)
    }

    /// A later header block on a stream: trailers, in both roles (RFC 9113 §8.1).
    fn trailers<'a>(&mut self, key: StreamKey, block: Whole<'_>) -> Told<'a> {
        let (fields, decoded) = self.decode(block.bytes)?;
        let Some(stream) = self.streams.get(key) else {
            return Ok(None);
        };
        let (tag, swallow, left) = (stream.tag, stream.swallow, stream.content_left);
        let wrong = if stream.remote_ended {
            // RFC 9113 §5.1, half-closed (remote).
            Some(ErrorCode::STREAM_CLOSED)
        } else if decoded.too_large && !swallow {
            Some(ErrorCode::ENHANCE_YOUR_CALM)
        } else if !block.end || block.depends_on_itself || (left != 0 && left != UNKNOWN_LENGTH) {
            // RFC 9113 §8.1: trailers end the stream. §8.1.1: DATA must add up to content-length.
            Some(ErrorCode::PROTOCOL_ERROR)
        } else if message::trailers(&fields).is_err() {
            Some(ErrorCode::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(code) = wrong {
            spare::give_back_list(fields);
            return self.stream_error(key, code);
        }
        self.remote_end(key);
        if swallow {
            spare::give_back_list(fields);
            return Ok(None);
        }
        Ok(Some(Event::Trailers {
            stream: key,
            tag,
            fields,
        }))
    }

    /// A header block from the server on an open stream: 1xx, the final head, or trailers (RFC 9113 §8.1).
    fn block_from_server<'a>(&mut self, key: StreamKey, block: Whole<'_>) -> Told<'a> {
        let Some(stream) = self.streams.get(key) else {
            return Ok(None);
        };
        if stream.answered || stream.remote_ended {
            return self.trailers(key, block);
        }
        let (tag, head_request) = (stream.tag, stream.head_request);
        let (fields, decoded) = self.decode(block.bytes)?;
        if decoded.too_large {
            spare::give_back_list(fields);
            return self.stream_error(key, ErrorCode::ENHANCE_YOUR_CALM);
        }
        let response = match message::response(&fields) {
            Ok(response) if !block.depends_on_itself => response,
            _ => {
                spare::give_back_list(fields);
                return self.stream_error(key, ErrorCode::PROTOCOL_ERROR);
            }
        };
        if response.status < 200 {
            if block.end {
                // RFC 9113 §8.1: an interim response ends nothing.
                spare::give_back_list(fields);
                return self.stream_error(key, ErrorCode::PROTOCOL_ERROR);
            }
            return Ok(Some(Event::Informational {
                stream: key,
                tag,
                fields,
            }));
        }
        // RFC 9110 §8.6: these have no content, whatever content-length says.
        let without_content = head_request || response.status == 204 || response.status == 304;
        if without_content {
            // RFC 9113 §8.1.1: then no DATA may follow either, but for an empty frame.
        } else if block.end && response.content_length != UNKNOWN_LENGTH && response.content_length != 0 {
            spare::give_back_list(fields);
            return self.stream_error(key, ErrorCode::PROTOCOL_ERROR);
        }
        if let Some(stream) = self.streams.get_mut(key) {
            stream.answered = true;
            stream.content_left = if without_content {
                0
            } else {
                response.content_length
            };
        }
        if block.end {
            self.remote_end(key);
        }
        Ok(Some(Event::Response {
            stream: key,
            tag,
            fields,
            end: block.end,
        }))
    }

    fn decode(&mut self, block: &[u8]) -> Result<(Vec<Field>, Decoded), ConnectionError> {
        let mut fields = spare::list();
        let limits = &self.config.limits;
        if block.len() > limits.max_header_block as usize {
            return Err(ConnectionError::limit(Limit::HeaderBlock));
        }
        let (list, count) = (
            limits.max_header_list_size as usize,
            limits.max_header_fields as usize,
        );
        let decoded = self
            .decoder
            .decode(block, list, count, &mut fields)
            .map_err(|_| UNDECODABLE)?;
        if decoded.too_large {
            self.note_reached(if decoded.fields > count {
                Limit::HeaderFields
            } else {
                Limit::HeaderListSize
            });
        }
        Ok((fields, decoded))
    }

    /// RFC 9113 §4.3: a block that nobody wants still changes the table.
    fn decode_for_nobody(&mut self, block: &[u8]) -> Result<(), ConnectionError> {
        if block.len() > self.config.limits.max_header_block as usize {
            return Err(ConnectionError::limit(Limit::HeaderBlock));
        }
        let mut fields = Vec::new();
        self.decoder
            .decode(block, 0, 0, &mut fields)
            .map_err(|_| UNDECODABLE)?;
        Ok(())
    }
}

const UNDECODABLE: ConnectionError =
    ConnectionError::rule(ErrorCode::COMPRESSION_ERROR, "a header block cannot be decoded");

/// Whether these fields are the head of an interim response.
pub(super) fn is_interim(fields: &[Field]) -> bool {
    fields
        .iter()
        .find(|f| f.known() == Name::Status)
        .is_some_and(|f| f.value().first() == Some(&b'1'))
}
