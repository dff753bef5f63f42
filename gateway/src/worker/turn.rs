//! One turn: what was read goes through HTTP/2 into the other side's output, and each connection
//! that has output is flushed once.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::ending::Fate;
use super::pace::{Share, Slice};
use super::{EARLY_FLUSH, Key, MAX_OUTPUT, Worker};
use crate::connection::session::Session;
use crate::connection::{Connection, Peer, Transport};
use crate::telemetry::event::Event;
use crate::{failpoint, forwarded};

/// A client that takes nothing and whose output has grown to this is not read from:
/// answers (heads, trailers, acknowledgements) are not under flow control.
const PAUSE_OUTPUT: usize = 4 * MAX_OUTPUT;
/// Times that one connection may fill its output again within a flush.
const FLUSH_ROUNDS: usize = 4;
/// What flushing may use of a turn, above the last [`UNTIMED_FLUSHES`].
const FLUSH_TIME: Duration = Duration::from_millis(2);
/// Flushes after which the clock is read.
const UNTIMED_FLUSHES: usize = 8;

/// What became of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Nothing is left to write.
    Empty,
    /// The socket takes no more now.
    Blocked,
    /// Its share of this turn is used up.
    More,
    /// The transport takes nothing any more.
    Lost,
}

impl Flushed {
    /// The same, when a little has been added to the output since.
    fn and_more(self) -> Self {
        if self == Self::Empty { Self::More } else { self }
    }
}

impl Worker {
    /// Whether this connection is to be read from now; if it is paused, `context` is woken later.
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

    /// How much room what was kept of the last read needs before what is read next.
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

    /// When the work of this part began, if there was any.
    pub(crate) fn share_began(&self) -> Option<Instant> {
        self.share.began()
    }

    /// Whether a header block of this connection is unfinished: its last octet may cost as much as thousands.
    pub(crate) fn has_open_block(&self, key: Key) -> bool {
        self.connections
            .get(key)
            .is_some_and(|c| c.header_block.is_some())
    }

    /// Whether the connection that is read from has had its part of this turn.
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
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.active_at = self.now;
        if connection.closing.is_some() {
            return;
        }
        match std::mem::replace(&mut connection.transport, Transport::Lent) {
            Transport::Lent => {}
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

    /// The transport is gone: the other half of every stream is told.
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
    fn settle(&mut self, key: Key) {
        while let Some(connection) = self.connections.get_mut(key) {
            if let Some(limit) = connection.h2.take_reached() {
                self.limit_reached(key, limit.name());
                continue;
            }
            let Some((stream, tag, bytes)) = connection.h2.next_drained() else {
                break;
            };
            self.moved_on(key, stream, tag, bytes);
        }
    }

    /// A limit held this connection's peer back.
    pub(crate) fn limit_reached(&self, key: Key, limit: &'static str) {
        self.metrics.limit_reached(limit);
        let peer = self
            .connections
            .get(key)
            .map(|connection| connection.peer.address());
        Event::LimitReached { limit, peer }.tell(self.now);
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

    /// Every stream on this connection ends; the other halves are told, some at once ([`Self::end_taken`]). `cause`: the peer's fault, if it is one.
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
            Peer::Backend(peer, _) => self.upstream_gone(peer),
        }
        let _ = socket2::SockRef::from(connection.socket.as_ref()).shutdown(std::net::Shutdown::Both);
        // The task that waits for room in the socket would never hear of it again.
        for waiting in [connection.paused, connection.writer].into_iter().flatten() {
            waiting.wake();
        }
    }

    /// Flushes each dirty connection once, as far as the time goes. `true`: some come back next turn.
    pub(super) fn flush_dirty(&mut self) -> bool {
        let began = Instant::now();
        for number in 1..=self.dirty.len() {
            let Some(key) = self.dirty.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(key) {
                connection.dirty = false;
                self.flush(key);
            }
            if number.is_multiple_of(UNTIMED_FLUSHES) && began.elapsed() >= FLUSH_TIME {
                break;
            }
        }
        self.log.hand_over();
        self.metrics.turn();
        !self.dirty.is_empty()
    }

    /// Output grows; it is written now if it has grown enough, and by the end of the turn otherwise.
    pub(crate) fn has_output(&mut self, key: Key) {
        self.mark_dirty(key);
        if self
            .connections
            .get(key)
            .is_some_and(|c| c.h2.output().len() >= EARLY_FLUSH)
        {
            self.flush(key);
        }
    }

