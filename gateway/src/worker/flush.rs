//! The writes at the end of a turn: each connection that has output is flushed once, those first whose output is
//! little and who have used little lately.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{EARLY_FLUSH, Key, MAX_OUTPUT, Worker};
use crate::connection::session::Session;
use crate::connection::{Connection, Peer, Transport};
use crate::{failpoint, forwarded};

/// A client that takes nothing and whose output has grown to this is not read from:
/// answers (heads, trailers, acknowledgements) are not under flow control.
pub(super) const PAUSE_OUTPUT: usize = 4 * MAX_OUTPUT;
/// Times that one connection may fill its output again within a flush.
const FLUSH_ROUNDS: usize = 4;
/// The time that flushing may use of a turn, above the last [`UNTIMED_FLUSHES`] of each kind.
const FLUSH_TIME: Duration = Duration::from_millis(2);
/// Flushes after which the clock is read.
const UNTIMED_FLUSHES: usize = 8;
/// Output of a client that is written after that of those who have less.
const MUCH_OUTPUT: usize = 8 << 10;

/// Connections with output.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Backends, and clients that ask for little.
    first: VecDeque<Key>,
    /// Clients that have used much lately, and those that have much output.
    later: VecDeque<Key>,
}

impl Dirty {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.later.is_empty()
    }
}

/// The result of a flush.
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
    /// The result when a little has been added to the output since.
    fn and_more(self) -> Self {
        if self == Self::Empty { Self::More } else { self }
    }
}

impl Connection {
    /// `true` if what waits to be written is more than a few answers. What a backend is sent is of many clients.
    fn writes_much(&self) -> bool {
        matches!(self.peer, Peer::Client(_)) && self.h2.output().len() >= MUCH_OUTPUT
    }
}

impl Worker {
    /// To be flushed when all that is ready has run.
    pub(crate) fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            if self.dirty.is_empty() {
                self.flusher.notify_one();
            }
            let queue = if self.now < connection.gives_way_until {
                &mut self.dirty.later
            } else {
                &mut self.dirty.first
            };
            queue.push_back(key);
        }
    }

    /// Flushes each dirty connection once, as far as the time goes. `true`: some come back next turn.
    pub(crate) fn flush_dirty(&mut self) -> bool {
        let began = Instant::now();
        let is_time_left =
            |flushed: usize| !flushed.is_multiple_of(UNTIMED_FLUSHES) || began.elapsed() < FLUSH_TIME;
        let mut flushed = 0;
        for _ in 0..self.dirty.first.len() {
            let Some(key) = self.dirty.first.pop_front() else {
                break;
            };
            if self.connections.get(key).is_some_and(|c| c.writes_much()) {
                self.dirty.later.push_back(key);
                continue;
            }
            self.flush_one(key);
            flushed += 1;
            if !is_time_left(flushed) {
                break;
            }
        }
        // Some of these in any case.
        for flushed in 1..=self.dirty.later.len() {
            let Some(key) = self.dirty.later.pop_front() else {
                break;
            };
            self.flush_one(key);
            if !is_time_left(flushed) {
                break;
            }
        }
        self.log.hand_over();
        self.metrics.turn();
        !self.dirty.is_empty()
    }

    fn flush_one(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.dirty = false;
            self.flush(key);
        }
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

    pub(super) fn flush(&mut self, key: Key) {
        failpoint::hit("flush");
        let max_budget = self.snapshot.limits.connection_memory;
        let Some(connection) = self.connections.get_mut(key) else {
            return debug_assert!(false, "whoever is flushed is in the table");
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

    /// A backend that takes no more may have said why: answers, and a GOAWAY that says what it has not seen. What the
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
            // Its memory was counted since, and it may have been aborted for that: its last words leave first.
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
                session.forget();
            }
            // The tick removes it when the peer does not close its side soon.
            let _ = socket2::SockRef::from(connection.socket.as_ref()).shutdown(std::net::Shutdown::Write);
            self.leave_pool(key);
            self.count_held(key);
        }
    }

    fn wait_until_writable(&mut self, key: Key) {
        let (Some(connection), Some(handle)) = (self.connections.get_mut(key), self.handle.upgrade()) else {
            return;
        };
        connection.blocked = true;
        let waiting = handle.clone();
        handle.spawn_about_one(async move {
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
