//! The frames that carry no message: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY; and the answers to
//! what breaks a rule.

use super::{Connection, DRAIN_PING, Drain, Event, Phase, Role};
use crate::error::{Cause, ConnectionError, ErrorCode};
use crate::flow::{DEFAULT_WINDOW, SendOffset};
use crate::frame::{self, Head, settings};
use crate::limits::Limit;
use crate::stream::StreamKey;
use std::time::Duration;

/// The octets to which the unread heads and trailers of one stream may amount.
const UNREAD_HEAD: usize = 4096;

/// So many streams are looked at for one token of `settings`: a few microseconds.
const LOOKS: usize = 1024;

/// RFC 7540 §5.3.1.
pub(super) const DEPENDS_ON_ITSELF: &str = "a stream depends on itself";

pub(super) type FrameResult<'a> = Result<Option<Event<'a>>, ConnectionError>;

const OVERFLOW: &str = "a flow-control window went above 2^31-1";
const WINDOW_OVERFLOW: ConnectionError = ConnectionError::rule(ErrorCode::FLOW_CONTROL_ERROR, OVERFLOW);

/// RFC 9113 §6: frames of a fixed length.
fn exactly<const N: usize>(payload: &[u8]) -> Result<[u8; N], ConnectionError> {
    payload
        .try_into()
        .map_err(|_| ConnectionError::rule(ErrorCode::FRAME_SIZE_ERROR, "a frame has the wrong length"))
}

