//! A growing list whose items never move, so that one thread may append while others read.

use std::sync::OnceLock;

/// Items of the first chunk; each chunk is twice as long as the one before.
const FIRST: usize = 16;
/// Together enough for all of `u32`.
const CHUNKS: usize = 29;

/// Items are made, with their chunk, when they are first asked for.
#[derive(Debug)]
pub(super) struct ByIndex<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T> Default for ByIndex<T> {
    fn default() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }
}

impl<T: Default> ByIndex<T> {
    /// `None` only beyond the range of labels.
    #[inline]
    pub(super) fn at(&self, index: usize) -> Option<&T> {
        let (chunk, place) = place_of(index);
        let made = || (0..FIRST << chunk).map(|_| T::default()).collect();
        self.chunks.get(chunk)?.get_or_init(made).get(place)
    }

    /// The item, if it was ever asked for.
    pub(super) fn peek(&self, index: usize) -> Option<&T> {
        let (chunk, place) = place_of(index);
        self.chunks.get(chunk)?.get()?.get(place)
    }

    /// All items there are, and some that were never asked for.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|chunk| chunk.iter())
    }
}

#[inline]
fn place_of(index: usize) -> (usize, usize) {
    let shifted = index.saturating_add(FIRST);
    let chunk = (shifted / FIRST).ilog2() as usize;
    (chunk, shifted - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_index_has_a_place_of_its_own_that_stays() {
        let list = ByIndex::<Cell<usize>>::default();
        for index in 0..2000 {
            list.at(index).unwrap().set(index + 1);
        }
        for index in 0..2000 {
            assert_eq!(list.peek(index).unwrap().get(), index + 1);
        }
        assert_eq!(list.iter().filter(|item| item.get() > 0).count(), 2000);
        assert!(list.peek(5000).is_none());
        let (chunk, place) = place_of(u32::MAX as usize);
        assert!(chunk < CHUNKS && place < FIRST << chunk);
        assert!(list.at(usize::MAX).is_none());
    }
}
