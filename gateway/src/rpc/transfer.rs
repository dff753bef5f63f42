//! The traffic between the two streams of a relay: heads, bodies, trailers, resets, and credit.

use std::time::Duration;

use http2::{Cause, ErrorCode, Event, Field};

use crate::connection::{Connection, Peer};
use crate::failpoint;
use crate::relay::call::Kind;
use crate::relay::credit::{Bounds, MAX_STREAM_WINDOW};
use crate::relay::{BackendStream, ClientStream, Phase, Relay};
use crate::slab::Key;
use crate::status::{self, Refusal};
use crate::worker::{BACKEND_STREAM_WINDOW, UPLOAD_BUDGETS, Worker};

/// A wait behind which `grpc-timeout` is written anew, with what is left of it; for less, the field stays as it came, and
/// in the backend's table.
const TIMEOUT_PRECISION: Duration = Duration::from_millis(1);

impl Worker {
    /// Handles an event of a backend's connection.
    pub(crate) fn backend_event(&mut self, key: Key, event: Event<'_>) {
        let up = |stream| BackendStream::new(key, stream);
        match event {
            Event::Informational { stream, tag, fields } => self.informational(up(stream), tag, &fields),
            Event::Response {
                stream,
                tag,
                fields,
                end,
            } => {
                failpoint::hit("response");
                self.response(up(stream), tag, fields, end);
            }
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
            Event::Settings => self.backend_settings(key),
            Event::GoAway { code, debug, .. } => self.backend_going_away(key, code, &debug),
            Event::Pong { .. } => {}
            Event::Request { .. } | Event::RequestTooLarge { .. } | Event::Refused { .. } => {
                debug_assert!(false, "HTTP/2 takes no request from a backend");
            }
        }
    }

    /// Gives a queued RPC to a backend connection. `false`: that connection takes no more streams.
    pub(crate) fn send(&mut self, key: Key, connection: Key) -> bool {
        let Some(relay) = self.relays.get_mut(key) else {
            debug_assert!(false, "an RPC that waits is in the table");
            return true;
        };
        let Some(mut request) = relay.take_request() else {
            debug_assert!(false, "an RPC that waits has its request");
            return true;
        };
        if let Some(deadline) = relay.deadline
            && self.now.saturating_duration_since(relay.started) > TIMEOUT_PRECISION
        {
            let Some(left) = status::grpc_timeout(deadline.saturating_duration_since(self.now)) else {
                relay.phase = Phase::Queued(request);
                self.refuse(key, &Refusal::DeadlineExceeded);
                return true;
            };
            request.set_timeout(&left);
        }
        let whole = relay.request_ended && request.body.is_empty();
        let Some(up) = self.connections.get_mut(connection) else {
            relay.phase = Phase::Queued(request);
            return false;
        };
        if !up.h2.takes_list(&request.fields) {
            relay.phase = Phase::Queued(request);
            self.refuse_too_large(key);
            return true;
        }
        let Ok(stream) = up.h2.open(&request.fields, whole, key.index()) else {
            relay.phase = Phase::Queued(request);
            return false;
        };
        if let Peer::Backend(peer, _) = &up.peer {
            relay.shared = up.streams().are_few().then_some(peer.id);
            if let Some(log) = &mut relay.log {
                log.endpoint = Some(peer.endpoint);
            }
        }
        let mut sent = 0;
        let holds_more = !request.body.is_empty();
        if !whole {
            sent = up.h2.send_data(stream, &request.body, relay.request_ended);
        }
        relay.sent_at = self.now;
        relay.attempts += 1;
        request.keep_no_more();
        let (down, shared) = (relay.down.connection, relay.shared);
        relay.phase = Phase::Sent(BackendStream::new(connection, stream), request);
        // A body that waited was charged to the connection of the client as long as it waited.
        if holds_more {
            self.recount(key);
        }
        self.begin_credit(key);
        self.mark_dirty(connection);
        if let Some(endpoint) = shared
            && let Some(Peer::Client(client)) = self.connections.get_mut(down).map(|c| &mut c.peer)
        {
            client.shares.add(endpoint);
        }
        // Bytes that waited here for a connection are owed to the client once they move on, also those that came while
        // the RPC waited a second time. What is sent again was paid for the first time: never more than is owed is paid.
        if sent > 0 {
            self.credit_client(key, sent as u32);
        }
        true
    }

    /// The backend wants no list of fields as large as this request's. It may end its connection over one, which other
    /// clients share.
    fn refuse_too_large(&mut self, key: Key) {
        let backend = self.backend_name(key);
        self.refuse(key, &Refusal::RequestOverBackendsLimit { backend });
    }

