//! From a stream's id to its slot.

/// Ids to slots, open addressing with at most half of the cells in use. Written for what ids are: never 0, growing, few
/// at a time. A peer could choose ids that collide; then a look-up costs one step per open stream, whose number is
/// bounded, and that is less than the frame that asks for it costs to decrypt.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Empty, or a power of two of cells: id and slot; id 0 is free.
    cells: Vec<(u32, u32)>,
    len: usize,
}

const SMALLEST: usize = 8;

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn clear(&mut self) {
        self.cells.fill((0, 0));
        self.len = 0;
    }

    /// Where the search for `id` begins.
    #[inline]
    fn home(&self, id: u32) -> usize {
        // Fibonacci hashing; the upper half of the product is the better mixed one.
        (id.wrapping_mul(0x9e37_79b1) >> 15) as usize & self.cells.len().wrapping_sub(1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & self.cells.len().wrapping_sub(1)
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<u32> {
        self.place(id)
            .and_then(|place| self.cells.get(place))
            .map(|cell| cell.1)
    }

    /// The place of `id`. Ends, because at least half of the cells are free.
    #[inline]
    fn place(&self, id: u32) -> Option<usize> {
        let mut place = self.home(id);
        loop {
            match self.cells.get(place) {
                Some(&(found, _)) if found == id && id != 0 => return Some(place),
                Some(&(0, _)) | None => return None,
                Some(_) => place = self.after(place),
            }
        }
    }

    /// `id` is not in it and not 0.
    pub(super) fn insert(&mut self, id: u32, slot: u32) {
        if self.cells.len() < 2 * (self.len + 1) {
            self.grow();
        }
        let mut place = self.home(id);
        while let Some(cell) = self.cells.get_mut(place) {
            if cell.0 == 0 {
                *cell = (id, slot);
                self.len += 1;
                return;
            }
            place = self.after(place);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![(0, 0); (self.cells.len() * 2).max(SMALLEST)];
        self.len = 0;
        for (id, slot) in std::mem::replace(&mut self.cells, larger) {
            if id != 0 {
                self.insert(id, slot);
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        let Some(mut hole) = self.place(id) else { return };
        self.len -= 1;
        let mask = self.cells.len().wrapping_sub(1);
        let mut next = self.after(hole);
        // Whoever was pushed on over the hole moves back into it, so that no search ends early.
        while let Some(&(moved, slot)) = self.cells.get(next) {
            if moved == 0 {
                break;
            }
            let pushed = next.wrapping_sub(self.home(moved)) & mask;
            if pushed >= next.wrapping_sub(hole) & mask {
                if let Some(cell) = self.cells.get_mut(hole) {
                    *cell = (moved, slot);
                }
                hole = next;
            }
            next = self.after(next);
        }
        if let Some(cell) = self.cells.get_mut(hole) {
            *cell = (0, 0);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.cells.iter().copied().filter(|(id, _)| *id != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_agrees_with_a_map_of_the_standard_library() {
        // The second way of choosing ids makes all of them collide in a table of 1,024 cells.
        for stride in [2, 1 << 26] {
            let (mut index, mut map) = (Index::default(), HashMap::new());
            let mut random = 7_u32;
            for _ in 0..20_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let id = ((random >> 16) % 40).wrapping_mul(stride) | 1;
                match map.remove(&id) {
                    Some(slot) => {
                        assert_eq!(index.get(id), Some(slot));
                        index.remove(id);
                    }
                    None => {
                        map.insert(id, random);
                        index.insert(id, random);
                    }
                }
                assert_eq!(index.len(), map.len());
                index.remove(4);
                for n in 0..40_u32 {
                    let id = n.wrapping_mul(stride) | 1;
                    assert_eq!(index.get(id), map.get(&id).copied());
                }
            }
            assert_eq!(index.iter().collect::<HashMap<_, _>>(), map);
        }
    }

    #[test]
    fn zero_and_the_unknown_are_not_found() {
        let mut index = Index::default();
        assert_eq!((index.get(0), index.get(1)), (None, None));
        index.remove(1);
        index.insert(1, 9);
        assert_eq!((index.get(0), index.get(1), index.get(3)), (None, Some(9), None));
        index.clear();
        assert_eq!((index.get(1), index.len()), (None, 0));
    }
}
