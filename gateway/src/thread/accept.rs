//! Accepting, and sharing what was accepted: connections are few and long, so a
//! worker that has more than its share hands the raw socket to the one that has least.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bridge;
use crate::connection::permit::ConnectionPermit;
use crate::failpoint;
use crate::listener::BoundListener;
use crate::serve::{Accepted, serve};
use crate::settings::{Http1, Protocol};
use crate::telemetry::{HandshakeFailure, WorkerMetrics};
use crate::worker::{Command, SharedState, WorkerHandle, report_limit};

/// Pause after an accept that failed for want of descriptors or memory, so as not to spin.
pub(super) const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Octets that an unfinished handshake may come to: its first bytes, the session, and its task. A connection of HTTP/1.1
/// comes to as many.
const HANDSHAKE_MEMORY: usize = 16 << 10;
/// The part of the process's memory that connections of HTTP/1.1 may have.
const HTTP1_PART: usize = 4;
/// The name of the limit of connections of all kinds.
const MAX_CONNECTIONS: &str = "max_connections";
/// Handing over is not worth its wake-up for a smaller difference.
const WORTH_HANDING_OVER: usize = 2;

/// The accepting tasks of one worker, one per listener.
#[derive(Default)]
pub(super) struct Acceptors(Vec<(Arc<BoundListener>, JoinHandle<()>)>);

impl Acceptors {
    /// Accepts on the listeners of the worker's snapshot; those that stayed the same are left alone.
    pub(super) fn apply_snapshot(&mut self, handle: &Rc<WorkerHandle>) {
        let snapshot = handle.worker().snapshot.clone();
        let wanted = &snapshot.listeners;
        self.0.retain(|(running, task)| {
            let stays = wanted.iter().any(|listener| Arc::ptr_eq(listener, running));
            if !stays {
                task.abort();
            }
            stays
        });
        for listener in wanted {
            if !self.0.iter().any(|(running, _)| Arc::ptr_eq(listener, running)) {
                let task = handle.spawn(accept(handle.clone(), listener.clone()));
                self.0.push((listener.clone(), task));
            }
        }
    }

    /// Takes what the kernel has accepted already, then refuses newcomers: they find another replica
    /// at once instead of waiting here.
    pub(super) fn stop(&mut self, handle: &Rc<WorkerHandle>) {
        let index = handle.worker().index;
        for (listener, task) in self.0.drain(..) {
            task.abort();
            stop_listening(index, &listener, |stream, peer| {
                take_over(handle, stream, peer, listener.clone());
            });
        }
    }
}

/// Gives away what the kernel has accepted already, then refuses newcomers.
pub(super) fn stop_listening(index: usize, listener: &BoundListener, give: impl Fn(TcpStream, SocketAddr)) {
    let Ok(socket) = listener.socket(index) else {
        return;
    };
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                let _ = stream.set_nonblocking(true);
                give(stream, peer);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(_) => break,
        }
    }
    // Other handles of this socket are open; this ends its listening for all of them.
    let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
}

async fn accept(handle: Rc<WorkerHandle>, listener: Arc<BoundListener>) {
    let index = handle.worker().index;
    let socket = match listener.socket(index).and_then(TcpListener::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            let name = &listener.settings.name;
            return tracing::error!(listener = %name, %error, "a listening socket cannot be used");
        }
    };
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                failpoint::hit("accept");
                place(&handle, stream, peer, &listener);
            }
            // The connection was gone before it was accepted; the next one need not be.
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::debug!(%error, "connections cannot be accepted for now");
                report_limit(&handle.metrics, "file_descriptors", None);
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

pub(super) fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn place(
    handle: &Rc<WorkerHandle>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    listener: &Arc<BoundListener>,
) {
    let (shared, index) = {
        let worker = handle.worker();
        (worker.shared.clone(), worker.index)
    };
    let Some(other) = less_loaded(&shared, index) else {
        return start(handle, stream, peer, listener.clone());
    };
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return lose(&handle.metrics, &error, peer),
    };
    let command = Command::HandOver {
        stream,
        peer,
        listener: listener.clone(),
    };
    let returned = match shared.peers.get(other) {
        Some(mailbox) => mailbox
            .commands
            .try_send(command)
            .map_err(tokio::sync::mpsc::error::TrySendError::into_inner),
        None => Err(command),
    };
    if let Err(Command::HandOver {
        stream,
        peer,
        listener,
    }) = returned
    {
        take_over(handle, stream, peer, listener);
    }
}

