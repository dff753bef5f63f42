//! The handle by which a worker's own tasks reach it: every piece of work is begun here, and what panics in it is caught here.

use std::cell::{Cell, RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::scheduler::TurnScheduler;
use super::{Key, Worker, panics};
use crate::listener::BoundListener;
use crate::telemetry::event::Event;
use crate::telemetry::{HandshakeFailure, HttpRequest, TlsLabel, WorkerMetrics};

/// The handle by which a worker's own tasks reach it.
pub(crate) struct WorkerHandle {
    worker: RefCell<Worker>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) scheduler: TurnScheduler,
    /// A panic could not be got over: the worker ends.
    pub(crate) panicked: Notify,
    ends: Cell<bool>,
    /// Notifies tasks of connections that are in no table.
    pub(crate) drains: Notify,
}

impl WorkerHandle {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>, worker: impl FnOnce(Weak<Self>) -> Worker) -> Rc<Self> {
        Rc::new_cyclic(|handle| Self {
            worker: RefCell::new(worker(handle.clone())),
            metrics,
            scheduler: TurnScheduler::default(),
            panicked: Notify::new(),
            ends: Cell::new(false),
            drains: Notify::new(),
        })
    }

    pub(crate) fn worker(&self) -> RefMut<'_, Worker> {
        self.worker.borrow_mut()
    }

    /// Runs a task that the worker cannot be without. A panic in it ends the whole worker.
    pub(crate) fn spawn(
        self: &Rc<Self>,
        task: impl Future<Output = ()> + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let handle = self.clone();
        self.spawn_caught(task, move || handle.end())
    }

    /// Runs a task about one connection. A panic in it ends that connection.
    pub(crate) fn spawn_about_one(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let handle = self.clone();
        self.spawn_caught(task, move || {
            handle.get_over(None);
        });
    }

    fn spawn_caught(
        self: &Rc<Self>,
        task: impl Future<Output = ()> + 'static,
        caught: impl Fn() + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let handle = self.clone();
        // Boxed out here: inside, the task would be stored twice, once as captured and once as pinned.
        let mut task = Box::pin(task);
        tokio::task::spawn_local(poll_fn(move |context| {
            handle.worker().connections.take_touched();
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
            polled.unwrap_or_else(|_| {
                report_panic(&handle.metrics);
                caught();
                Poll::Ready(())
            })
        }))
    }

    /// Works on the worker's state. A panic ends the connection that was being worked on, and gives `None`; where
    /// there was none, the worker ends.
    pub(crate) fn contained<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = self.worker();
            worker.connections.take_touched();
            work(&mut worker)
        }));
        if done.is_err() {
            report_panic(&self.metrics);
            if !self.get_over(None) {
                self.end();
            }
        }
        done.ok()
    }

    /// Each panic leaves one connection less to work on.
    pub(crate) fn until_done(&self, work: impl Fn(&mut Worker)) {
        while !self.ends.get() && self.contained(&work).is_none() {}
    }

    /// Does what [`Self::contained`] does, about this connection.
    pub(crate) fn contained_about<R>(&self, key: Key, work: impl FnOnce() -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            report_panic(&self.metrics);
            self.get_over(Some(key));
        }
        done.ok()
    }

    /// Ends the connection that a panic was about, and the one that was being written to when it came: nobody knows
    /// what is half done in them. `false` if there was none.
    fn get_over(&self, about: Option<Key>) -> bool {
        // A certificate that was found for another handshake than the next.
        let _ = certstore::take_resolution();
        let done = catch_unwind(AssertUnwindSafe(|| self.worker().get_over(about)));
        done.unwrap_or_else(|_| {
            report_panic(&self.metrics);
            self.end();
            false
        })
    }

    fn end(&self) {
        self.ends.set(true);
        self.panicked.notify_one();
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.worker().snapshot.timeouts.handshake
    }

    pub(crate) fn handshake_done(&self, tls: TlsLabel, resumed: bool, took: Duration) {
        self.metrics.handshake_done(tls, resumed, took);
    }

    /// Resolves when the worker drains, at once if it does already.
    pub(crate) async fn drained(&self) {
        let draining = self.drains.notified();
        if !self.worker().draining {
            draining.await;
        }
    }

    pub(crate) fn http_request(&self, kind: HttpRequest) {
        self.metrics.http_request(kind);
    }

    pub(crate) fn challenge_answered(&self) {
        self.metrics.challenge_answered();
    }

    pub(crate) fn handshake_failed(
        &self,
        class: HandshakeFailure,
        why: Option<rustls::Error>,
        listener: &BoundListener,
        peer: SocketAddr,
    ) {
        self.metrics.handshake_failed(class);
        let (listener, peer) = (listener.settings.name.as_str(), peer.ip().to_canonical());
        Event::HandshakeFailed {
            class,
            listener,
            peer,
            error: why.as_ref(),
        }
        .report(Instant::now());
    }
}

/// Reports the panic that this thread has just caught.
pub(crate) fn report_panic(metrics: &WorkerMetrics) {
    metrics.panicked();
    let panic = panics::last();
    Event::Panicked {
        place: &panic.place,
        message: &panic.message,
    }
    .report(Instant::now());
}

/// Counts and reports a limit that somebody reached who has no connection in the table.
pub(crate) fn report_limit(metrics: &WorkerMetrics, limit: &'static str, peer: Option<SocketAddr>) {
    metrics.limit_reached(limit);
    Event::LimitReached {
        limit,
        peer: peer.map(|peer| peer.ip().to_canonical()),
    }
    .report(Instant::now());
}
