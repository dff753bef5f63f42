//! Header blocks that come in, and the messages that they make (RFC 9113 §4.3, §8).

use super::control::{DEPENDS_ON_ITSELF, FrameResult};
use super::data::WRONG_LENGTH;
use super::receive::Block;
use super::{Connection, Drain, Event, HEADER_TABLE_SIZE, Role, credit, spare};
use crate::Field;
use crate::Name;
use crate::error::{Cause, ConnectionError, ErrorCode};
use crate::frame::{self, Head};
use crate::hpack::{DecodeError, Decoder};
use crate::limits::{Limit, Limits};
use crate::message::{self, Malformed, UNKNOWN_LENGTH};
use crate::stream::{Stream, StreamKey};

/// A header block and the frame that began it.
#[derive(Copy, Clone)]
struct Whole<'b> {
    id: u32,
    end: bool,
    depends_on_itself: bool,
    bytes: &'b [u8],
}

/// The limit that a header block passed, and its expansion.
#[derive(Copy, Clone)]
struct BlockSummary {
    /// The limit that was passed.
    over: Option<Limit>,
    /// Octets that the block does not explain.
    expansion: u32,
}

/// Past a limit of the list the block is read on, for the table's sake, to this many times the limit.
const READ_TIMES: usize = 4;

/// The decoder for the peer's header blocks.
pub(super) fn decoder(limits: &Limits) -> Decoder {
    let stop = |limit: u32| (limit as usize).saturating_mul(READ_TIMES);
    Decoder::new(HEADER_TABLE_SIZE)
        .stopping_past(stop(limits.max_header_list_size), stop(limits.max_header_fields))
}

impl From<Malformed> for Cause {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Protocol(what)
    }
}

