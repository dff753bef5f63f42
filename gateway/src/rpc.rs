//! The story of an RPC: call → route → pick → relay → answer.
//!
//! All of it runs inside the turn of the worker that owns the client's connection. What must wait (a
//! backend connection being made) holds the relay in its pool, never a task.

mod transfer;

use std::rc::Rc;
use std::time::Duration;

use certstore::Identity;
use http2::{Cause, ErrorCode, Event, Field};

use crate::access_log::{Line, Verdict};
use crate::connection::{Client, Connection, Peer};
use crate::relay::call::{Call, Kind};
use crate::relay::{BackendStream, ClientStream, LogEntry, Phase, REPLAY_BYTES, Relay, Request, StreamOf};
use crate::slab::Key;
use crate::status::{self, Refusal};
use crate::telemetry::{BackendLabel, RouteLabel};
use crate::worker::Worker;
use crate::{failpoint, forwarded};

impl Worker {
    /// Handles an event of a client's connection.
    pub(crate) fn client_event(&mut self, key: Key, event: Event<'_>) {
        let down = |stream| ClientStream::new(key, stream);
        match event {
            Event::Request { stream, fields, end } => self.begin(down(stream), fields, end),
            Event::RequestTooLarge {
                stream,
                fields,
                limit,
                end,
            } => {
                let kind = Call::of(&fields).kind;
                let refusal = Refusal::RequestTooLarge { limit: limit.name() };
                self.refuse_without_backend(down(stream), &fields, kind, &refusal, end);
                http2::recycle(fields);
            }
            Event::Data {
                stream,
                tag,
                payload,
                end,
            } => self.request_data(down(stream), tag, payload, end),
            Event::Trailers { stream, tag, .. } => self.request_trailers(down(stream), tag),
            Event::Refused { fields, code, cause } => self.refused_by_http2(key, fields, code, cause),
            Event::Reset {
                stream,
                tag,
                code,
                cause,
            } => self.client_reset(down(stream), tag, code, cause),
            Event::Pong { payload } => self.on_pong(key, payload),
            Event::Settings | Event::GoAway { .. } => {}
            Event::Response { .. } | Event::Informational { .. } => {
                debug_assert!(false, "HTTP/2 takes no response from a client");
            }
        }
    }

    /// A PING of ours was acknowledged: what was written before it has been read.
    fn on_pong(&mut self, key: Key, payload: [u8; 8]) {
        let max = self.snapshot.limits.connection_memory;
        if let Some(Peer::Client(client)) = self.connections.get_mut(key).map(|c| &mut c.peer) {
            client.on_pong(payload, max);
        }
    }

    /// An RPC from its head to the backend that will have it.
    fn begin(&mut self, down: ClientStream, mut fields: Vec<Field>, end: bool) {
        failpoint::hit("request");
        self.apply_listener(down.connection);
        let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = self.connections.get(down.connection).map(|c| &**c)
        else {
            return debug_assert!(false, "a request is of a client in the table");
        };
        if let Some((_, why)) = client.sent_away {
            // RFC 9113 §8.7: nothing was done, so it may ask again on a connection that fulfils what is asked.
            let (code, reason) = (ErrorCode::REFUSED_STREAM, Refusal::SentAway(why).reason());
            self.count_turned_away(down);
            self.reset_stream(down, code);
            return self.count_refused(down.connection, &fields, code, reason, None);
        }
        let call = Call::of(&fields);
        if let Some(refusal) = call.unfit() {
            let kind = call.kind;
            return self.refuse_without_backend(down, &fields, kind, &refusal, end);
        }
        let snapshot = Rc::clone(&self.snapshot);
        // RFC 9113 §8.5: only CONNECT has no path. A gateway for RPCs opens no tunnels.
        let routed = (!call.path.is_empty())
            .then(|| snapshot.route(client.position, call.authority, call.path))
            .flatten();
        let Some((target, backend)) = routed.and_then(|route| snapshot.target(route)) else {
            let kind = call.kind;
            return self.refuse_without_backend(down, &fields, kind, &Refusal::NoRoute, end);
        };
        let (kind, timeout) = (call.kind, call.timeout);
        let deadline = timeout.map(|timeout| self.now + timeout);
        let wants_log = self.log.is_on();
        let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = self.connections.get(down.connection).map(|c| &**c)
        else {
            return debug_assert!(false, "a request is of a client in the table");
        };
        forwarded::edit(&mut fields, &client.forwarding, &mut self.random);
        let log = wants_log.then(|| Box::new(LogEntry::of(&fields)));
        let request = Request {
            fields_memory: u32::try_from(http2::memory_of(&fields)).unwrap_or(u32::MAX),
            fields,
            body: self.spare.pop().unwrap_or_default(),
            ..Default::default()
        };
        let labels = (target.label, backend.label);
        let mut relay = Relay::new(down, request, labels, kind, end, self.now);
        (relay.log, relay.deadline) = (log, deadline);
        relay.charged = relay.memory();
        let charged = relay.charged;
        self.metrics.rpc_started(target.label);
        self.deadlines += usize::from(deadline.is_some());
        let relay = self.relays.insert(relay);
        if let Some(deadline) = deadline {
            self.end_at(deadline, relay);
        }
        if let Some(connection) = self.connections.get_mut(down.connection) {
            connection.h2.set_tag(down.stream, relay.index());
            connection.charge.recount(0, charged);
            if let Some(timeout) = timeout {
                connection.h2.expect_reset_after(down.stream, timeout);
            }
        }
        self.pick(relay, backend);
    }

