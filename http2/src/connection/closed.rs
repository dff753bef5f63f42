//! What is remembered of streams that are gone.

use std::collections::VecDeque;

/// Streams that we reset while the peer could still send, by id.
const RESETS: usize = 256;

/// A small memory of the closed streams that the peer opened (RFC 9113 §5.1, state *closed*): the rules differ by how
/// a stream was closed, and ids below the highest one that were never used are an error of their own.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// Closed by END_STREAM on both sides or by the peer's RST_STREAM: the last few.
    ended: [u32; 4],
    next: u8,
    /// Reset by us: what was in flight is ignored. The oldest are forgotten first.
    reset: VecDeque<u32>,
}

impl Closed {
    pub(super) fn heap(&self) -> usize {
        self.reset.capacity() * 4
    }

    #[inline]
    pub(super) fn ended(&mut self, id: u32) {
        if let Some(place) = self.ended.get_mut(usize::from(self.next % 4)) {
            *place = id;
        }
        self.next = self.next.wrapping_add(1);
    }

    pub(super) fn reset(&mut self, id: u32) {
        if self.reset.len() >= RESETS {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
    }

    pub(super) fn has_ended(&self, id: u32) -> bool {
        self.ended.contains(&id)
    }

    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut closed = Closed::default();
        for n in 0..1000 {
            closed.reset(2 * n + 1);
            closed.ended(2 * n + 1);
        }
        assert!(closed.was_reset(1999) && closed.was_reset(1489) && !closed.was_reset(1487));
        assert!(closed.has_ended(1993) && !closed.has_ended(1991));
        assert_eq!(closed.reset.len(), RESETS);
    }
}
