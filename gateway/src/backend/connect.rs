//! Making a connection to an endpoint, beside the turns of the worker: TCP, then the peer's SETTINGS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http2::ErrorCode;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{sleep_until, timeout_at};

use crate::connection::{BackendPeer, Connection, Peer, Transport, socket};
use crate::pool::spoken::{Opening, Spoken};
use crate::settings;
use crate::slab::Key;
use crate::snapshot::RunningBackend;
use crate::telemetry::event::Event;
use crate::worker::reading::read_until_closed;
use crate::worker::scheduler::Account;
use crate::worker::{Worker, WorkerHandle};

/// A fault for which an endpoint gets no RPC.
#[derive(Debug)]
pub(super) enum Fault {
    Connect(io::Error),
    /// No SETTINGS within `connect_timeout`.
    Silent,
    /// The peer closed before its SETTINGS.
    Closed,
    Spoke(Spoken),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Silent => f.write_str("it sent no HTTP/2 SETTINGS within connect_timeout"),
            Self::Closed => {
                f.write_str("it accepted the connection and closed it before its HTTP/2 SETTINGS")
            }
            Self::Spoke(spoken) => spoken.fmt(f),
        }
    }
}

impl Worker {
    /// Starts a task that connects; RPCs wait in the pool meanwhile, bounded by `connect_timeout`.
    pub(super) fn connect(&mut self, backend: Arc<RunningBackend>, endpoint: SocketAddr) {
        let Some(handle) = self.handle.upgrade() else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(backend.label.index()).and_then(Option::as_mut) {
            pool.connecting(endpoint);
        }
        let on = handle.clone();
        handle.spawn(async move { connect(on, backend, endpoint).await });
    }

    /// TCP is connected: our preface and SETTINGS are in the output.
    fn greet(
        &mut self,
        backend: &RunningBackend,
        endpoint: SocketAddr,
        stream: TcpStream,
    ) -> Option<(Key, OwnedReadHalf)> {
        let (read, write) = stream.into_split();
        let pool = backend.label.index();
        let h2 = http2::Connection::client(self.backend_config());
        let id = {
            let known = self.pools.get_mut(pool).and_then(Option::as_mut)?;
            known.id_of(endpoint)?
        };
        let peer = BackendPeer {
            pool,
            endpoint,
            id,
            counted: false,
        };
        let peer = Peer::Backend(peer, Opening::default());
        let key = self.enter(Connection::new(
            h2,
            peer,
            Transport::Plaintext,
            write,
            Instant::now(),
        ));
        if let Some(pool) = self.pools.get_mut(pool).and_then(Option::as_mut) {
            pool.greeting(endpoint, key);
        }
        Some((key, read))
    }

    /// The time for the peer's SETTINGS is over.
    fn greeting_is_due(&mut self, key: Key) {
        self.now = Instant::now();
        // One that is closing has failed before, and its endpoint may be at another attempt.
        let waits = |c: &Connection| !c.h2.is_established() && c.closing.is_none();
        if self.connections.get(key).is_some_and(|c| waits(c)) {
            self.greeting_failed(key, Fault::Silent);
            self.abort(key, ErrorCode::SETTINGS_TIMEOUT, b"no SETTINGS in time");
        }
    }

    /// A connection of which there was hope will not be ready. What it spoke says more than `fault`.
    pub(super) fn greeting_failed(&mut self, key: Key, fault: Fault) {
        let Some(Peer::Backend(peer, opening)) = self.connections.get(key).map(|c| &c.peer) else {
            return debug_assert!(false, "a greeting is of a backend in the table");
        };
        let (peer, spoken) = (*peer, opening.spoken());
        let Some(pool) = self.pools.get(peer.pool).and_then(Option::as_ref) else {
            return debug_assert!(false, "a backend's connection has a pool");
        };
        let backend = pool.backend.clone();
        self.attempt_failed(&backend, peer.endpoint, spoken.map_or(fault, Fault::Spoke));
    }

    fn attempt_failed(&mut self, backend: &Arc<RunningBackend>, endpoint: SocketAddr, fault: Fault) {
        self.metrics.backend_failed(backend.label);
        Event::EndpointDown {
            backend: &backend.name,
            endpoint,
            error: format_args!("{fault}"),
        }
        .report(self.now);
        let random = crate::forwarded::next(&mut self.random);
        let spoke = match fault {
            Fault::Spoke(spoken) => Some(spoken),
            Fault::Connect(_) | Fault::Silent | Fault::Closed => None,
        };
        let index = backend.label.index();
        if let Some(pool) = self.pools.get_mut(index).and_then(Option::as_mut) {
            pool.failed(endpoint, spoke, self.now, random);
        }
        // Who waits has another endpoint to wait for, or is refused.
        self.connect_wanted(index);
    }
}

async fn connect(handle: Rc<WorkerHandle>, backend: Arc<RunningBackend>, endpoint: SocketAddr) {
    let deadline = tokio::time::Instant::now() + backend.settings.connect_timeout;
    let admin = handle.worker().snapshot.admin;
    let connected = timeout_at(deadline, reach(endpoint, admin)).await;
    let stream = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) => {
            let mut worker = handle.worker();
            worker.now = Instant::now();
            return worker.attempt_failed(&backend, endpoint, Fault::Connect(error));
        }
    };
    let _ = stream.set_nodelay(true);
    socket::keep_alive_backend(&stream, backend.settings.tcp_user_timeout);
    let Some((key, read)) = handle.worker().greet(&backend, endpoint, stream) else {
        return;
    };
    let mut reading = pin!(read_until_closed(&handle, key, read, Account::backend()));
    tokio::select! {
        biased;
        () = &mut reading => return,
        () = sleep_until(deadline) => {}
    }
    handle.worker().greeting_is_due(key);
    reading.await;
}

/// A connection to anybody but our own admin interface, which does for callers on this machine what no client may
/// ask for. A name may resolve to it, and so may the port of another address of this machine.
async fn reach(endpoint: SocketAddr, admin: Option<SocketAddr>) -> io::Result<TcpStream> {
    let own = || io::Error::other("this is the admin interface of this gateway, and no backend");
    if admin.is_some_and(|admin| settings::reaches(endpoint, admin)) {
        return Err(own());
    }
    let stream = TcpStream::connect(endpoint).await?;
    if let Some(admin) = admin
        && admin.ip().is_unspecified()
        && admin.port() == endpoint.port()
        && settings::is_this_machine(stream.local_addr()?, stream.peer_addr()?)
    {
        return Err(own());
    }
    Ok(stream)
}