    /// A request that no backend gets is counted and logged like any other, under no route.
    fn refuse_without_backend(
        &mut self,
        down: ClientStream,
        fields: &[Field],
        kind: Kind,
        refusal: &Refusal,
        request_ended: bool,
    ) {
        // A head that is too large has a rate of its own.
        if !matches!(refusal, Refusal::RequestTooLarge { .. }) {
            self.count_turned_away(down);
        }
        let labels = (self.snapshot.no_route, self.snapshot.no_backend);
        self.metrics.rpc_started(labels.0);
        let mut relay = Relay::new(down, Request::default(), labels, kind, request_ended, self.now);
        relay.log = self.log.is_on().then(|| Box::new(LogEntry::of(fields)));
        let relay = self.relays.insert(relay);
        self.refuse(relay, refusal);
    }

    /// A request that no backend gets has a rate, and earns nothing.
    fn count_turned_away(&mut self, down: ClientStream) {
        if let Some(connection) = self.connections.get_mut(down.connection) {
            connection.h2.turned_away(down.stream);
        }
    }

    /// A request that HTTP/2 let in to nobody is counted and logged like any other, under no route.
    fn refused_by_http2(&mut self, key: Key, fields: Vec<Field>, code: ErrorCode, cause: Cause) {
        let reason = match cause {
            Cause::Protocol(_) => "malformed",
            Cause::Limit(_) => "limit",
            Cause::GoingAway => self.why_going(key).reason(),
        };
        self.count_refused(key, &fields, code, reason, Some(cause.words()));
        http2::recycle(fields);
    }

    /// The refusal of later requests of this client: drained, or sent away.
    fn why_going(&self, key: Key) -> Refusal {
        match self.connections.get(key).map(|c| &c.peer) {
            Some(Peer::Client(client)) => client
                .sent_away
                .map_or(Refusal::Draining, |(_, why)| Refusal::SentAway(why)),
            _ => Refusal::Draining,
        }
    }

    /// An RPC whose stream was reset before there was a relay for it.
    fn count_refused(
        &mut self,
        key: Key,
        fields: &[Field],
        code: ErrorCode,
        reason: &'static str,
        detail: Option<&'static str>,
    ) {
        let (labels, status) = (
            (self.snapshot.no_route, self.snapshot.no_backend),
            status::of_reset(code),
        );
        self.metrics.rpc_started(labels.0);
        self.metrics.rpc_ended(labels.0, labels.1, status, Duration::ZERO);
        if self.log.is_on() {
            let mut entry = LogEntry::of(fields);
            (entry.reason, entry.detail) = (Some(reason), detail);
            let kind = Call::of(fields).kind;
            self.log_rpc(key, labels, kind, &entry, status, Duration::ZERO);
        }
    }

    /// Ends an RPC that has no response yet, or whose response cannot go on, with a reason.
    pub(crate) fn refuse(&mut self, relay: Key, refusal: &Refusal) {
        let Some(ending) = self.relays.get_mut(relay) else {
            return;
        };
        if let Some(status) = ending.answered() {
            // Nothing is to be said any more; only the rest of the request is in the way.
            return self.abandon_request(relay, status);
        }
        let (down, kind, request_ended) = (ending.down, ending.kind, ending.request_ended);
        let committed = ending.committed();
        if let Some(log) = &mut ending.log {
            log.reason = Some(refusal.reason());
            log.detail = refusal.limit().or(log.detail);
            if !committed {
                log.http_status = if kind == Kind::Grpc {
                    200
                } else {
                    refusal.http_status()
                };
                if kind == Kind::Plain {
                    log.bytes_out += refusal.body().len() as u64;
                }
            }
        }
        if let Refusal::TooManyWaiting { .. } | Refusal::WaitedTooLong { .. } = refusal
            && let Some(limit) = refusal.limit()
        {
            self.limit_reached(down.connection, limit);
        }
        self.cancel(relay, ErrorCode::CANCEL);
        if !committed {
            self.send_refusal(down, refusal, kind, request_ended);
        } else if kind == Kind::Grpc {
            // The head has left: the status can still come behind it, as trailers.
            if let Some(connection) = self.connections.get_mut(down.connection) {
                connection.h2.send_trailers(down.stream, refusal.trailers());
                if !request_ended && !connection.h2.is_waiting(down.stream) {
                    connection.h2.reset(down.stream, ErrorCode::NO_ERROR);
                }
            }
            self.mark_dirty(down.connection);
        } else {
            self.reset_stream(down, ErrorCode::INTERNAL_ERROR);
        }
        self.finish(relay, refusal.grpc_status());
    }

