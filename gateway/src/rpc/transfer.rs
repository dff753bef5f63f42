//! What moves between the two streams of a relay: heads, bodies, trailers, resets, and credit.

use http2::{Cause, ErrorCode, Event, Field};

use super::call::Kind;
use super::relay::{Phase, Relay, StreamOf};
use super::status::{self, Refusal};
use crate::connection::{Connection, Peer};
use crate::forwarded;
use crate::worker::slab::Key;
use crate::worker::{BACKEND_STREAM_WINDOW, Worker};

/// The most that a backend may send ahead on one stream (ARCHITECTURE, memory and flow control).
const MAX_STREAM_CREDIT: u32 = 1 << 20;
/// One stream gets at most this share of what its client's connection has left.
const CREDIT_SHARE: usize = 4;

impl Worker {
    /// What a backend's connection told.
    pub(crate) fn backend_event(&mut self, key: Key, event: Event<'_>) {
        let up = |stream| StreamOf {
            connection: key,
            stream,
        };
        match event {
            Event::Informational { stream, tag, fields } => self.informational(up(stream), tag, &fields),
            Event::Response {
                stream,
                tag,
                fields,
                end,
            } => self.response(up(stream), tag, fields, end),
            Event::Data {
                stream,
                tag,
                payload,
                end,
            } => self.response_data(up(stream), tag, payload, end),
            Event::Trailers { stream, tag, fields } => self.response_trailers(up(stream), tag, fields),
            Event::Reset {
                stream,
                tag,
                code,
                cause,
            } => self.backend_reset(up(stream), tag, code, cause),
            Event::Settings => self.serve_waiting(key),
            Event::GoAway { code, debug, .. } => self.backend_going_away(key, code, &debug),
            Event::Request { .. }
            | Event::RequestTooLarge { .. }
            | Event::Refused { .. }
            | Event::Pong { .. } => {}
        }
    }