    fn flush(&mut self, key: Key) {
        failpoint::hit("flush");
        let max_budget = self.snapshot.limits.connection_memory;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut flushed = None;
        let had_room = connection.has_room();
        if !connection.blocked && connection.write_failed_at.is_none() {
            let before = connection.h2.output().len();
            flushed = Some(write(connection));
            if connection.h2.output().len() < PAUSE_OUTPUT
                && let Some(reader) = connection.paused.take()
            {
                reader.wake();
            }
            if let Peer::Client(client) = &mut connection.peer
                && client.wrote(before, max_budget)
            {
                let probe = forwarded::next(&mut self.random).to_ne_bytes();
                client.probe = Some(probe);
                connection.h2.ping(probe);
                flushed = flushed.map(Flushed::and_more);
            }
        }
        let makes_room = !had_room && connection.has_room();
        self.count_held(key);
        self.settle(key);
        if makes_room {
            self.stream_freed(key);
        }
        match flushed {
            None => {}
            Some(Flushed::Empty) => self.emptied(key),
            Some(Flushed::More) => self.mark_dirty(key),
            Some(Flushed::Blocked) => self.wait_until_writable(key),
            Some(Flushed::Lost) => self.write_failed(key),
        }
    }

    /// A backend that takes no more may have said why: answers, and a GOAWAY that tells what it has not seen. What the
    /// kernel has received can be read to the end, also after a reset.
    fn write_failed(&mut self, key: Key) {
        let now = self.now;
        match self.connections.get_mut(key) {
            Some(connection) if connection.closing.is_none() && connection.peer.is_backend() => {
                connection.write_failed_at = Some(now);
                self.leave_pool(key);
            }
            _ => self.remove(key),
        }
    }

    fn emptied(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.h2.output().is_empty() {
            // Its memory was counted since, and it may have been told to go for that: its last words leave first.
            return self.mark_dirty(key);
        }
        let drained = connection.h2.is_drained();
        if connection.closing.is_some() || drained {
            let now = self.now;
            let says_goodbye = connection.closing.replace(now).is_none() || drained;
            if let (true, Transport::Tls(session)) = (says_goodbye, &mut connection.transport) {
                session.close_notify();
                let socket = connection.socket.as_ref();
                let _ = session.flush(|bytes| socket.try_write(bytes));
            }
            // The tick removes it when the peer does not close its side soon.
            let _ = socket2::SockRef::from(connection.socket.as_ref()).shutdown(std::net::Shutdown::Write);
            self.leave_pool(key);
        }
    }

    fn wait_until_writable(&mut self, key: Key) {
        let (Some(connection), Some(shard)) = (self.connections.get_mut(key), self.shard.upgrade()) else {
            return;
        };
        connection.blocked = true;
        let waiting = shard.clone();
        shard.spawn_about_one(async move {
            std::future::poll_fn(|context| waiting.worker().poll_writable(key, context)).await;
            let mut worker = waiting.worker();
            if let Some(connection) = worker.connections.get_mut(key) {
                connection.blocked = false;
            }
            worker.mark_dirty(key);
        });
    }

    fn poll_writable(&mut self, key: Key, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Poll::Ready(());
        };
        connection.writer = Some(context.waker().clone());
        connection.socket.as_ref().poll_write_ready(context).map(|_| ())
    }
}

/// Writes until nothing is left, the socket is full, or the share of this turn is used up.
fn write(connection: &mut Connection) -> Flushed {
    for _ in 0..FLUSH_ROUNDS {
        let written = match &mut connection.transport {
            Transport::Tls(session) => write_tls(&mut connection.h2, session, connection.socket.as_ref()),
            Transport::Plaintext => write_plain(&mut connection.h2, connection.socket.as_ref()),
            Transport::Lent => return Flushed::More,
        };
        match written {
            Ok(()) => connection.h2.pump(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
            Err(_) => return Flushed::Lost,
        }
        if connection.h2.output().is_empty() {
            return Flushed::Empty;
        }
    }
    Flushed::More
}

fn write_tls(
    h2: &mut http2::Connection,
    session: &mut Session,
    socket: &tokio::net::TcpStream,
) -> io::Result<()> {
    while !h2.output().is_empty() {
        let n = session.write(h2.output(), |bytes| socket.try_write(bytes))?;
        h2.advance(n);
    }
    session.flush(|bytes| socket.try_write(bytes))
}

fn write_plain(h2: &mut http2::Connection, socket: &tokio::net::TcpStream) -> io::Result<()> {
    while !h2.output().is_empty() {
        let n = socket.try_write(h2.output())?;
        h2.advance(n);
    }
    Ok(())
}