impl Connection {
    /// HEADERS (RFC 9113 §6.2).
    pub(super) fn headers_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
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
    pub(super) fn continuation_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        let Some(mut block) = self.reader.block.take() else {
            debug_assert!(false, "a CONTINUATION continues a block");
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

    fn block<'a>(&mut self, block: Whole<'_>) -> FrameResult<'a> {
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
    fn block_without_stream<'a>(&mut self, block: Whole<'_>) -> FrameResult<'a> {
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
    fn request<'a>(&mut self, block: Whole<'_>) -> FrameResult<'a> {
        self.highest_seen = block.id;
        self.buckets.stream_began(&self.config.limits);
        // CVE-2019-9517: whoever reads no answers gets no more.
        self.check_unread_answers()?;
        let full = self.streams.len() >= self.config.limits.max_concurrent_streams as usize;
        if full || self.drain == Drain::Last {
            let (fields, _) = self.decode(block.bytes)?;
            return self.refuse(block.id, fields);
        }
        let (mut fields, decoded) = self.decode(block.bytes)?;
        if block.depends_on_itself {
            return self.malformed(block.id, fields, DEPENDS_ON_ITSELF);
        }
        let window = self
            .initial_stream_window()
            .max(self.window_before_acknowledgement());
        let mut stream = Stream::new(window, 0, self.millis());
        stream.remote_ended = block.end;
        stream.note_expansion(decoded.expansion);
        if let Some(limit) = decoded.over {
            spend!(self, oversized_requests, OversizedRequests);
            stream.swallow = true;
            self.highest_reported = block.id;
            let stream = self.streams.insert(block.id, stream);
            return Ok(Some(Event::RequestTooLarge {
                stream,
                fields,
                limit,
                end: block.end,
            }));
        }
        match message::request(&mut fields, &mut self.trimmed) {
            Ok(length) if block.end && length != UNKNOWN_LENGTH && length != 0 => {
                self.malformed(block.id, fields, WRONG_LENGTH.words())
            }
            Ok(length) => {
                stream.content_left = length;
                self.highest_reported = block.id;
                let stream = self.streams.insert(block.id, stream);
                Ok(Some(Event::Request {
                    stream,
                    fields,
                    end: block.end,
                }))
            }
            Err(Malformed(what)) => self.malformed(block.id, fields, what),
        }
    }

    /// A request whose head breaks a rule (RFC 9113 §8.1.1).
    #[cold]
    fn malformed<'a>(&mut self, id: u32, fields: Vec<Field>, what: &'static str) -> FrameResult<'a> {
        let code = ErrorCode::PROTOCOL_ERROR;
        self.reset_provoked(id, code)?;
        let cause = Cause::Protocol(what);
        Ok(Some(Event::Refused { fields, code, cause }))
    }

    /// RFC 9113 §5.1.2, §6.8: not processed, so it may be tried again elsewhere.
    #[cold]
    fn refuse<'a>(&mut self, id: u32, fields: Vec<Field>) -> FrameResult<'a> {
        let cause = if self.drain == Drain::Last {
            Cause::GoingAway
        } else {
            self.note_reached(Limit::ConcurrentStreams);
            Cause::Limit(Limit::ConcurrentStreams)
        };
        let (limits, clock) = (&self.config.limits, &self.clock);
        if clock.is_some_and(|c| !self.buckets.refused_streams.take(limits.refused_streams, &c)) {
            return Err(ConnectionError::limit(Limit::RefusedStreams));
        }
        self.closed.reset(id);
        let code = ErrorCode::REFUSED_STREAM;
        self.reset_frame(id, code)?;
        Ok(Some(Event::Refused { fields, code, cause }))
    }

    /// A later header block on a stream: trailers, in both roles (RFC 9113 §8.1).
    fn trailers<'a>(&mut self, key: StreamKey, block: Whole<'_>) -> FrameResult<'a> {
        let (mut fields, decoded) = self.decode(block.bytes)?;
        let Some(stream) = self.streams.get_mut(key) else {
            debug_assert!(false, "a stream that was found is there");
            return Ok(None);
        };
        stream.note_expansion(decoded.expansion);
        let (tag, swallow, left) = (stream.tag, stream.swallow, stream.content_left);
        let wrong = if stream.remote_ended {
            // RFC 9113 §5.1, half-closed (remote).
            let cause = Cause::Protocol("HEADERS after END_STREAM");
            Some((ErrorCode::STREAM_CLOSED, cause))
        } else if let Some(limit) = decoded.over.filter(|_| !swallow) {
            Some((ErrorCode::ENHANCE_YOUR_CALM, Cause::Limit(limit)))
        } else {
            let rule = if !block.end {
                // RFC 9113 §8.1.
                Some(Cause::Protocol("trailers that do not end the stream"))
            } else if block.depends_on_itself {
                Some(Cause::Protocol(DEPENDS_ON_ITSELF))
            } else if left != 0 && left != UNKNOWN_LENGTH {
                Some(WRONG_LENGTH)
            } else {
                message::trailers(&mut fields, &mut self.trimmed)
                    .err()
                    .map(Cause::from)
            };
            rule.map(|rule| (ErrorCode::PROTOCOL_ERROR, rule))
        };
        if let Some((code, cause)) = wrong {
            spare::give_back_list(fields);
            return self.stream_error(key, code, cause);
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
    fn block_from_server<'a>(&mut self, key: StreamKey, block: Whole<'_>) -> FrameResult<'a> {
        let Some(stream) = self.streams.get(key) else {
            debug_assert!(false, "a stream that was found is there");
            return Ok(None);
        };
        if stream.has_response || stream.remote_ended {
            return self.trailers(key, block);
        }
        let (tag, head_request) = (stream.tag, stream.head_request);
        let (mut fields, decoded) = self.decode(block.bytes)?;
        if let Some(limit) = decoded.over {
            spare::give_back_list(fields);
            return self.stream_error(key, ErrorCode::ENHANCE_YOUR_CALM, Cause::Limit(limit));
        }
        let response = match message::response(&mut fields, &mut self.trimmed) {
            Ok(_) if block.depends_on_itself => Err(Malformed(DEPENDS_ON_ITSELF)),
            other => other,
        };
        let response = match response {
            Ok(response) => response,
            Err(malformed) => return self.bad_response(key, fields, malformed.into()),
        };
        if response.status < 200 {
            let most = self.config.limits.max_informational;
            if let Some(stream) = self.streams.get_mut(key) {
                stream.informational = stream.informational.saturating_add(1);
                if stream.informational > most {
                    self.note_reached(Limit::Informational);
                    spare::give_back_list(fields);
                    let cause = Cause::Limit(Limit::Informational);
                    return self.stream_error(key, ErrorCode::ENHANCE_YOUR_CALM, cause);
                }
            }
            if block.end {
                // RFC 9113 §8.1.
                let cause = Cause::Protocol("an interim response that ends the stream");
                return self.bad_response(key, fields, cause);
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
            // RFC 9113 §8.1.1: then no DATA may come either, but for an empty frame.
        } else if block.end && response.content_length != UNKNOWN_LENGTH && response.content_length != 0 {
            return self.bad_response(key, fields, WRONG_LENGTH);
        }
        if let Some(stream) = self.streams.get_mut(key) {
            stream.has_response = true;
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

    /// A response's head that breaks a rule.
    #[cold]
    fn bad_response<'a>(&mut self, key: StreamKey, fields: Vec<Field>, cause: Cause) -> FrameResult<'a> {
        spare::give_back_list(fields);
        self.stream_error(key, ErrorCode::PROTOCOL_ERROR, cause)
    }

    /// The fields of a header block, and which limit they pass; those beyond it are left out.
    fn decode(&mut self, block: &[u8]) -> Result<(Vec<Field>, BlockSummary), ConnectionError> {
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
            .map_err(undecodable)?;
        let expansion = credit::expansion(decoded.list_size, block.len());
        if expansion > 0 {
            spend!(self, header_expansion, HeaderExpansion, expansion);
        }
        let over = match decoded.too_large {
            true if decoded.fields > count => Some(Limit::HeaderFields),
            true => Some(Limit::HeaderListSize),
            false => None,
        };
        if let Some(limit) = over {
            self.note_reached(limit);
        }
        Ok((fields, BlockSummary { over, expansion }))
    }

    /// RFC 9113 §4.3: a block that nobody wants still changes the table.
    fn decode_for_nobody(&mut self, block: &[u8]) -> Result<(), ConnectionError> {
        if block.len() > self.config.limits.max_header_block as usize {
            return Err(ConnectionError::limit(Limit::HeaderBlock));
        }
        let mut fields = Vec::new();
        let decoded = self
            .decoder
            .decode(block, 0, 0, &mut fields)
            .map_err(undecodable)?;
        let expansion = credit::expansion(decoded.list_size, block.len());
        spend!(self, header_expansion, HeaderExpansion, expansion);
        Ok(())
    }
}

fn undecodable(error: DecodeError) -> ConnectionError {
    match error {
        DecodeError::ListTooLarge => ConnectionError::limit(Limit::HeaderListSize),
        DecodeError::TooManyFields => ConnectionError::limit(Limit::HeaderFields),
        _ => ConnectionError::rule(ErrorCode::COMPRESSION_ERROR, "a header block cannot be decoded"),
    }
}

/// `true` if these fields are the head of an interim response.
pub(super) fn is_interim(fields: &[Field]) -> bool {
    fields
        .iter()
        .find(|f| f.known() == Name::Status)
        .is_some_and(|f| f.value().first() == Some(&b'1'))
}
