//! Payload that waits on one stream.

/// A queue of octets that never holds much more memory than what waits in it: 5,000 streams with 8 KiB each are 40 MB,
/// not 80.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    buffer: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            // Only when at least a quarter of what moves has left since: else pushes would be quadratic.
            if self.start >= self.len() / 4 {
                self.compact();
            }
            let len = self.buffer.len() + bytes.len();
            if len > self.buffer.capacity() {
                // An eighth to spare keeps many small pushes linear.
                let room = (len + len / 8).next_multiple_of(256);
                self.buffer.reserve_exact(room - self.buffer.len());
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The first `n` octets, or fewer.
    pub(crate) fn front(&self, n: usize) -> &[u8] {
        let end = self.buffer.len().min(self.start + n);
        self.buffer.get(self.start..end).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.buffer.len().min(self.start + n);
        if self.is_empty() {
            *self = Self::default();
        } else if self.start >= self.buffer.len() / 2 + 4096 {
            // Moved octets are fewer than those consumed since the last time.
            self.compact();
            self.buffer.shrink_to(self.buffer.len());
        }
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_leave_in_the_order_in_which_they_came() {
        let mut queue = Queue::default();
        let (mut next_in, mut next_out) = (0_u32, 0_u32);
        let mut random = 12345_u32;
        for _ in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (random >> 20) as usize;
            if random & 0x1000 == 0 {
                let bytes: Vec<u8> = (0..n as u32).map(|i| (next_in + i) as u8).collect();
                next_in += n as u32;
                queue.push(&bytes);
            } else {
                let n = n.min(queue.len());
                let want: Vec<u8> = (0..n as u32).map(|i| (next_out + i) as u8).collect();
                assert_eq!(queue.front(n), want);
                queue.consume(n);
                next_out += n as u32;
            }
            assert_eq!(queue.len() as u32, next_in - next_out);
        }
    }

    #[test]
    fn memory_stays_near_what_is_queued() {
        let mut queue = Queue::default();
        for _ in 0..1638 {
            queue.push(b"12345");
        }
        assert_eq!(queue.len(), 8190);
        assert!(
            queue.buffer.capacity() <= 9 * 1024 + 512,
            "{}",
            queue.buffer.capacity()
        );
        for _ in 0..100 {
            queue.consume(5000);
            queue.push(&[7; 5000]);
            assert!(
                queue.buffer.capacity() <= 20 * 1024,
                "{}",
                queue.buffer.capacity()
            );
        }
        queue.consume(8190);
        assert_eq!(queue.buffer.capacity(), 0);
    }
}