impl Connection {
    /// RFC 9113 §6.5.
    pub(super) fn settings_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        if head.has(frame::ACK) {
            exactly::<0>(payload)?;
            self.settings_acknowledged();
            return Ok(None);
        }
        let changes = settings::parse(payload, self.role == Role::Client)?;
        spend!(self, settings, Settings);
        if let Some(size) = changes.header_table_size {
            self.encoder.set_max_table_size(size as usize);
        }
        match changes.max_concurrent_streams {
            Some(n) => self.peer_max_streams = n,
            // RFC 9113 §6.5.2: initially there is no limit.
            None if !self.settings_received => self.peer_max_streams = u32::MAX,
            None => {}
        }
        self.settings_received = true;
        if let Some(size) = changes.max_header_list_size {
            self.peer_max_list = size;
        }
        if let Some(new) = changes.initial_window_size {
            self.change_initial_window(new)?;
        }
        let n = self.output.frame(frame::SETTINGS, frame::ACK, 0, &[]);
        self.charge_answer(n)?;
        self.pump();
        Ok(Some(Event::Settings))
    }

    /// RFC 9113 §6.9.2: the difference goes to all streams, and an overflow ends the connection. No stream is looked at,
    /// unless one was raised so high that it might overflow.
    fn change_initial_window(&mut self, new: u32) -> Result<(), ConnectionError> {
        if self.most_raised.overflows(new) {
            // It may have sent since, or be gone. The same can be made true again for the next change.
            let looks = u32::try_from(self.streams.len() / LOOKS).unwrap_or(u32::MAX);
            spend!(self, settings, Settings, looks);
            let raised = self.streams.iter().map(|(_, stream)| stream.send);
            self.most_raised = raised.fold(SendOffset::default(), SendOffset::max);
            if self.most_raised.overflows(new) {
                return Err(WINDOW_OVERFLOW);
            }
        }
        let old = std::mem::replace(&mut self.peer_initial_window, new);
        self.turns.initial_window_changed(old, new);
        Ok(())
    }

    /// From now on the peer obeys what we announced (RFC 9113 §6.5.3).
    fn settings_acknowledged(&mut self) {
        if !std::mem::replace(&mut self.settings_acknowledged, true) {
            self.decoder.settings_acknowledged();
            let less = DEFAULT_WINDOW.saturating_sub(self.initial_stream_window());
            if less > 0 && self.role == Role::Server {
                for (_, stream) in self.streams.iter_mut() {
                    stream.receive.narrow(less);
                }
            }
        }
    }

    /// RFC 9113 §6.9.3: until it acknowledges our SETTINGS, the peer may use the default window for new streams. (A
    /// client's SETTINGS arrive before its first request.)
    pub(super) fn window_before_acknowledgement(&self) -> u32 {
        if self.settings_acknowledged {
            0
        } else {
            DEFAULT_WINDOW
        }
    }

    /// RFC 9113 §6.7.
    pub(super) fn ping_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        let payload = exactly::<8>(payload)?;
        if !head.has(frame::ACK) {
            // CVE-2019-9512.
            spend!(self, pings, Pings);
            let n = self.output.frame(frame::PING, frame::ACK, 0, &payload);
            self.charge_answer(n)?;
            return Ok(None);
        }
        if self.drain == Drain::Announced && payload == DRAIN_PING {
            // RFC 9113 §6.8: the peer knows since a round trip that the connection ends.
            self.drain = Drain::Last;
            self.goaway_frame(self.highest_reported, ErrorCode::NO_ERROR, b"");
            return Ok(None);
        }
        match self.pings_out.checked_sub(1) {
            Some(left) => {
                self.pings_out = left;
                Ok(Some(Event::Pong { payload }))
            }
            None => {
                spend!(self, pings, Pings);
                Ok(None)
            }
        }
    }

    /// RFC 9113 §6.8.
    pub(super) fn goaway_received<'a>(&mut self, payload: &[u8]) -> FrameResult<'a> {
        spend!(self, goaways, Goaways);
        let ([i0, i1, i2, i3, c0, c1, c2, c3], debug) =
            payload.split_first_chunk::<8>().ok_or(frame::TOO_SHORT)?;
        let last = u32::from_be_bytes([i0 & 0x7f, *i1, *i2, *i3]);
        // RFC 9113 §6.8: the last id never grows again.
        let last = self.peer_last.map_or(last, |earlier| earlier.min(last));
        self.peer_last = Some(last);
        let code = ErrorCode(u32::from_be_bytes([*c0, *c1, *c2, *c3]));
        Ok(Some(Event::GoAway {
            last,
            code,
            debug: debug.to_vec(),
        }))
    }

    /// RFC 9113 §6.9.
    #[inline]
    pub(super) fn window_update_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        let [n0, n1, n2, n3] = exactly::<4>(payload)?;
        let n = u32::from_be_bytes([n0 & 0x7f, n1, n2, n3]);
        spend!(self, window_updates, WindowUpdates);
        if head.id == 0 {
            if n == 0 {
                return Err(ConnectionError::protocol(
                    "WINDOW_UPDATE by nothing on the connection",
                ));
            }
            self.send.raise(n).map_err(|_| WINDOW_OVERFLOW)?;
            self.pump();
            return Ok(None);
        }
        let Some(key) = self.streams.find(head.id) else {
            // RFC 9113 §5.1: may have been on its way when the stream was closed.
            self.check_not_idle(head.id)?;
            return Ok(None);
        };
        let Some(stream) = self.streams.get_mut(key) else {
            debug_assert!(false, "a stream that was found is there");
            return Ok(None);
        };
        if n == 0 {
            let cause = Cause::Protocol("WINDOW_UPDATE by nothing");
            return self.stream_error(key, ErrorCode::PROTOCOL_ERROR, cause);
        }
        let (initial, before) = (self.peer_initial_window, stream.send);
        if stream.send.raise(n, initial).is_err() {
            return self.stream_error(key, ErrorCode::FLOW_CONTROL_ERROR, Cause::Protocol(OVERFLOW));
        }
        self.most_raised = self.most_raised.max(stream.send);
        if stream.is_blocked() {
            self.turns.leave_blocked(key, before);
            self.turns.join(key, stream, initial);
            self.pump();
        }
        Ok(None)
    }

    /// RFC 9113 §6.4.
    pub(super) fn rst_stream_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        let code = ErrorCode(u32::from_be_bytes(exactly(payload)?));
        let Some(key) = self.streams.find(head.id) else {
            self.check_not_idle(head.id)?;
            return Ok(None);
        };
        let Some(stream) = self.streams.get(key) else {
            debug_assert!(false, "a stream that was found is there");
            return Ok(None);
        };
        let tag = stream.tag;
        if self.role == Role::Server {
            // CVE-2023-44487: only what is reset before it could be answered.
            let age = Duration::from_millis(self.millis().wrapping_sub(stream.opened_ms).into());
            let young = !stream.has_response && age < self.config.limits.rapid_reset_age;
            if young && stream.is_past_deadline(age) {
                spend!(self, deadline_resets, DeadlineResets);
            } else if young {
                spend!(self, rapid_resets, RapidResets);
            }
            self.earn(key, false);
            self.closed.ended(head.id);
        }
        // Only now: an error must leave the stream to `take_streams`, or its end would never be reported.
        self.remove(key);
        Ok(Some(Event::Reset {
            stream: key,
            tag,
            code,
            cause: None,
        }))
    }

    /// RFC 9113 §6.3: deprecated; read and ignored.
    pub(super) fn priority_frame<'a>(&mut self, head: Head, payload: &[u8]) -> FrameResult<'a> {
        spend!(self, priorities, Priorities);
        let wrong = match payload {
            &[d0, d1, d2, d3, _weight] => {
                // RFC 7540 §5.3.1: a stream cannot depend on itself.
                let parent = u32::from_be_bytes([d0 & 0x7f, d1, d2, d3]);
                (parent == head.id).then_some((ErrorCode::PROTOCOL_ERROR, DEPENDS_ON_ITSELF))
            }
            _ => Some((ErrorCode::FRAME_SIZE_ERROR, "PRIORITY is not five octets long")),
        };
        match (wrong, self.streams.find(head.id)) {
            (None, _) => Ok(None),
            (Some((code, what)), Some(key)) => self.stream_error(key, code, Cause::Protocol(what)),
            // There is no stream that could be reset.
            (Some((code, what)), None) => Err(ConnectionError::rule(code, what)),
        }
    }

    /// RFC 9113 §5.1: on an idle stream nothing but HEADERS and PRIORITY may come.
    pub(super) fn check_not_idle(&self, id: u32) -> Result<(), ConnectionError> {
        let used = match self.role {
            Role::Client => !id.is_multiple_of(2) && id < self.next_id,
            Role::Server => !id.is_multiple_of(2) && id <= self.highest_seen,
        };
        if used {
            Ok(())
        } else {
            Err(ConnectionError::protocol("a frame on an idle stream"))
        }
    }

    /// The peer broke a rule on this stream (RFC 9113 §5.4.2): it is reset, and the caller gets an event.
    pub(super) fn stream_error<'a>(
        &mut self,
        key: StreamKey,
        code: ErrorCode,
        cause: Cause,
    ) -> FrameResult<'a> {
        let Some(tag) = self.streams.get(key).map(|stream| stream.tag) else {
            return Ok(None);
        };
        // The stream goes last: an error must leave it to `take_streams`, or its end would never be reported.
        self.reset_provoked(key.id(), code)?;
        self.remove(key);
        Ok(Some(Event::Reset {
            stream: key,
            tag,
            code,
            cause: Some(cause),
        }))
    }

    /// RST_STREAM by the peer's fault. It leaves the table of streams alone.
    pub(super) fn reset_provoked(&mut self, id: u32, code: ErrorCode) -> Result<(), ConnectionError> {
        // CVE-2025-8671.
        spend!(self, provoked_resets, ProvokedResets);
        if self.role == Role::Server {
            self.closed.reset(id);
        }
        self.reset_frame(id, code)
    }

    pub(super) fn reset_frame(&mut self, id: u32, code: ErrorCode) -> Result<(), ConnectionError> {
        let n = self.output.frame(frame::RST_STREAM, 0, id, &code.0.to_be_bytes());
        self.charge_answer(n)
    }

    /// The peer made us write the last `n` octets.
    fn charge_answer(&mut self, n: usize) -> Result<(), ConnectionError> {
        self.output.add_unread_answer(n);
        self.check_unread_answers()
    }

    pub(super) fn check_unread_answers(&self) -> Result<(), ConnectionError> {
        let limits = &self.config.limits;
        let heads = match self.role {
            // A client that pauses has all of its calls answered meanwhile, and then some of them with long trailers.
            Role::Server => (limits.max_concurrent_streams as usize).saturating_mul(UNREAD_HEAD),
            Role::Client => 0,
        };
        if self.output.unread_answers() > (limits.max_unread_answers as usize).saturating_add(heads) {
            return Err(ConnectionError::limit(Limit::UnreadAnswers));
        }
        Ok(())
    }

    /// Resets the stream and drops what it queued. No event comes of it; what the peer still sends on it is ignored.
    pub fn reset(&mut self, stream: StreamKey, code: ErrorCode) {
        if self.phase == Phase::Over {
            self.remove(stream);
            return;
        }
        if self.role == Role::Server {
            // An answer that is whole is in order, although its request is not wanted to the end (RFC 9113 §8.1).
            let in_order = self.streams.get(stream).is_some_and(|s| s.local_ended);
            self.earn(stream, in_order);
        }
        if let Some(gone) = self.remove(stream) {
            if self.role == Role::Server && !gone.remote_ended {
                self.closed.reset(stream.id());
            } else if self.role == Role::Server {
                self.closed.ended(stream.id());
            }
            let n = self
                .output
                .frame(frame::RST_STREAM, 0, stream.id(), &code.0.to_be_bytes());
            if self.role == Role::Server {
                self.output.add_unread_answer(n);
            }
        }
    }
}
