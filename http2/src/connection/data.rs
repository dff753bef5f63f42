//! DATA that comes in, and the credit that goes back for it.

use super::receive::Payload;
use super::{Connection, Credit, Event, Role};
use crate::error::{Cause, ConnectionError, ErrorCode};
use crate::frame::{self, Head};
use crate::limits::Limit;
use crate::message::UNKNOWN_LENGTH;
use crate::stream::StreamKey;

/// RFC 9113 §8.1.1.
pub(super) const WRONG_LENGTH: Cause = Cause::Protocol("DATA does not add up to content-length");

/// The window that the peer is owed on one stream.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    /// Octets that were passed on and not given back.
    pub octets: u32,
    /// The stream's whole window, of which they are a part.
    pub window: u32,
}

impl Connection {
    /// The head of a DATA frame (RFC 9113 §6.1); `padding` is the octet with its length if the frame has one. All that
    /// can be wrong with the frame is found here, before any of its payload is reported.
    pub(super) fn data_frame<'a>(
        &mut self,
        head: Head,
        padding: &[u8],
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        let size = head.len as usize;
        let padding = match padding.first() {
            // RFC 9113 §6.1: padding of the frame's length or more is a PROTOCOL_ERROR.
            Some(&length) if usize::from(length) >= size => return Err(frame::BAD_PADDING),
            Some(&length) => usize::from(length) + 1,
            None if head.has(frame::PADDED) => return Err(frame::TOO_SHORT),
            None => 0,
        };
        let payload = size - padding;
        // The octet with the padding's length has been read.
        self.reader.skip = size - usize::from(padding > 0);
        if !self.receive.receive(head.len) {
            return Err(ConnectionError::rule(
                ErrorCode::FLOW_CONTROL_ERROR,
                "the connection's flow-control window is overrun",
            ));
        }
        if self.config.connection_credit == Credit::OnReceipt {
            self.credit_connection(head.len);
        }
        let Some(key) = self.streams.find(head.id) else {
            return self.data_without_stream(head);
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(None);
        };
        let end = head.has(frame::END_STREAM);
        let wrong = if stream.remote_ended {
            // RFC 9113 §5.1, half-closed (remote).
            Some((ErrorCode::STREAM_CLOSED, "DATA after END_STREAM"))
        } else if self.role == Role::Client && !stream.has_response {
            Some((ErrorCode::PROTOCOL_ERROR, "DATA before the response's head"))
        } else if !stream.receive.receive(head.len) {
            Some((
                ErrorCode::FLOW_CONTROL_ERROR,
                "the stream's flow-control window is overrun",
            ))
        } else {
            None
        };
        if let Some((code, what)) = wrong {
            self.discard(head.len);
            return self.stream_error(key, code, Cause::Protocol(what));
        }
        if stream.content_left != UNKNOWN_LENGTH {
            // RFC 9113 §8.1.1: DATA must add up to content-length.
            let left = stream.content_left.checked_sub(payload as u64);
            match left {
                Some(left) if left == 0 || !end => stream.content_left = left,
                _ => return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, WRONG_LENGTH),
            }
        }
        if padding > 0 {
            self.release(key, u32::try_from(padding).unwrap_or(0));
        }
        if payload == 0 && !end {
            // CVE-2019-9518: empty frames cost the peer next to nothing.
            let (limits, clock) = (&self.config.limits, &self.clock);
            if clock.is_some_and(|c| !self.buckets.empty_data.take(limits.empty_data, &c)) {
                return Err(ConnectionError::limit(Limit::EmptyData));
            }
            return Ok(None);
        }
        if payload == 0 {
            return Ok(self.data_event(key, &[], true));
        }
        self.buckets.empty_data.earn(self.config.limits.empty_data, 1);
        self.reader.data = Some(Payload {
            key,
            left: payload,
            end,
        });
        self.reader.skip = 0;
        self.reader.padding = padding.saturating_sub(1);
        Ok(None)
    }

    /// RFC 9113 §5.1: DATA on an idle stream ends the connection. On a closed one it is ignored if we closed it, for it
    /// may have been on its way; else the stream is reset.
    fn data_without_stream<'a>(&mut self, head: Head) -> Result<Option<Event<'a>>, ConnectionError> {
        self.check_not_idle(head.id)?;
        self.discard(head.len);
        if self.role == Role::Server && !self.closed.was_reset(head.id) {
            self.reset_provoked(head.id, ErrorCode::STREAM_CLOSED)?;
        }
        Ok(None)
    }

    /// The part of the DATA frame being read that lies in the input.
    #[inline]
    pub(super) fn data_piece<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let data = self.reader.data.as_mut()?;
        if input.is_empty() {
            return None;
        }
        let (piece, rest) = input.split_at(data.left.min(input.len()));
        *input = rest;
        data.left -= piece.len();
        let (key, end) = (data.key, data.end && data.left == 0);
        if data.left == 0 {
            self.reader.data = None;
            self.reader.skip = std::mem::take(&mut self.reader.padding);
        }
        self.data_event(key, piece, end)
    }

    #[inline]
    fn data_event<'a>(&mut self, key: StreamKey, payload: &'a [u8], end: bool) -> Option<Event<'a>> {
        // Reset by the caller since the frame began: the rest is ignored, its credit was given then.
        let stream = self.streams.get(key)?;
        let (tag, swallow) = (stream.tag, stream.swallow);
        if swallow {
            self.release(key, u32::try_from(payload.len()).unwrap_or(u32::MAX));
        }
        if end {
            self.remote_end(key);
        }
        if swallow {
            None
        } else {
            Some(Event::Data {
                stream: key,
                tag,
                payload,
                end,
            })
        }
    }

    /// `n` flow-controlled octets that nobody will release.
    fn discard(&mut self, n: u32) {
        if self.config.connection_credit == Credit::OnRelease {
            self.credit_connection(n);
        }
    }

    #[inline]
    pub(super) fn credit_connection(&mut self, n: u32) {
        self.receive.release(n);
        if let Some(n) = self.receive.due()
            && self.phase == super::Phase::Open
        {
            self.output.frame(frame::WINDOW_UPDATE, 0, 0, &n.to_be_bytes());
        }
    }

    /// `n` octets of this stream's payload were passed on: the peer is credited. WINDOW_UPDATE is sent once half of a
    /// window is owed. More than was received is never credited.
    #[inline]
    pub fn release(&mut self, stream: StreamKey, n: u32) {
        let Some(s) = self.streams.get_mut(stream) else {
            return;
        };
        let n = s.receive.release(n);
        if !s.remote_ended
            && let Some(n) = s.receive.due()
        {
            self.window_update(stream, n);
        }
        if self.config.connection_credit == Credit::OnRelease {
            self.credit_connection(n);
        }
    }

    /// Does what [`release`](Self::release) does, but the stream's own window is not given back: [`renew`](Self::renew)
    /// does that, when the caller finds that enough is owed. `None`: there is no such stream, or its peer has ended and
    /// needs no window any more.
    #[inline]
    pub fn owe(&mut self, stream: StreamKey, n: u32) -> Option<Owed> {
        let s = self.streams.get_mut(stream)?;
        let n = s.receive.release(n);
        let owed = (!s.remote_ended).then(|| Owed {
            octets: s.receive.owed(),
            window: s.receive.target(),
        });
        if self.config.connection_credit == Credit::OnRelease {
            self.credit_connection(n);
        }
        owed
    }

    /// The stream's receive window is to be `target`, and what is owed is given back with it, at once. It becomes wider
    /// by any number, and narrower by no more than what is owed: a window that was given cannot be taken back
    /// (RFC 9113 §6.9). Returns the window as it stands then, 0 if there is no such stream.
    pub fn renew(&mut self, stream: StreamKey, target: u32) -> u32 {
        let Some(s) = self.streams.get_mut(stream) else {
            return 0;
        };
        let more = if s.remote_ended {
            None
        } else {
            s.receive.renew(target)
        };
        let window = s.receive.target();
        if let Some(n) = more {
            self.window_update(stream, n);
        }
        window
    }

    fn window_update(&mut self, stream: StreamKey, n: u32) {
        if self.phase == super::Phase::Open {
            self.output
                .frame(frame::WINDOW_UPDATE, 0, stream.id(), &n.to_be_bytes());
        }
    }

    /// Octets that came on all streams and were not passed on yet, by [`Credit::OnRelease`].
    pub fn unreleased(&self) -> usize {
        self.receive.unreleased() as usize
    }

    /// The stream's receive window as it stands, released or not; 0 if there is no such stream.
    pub fn window_target(&self, stream: StreamKey) -> u32 {
        self.streams.get(stream).map_or(0, |s| s.receive.target())
    }
}
