//! A connection's part of a turn: what was read of it goes through HTTP/2 into the other side's output.

use std::task::Context;
use std::time::{Duration, Instant};

use super::ending::Fate;
use super::flush::PAUSE_OUTPUT;
use super::scheduler::{Share, Slice, Work};
use super::{Key, Worker};
use crate::connection::{Peer, Transport};
use crate::relay::{BackendStream, ClientStream};
use crate::telemetry::event::Event;

impl Worker {
    /// `true` if this connection is to be read from now; if it is paused, `context` is woken later.
    pub(crate) fn may_read(&mut self, key: Key, context: &Context<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        // A backend is always read from: its answers belong to many clients, and its WINDOW_UPDATEs are
        // what empties our output.
        let client = matches!(connection.peer, Peer::Client(_));
        let pause = client && connection.blocked && connection.h2.output().len() >= PAUSE_OUTPUT;
        if pause {
            connection.paused = Some(context.waker().clone());
        }
        !pause
    }

    /// The room that the kept part of the last read needs before the next one.
    pub(crate) fn kept_of_record(&self, key: Key) -> usize {
        match self.connections.get(key).map(|c| &c.transport) {
            Some(Transport::Tls(session)) => session.kept(),
            _ => 0,
        }
    }

    /// Payload that came in one flight with the end of the handshake.
    pub(crate) fn came_early(&mut self, key: Key, payload: &[u8]) {
        self.now = Instant::now();
        self.share = Share::default();
        self.share.begin(self.now);
        self.plaintext(key, payload);
        self.after_reading(key);
    }

    /// A connection's part of a turn begins.
    pub(crate) fn begin_share(&mut self, slice: Slice) {
        self.share = Share::of(slice);
    }

    /// The work that was done in this part, if anything was.
    pub(crate) fn work_of_share(&self) -> Option<Work> {
        self.share.work()
    }

