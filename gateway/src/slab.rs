//! The connections and the relays of a worker, by keys that outlive them harmlessly.
//!
//! A key holds the number of its entry's insertion, so a message that arrives late (a connect that finished after
//! its RPC was cancelled) finds nothing instead of a stranger.

use http2::Slots;

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
pub(crate) struct Slab<T> {
    slots: Slots<T>,
    insertions: u32,
    /// Whose entry was last given out to be changed.
    touched: Option<Key>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::default(),
            insertions: 0,
            touched: None,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        // A stale key would have to wait for 2³² insertions to name a stranger.
        self.insertions = self.insertions.wrapping_add(1);
        let insertion = self.insertions;
        let index = self.slots.insert(insertion, value);
        Key { index, insertion }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index, key.insertion)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let value = self.slots.get_mut(key.index, key.insertion)?;
        self.touched = Some(key);
        Some(value)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.slots.remove(key.index, key.insertion)
    }

    /// The key of the entry that lives at `index` now.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let insertion = self.slots.number_at(index)?;
        Some(Key { index, insertion })
    }

    /// The first entry at or after `index`: for walks that go on another time.
    pub(crate) fn next(&self, index: u32) -> Option<(Key, &T)> {
        let (index, insertion, value) = self.slots.next(index)?;
        Some((Key { index, insertion }, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let entries = self.slots.iter();
        entries.map(|(index, insertion, value)| (Key { index, insertion }, value))
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
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.get(new), Some(&"second"));
        assert_eq!(slab.key_at(new.index()), Some(new));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(new, &"second")]);
        assert_eq!(slab.take_touched(), None);
        slab.get_mut(new);
        assert_eq!(slab.take_touched(), Some(new));
    }
}