    pub(super) fn request_data(&mut self, down: ClientStream, tag: u32, payload: &[u8], end: bool) {
        self.end_before(down, tag);
        let Some((key, relay)) = self.relay_down(tag, down) else {
            return self.discard(down, payload.len());
        };
        relay.request_ended |= end;
        if let Some(log) = &mut relay.log {
            log.bytes_in += payload.len() as u64;
        }
        let mut has_changed = false;
        let up = match &mut relay.phase {
            Phase::Queued(request) => {
                request.body.extend_from_slice(payload);
                return self.recount(key);
            }
            Phase::Sent(up, request) => {
                let before = request.body.capacity();
                request.keep(payload);
                has_changed = request.body.capacity() != before;
                *up
            }
            Phase::Committed(up) | Phase::Answered(up, _) => *up,
        };
        if has_changed {
            self.recount(key);
        }
        let Some(connection) = self.connections.get_mut(up.connection) else {
            return;
        };
        let sent = connection.h2.send_data(up.stream, payload, end);
        let is_gone = sent < payload.len() && connection.h2.queued(up.stream) == 0;
        self.has_output(up.connection);
        if is_gone {
            // The backend's stream has ended before the client's: nobody takes this.
            self.discard(down, payload.len());
        } else if sent > 0 {
            self.credit_client(key, sent as u32);
        }
        if let Some(status) = self.relays.get(key).and_then(Relay::answered) {
            self.on_response_complete(key, status);
        }
    }

    /// The request ends, and what came behind its body does not go on: gRPC has no trailers of requests, and some servers
    /// end the connection over them, which other clients share. (RFC 9110 §6.5: who passes a message on may drop them.)
    pub(super) fn request_trailers(&mut self, down: ClientStream, tag: u32) {
        self.request_data(down, tag, &[], true);
    }

    fn informational(&mut self, up: BackendStream, tag: u32, fields: &[Field]) {
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
    fn response(&mut self, up: BackendStream, tag: u32, fields: Vec<Field>, end: bool) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let before = std::mem::replace(&mut relay.phase, Phase::Committed(up));
        relay.http_status = status::http_status_of(&fields);
        if let Some(log) = &mut relay.log {
            log.http_status = relay.http_status;
        }
        let ended = end.then(|| relay.complete(up, &fields));
        let down = relay.down;
        let charged = relay.memory();
        let charged_before = std::mem::replace(&mut relay.charged, charged);
        if let Some(connection) = self.connections.get_mut(down.connection) {
            connection.charge.recount(charged_before, charged);
            connection.h2.served(down.stream);
            connection.h2.send_headers(down.stream, &fields, end);
            http2::recycle(fields);
            self.mark_dirty(down.connection);
        }
        if let Phase::Sent(_, request) = before {
            self.keep_spare(request);
        }
        if let Some(status) = ended {
            self.on_response_complete(key, status);
        }
    }

