//! The thread of a worker: its runtime, the loop of its turns, and its next start after a panic.

mod accept;
mod rest;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use self::accept::Acceptors;
use crate::telemetry::event::Event;
use crate::worker::panics::{self, Rests};
use crate::worker::{Command, SharedState, TICK, Worker, WorkerHandle, report_panic};

/// The end of a worker's loop.
#[derive(Debug, PartialEq, Eq)]
enum Exit {
    /// The gateway was dropped.
    Stopped,
    /// Something panicked that could not be got over; its connections are gone.
    Panicked,
}

/// The life of a worker's thread.
pub(crate) fn begin(
    index: usize,
    shared: &Arc<SharedState>,
    mut inbox: mpsc::Receiver<Command>,
    ready: std::sync::mpsc::Sender<io::Result<()>>,
) {
    panics::keep_on_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, made) = match runtime {
        Ok(runtime) => (Some(runtime), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let _ = ready.send(made);
    // The start waits until every worker has let go of it.
    drop(ready);
    if let Some(runtime) = runtime {
        keep_running(index, &runtime, shared, &mut inbox);
    }
}

/// No number of panics ends the process: what has brought one on may come again, and other workers serve meanwhile.
fn keep_running(
    index: usize,
    runtime: &Runtime,
    shared: &Arc<SharedState>,
    inbox: &mut mpsc::Receiver<Command>,
) {
    let mut rests = Rests::default();
    loop {
        let began = Instant::now();
        if run(index, runtime, shared, inbox) == Exit::Stopped {
            return;
        }
        let now = Instant::now();
        let rest = rests.after(now.duration_since(began));
        Event::WorkerPanicked { worker: index, rest }.report(now);
        let resting = shared.peers.get(index).map(|mailbox| &mailbox.resting);
        let is_resting = |rests| {
            if let Some(resting) = resting {
                resting.store(rests, Ordering::Relaxed);
            }
        };
        is_resting(true);
        let exit = rest::rest(index, runtime, shared, inbox, rest);
        is_resting(false);
        if exit == Exit::Stopped {
            return;
        }
    }
}

/// Runs a worker on this thread until it is stopped or something panics.
fn run(
    index: usize,
    runtime: &Runtime,
    shared: &Arc<SharedState>,
    commands: &mut mpsc::Receiver<Command>,
) -> Exit {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        LocalSet::new().block_on(runtime, turn_by_turn(index, shared.clone(), commands))
    }));
    outcome.unwrap_or_else(|_| {
        report_panic(&shared.metrics.counters(index));
        Exit::Panicked
    })
}

async fn turn_by_turn(
    index: usize,
    shared: Arc<SharedState>,
    commands: &mut mpsc::Receiver<Command>,
) -> Exit {
    let flusher = Rc::new(Notify::new());
    let metrics = shared.metrics.worker(index);
    let handle = WorkerHandle::new(metrics.clone(), |handle| {
        Worker::new(index, shared, metrics, handle, flusher.clone())
    });
    handle.spawn(flush_when_dirty(handle.clone(), flusher));
    handle.spawn(do_chores(handle.clone()));
    let scheduler = handle.clone();
    handle.spawn(async move { scheduler.scheduler.call_up().await });
    let mut acceptors = Acceptors::default();
    acceptors.apply_snapshot(&handle);
    if handle.worker().draining {
        // The command came before the panic, or will come again.
        acceptors.stop(&handle);
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Stop) => return Exit::Stopped,
                Some(Command::HandOver { stream, peer, listener }) => accept::take_over(&handle, stream, peer, listener),
                Some(Command::Reload(snapshot)) => {
                    handle.contained(|worker| worker.reload(snapshot));
                    if !handle.worker().draining {
                        acceptors.apply_snapshot(&handle);
                    }
                }
                Some(Command::Drain) => {
                    acceptors.stop(&handle);
                    handle.until_done(Worker::drain);
                    handle.drains.notify_waiters();
                }
                Some(Command::Close) => handle.until_done(Worker::close_all),
            },
            _ = tick.tick() => {
                handle.contained(Worker::tick);
            }
            () = handle.panicked.notified() => return Exit::Panicked,
        }
    }
}

async fn flush_when_dirty(handle: Rc<WorkerHandle>, flusher: Rc<Notify>) {
    loop {
        flusher.notified().await;
        // After a panic others are left to flush.
        while handle.contained(Worker::flush_dirty).unwrap_or(true) {
            // The sockets are asked first, and whoever is ready goes first.
            handle.scheduler.turn_is_over();
            tokio::task::yield_now().await;
        }
        handle.scheduler.turn_is_over();
    }
}

/// Work that is begun at once and takes longer than a turn may last: a part of it between two looks at the sockets.
async fn do_chores(handle: Rc<WorkerHandle>) {
    let wanted = handle.worker().chores.clone();
    loop {
        wanted.notified().await;
        // After a panic the rest is left to do.
        while handle.contained(Worker::do_chores).unwrap_or(true) {
            tokio::task::yield_now().await;
        }
    }
}
