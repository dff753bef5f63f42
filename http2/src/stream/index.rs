//! From a stream's id to its slot.

use std::hash::{BuildHasher, RandomState};

/// Ids to slots, open addressing with at most half of the cells in use. Written for what ids are: never 0, growing, few
/// at a time; and on a connection to a backend a few hundred thousand. Who has streams opened and ended there chooses
/// which ids stay, and in a server's role the peer chooses the ids themselves: the key, which nobody outside knows, is
/// why they cannot be chosen to lie side by side.
#[derive(Debug)]
pub(super) struct StreamIndex {
    /// Empty, or a power of two of cells: id and slot; id 0 is free.
    cells: Vec<(u32, u32)>,
    len: usize,
    /// Random and odd. It decides where ids lie and nothing that can be seen outside.
    key: u64,
    /// Cells that searches have looked at.
    #[cfg(test)]
    looks: std::cell::Cell<u64>,
}

impl Default for StreamIndex {
    fn default() -> Self {
        Self::keyed(RandomState::new().hash_one(0))
    }
}

const SMALLEST: usize = 8;
/// Smaller tables do not shrink.
const WORTH_SHRINKING: usize = 4096;

impl StreamIndex {
    fn keyed(key: u64) -> Self {
        Self {
            cells: Vec::new(),
            len: 0,
            key: key | 1,
            #[cfg(test)]
            looks: std::cell::Cell::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Octets from the allocator for each id, at least.
    pub(super) const ENTRY: usize = size_of::<(u32, u32)>();

    pub(super) fn heap(&self) -> usize {
        self.cells.len() * Self::ENTRY
    }

    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn clear(&mut self) {
        self.cells.fill((0, 0));
        self.len = 0;
    }

    /// The place where the search for `id` begins: any cell of the table, however large it is.
    #[inline]
    fn home(&self, id: u32) -> usize {
        // The first step breaks up ids that lie at even distances, the second is the secret one.
        let mixed = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let product = (mixed ^ (mixed >> 32)).wrapping_mul(self.key);
        (product >> 32) as usize & self.cells.len().wrapping_sub(1)
    }

    /// The cell at `place`.
    #[inline]
    fn look(&self, place: usize) -> Option<(u32, u32)> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.cells.get(place).copied()
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
            match self.look(place) {
                Some((found, _)) if found == id && id != 0 => return Some(place),
                Some((0, _)) | None => return None,
                Some(_) => place = self.after(place),
            }
        }
    }

    /// `id` is not in it and not 0.
    pub(super) fn insert(&mut self, id: u32, slot: u32) {
        if self.cells.len() < 2 * (self.len + 1) {
            self.resize((self.cells.len() * 2).max(SMALLEST));
        }
        let mut place = self.home(id);
        while self.look(place).is_some_and(|(other, _)| other != 0) {
            place = self.after(place);
        }
        if let Some(cell) = self.cells.get_mut(place) {
            *cell = (id, slot);
            self.len += 1;
        }
    }

    #[cold]
    fn resize(&mut self, cells: usize) {
        let cells = vec![(0, 0); cells];
        self.len = 0;
        for (id, slot) in std::mem::replace(&mut self.cells, cells) {
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
        while let Some((moved, slot)) = self.look(next) {
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
        if self.cells.len() >= WORTH_SHRINKING && self.len < self.cells.len() / 16 {
            self.resize(self.cells.len() / 4);
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
        // The second way of choosing ids leaves only their highest bits to tell them apart.
        for stride in [2, 1 << 26] {
            let (mut index, mut map) = (StreamIndex::default(), HashMap::new());
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
    fn memory_goes_when_most_ids_have_gone() {
        let mut index = StreamIndex::default();
        (1..=100_000).for_each(|id| index.insert(id, id));
        (101..=100_000).for_each(|id| index.remove(id));
        assert!(index.capacity() <= WORTH_SHRINKING, "{}", index.capacity());
        assert!((1..=100).all(|id| index.get(id) == Some(id)));
        assert_eq!((index.len(), index.get(101)), (100, None));
    }

    #[test]
    fn zero_and_the_unknown_are_not_found() {
        let mut index = StreamIndex::default();
        assert_eq!((index.get(0), index.get(1)), (None, None));
        index.remove(1);
        index.insert(1, 9);
        assert_eq!((index.get(0), index.get(1), index.get(3)), (None, Some(9), None));
        index.clear();
        assert_eq!((index.get(1), index.len()), (None, 0));
    }

    /// Cells that one operation looks at, on average over insertion, search and removal of these ids.
    fn looks_each(key: u64, ids: impl Iterator<Item = u32> + Clone) -> u64 {
        let mut index = StreamIndex::keyed(key);
        let mut operations = 0;
        for id in ids.clone() {
            index.insert(id, id);
            operations += 1;
        }
        for id in ids.clone() {
            assert_eq!(index.get(id), Some(id));
            operations += 1;
        }
        for id in ids {
            index.remove(id);
            operations += 1;
        }
        assert_eq!(index.len(), 0);
        index.looks.get() / operations
    }

    #[test]
    fn a_search_is_short_however_many_streams_are_open() {
        for key in [
            0x1234_5678_9abc_def1,
            0xfeed_beef_0bad_cafe,
            0x0706_0504_0302_0101,
        ] {
            for (streams, stride) in [
                (100, 2),
                (1 << 17, 2),
                (300_000, 2),
                (1 << 18, 64),
                (1 << 18, 8192),
            ] {
                let looks = looks_each(key, (0..streams).map(|n| n * stride + 1));
                assert!(
                    looks <= 4,
                    "{looks} for {streams} streams, {stride} apart, key {key:x}"
                );
            }
        }
    }

    #[test]
    fn ids_that_lie_side_by_side_under_one_key_do_not_under_another() {
        // Of eight times as many streams those stay open that begin in the first quarter of the table.
        let (mut guessed, streams) = (StreamIndex::keyed(0x1234_5678_9abc_def1), 1 << 12);
        guessed.cells = vec![(0, 0); 2 * streams];
        let chosen = (1..).step_by(2).filter(|id| guessed.home(*id) < streams / 2);
        let chosen: Vec<u32> = chosen.take(streams).collect();
        assert!(looks_each(guessed.key, chosen.iter().copied()) > 200);
        let looks = looks_each(StreamIndex::default().key, chosen.iter().copied());
        assert!(looks <= 8, "{looks}");
    }
}