    fn response_data(&mut self, up: BackendStream, tag: u32, payload: &[u8], end: bool) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            // Of a stream that is to be reset: its backend may say what its window still takes, and no more.
            if let Some(backend) = self.connections.get_mut(up.connection) {
                backend.h2.owe(up.stream, payload.len() as u32);
            }
            return;
        };
        if let Some(log) = &mut relay.log {
            log.bytes_out += payload.len() as u64;
        }
        let ended = end.then(|| relay.complete(up, &[]));
        let down = relay.down;
        let Some(connection) = self.connections.get_mut(down.connection) else {
            return;
        };
        let sent = connection.h2.send_data(down.stream, payload, end);
        self.has_output(down.connection);
        if let Some(status) = ended {
            self.on_response_complete(key, status);
        } else if sent > 0 {
            self.credit_backend(key, sent as u32);
        }
    }

    fn response_trailers(&mut self, up: BackendStream, tag: u32, fields: Vec<Field>) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let status = relay.complete(up, &fields);
        let down = relay.down;
        self.send_trailers(down, fields);
        self.on_response_complete(key, status);
    }

    /// The response is complete, with this status; the RPC ends when the request does. A backend that does not take the rest of the
    /// request any more would keep the client from its end: nobody wants that rest.
    fn on_response_complete(&mut self, key: Key, status: u8) {
        let Some(relay) = self.relays.get(key) else {
            // The client was lost while the end of the response was written to it.
            return;
        };
        if relay.request_ended {
            return self.finish(key, status);
        }
        let (Some(up), down) = (relay.up(), relay.down) else {
            return debug_assert!(false, "an answer is of a backend");
        };
        let waiting = self
            .connections
            .get(up.connection)
            .map_or(0, |c| c.h2.queued(up.stream));
        if waiting > 0 {
            self.discard(down, waiting);
            self.abandon_request(key, status);
        }
    }

    fn backend_reset(&mut self, up: BackendStream, tag: u32, code: ErrorCode, cause: Option<Cause>) {
        let Some((key, relay)) = self.relay_up(tag, up) else {
            return;
        };
        let down = relay.down;
        if let Some(status) = relay.answered() {
            return self.abandon_request(key, status);
        }
        if cause.is_none() && code == ErrorCode::REFUSED_STREAM && !relay.committed() {
            // RFC 9113 §8.7: it was not processed.
            return self.send_again(key);
        }
        if let Some(cause) = cause {
            if let Some(log) = &mut relay.log {
                log.detail = Some(cause.words());
            }
            let backend = self.backend_name(key);
            let endpoint = self.backend_peer(up.connection).map(|peer| peer.endpoint);
            if let (Some(endpoint), Cause::Protocol(rule)) = (endpoint, cause) {
                crate::telemetry::event::Event::BackendBreaksRule {
                    backend: &backend,
                    endpoint,
                    rule,
                }
                .report(self.now);
            }
            let refusal = match cause {
                Cause::Limit(limit) => Refusal::ResponseOverLimit {
                    backend,
                    limit: limit.name(),
                },
                Cause::Protocol(_) | Cause::GoingAway => Refusal::BackendBroke { backend },
            };
            return self.refuse(key, &refusal);
        }
        if let Some(log) = &mut relay.log {
            log.reason = Some("backend_reset");
        }
        self.reset_stream(down, code);
        self.finish(key, status::of_reset(code));
    }

    /// An RPC that provably reached nobody goes to another connection, or back to the client as such.
    pub(crate) fn send_again(&mut self, key: Key) {
        let Some(relay) = self.relays.get_mut(key) else {
            return debug_assert!(false, "an RPC that is sent again is in the table");
        };
        let (down, shared) = (relay.down, relay.shared.take());
        let request = relay.take_request();
        if let Some(Peer::Client(client)) = self.connections.get_mut(down.connection).map(|c| &mut c.peer) {
            client.responses.end(&mut relay.response);
        }
        if let Some(endpoint) = shared {
            self.give_back_share(down.connection, endpoint);
        }
        let backend = self.backend_of(key);
        match (request, backend, self.relays.get_mut(key)) {
            (Some(request), Some(backend), Some(relay)) => {
                relay.phase = Phase::Queued(request);
                self.pick(key, &backend);
            }
            (None, _, Some(relay)) => {
                // The client's library knows that this code is safe to retry.
                if let Some(log) = &mut relay.log {
                    log.reason = Some("backend_refused");
                }
                self.reset_stream(down, ErrorCode::REFUSED_STREAM);
                self.finish(key, status::UNAVAILABLE);
            }
            (Some(_), None, Some(_)) => {
                let backend = self.backend_name(key);
                self.refuse(key, &Refusal::NoEndpoints { backend });
            }
            (_, _, None) => debug_assert!(false, "an RPC that is sent again is in the table"),
        }
    }

    fn send_trailers(&mut self, to: ClientStream, fields: Vec<Field>) {
        if let Some(connection) = self.connections.get_mut(to.connection) {
            connection.h2.send_trailers(to.stream, fields);
            self.mark_dirty(to.connection);
        }
    }

    /// Bytes for an RPC that has ended: only the connection's credit matters.
    fn discard(&mut self, from: ClientStream, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(from.connection) {
            connection.h2.release(from.stream, bytes as u32);
        }
    }

    /// Queued bytes of an answer have been framed for the client: its backend gets their credit.
    pub(crate) fn answer_moved_on(&mut self, down: ClientStream, tag: u32, bytes: u32) {
        if let Some((relay, _)) = self.relay_down(tag, down) {
            self.credit_backend(relay, bytes);
        }
    }

    /// Queued bytes of a request have been framed for the backend: its client gets their credit.
    pub(crate) fn request_moved_on(&mut self, up: BackendStream, tag: u32, bytes: u32) {
        if let Some((relay, _)) = self.relay_up(tag, up) {
            self.credit_client(relay, bytes);
        }
    }

    /// An RPC was given to a backend, which may send ahead what the client would take now.
    fn begin_credit(&mut self, key: Key) {
        let memory = self.memory_window();
        let Some(relay) = self.relays.get_mut(key) else {
            return debug_assert!(false, "an RPC that was sent is in the table");
        };
        let (Some(up), down) = (relay.up(), relay.down) else {
            return debug_assert!(false, "an RPC that was sent has a backend");
        };
        let Some(Connection {
            h2,
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(down.connection).map(|c| &mut **c)
        else {
            return;
        };
        let wanted = h2.sendable(down.stream).min(MAX_STREAM_WINDOW);
        let wanted = wanted.saturating_sub(BACKEND_STREAM_WINDOW);
        relay.response = client.responses.begin(client.budget.min(memory), wanted);
        if relay.response.beyond > 0
            && let Some(connection) = self.connections.get_mut(up.connection)
        {
            connection
                .h2
                .renew(up.stream, BACKEND_STREAM_WINDOW + relay.response.beyond);
        }
    }

    /// The client took `bytes` of the answer: the backend may send as many more, and further ahead where the
    /// client's window has opened.
    fn credit_backend(&mut self, key: Key, bytes: u32) {
        let memory = self.memory_window();
        let Some(relay) = self.relays.get_mut(key) else {
            return;
        };
        let Some(up) = relay.up() else {
            return debug_assert!(false, "an answer is of a backend");
        };
        let Some(connection) = self.connections.get_mut(up.connection) else {
            return;
        };
        let Some(owed) = connection.h2.owe(up.stream, bytes) else {
            return;
        };
        relay.response.is_long |= owed.octets >= BACKEND_STREAM_WINDOW / 2;
        let due = match relay.response.beyond {
            0 => owed.window / 2,
            // What remains of a window behind its last renewal waits for a whole round trip: little of it then.
            _ => owed.window / 8,
        };
        if owed.octets < due {
            return;
        }
        let base = owed.window.saturating_sub(relay.response.beyond);
        let mut beyond = relay.response.beyond;
        if let Some(Connection {
            h2,
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(relay.down.connection).map(|c| &mut **c)
        {
            let most = memory.min(self.snapshot.limits.client.max_queued);
            let bounds = client.response_bounds(h2.queued_total(), most);
            let sendable = h2.sendable(relay.down.stream).saturating_sub(base);
            let share = client.responses.renew(&mut relay.response, bounds);
            beyond = share
                .min(sendable.max(beyond))
                .min(MAX_STREAM_WINDOW.saturating_sub(base));
        }
        let Some(connection) = self.connections.get_mut(up.connection) else {
            return;
        };
        let window = connection.h2.renew(up.stream, base + beyond);
        if let Some(Peer::Client(client)) = self
            .connections
            .get_mut(relay.down.connection)
            .map(|c| &mut c.peer)
        {
            client
                .responses
                .settle(&mut relay.response, window.saturating_sub(base));
        }
        self.mark_dirty(up.connection);
    }

    /// The backend took `bytes` of the request: the client may send as many more, and further ahead where nothing
    /// of it waits for the backend.
    fn credit_client(&mut self, key: Key, bytes: u32) {
        let memory = self.memory_window();
        let Some(relay) = self.relays.get_mut(key) else {
            return;
        };
        let (Some(up), down) = (relay.up(), relay.down) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(down.connection) else {
            return;
        };
        let Some(owed) = connection.h2.owe(down.stream, bytes) else {
            return;
        };
        let due = match relay.request.beyond {
            // A message of 64 KiB fits into the base window: it costs no WINDOW_UPDATE.
            0 => owed.window / 8 * 7,
            _ => owed.window / 4,
        };
        if owed.octets < due {
            return;
        }
        let is_waiting = self
            .connections
            .get(up.connection)
            .is_some_and(|connection| connection.h2.queued(up.stream) > 0);
        let budget = self.snapshot.limits.connection_memory.min(memory);
        let Some(Connection {
            h2,
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(down.connection).map(|c| &mut **c)
        else {
            return;
        };
        let base = owed.window.saturating_sub(relay.request.beyond);
        let bounds = Bounds {
            budget,
            most: budget.saturating_mul(UPLOAD_BUDGETS).min(memory),
            waiting: h2.unreleased(),
        };
        let share = client.requests.renew(&mut relay.request, bounds);
        let mut beyond = share.min(MAX_STREAM_WINDOW.saturating_sub(base));
        if is_waiting {
            beyond = beyond.min(relay.request.beyond);
        }
        let window = h2.renew(down.stream, base + beyond);
        client
            .requests
            .settle(&mut relay.request, window.saturating_sub(base));
        self.mark_dirty(down.connection);
    }
}

impl Relay {
    /// The backend has sent its whole answer. Its status, by trailers or a head that is all there is.
    fn complete(&mut self, up: BackendStream, fields: &[Field]) -> u8 {
        let status = status::grpc_status_of(fields).unwrap_or(match self.kind {
            Kind::Grpc => status::of_http(self.http_status),
            Kind::Plain | Kind::Head => status::OK,
        });
        self.phase = Phase::Answered(up, status);
        status
    }
}