/// The least loaded worker, if `index` has more than its share beside it.
fn less_loaded(shared: &SharedState, index: usize) -> Option<usize> {
    let mine = shared.peers.get(index)?.connections.now();
    let (least, load) = least_loaded(shared, index)?;
    (mine >= load + WORTH_HANDING_OVER).then_some(least)
}

/// The one of the others that runs and has the fewest connections, and how many these are.
pub(super) fn least_loaded(shared: &SharedState, index: usize) -> Option<(usize, usize)> {
    let others = shared
        .peers
        .iter()
        .enumerate()
        .filter(|(other, mailbox)| *other != index && !mailbox.resting.load(Ordering::Relaxed));
    others
        .map(|(other, mailbox)| (other, mailbox.connections.now()))
        .min_by_key(|(_, load)| *load)
}

/// A raw socket becomes this worker's for ever.
pub(super) fn take_over(
    handle: &Rc<WorkerHandle>,
    stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<BoundListener>,
) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => start(handle, stream, peer, listener),
        Err(error) => lose(&handle.metrics, &error, peer),
    }
}

/// The system could not hand over a socket that it has accepted: it has nothing left to watch it with.
pub(super) fn lose(metrics: &WorkerMetrics, error: &io::Error, peer: SocketAddr) {
    tracing::debug!(%error, %peer, "a connection that was accepted cannot be used");
    metrics.connection_accepted();
    metrics.connection_closed();
    refuse(metrics, "file_descriptors", peer);
}

fn start(
    handle: &Rc<WorkerHandle>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    listener: Arc<BoundListener>,
) {
    let at = Instant::now();
    let place = {
        let worker = handle.worker();
        let (shared, limits) = (&worker.shared, &worker.snapshot.limits);
        let Some(mine) = shared.peers.get(worker.index) else {
            return debug_assert!(false, "a worker is among its peers");
        };
        worker.metrics.connection_accepted();
        let fitting = limits.memory_for_peers() / HANDSHAKE_MEMORY;
        let (places, max, limit, others) = match &listener.settings.protocol {
            Protocol::Http2(_) => (
                &shared.handshakes,
                limits.max_handshakes.min(fitting),
                "max_handshakes",
                &shared.http1,
            ),
            Protocol::Http1(_) => (
                &shared.http1,
                limits.max_http1_connections.min(fitting / HTTP1_PART),
                "max_http1_connections",
                &shared.handshakes,
            ),
        };
        let counts = (&shared.connections, &mine.connections);
        let counted = || {
            let unproven = places.count(max).ok_or(limit)?;
            let connection = ConnectionPermit::take(counts, limits.max_connections, &worker.metrics);
            Ok((connection.ok_or(MAX_CONNECTIONS)?, unproven))
        };
        loop {
            let full = match counted() {
                Ok(counted) => break places.take(counted, peer, at),
                Err(full) => full,
            };
            let is_all = full == MAX_CONNECTIONS;
            // Since a reload there may be more than are allowed: then nobody's end makes room.
            let is_in_vain = is_all && shared.connections.now() > limits.max_connections;
            let others = || is_all.then(|| others.make_room(at)).flatten();
            let gone = || places.make_room(at).or_else(others);
            // Another worker's newcomer may take the room.
            let Some(gone) = (!is_in_vain).then(gone).flatten() else {
                worker.metrics.connection_closed();
                return refuse(&worker.metrics, full, peer);
            };
            report_limit(&worker.metrics, full, Some(gone));
        }
    };
    let accepted = Accepted {
        stream,
        peer,
        listener,
        at,
        place,
    };
    match accepted.listener.settings.protocol {
        Protocol::Http2(_) => handle.spawn_about_one(serve(handle.clone(), accepted)),
        Protocol::Http1(Http1 { redirect }) => {
            handle.spawn_about_one(bridge::http::serve(handle.clone(), accepted, redirect));
        }
    }
}

/// The socket is dropped without a word: a handshake is what cannot be afforded.
pub(super) fn refuse(metrics: &WorkerMetrics, limit: &'static str, peer: SocketAddr) {
    metrics.handshake_failed(HandshakeFailure::TooMany);
    report_limit(metrics, limit, Some(peer));
}