    /// Gives a held RPC to a backend connection. `false`: that connection takes no more streams.
    pub(crate) fn send(&mut self, key: Key, connection: Key) -> bool {
        let Some(relay) = self.relays.get_mut(key) else {
            return true;
        };
        let Some(mut request) = relay.take_request() else {
            return true;
        };
        let Some(down) = self.connections.get(relay.down.connection) else {
            return true;
        };
        let sendable = down.h2.sendable(relay.down.stream);
        let credit = credit(down, sendable);
        let whole = relay.request_ended && request.body.is_empty() && request.trailers.is_none();
        let Some(up) = self.connections.get_mut(connection) else {
            relay.phase = Phase::Held(request);
            return false;
        };
        let Ok(stream) = up.h2.open(&request.fields, whole, key.index()) else {
            relay.phase = Phase::Held(request);
            return false;
        };
        if credit > BACKEND_STREAM_WINDOW {
            up.h2.raise_window(stream, credit);
        }
        if let (Some(log), Peer::Backend(peer)) = (&mut relay.log, &up.peer) {
            log.endpoint = Some(peer.endpoint);
        }
        let mut sent = 0;
        if !whole {
            let end = relay.request_ended && request.trailers.is_none();
            sent = up.h2.send_data(stream, &request.body, end);
            if let Some(trailers) = &request.trailers {
                up.h2.send_trailers(stream, trailers.clone());
            }
        }
        relay.attempts += 1;
        self.held_bodies = self.held_bodies.saturating_sub(request.body.len());
        request.keep_no_more();
        relay.granted = credit;
        let first = relay.attempts == 1;
        let down = relay.down;
        relay.phase = Phase::Sent(StreamOf { connection, stream }, request);
        self.mark_dirty(connection);
        if let Some(Connection {
            h2,
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(down.connection).map(|c| &mut **c)
        {
            client.promised += credit as usize;
            // Bytes that waited here for a connection are owed to the client once they move on. A
            // body that is sent again was paid for the first time.
            if first && sent > 0 {
                h2.release(down.stream, sent as u32);
                self.mark_dirty(down.connection);
            }
        }
        true
    }

    pub(super) fn request_data(&mut self, down: StreamOf, tag: u32, payload: &[u8], end: bool) {
        let Some((key, relay)) = self.relay_down(tag, down) else {
            return self.discard(down, payload.len());
        };
        relay.request_ended |= end;
        if let Some(log) = &mut relay.log {
            log.bytes_in += payload.len() as u64;
        }
        let up = match &mut relay.phase {
            Phase::Held(request) => {
                request.body.extend_from_slice(payload);
                self.held_bodies += payload.len();
                return;
            }
            Phase::Sent(up, request) => {
                request.keep(payload);
                *up
            }
            Phase::Committed(up) => *up,
        };
        let Some(connection) = self.connections.get_mut(up.connection) else {
            return;
        };
        let sent = connection.h2.send_data(up.stream, payload, end);
        self.has_output(up.connection);
        if sent > 0
            && let Some(connection) = self.connections.get_mut(down.connection)
        {
            connection.h2.release(down.stream, sent as u32);
        }
        if end && self.relays.get(key).is_some_and(Relay::answer_ended) {
            self.finish(key);
        }
    }

    pub(super) fn request_trailers(&mut self, down: StreamOf, tag: u32, mut fields: Vec<Field>) {
        if let Some(Peer::Client(client)) = self.connections.get(down.connection).map(|c| &c.peer) {
            forwarded::edit_trailers(&mut fields, &client.forwarding);
        }
        let Some((key, relay)) = self.relay_down(tag, down) else {
            return;
        };
        relay.request_ended = true;
        match &mut relay.phase {
            Phase::Held(request) => request.trailers = Some(fields),
            Phase::Sent(up, request) => {
                let up = *up;
                request.trailers = Some(fields.clone());
                self.send_trailers(up, fields);
            }
            Phase::Committed(up) => {
                let (up, done) = (*up, relay.answer_ended());
                self.send_trailers(up, fields);
                if done {
                    self.finish(key);
                }
            }
        }
    }

    fn informational(&mut self, up: StreamOf, tag: u32, fields: &[Field]) {
        let Some((_, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let down = relay.down;
        if let Some(connection) = self.connections.get_mut(down.connection) {
            connection.h2.send_headers(down.stream, fields, false);
            self.mark_dirty(down.connection);
        }
    }

    /// The answer begins: from here on the RPC belongs to this backend.
    fn response(&mut self, up: StreamOf, tag: u32, fields: Vec<Field>, end: bool) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let before = std::mem::replace(&mut relay.phase, Phase::Committed(up));
        if let Some(log) = &mut relay.log {
            log.http_status = status::http_status_of(&fields);
        }
        if end {
            relay.end_answer(&fields);
        }
        let down = relay.down;
        if let Some(connection) = self.connections.get_mut(down.connection) {
            connection.h2.send_headers(down.stream, &fields, end);
            http2::recycle(fields);
            self.mark_dirty(down.connection);
        }
        if let Phase::Sent(_, request) = before {
            self.keep_spare(request);
        }
        if end {
            self.answer_ended(key);
        }
    }

    fn response_data(&mut self, up: StreamOf, tag: u32, payload: &[u8], end: bool) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return self.discard(up, payload.len());
        };
        if let Some(log) = &mut relay.log {
            log.bytes_out += payload.len() as u64;
        }
        if end {
            relay.end_answer(&[]);
        }
        let down = relay.down;
        let Some(connection) = self.connections.get_mut(down.connection) else {
            return;
        };
        let sent = connection.h2.send_data(down.stream, payload, end);
        self.has_output(down.connection);
        if end {
            self.answer_ended(key);
        } else if sent > 0 {
            self.credit_backend(key, sent as u32);
        }
    }

    fn response_trailers(&mut self, up: StreamOf, tag: u32, fields: Vec<Field>) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        relay.end_answer(&fields);
        let down = relay.down;
        self.send_trailers(down, fields);
        self.answer_ended(key);
    }

    /// The backend has said all; the RPC ends when the client has too.
    fn answer_ended(&mut self, key: Key) {
        if self.relays.get(key).is_some_and(|relay| relay.request_ended) {
            self.finish(key);
        }
    }