    /// The response is complete, with this status, and the rest of the request is not wanted (RFC 9113 §8.1).
    pub(crate) fn abandon_request(&mut self, relay: Key, status: u8) {
        let Some(ended) = self.relays.get(relay) else {
            return debug_assert!(false, "an RPC that ends is in the table");
        };
        let down = ended.down;
        self.cancel(relay, ErrorCode::CANCEL);
        // What still waits must leave; the client then ends its side, or goes.
        if let Some(connection) = self.connections.get_mut(down.connection)
            && !connection.h2.is_waiting(down.stream)
        {
            connection.h2.reset(down.stream, ErrorCode::NO_ERROR);
            self.mark_dirty(down.connection);
        }
        self.finish(relay, status);
    }

    /// Sends a refusal as a whole response and closes the stream.
    fn send_refusal(&mut self, down: ClientStream, refusal: &Refusal, kind: Kind, request_ended: bool) {
        let Some(connection) = self.connections.get_mut(down.connection) else {
            return;
        };
        let body = if kind == Kind::Plain {
            refusal.body()
        } else {
            Vec::new()
        };
        connection
            .h2
            .send_headers(down.stream, &refusal.head(kind == Kind::Grpc), body.is_empty());
        if !body.is_empty() {
            connection.h2.send_data(down.stream, &body, true);
        }
        if !request_ended && !connection.h2.is_waiting(down.stream) {
            // RFC 9113 §8.1: the answer is complete; the rest of the request is not wanted.
            connection.h2.reset(down.stream, ErrorCode::NO_ERROR);
        }
        self.mark_dirty(down.connection);
    }

    fn log_rpc(
        &mut self,
        key: Key,
        labels: (RouteLabel, BackendLabel),
        kind: Kind,
        entry: &LogEntry,
        status: u8,
        took: Duration,
    ) {
        let Some(Connection {
            peer: Peer::Client(client),
            logged,
            ..
        }) = self.connections.get_mut(key).map(|c| &mut **c)
        else {
            return;
        };
        let verdict = logged.may_add(self.snapshot.limits.access_log_rate, self.now);
        if verdict == Verdict::Yes {
            logged.add(self.log.add(&line(labels, kind, entry, client, status, took)));
            return;
        }
        self.log.over_rate();
        if verdict == Verdict::NoMore {
            self.limit_reached(key, "access_log_rate");
        }
    }

    /// Counts and logs an RPC that has ended with this status, and forgets it.
    pub(crate) fn finish(&mut self, relay: Key, status: u8) {
        let Some(mut ended) = self.relays.remove(relay) else {
            return debug_assert!(false, "an RPC ends once");
        };
        let took = ended.took(self.now);
        self.metrics.rpc_ended(ended.route, ended.backend, status, took);
        self.deadlines -= usize::from(ended.deadline.is_some());
        if let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(ended.down.connection).map(|c| &mut **c)
        {
            client.requests.end(&mut ended.request);
            client.responses.end(&mut ended.response);
        }
        let is_reset_later = self.resets.keeps(&ended);
        if let Some(endpoint) = ended.shared.filter(|_| !is_reset_later) {
            self.give_back_share(ended.down.connection, endpoint);
        }
        if let Some(entry) = &ended.log {
            let labels = (ended.route, ended.backend);
            self.log_rpc(ended.down.connection, labels, ended.kind, entry, status, took);
        }
        if let Some(connection) = self.connections.get_mut(ended.down.connection) {
            connection.active_at = self.now;
            connection.charge.recount(ended.charged, 0);
        }
        let up = ended.up();
        match ended.phase {
            Phase::Queued(request) => {
                if let Some(pool) = self.pools.get_mut(ended.backend.index()).and_then(Option::as_mut) {
                    pool.forget_waiting(ended.down.connection, relay);
                }
                self.keep_spare(request);
            }
            Phase::Sent(_, request) => self.keep_spare(request),
            Phase::Committed(_) | Phase::Answered(..) => {}
        }
        if let Some(up) = up.filter(|_| !is_reset_later) {
            // A backend that answered before it had the whole request does not get the rest.
            if self
                .connections
                .get(up.connection)
                .is_some_and(|c| c.h2.is_waiting(up.stream))
            {
                self.reset_stream(up, ErrorCode::CANCEL);
            }
            self.stream_freed(up.connection);
        }
    }

