//! A table whose keys outlive their entries harmlessly, and which gives memory back when many entries are gone.
//!
//! A key holds the number of its entry's insertion, so a message that arrives late (a connect that finished after
//! its RPC was cancelled) finds nothing instead of a stranger.

use std::collections::BTreeSet;

/// Slots that come and go together.
const CHUNK: usize = 256;

/// Names one entry for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    insertion: u32,
}

impl Key {
    /// Position of the slot; reused after the entry is gone.
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

#[derive(Debug)]
struct Slot<T> {
    insertion: u32,
    value: Option<T>,
}

/// Slots beside each other. Without entries it has no memory, unless it is the one that is being filled.
#[derive(Debug)]
struct Chunk<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u8>,
    entries: usize,
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            entries: 0,
        }
    }
}

impl<T> Chunk<T> {
    fn is_full(&self) -> bool {
        self.entries == CHUNK
    }

    /// Takes the slot that was left last.
    fn insert(&mut self, insertion: u32, value: T) -> usize {
        self.entries += 1;
        let slot = Slot {
            insertion,
            value: Some(value),
        };
        if let Some(position) = self.free.pop()
            && let Some(vacant) = self.slots.get_mut(usize::from(position))
        {
            *vacant = slot;
            return usize::from(position);
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }
}

/// Entries in chunks. New ones fill one chunk, and then the first that has room, so that the last ones empty.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunk that is being filled.
    filled: usize,
    /// The other ones with room.
    with_room: BTreeSet<usize>,
    insertions: u32,
    /// Whose entry was last given out to be changed.
    touched: Option<Key>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            filled: 0,
            with_room: BTreeSet::new(),
            insertions: 0,
            touched: None,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        // A stale key would have to wait for 2³² insertions to name a stranger.
        self.insertions = self.insertions.wrapping_add(1);
        let insertion = self.insertions;
        if self.chunks.get(self.filled).is_none_or(Chunk::is_full) {
            self.filled = self.with_room.pop_first().unwrap_or(self.chunks.len());
            if self.filled == self.chunks.len() {
                self.chunks.push(Chunk::default());
            }
        }
        let chunk = self.chunks.get_mut(self.filled);
        let position = chunk.map_or(0, |chunk| chunk.insert(insertion, value));
        let index = (self.filled * CHUNK + position) as u32;
        Key { index, insertion }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slot(key.index)?;
        if slot.insertion == key.insertion {
            slot.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (chunk, position) = place(key.index);
        let slot = self.chunks.get_mut(chunk)?.slots.get_mut(position)?;
        if slot.insertion == key.insertion {
            self.touched = Some(key);
            slot.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (number, position) = place(key.index);
        let chunk = self.chunks.get_mut(number)?;
        let slot = chunk.slots.get_mut(position)?;
        if slot.insertion != key.insertion {
            return None;
        }
        let value = slot.value.take()?;
        chunk.free.push(position as u8);
        chunk.entries -= 1;
        let empty = chunk.entries == 0;
        if number != self.filled {
            self.with_room.insert(number);
        } else if empty && let Some(other) = self.with_room.pop_first() {
            // An earlier one is filled from now on, or this one, if it is the first.
            self.with_room.insert(other.max(number));
            self.filled = other.min(number);
        }
        if empty && number != self.filled {
            self.chunks.get_mut(number).map(std::mem::take);
            self.forget_last_chunks();
        }
        Some(value)
    }

    fn forget_last_chunks(&mut self) {
        while self.chunks.len() > self.filled + 1 && self.chunks.last().is_some_and(|last| last.entries == 0)
        {
            self.chunks.pop();
            self.with_room.remove(&self.chunks.len());
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let (chunk, position) = place(index);
        self.chunks.get(chunk)?.slots.get(position)
    }

    /// The key of the entry that lives at `index` now.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slot(index)?;
        let insertion = slot.insertion;
        slot.value.as_ref().map(|_| Key { index, insertion })
    }

    /// The first entry at or after `index`: for walks that go on another time.
    pub(crate) fn next(&self, index: u32) -> Option<(Key, &T)> {
        let (first, mut position) = place(index);
        for (number, chunk) in self.chunks.iter().enumerate().skip(first) {
            let rest = chunk.slots.get(position..).unwrap_or_default();
            let found = rest.iter().enumerate().find_map(|(beyond, slot)| {
                let index = (number * CHUNK + position + beyond) as u32;
                let insertion = slot.insertion;
                slot.value.as_ref().map(|value| (Key { index, insertion }, value))
            });
            if found.is_some() {
                return found;
            }
            position = 0;
        }
        None
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = self.next(at)?;
            at = found.0.index + 1;
            Some(found)
        })
    }

    /// This entry is what goes on is about.
    pub(crate) fn touch(&mut self, key: Key) {
        self.touched = Some(key);
    }

    /// Whose entry was last given out to be changed, since this was asked last.
    pub(crate) fn take_touched(&mut self) -> Option<Key> {
        self.touched.take()
    }
}

fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / CHUNK, index % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let old = slab.insert("first");
        assert_eq!(slab.remove(old), Some("first"));
        let new = slab.insert("second");
        assert_eq!(new.index(), old.index());
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"second"));
        assert_eq!(slab.key_at(new.index()), Some(new));
    }

    #[test]
    fn iteration_visits_the_living_only() {
        let mut slab = Slab::new();
        let a = slab.insert(1);
        let b = slab.insert(2);
        slab.remove(a);
        assert_eq!(
            slab.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(),
            [(b, 2)]
        );
    }

    /// How many slots there is memory for.
    fn room<T>(slab: &Slab<T>) -> usize {
        slab.chunks.iter().map(|chunk| chunk.slots.capacity()).sum()
    }

    #[test]
    fn memory_goes_when_entries_go() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..100_000).map(|number| slab.insert(number)).collect();
        assert!(room(&slab) >= 100_000);
        // One in a thousand stays, the very last among them.
        for (number, key) in keys.iter().enumerate() {
            if number % 1000 != 999 {
                slab.remove(*key);
            }
        }
        assert!(room(&slab) <= 101 * CHUNK, "{}", room(&slab));
        for (number, key) in keys.iter().enumerate() {
            let stays = number % 1000 == 999;
            assert_eq!(slab.get(*key).copied(), stays.then_some(number));
            slab.remove(*key);
        }
        assert!(slab.iter().next().is_none());
        assert!(room(&slab) <= CHUNK && slab.chunks.len() <= 1, "{}", room(&slab));
        // Slots come again, and no old key finds what is in them.
        let again: Vec<Key> = (0..1000).map(|number| slab.insert(number)).collect();
        assert!(keys.iter().all(|key| slab.get(*key).is_none()));
        assert!(
            again
                .iter()
                .enumerate()
                .all(|(number, key)| slab.get(*key) == Some(&number))
        );
    }

    #[test]
    fn an_entry_that_comes_and_goes_moves_no_memory() {
        let mut slab = Slab::new();
        let full: Vec<Key> = (0..CHUNK).map(|number| slab.insert(number)).collect();
        let first = slab.insert(0);
        slab.remove(first);
        let before = room(&slab);
        for number in 0..100 {
            let key = slab.insert(number);
            slab.remove(key);
            assert_eq!(room(&slab), before);
        }
        assert!(full.iter().all(|key| slab.get(*key).is_some()));
    }

    #[test]
    fn it_does_what_a_map_does() {
        let (mut slab, mut map) = (Slab::new(), std::collections::HashMap::new());
        let mut random = 7_u64;
        let mut gone = Vec::new();
        for number in 0..200_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // It grows, and shrinks, and grows.
            let grows = (number / 20_000) % 2 == 0;
            if (random >> 33) % 3 < if grows { 2 } else { 1 } {
                map.insert(slab.insert(number), number);
            } else if let Some(key) = map.keys().next().copied() {
                assert_eq!(slab.remove(key), map.remove(&key));
                gone.push(key);
            }
        }
        assert!(map.iter().all(|(key, value)| slab.get(*key) == Some(value)));
        assert!(gone.iter().all(|key| slab.get(*key).is_none()));
        let walked: std::collections::HashMap<_, _> = slab.iter().map(|(key, value)| (key, *value)).collect();
        assert_eq!(walked, map);
    }
}