    /// A connection's part of a turn is over; for so long others are written to first. Says whether a header block of
    /// it is unfinished: its last octet may cost as much as thousands.
    pub(crate) fn end_share(&mut self, key: Key, gives_way_for: Duration) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        connection.gives_way_until = now + gives_way_for;
        connection.header_block.is_some()
    }

    /// `true` if the connection that is read from has had its part of this turn.
    pub(crate) fn share_is_used_up(&self) -> bool {
        self.share.is_used_up()
    }

    /// Goes on with what was left when the last turn of this connection ended. `false`: nothing was.
    pub(crate) fn go_on(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        if connection.unhandled.is_empty() {
            return false;
        }
        let unhandled = std::mem::take(&mut connection.unhandled);
        if connection.closing.is_none() {
            self.now = Instant::now();
            self.share.begin(self.now);
            self.plaintext(key, &unhandled);
            self.after_reading(key);
        }
        true
    }

    /// Bytes as they came from the socket, behind room of [`Self::kept_of_record`] bytes.
    pub(crate) fn received(&mut self, key: Key, wire: &mut [u8]) {
        self.now = Instant::now();
        self.share.begin(self.now);
        self.share.read(wire.len());
        let Some(connection) = self.connections.get_mut(key) else {
            return debug_assert!(false, "whoever is read from is in the table");
        };
        connection.active_at = self.now;
        if connection.closing.is_some() {
            return;
        }
        match std::mem::replace(&mut connection.transport, Transport::Lent) {
            Transport::Lent => debug_assert!(false, "a connection is read by one"),
            Transport::Plaintext => {
                connection.transport = Transport::Plaintext;
                self.plaintext(key, wire);
            }
            Transport::Tls(mut session) => {
                let outcome = session.decrypt(wire, |payload| self.plaintext(key, payload));
                let unsent = session.unsent() > 0;
                let Some(connection) = self.connections.get_mut(key) else {
                    return;
                };
                connection.transport = Transport::Tls(session);
                if let Err(error) = outcome {
                    if connection.closing.is_none() && !connection.h2.is_established() {
                        self.not_http2(key);
                    }
                    // The alert is still sent, nothing else.
                    tracing::debug!(%error, "TLS of a running connection failed");
                    self.close_after_flush(key);
                } else if unsent {
                    self.mark_dirty(key);
                }
            }
        }
        self.after_reading(key);
    }

    fn after_reading(&mut self, key: Key) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(key) {
            let block = connection.h2.header_blocks();
            connection.header_block = match connection.header_block {
                _ if !connection.h2.header_block_open() => None,
                Some((number, since)) if number == block => Some((number, since)),
                _ => Some((block, now)),
            };
            if !connection.h2.output().is_empty() {
                self.mark_dirty(key);
            }
        }
        self.count_held(key);
    }

    /// The transport is gone: every stream ends, on its other side too.
    pub(crate) fn lost(&mut self, key: Key) {
        self.now = Instant::now();
        self.share.begin(self.now);
        self.remove(key);
    }

    fn plaintext(&mut self, key: Key, mut input: &[u8]) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.h2.is_established()
            && let Peer::Backend(_, opening) = &mut connection.peer
        {
            opening.hear(input);
        }
        while let Some(connection) = self.connections.get_mut(key) {
            if self.share.is_used_up() {
                connection.unhandled.extend_from_slice(input);
                break;
            }
            let from_client = matches!(connection.peer, Peer::Client(_));
            let before = input.len();
            let received = connection.h2.receive(&mut input, self.now);
            self.share.count(before - input.len());
            match received {
                Ok(None) => break,
                Ok(Some(event)) if from_client => self.client_event(key, event),
                Ok(Some(event)) => self.backend_event(key, event),
                Err(error) => {
                    self.broke_a_rule(key, &error);
                    break;
                }
            }
        }
        self.settle(key);
    }

    /// Pays back the credit for queued bytes that have moved on since.
    pub(super) fn settle(&mut self, key: Key) {
        while let Some(connection) = self.connections.get_mut(key) {
            if let Some(limit) = connection.h2.take_reached() {
                self.limit_reached(key, limit.name());
                continue;
            }
            let Some((stream, tag, bytes)) = connection.h2.next_drained() else {
                break;
            };
            if connection.peer.is_backend() {
                self.request_moved_on(BackendStream::new(key, stream), tag, bytes);
            } else {
                self.answer_moved_on(ClientStream::new(key, stream), tag, bytes);
            }
        }
    }

    /// This connection's peer reached a limit.
    pub(crate) fn limit_reached(&self, key: Key, limit: &'static str) {
        self.metrics.limit_reached(limit);
        let peer = self
            .connections
            .get(key)
            .map(|connection| connection.peer.address());
        Event::LimitReached { limit, peer }.report(self.now);
    }

    fn broke_a_rule(&mut self, key: Key, error: &http2::ConnectionError) {
        let connection = self.connections.get(key);
        if connection.is_some_and(|c| matches!(c.peer, Peer::Client(_)) && !c.h2.is_established()) {
            self.not_http2(key);
        }
        self.leave_pool(key);
        if let http2::Cause::Limit(limit) = error.cause {
            self.limit_reached(key, limit.name());
        }
        if let Some(connection) = self.connections.get(key) {
            tracing::debug!(peer = ?connection.peer, %error, "a connection is ended for breaking HTTP/2");
        }
        self.end_streams(key, Some(error.cause));
        self.close_after_flush(key);
    }

    /// Ends the streams now and the connection when its last bytes have left.
    pub(crate) fn close_after_flush(&mut self, key: Key) {
        self.end_streams(key, None);
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.closing.get_or_insert(now);
        }
        self.mark_dirty(key);
    }

    /// Every stream on this connection ends, some at once on their other side too ([`Self::end_taken`]). `cause`: the
    /// peer's fault, if it is one.
    pub(super) fn end_streams(&mut self, key: Key, cause: Option<http2::Cause>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let fate = if connection.peer.is_backend() {
            Fate::BackendGone
        } else {
            Fate::ClientGone(cause)
        };
        let streams = connection.h2.take_streams();
        self.end_taken(key, fate, streams);
    }

    /// Takes a connection out of the table. Its reading task ends by the closed socket.
    pub(crate) fn remove(&mut self, key: Key) {
        self.leave_pool(key);
        self.end_streams(key, None);
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        self.gone_early(&connection);
        self.uncount(&connection);
        match &connection.peer {
            Peer::Client(client) => self.metrics.connection_gone(client.tls, client.certificate),
            Peer::Backend(peer, _) => self.backend_gone(peer),
        }
        let _ = socket2::SockRef::from(connection.socket.as_ref()).shutdown(std::net::Shutdown::Both);
        // The task that waits for room in the socket would never hear of it again.
        for waiting in [connection.paused, connection.writer].into_iter().flatten() {
            waiting.wake();
        }
    }
}
