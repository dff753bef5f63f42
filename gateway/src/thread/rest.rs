//! A worker between a panic and its next start: its commands are obeyed, and its sockets served by the others.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::Exit;
use super::accept::{self, EXHAUSTED_PAUSE};
use crate::listener::BoundListener;
use crate::worker::{Command, SharedState};

/// Waits for `time`, or until the gateway is gone.
pub(super) fn rest(
    index: usize,
    runtime: &Runtime,
    shared: &Arc<SharedState>,
    commands: &mut mpsc::Receiver<Command>,
    time: Duration,
) -> Exit {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            tokio::time::timeout(time, Resting::of(index, shared).attend(commands))
                .await
                .unwrap_or(Exit::Panicked)
        })
    }));
    outcome.unwrap_or_else(|_| {
        std::thread::sleep(time);
        Exit::Panicked
    })
}

struct Resting<'a> {
    index: usize,
    shared: &'a Arc<SharedState>,
    sockets: Vec<(TcpListener, Arc<BoundListener>)>,
}

impl<'a> Resting<'a> {
    fn of(index: usize, shared: &'a Arc<SharedState>) -> Self {
        let mut resting = Self {
            index,
            shared,
            sockets: Vec::new(),
        };
        resting.listen();
        resting
    }

    /// On the sockets of the newest snapshot, unless the gateway drains.
    fn listen(&mut self) {
        let snapshot = self.shared.snapshot.load();
        self.sockets.clear();
        for listener in &snapshot.listeners {
            match listener.socket(self.index).and_then(TcpListener::from_std) {
                Ok(_) if self.shared.draining.load(Ordering::Relaxed) => {
                    accept::stop_listening(self.index, listener, |stream, peer| {
                        self.give_away(stream, peer, listener);
                    });
                }
                Ok(socket) => self.sockets.push((socket, listener.clone())),
                Err(error) => {
                    let name = &listener.settings.name;
                    tracing::error!(listener = %name, %error, "a listening socket cannot be used");
                }
            }
        }
    }

    /// Resolves when the gateway is gone.
    async fn attend(mut self, commands: &mut mpsc::Receiver<Command>) -> Exit {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return Exit::Stopped,
                    Some(Command::HandOver { stream, peer, listener }) => self.give_away(stream, peer, &listener),
                    // What is newest, the worker knows when it starts.
                    Some(Command::Reload(_) | Command::Drain) => self.listen(),
                    Some(Command::Close) => {}
                },
                accepted = next(&self.sockets) => match accepted {
                    Some((stream, peer, listener)) => match stream.into_std() {
                        Ok(stream) => self.give_away(stream, peer, listener),
                        Err(error) => accept::lose(&self.shared.metrics.counters(self.index), &error, peer),
                    },
                    None => tokio::time::sleep(EXHAUSTED_PAUSE).await,
                },
            }
        }
    }

    /// To a worker that runs; where none does, the client is not kept waiting.
    fn give_away(&self, stream: std::net::TcpStream, peer: SocketAddr, listener: &Arc<BoundListener>) {
        let running = accept::least_loaded(self.shared, self.index);
        let mailbox = running.and_then(|(worker, _)| self.shared.peers.get(worker));
        let command = Command::HandOver {
            stream,
            peer,
            listener: listener.clone(),
        };
        if mailbox.is_none_or(|mailbox| mailbox.commands.try_send(command).is_err()) {
            let metrics = self.shared.metrics.counters(self.index);
            metrics.connection_accepted();
            metrics.connection_closed();
            accept::refuse(&metrics, "running_workers", peer);
        }
    }
}

/// The next connection on any of these; `None` where none can be accepted now.
async fn next(
    sockets: &[(TcpListener, Arc<BoundListener>)],
) -> Option<(tokio::net::TcpStream, SocketAddr, &Arc<BoundListener>)> {
    poll_fn(|context| {
        for (socket, listener) in sockets {
            match socket.poll_accept(context) {
                Poll::Ready(Ok((stream, peer))) => return Poll::Ready(Some((stream, peer, listener))),
                Poll::Ready(Err(error)) if !accept::is_about_one_connection(&error) => {
                    return Poll::Ready(None);
                }
                // The next one may be there already.
                Poll::Ready(Err(_)) => context.waker().wake_by_ref(),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}