    /// The memory of a request that needs not be sent again serves the next ones.
    fn keep_spare(&mut self, request: Request) {
        const SPARE_BUFFERS: usize = 64;
        let Request { fields, mut body, .. } = request;
        let useful = (1..=2 * REPLAY_BYTES).contains(&body.capacity());
        if useful && self.spare.len() < SPARE_BUFFERS {
            body.clear();
            self.spare.push(body);
        }
        http2::recycle(fields);
    }

    pub(crate) fn reset_stream<Side>(&mut self, at: StreamOf<Side>, code: ErrorCode) {
        if let Some(connection) = self.connections.get_mut(at.connection) {
            connection.h2.reset(at.stream, code);
            self.mark_dirty(at.connection);
        }
    }

    /// The living relay with this tag, if it really is the one of this client's stream.
    pub(crate) fn relay_down(&mut self, tag: u32, down: ClientStream) -> Option<(Key, &mut Relay)> {
        let key = self.relays.key_at(tag)?;
        let relay = self.relays.get_mut(key)?;
        (relay.down == down).then_some((key, relay))
    }

    /// The living relay with this tag, if it really is the one of this backend's stream.
    pub(crate) fn relay_up(&mut self, tag: u32, up: BackendStream) -> Option<(Key, &mut Relay)> {
        let key = self.relays.key_at(tag)?;
        let relay = self.relays.get_mut(key)?;
        (relay.up() == Some(up)).then_some((key, relay))
    }

    /// The client's stream is gone: reset by the client with this code, which the backend hears too, or by us for a
    /// cause that is no fault of the backend. Clients reset what they ask for when its time is over, some of them before
    /// our own deadline fires: then the backend was late, and nobody has changed their mind.
    pub(crate) fn client_reset(
        &mut self,
        down: ClientStream,
        tag: u32,
        code: ErrorCode,
        cause: Option<Cause>,
    ) {
        let now = self.now;
        let Some((key, relay)) = self.relay_down(tag, down) else {
            return;
        };
        let late = Refusal::DeadlineExceeded;
        let is_late = cause.is_none()
            && relay.deadline.is_some_and(|deadline| {
                http2::explains_reset(deadline.duration_since(relay.started), relay.took(now))
            });
        // An answer that was complete has ended the RPC, whether or not all of it was taken.
        let status = relay.answered().unwrap_or(match is_late {
            true => late.grpc_status(),
            false => status::CANCELLED,
        });
        if let Some(log) = &mut relay.log {
            log.reason = Some(match cause {
                None if is_late => late.reason(),
                None => "client_reset",
                Some(Cause::Limit(_)) => "limit",
                Some(Cause::Protocol(_) | Cause::GoingAway) => "client_broke_protocol",
            });
            log.detail = cause.map(Cause::words);
        }
        self.cancel(key, if cause.is_none() { code } else { ErrorCode::CANCEL });
        self.finish(key, status);
    }

    /// The backend's connection is gone with this stream on it: the RPC may have run.
    pub(crate) fn backend_lost(&mut self, up: BackendStream, tag: u32) {
        if let Some((key, _)) = self.relay_up(tag, up) {
            let backend = self.backend_name(key);
            self.refuse(key, &Refusal::BackendClosed { backend });
        }
    }
}

/// The line of the access log for an RPC that has ended.
fn line<'a>(
    (route, backend): (RouteLabel, BackendLabel),
    kind: Kind,
    entry: &'a LogEntry,
    client: &'a Client,
    status: u8,
    took: Duration,
) -> Line<'a> {
    let identity = client.presented.as_deref().map(|presented| &presented.identity);
    fn value(field: &Option<Field>) -> &[u8] {
        field.as_ref().map(Field::value).unwrap_or_default()
    }
    Line {
        route: route.name(),
        backend: backend.name(),
        endpoint: entry.endpoint,
        host: value(&entry.authority),
        path: value(&entry.path),
        client: client.address,
        tls: client.tls,
        certificate: client.certificate,
        client_identity: identity.map(Identity::name).unwrap_or_default().as_bytes(),
        client_fingerprint: identity.map_or("", |identity| &identity.fingerprint).as_bytes(),
        http_status: entry.http_status,
        grpc_status: (kind == Kind::Grpc).then_some(status),
        took,
        bytes_in: entry.bytes_in,
        bytes_out: entry.bytes_out,
        request_id: value(&entry.request_id),
        user_agent: value(&entry.user_agent),
        reason: entry.reason,
        detail: entry.detail,
    }
}
