//! The memory of handshakes that have not ended, and which of them gives way to the others.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::PROCESS_MEMORY;
use crate::slab::Key;
use crate::worker::{Worker, WorkerHandle, report_limit};

/// The most memory that an ordinary handshake keeps: it gives way to no other.
const ORDINARY_HANDSHAKE: usize = 4 << 10;
/// A handshake that keeps more than an ordinary one.
#[derive(Debug)]
pub(super) struct LongHandshake {
    held: usize,
    since: Instant,
    gives_way: Arc<Notify>,
}

impl LongHandshake {
    /// Which gives way first: what was kept, for as long as it was.
    fn weight(&self, now: Instant) -> u128 {
        (1 + now.saturating_duration_since(self.since).as_millis()) * self.held as u128
    }
}

/// The memory that an unfinished handshake keeps of its client's bytes; counted until it is dropped.
pub(crate) struct HandshakeMemory<'a> {
    handle: &'a WorkerHandle,
    counted: usize,
    max_flight: usize,
    /// Its entry among those that keep much, as long as it need not end for others.
    long: Option<Key>,
    gives_way: Arc<Notify>,
}

impl<'a> HandshakeMemory<'a> {
    /// For a handshake of whose client one flight has at most `max_flight` bytes. `gives_way` is notified when it has to
    /// end for the others.
    pub(crate) fn new(handle: &'a WorkerHandle, max_flight: usize, gives_way: Arc<Notify>) -> Self {
        Self {
            handle,
            counted: 0,
            max_flight,
            long: None,
            gives_way,
        }
    }

    /// Bytes of one flight of this client, at most.
    pub(crate) fn max_flight(&self) -> usize {
        self.max_flight
    }

    /// The handshake keeps `now` bytes.
    pub(crate) fn count(&mut self, now: usize) {
        if now == self.counted {
            return;
        }
        let mut worker = self.handle.worker();
        let memory = &mut worker.memory;
        let entry = self.long.map(|key| memory.long_handshakes.get_mut(key));
        match entry {
            // It has to end for others, and is not counted any more.
            Some(None) => return,
            Some(Some(entry)) if now > ORDINARY_HANDSHAKE => entry.held = now,
            Some(Some(_)) => {
                if let Some(key) = self.long.take() {
                    memory.long_handshakes.remove(key);
                }
            }
            None if now > ORDINARY_HANDSHAKE => {
                self.long = Some(memory.long_handshakes.insert(LongHandshake {
                    held: now,
                    since: Instant::now(),
                    gives_way: self.gives_way.clone(),
                }));
            }
            None => {}
        }
        memory.handshakes = (memory.handshakes + now).saturating_sub(self.counted);
        memory.held = (memory.held + now).saturating_sub(self.counted);
        self.counted = now;
        worker.keep_handshakes_within_part();
        worker.publish();
    }
}

impl Drop for HandshakeMemory<'_> {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl Worker {
    /// The handshakes that have kept most for longest end until the others are within their part: no client gives way for
    /// one who may never be one.
    fn keep_handshakes_within_part(&mut self) {
        while self.memory.handshakes > self.part() {
            let (now, long) = (Instant::now(), &mut self.memory.long_handshakes);
            let heaviest = long.iter().max_by_key(|(_, long)| long.weight(now));
            let Some(ended) = heaviest.map(|(key, _)| key).and_then(|key| long.remove(key)) else {
                return;
            };
            self.memory.handshakes = self.memory.handshakes.saturating_sub(ended.held);
            self.memory.held = self.memory.held.saturating_sub(ended.held);
            ended.gives_way.notify_one();
            report_limit(&self.metrics, PROCESS_MEMORY, None);
        }
    }
}