    fn backend_reset(&mut self, up: StreamOf, tag: u32, code: ErrorCode, cause: Option<Cause>) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let down = relay.down;
        if relay.answer_ended() {
            return self.end_answered(key);
        }
        if cause.is_none() && code == ErrorCode::REFUSED_STREAM && !relay.committed() {
            // RFC 9113 §8.7: it was not processed.
            return self.send_again(key);
        }
        if cause.is_some() {
            let backend = self.backend_name(key);
            return self.refuse(key, &Refusal::UpstreamBroke { backend });
        }
        relay.grpc_status = Some(status::of_reset(code));
        if let Some(log) = &mut relay.log {
            log.reason = Some("backend_reset");
        }
        self.reset_stream(down, code);
        self.finish(key);
    }

    /// An RPC that provably reached nobody goes to another connection, or back to the client as such.
    pub(crate) fn send_again(&mut self, key: Key) {
        let Some(relay) = self.relays.get_mut(key) else {
            return;
        };
        let (granted, down) = (std::mem::take(&mut relay.granted), relay.down);
        let request = relay.take_request();
        if let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(down.connection).map(|c| &mut **c)
        {
            client.promised = client.promised.saturating_sub(granted as usize);
        }
        let backend = self.backend_of(key);
        match (request, backend, self.relays.get_mut(key)) {
            (Some(request), Some(backend), Some(relay)) => {
                self.held_bodies += request.body.len();
                relay.phase = Phase::Held(request);
                self.pick(key, &backend);
            }
            (None, _, Some(relay)) => {
                // The client's library knows that this code is safe to retry.
                relay.grpc_status = Some(status::UNAVAILABLE);
                self.reset_stream(down, ErrorCode::REFUSED_STREAM);
                self.finish(key);
            }
            _ => {}
        }
    }

    fn send_trailers(&mut self, to: StreamOf, fields: Vec<Field>) {
        if let Some(connection) = self.connections.get_mut(to.connection) {
            connection.h2.send_trailers(to.stream, fields);
            self.mark_dirty(to.connection);
        }
    }

    /// Bytes for an RPC that has ended: only the connection's credit matters.
    fn discard(&mut self, from: StreamOf, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(from.connection) {
            connection.h2.release(from.stream, bytes as u32);
        }
    }

    /// Queued bytes of a stream on `key` have been framed: the other side gets its credit.
    pub(crate) fn moved_on(&mut self, key: Key, stream: http2::StreamKey, tag: u32, bytes: u32) {
        let at = StreamOf {
            connection: key,
            stream,
        };
        if let Some((relay, _)) = self.relay_down(tag, at) {
            self.credit_backend(relay, bytes);
        } else if let Some((_, relay)) = self.relay_up(tag, at) {
            let down = relay.down;
            self.discard(down, bytes as usize);
            self.mark_dirty(down.connection);
        }
    }

    /// The client took `bytes` of the answer; the backend may send as many more, and further ahead
    /// where the client's window has opened.
    fn credit_backend(&mut self, key: Key, bytes: u32) {
        let Some(relay) = self.relays.get_mut(key) else {
            return;
        };
        let Some(up) = relay.up() else { return };
        relay.moved += bytes;
        let look_again =
            relay.granted < MAX_STREAM_CREDIT && relay.moved >= relay.granted.max(BACKEND_STREAM_WINDOW) / 2;
        let mut raise = None;
        if look_again {
            relay.moved = 0;
            if let Some(Connection {
                h2,
                peer: Peer::Client(client),
                ..
            }) = self.connections.get_mut(relay.down.connection).map(|c| &mut **c)
            {
                let wanted = h2.sendable(relay.down.stream).min(MAX_STREAM_CREDIT);
                let spare =
                    (client.budget.saturating_sub(client.promised + h2.queued_total()) / CREDIT_SHARE) as u32;
                let target = wanted.min(relay.granted.saturating_add(spare));
                if target > relay.granted {
                    client.promised += (target - relay.granted) as usize;
                    relay.granted = target;
                    raise = Some(target);
                }
            }
        }
        if let Some(connection) = self.connections.get_mut(up.connection) {
            connection.h2.release(up.stream, bytes);
            if let Some(target) = raise.filter(|target| *target > BACKEND_STREAM_WINDOW) {
                connection.h2.raise_window(up.stream, target);
            }
            if !connection.h2.output().is_empty() {
                self.mark_dirty(up.connection);
            }
        }
    }
}

/// How far ahead a backend may send for this client: what the client would take now, within a share
/// of what its connection may make us hold.
fn credit(down: &Connection, sendable: u32) -> u32 {
    let Peer::Client(client) = &down.peer else {
        return 0;
    };
    let share = client
        .budget
        .saturating_sub(client.promised + down.h2.queued_total())
        / CREDIT_SHARE;
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    let credit = sendable.min(MAX_STREAM_CREDIT).min(share);
    if credit > BACKEND_STREAM_WINDOW { credit } else { 0 }
}

impl Relay {
    /// The backend's last word: its status, from trailers or a trailers-only head.
    fn end_answer(&mut self, fields: &[Field]) {
        let status = status::grpc_status_of(fields);
        self.grpc_status = Some(status.unwrap_or(if self.kind == Kind::Grpc {
            status::UNKNOWN
        } else {
            status::OK
        }));
    }

    /// Whether the backend has said all.
    pub(crate) fn answer_ended(&self) -> bool {
        self.grpc_status.is_some()
    }
}
