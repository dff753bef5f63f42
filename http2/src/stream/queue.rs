//! Payload that waits on one stream.

use std::collections::VecDeque;

/// Octets of a piece that is full. One DATA frame's worth, so that full pieces leave as full frames.
const PIECE: usize = 16_384;
/// The first piece starts with this much and doubles up to [`PIECE`].
const FIRST: usize = 256;

/// A queue of octets in pieces: nothing that is queued is moved again when more comes, however much it is, and 5,000
/// streams with 8 KiB each are 40 MB, not 80.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Vec<u8>>,
    /// Octets of the first piece that have left.
    start: usize,
    len: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets that it has from the allocator. Looks at all pieces.
    pub(crate) fn heap(&self) -> usize {
        self.pieces.capacity() * size_of::<Vec<u8>>() + self.pieces.iter().map(Vec::capacity).sum::<usize>()
    }

    /// Returns how much its heap has grown.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> usize {
        let (mut grown, spine) = (0, self.pieces.capacity());
        self.len += bytes.len();
        while !bytes.is_empty() {
            let piece = match self.pieces.back_mut() {
                Some(piece) if piece.len() < PIECE => piece,
                _ => self.pieces.push_back_mut(Vec::new()),
            };
            let n = bytes.len().min(PIECE - piece.len());
            let (now, later) = bytes.split_at(n);
            if piece.capacity() - piece.len() < n {
                let room = (piece.len() + n).next_power_of_two().clamp(FIRST, PIECE);
                let before = piece.capacity();
                piece.reserve_exact(room - piece.len());
                grown += piece.capacity() - before;
            }
            piece.extend_from_slice(now);
            bytes = later;
        }
        grown + (self.pieces.capacity() - spine) * size_of::<Vec<u8>>()
    }

    /// The first `n` octets, or fewer where a piece ends; none only if nothing is queued.
    pub(crate) fn front(&self, n: usize) -> &[u8] {
        let Some(piece) = self.pieces.front() else {
            return &[];
        };
        let end = piece.len().min(self.start + n);
        piece.get(self.start..end).unwrap_or_default()
    }

    /// Lets go of the first `n` octets. Returns how much its heap has shrunk.
    pub(crate) fn consume(&mut self, n: usize) -> usize {
        let mut freed = 0;
        let mut left = n.min(self.len);
        self.len -= left;
        while let Some(piece) = self.pieces.front() {
            let here = piece.len() - self.start;
            if left < here {
                break;
            }
            left -= here;
            self.start = 0;
            freed += self.pieces.pop_front().map_or(0, |piece| piece.capacity());
        }
        self.start += left;
        if self.pieces.is_empty() {
            freed += self.pieces.capacity() * size_of::<Vec<u8>>();
            *self = Self::default();
        }
        freed
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
        let mut heap = 0;
        for _ in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (random >> 20) as usize;
            if random & 0x1000 == 0 {
                let bytes: Vec<u8> = (0..n as u32).map(|i| (next_in + i) as u8).collect();
                next_in += n as u32;
                heap += queue.push(&bytes);
            } else {
                let n = n.min(queue.len());
                let want: Vec<u8> = (0..n as u32).map(|i| (next_out + i) as u8).collect();
                let front = queue.front(n).len();
                assert!(front > 0 || n == 0);
                assert_eq!(queue.front(n), want.get(..front).unwrap());
                heap -= queue.consume(n);
                next_out += n as u32;
            }
            assert_eq!((queue.len() as u32, queue.heap()), (next_in - next_out, heap));
        }
    }

    #[test]
    fn memory_stays_near_what_is_queued() {
        let mut queue = Queue::default();
        for _ in 0..1638 {
            queue.push(b"12345");
        }
        assert_eq!((queue.len(), queue.heap()), (8190, 8192 + 4 * 24));
        for _ in 0..100 {
            queue.consume(5000);
            queue.push(&[7; 5000]);
            assert!(queue.heap() <= 2 * PIECE + 4 * 24, "{}", queue.heap());
        }
        queue.consume(8190);
        assert_eq!(queue.heap(), 0);
        queue.push(&vec![1; 1 << 20]);
        assert_eq!(queue.heap(), (1 << 20) + 64 * 24);
    }
}
