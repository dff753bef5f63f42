//! Counts that end with what they count: connections of the whole process, and those of them that have proved nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::telemetry::WorkerMetrics;

/// One count that all workers share.
#[derive(Debug, Default, Clone)]
pub(crate) struct Count(Arc<AtomicUsize>);

/// One unit of a [`Count`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Count);

/// A client connection that exists.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    _process: Permit,
    _worker: Permit,
    metrics: Arc<WorkerMetrics>,
}

impl Count {
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// `None` when there are `max`.
    pub(crate) fn take(&self, max: usize) -> Option<Permit> {
        let one_more = |now: usize| (now < max).then_some(now + 1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionPermit {
    /// Counts in the process and the worker; `None` when the process has `max` of them.
    pub(crate) fn take(
        (process, worker): (&Count, &Count),
        max: usize,
        metrics: &Arc<WorkerMetrics>,
    ) -> Option<Self> {
        let (_process, _worker) = (process.take(max)?, worker.take(usize::MAX)?);
        Some(Self {
            _process,
            _worker,
            metrics: metrics.clone(),
        })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ConnectionPermit, Count};

    #[test]
    fn a_permit_counts_as_long_as_it_lives() {
        let (process, worker) = (Count::default(), Count::default());
        let metrics = Arc::default();
        let first = ConnectionPermit::take((&process, &worker), 1, &metrics);
        assert!(first.is_some());
        assert!(ConnectionPermit::take((&process, &worker), 1, &metrics).is_none());
        assert_eq!((process.now(), worker.now()), (1, 1));
        drop(first);
        assert_eq!((process.now(), worker.now()), (0, 0));
        let handshakes = Count::default();
        let under_way = handshakes.take(1);
        assert!(under_way.is_some() && handshakes.take(1).is_none());
    }
}
