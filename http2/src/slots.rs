//! A table whose entries stay where they are, and which gives memory back when many of them are gone.
//!
//! An entry is named by its place and a number, so a name that outlived its entry finds nothing instead of a
//! stranger. Places lie in chunks that come and go: no growth moves more than one of them.

use std::collections::BTreeSet;

/// Slots that come and go together.
const CHUNK: usize = 256;
/// No slot of a chunk is free of those that were filled once.
const NONE: u16 = CHUNK as u16;

/// The slots of a table; most tables have one chunk only.
#[derive(Debug)]
pub struct Slots<T> {
    first: Chunk<T>,
    beyond: Option<Box<Beyond<T>>>,
    /// The chunk that is being filled.
    filled: u32,
    /// Slots of all chunks that there is memory for.
    capacity: u32,
}

/// The chunks after the first.
#[derive(Debug)]
struct Beyond<T> {
    chunks: Vec<Chunk<T>>,
    /// All chunks with room but the one that is being filled.
    with_room: BTreeSet<usize>,
}

/// Slots beside each other. Without entries it has no memory, unless it is the one that is being filled, or the only one.
#[derive(Debug)]
struct Chunk<T> {
    slots: Vec<Slot<T>>,
    /// The slot that was left last, or [`NONE`].
    free: u16,
    entries: u16,
}

#[derive(Debug)]
struct Slot<T> {
    /// Of a slot that is free: the one that was left before it.
    number: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            first: Chunk::default(),
            beyond: None,
            filled: 0,
            capacity: 0,
        }
    }
}

impl<T> Default for Beyond<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            with_room: BTreeSet::new(),
        }
    }
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            entries: 0,
        }
    }
}

impl<T> Chunk<T> {
    fn is_full(&self) -> bool {
        usize::from(self.entries) == CHUNK
    }

    /// Takes the slot that was left last.
    #[inline]
    fn insert(&mut self, number: u32, value: T) -> usize {
        self.entries += 1;
        let slot = Slot {
            number,
            value: Some(value),
        };
        let position = usize::from(self.free);
        if let Some(vacant) = self.slots.get_mut(position).filter(|_| self.free != NONE) {
            self.free = vacant.number as u16;
            *vacant = slot;
            return position;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    #[inline]
    fn remove(&mut self, position: usize, number: u32) -> Option<T> {
        let slot = self.slots.get_mut(position)?;
        if slot.number != number {
            return None;
        }
        let value = slot.value.take()?;
        slot.number = u32::from(self.free);
        self.free = position as u16;
        self.entries -= 1;
        Some(value)
    }

    fn capacity(&self) -> u32 {
        self.slots.capacity() as u32
    }
}

impl<T> Slots<T> {
    /// Octets from the allocator for each entry, if its table is full.
    pub const ENTRY: usize = size_of::<Slot<T>>();

    /// Puts an entry into the chunk that is being filled. Returns its place. A number is never given twice while a name
    /// with it may live.
    #[inline]
    pub fn insert(&mut self, number: u32, value: T) -> u32 {
        if self.filled == 0 && !self.first.is_full() {
            let before = self.first.capacity();
            let position = self.first.insert(number, value);
            self.capacity += self.first.capacity() - before;
            return position as u32;
        }
        self.insert_beyond(number, value)
    }

    fn insert_beyond(&mut self, number: u32, value: T) -> u32 {
        if self.chunk(self.filled as usize).is_none_or(Chunk::is_full) {
            let beyond = self.beyond.get_or_insert_default();
            let after = beyond.chunks.len() + 1;
            self.filled = beyond.with_room.pop_first().unwrap_or(after) as u32;
            if self.filled as usize == after {
                beyond.chunks.push(Chunk::default());
            }
        }
        let filled = self.filled;
        let Some(chunk) = self.chunk_mut(filled as usize) else {
            return 0;
        };
        let before = chunk.capacity();
        let position = chunk.insert(number, value);
        let grown = chunk.capacity() - before;
        self.capacity += grown;
        filled * CHUNK as u32 + position as u32
    }

    /// The entry at this place, if it has this number.
    #[inline]
    pub fn get(&self, place: u32, number: u32) -> Option<&T> {
        let slot = self.slot(place)?;
        if slot.number == number {
            slot.value.as_ref()
        } else {
            None
        }
    }

    /// That entry, to be changed.
    #[inline]
    pub fn get_mut(&mut self, place: u32, number: u32) -> Option<&mut T> {
        let (chunk, position) = split(place);
        let slot = self.chunk_mut(chunk)?.slots.get_mut(position)?;
        if slot.number == number {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Takes the entry out.
    #[inline]
    pub fn remove(&mut self, place: u32, number: u32) -> Option<T> {
        let (chunk, position) = split(place);
        let value = self.chunk_mut(chunk)?.remove(position, number)?;
        if self.beyond.is_some() {
            self.has_room(chunk);
        }
        Some(value)
    }

    /// An entry of this chunk has gone.
    fn has_room(&mut self, number: usize) {
        let is_empty = self.chunk(number).is_some_and(|chunk| chunk.entries == 0);
        let Some(beyond) = &mut self.beyond else { return };
        if number != self.filled as usize {
            beyond.with_room.insert(number);
        } else if is_empty && let Some(other) = beyond.with_room.pop_first() {
            // An earlier one is filled from now on, or this one, if it is the first.
            beyond.with_room.insert(other.max(number));
            self.filled = other.min(number) as u32;
        }
        if is_empty && number != self.filled as usize {
            let gone = self.chunk_mut(number).map(std::mem::take);
            self.capacity -= gone.map_or(0, |chunk| chunk.capacity());
            self.forget_last_chunks();
        }
    }

    fn forget_last_chunks(&mut self) {
        let Some(beyond) = &mut self.beyond else { return };
        while beyond.chunks.len() > self.filled as usize
            && beyond.chunks.last().is_some_and(|last| last.entries == 0)
        {
            beyond.with_room.remove(&beyond.chunks.len());
            beyond.chunks.pop();
        }
        if beyond.chunks.is_empty() {
            self.beyond = None;
        }
    }

    #[inline]
    fn chunk(&self, number: usize) -> Option<&Chunk<T>> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(other) => self.beyond.as_ref()?.chunks.get(other),
        }
    }

    #[inline]
    fn chunk_mut(&mut self, number: usize) -> Option<&mut Chunk<T>> {
        match number.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.beyond.as_mut()?.chunks.get_mut(other),
        }
    }

    fn chunks_beyond(&self) -> &[Chunk<T>] {
        self.beyond.as_ref().map_or(&[], |beyond| &beyond.chunks)
    }

    #[inline]
    fn slot(&self, place: u32) -> Option<&Slot<T>> {
        let (chunk, position) = split(place);
        self.chunk(chunk)?.slots.get(position)
    }

    /// The number of the entry that lives at this place now.
    #[inline]
    pub fn number_at(&self, place: u32) -> Option<u32> {
        let slot = self.slot(place)?;
        slot.value.as_ref().map(|_| slot.number)
    }

    /// The first entry at this place or after it, with its place and number: for walks that go on another time.
    pub fn next(&self, place: u32) -> Option<(u32, u32, &T)> {
        let (first, mut position) = split(place);
        for number in first..=self.chunks_beyond().len() {
            let slots = self.chunk(number).map_or(&[][..], |chunk| &chunk.slots);
            let rest = slots.get(position..).unwrap_or_default();
            let found = rest.iter().enumerate().find_map(|(beyond, slot)| {
                let place = (number * CHUNK + position + beyond) as u32;
                slot.value.as_ref().map(|value| (place, slot.number, value))
            });
            if found.is_some() {
                return found;
            }
            position = 0;
        }
        None
    }

    /// All entries, with places and numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        let chunks = std::iter::once(&self.first).chain(self.chunks_beyond()).zip(0..);
        chunks.flat_map(|(chunk, number)| {
            let slots = chunk.slots.iter().zip(number * CHUNK as u32..);
            slots.filter_map(|(slot, place)| slot.value.as_ref().map(|value| (place, slot.number, value)))
        })
    }

    /// That entry, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, u32, &mut T)> {
        let beyond = self
            .beyond
            .as_mut()
            .map_or(&mut [][..], |beyond| &mut beyond.chunks);
        let chunks = std::iter::once(&mut self.first).chain(beyond).zip(0..);
        chunks.flat_map(|(chunk, number)| {
            let slots = chunk.slots.iter_mut().zip(number * CHUNK as u32..);
            slots.filter_map(|(slot, place)| slot.value.as_mut().map(|value| (place, slot.number, value)))
        })
    }

    /// The number of slots that there is memory for.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// `true` if more than so many entries were there at once, of the last that have gone. Where there were several
    /// chunks the first may have gone.
    pub(crate) fn was_filled_beyond(&self, count: usize) -> bool {
        self.first.slots.len() > count || self.first.slots.is_empty()
    }

    /// Octets that it has from the allocator, without what its entries have.
    #[inline]
    pub fn heap(&self) -> usize {
        let beyond = self.beyond.as_ref().map_or(0, |beyond| {
            size_of::<Beyond<T>>() + beyond.chunks.capacity() * size_of::<Chunk<T>>()
        });
        self.capacity() * Self::ENTRY + beyond
    }

    /// Moves what is in the first chunk, if there is no other, into the room of `other`, which is empty, and takes it
    /// over.
    pub(crate) fn move_into(&mut self, mut other: Self) {
        if self.beyond.is_none() {
            other.first.slots.append(&mut self.first.slots);
            (other.first.free, other.first.entries) = (self.first.free, self.first.entries);
            other.capacity = other.first.capacity();
            *self = other;
        }
    }

    /// Forgets all slots; the memory of the first chunk stays.
    pub(crate) fn clear(&mut self) {
        let mut slots = std::mem::take(&mut self.first.slots);
        slots.clear();
        self.capacity = slots.capacity() as u32;
        self.first = Chunk {
            slots,
            ..Chunk::default()
        };
        (self.filled, self.beyond) = (0, None);
    }
}

#[inline]
fn split(place: u32) -> (usize, usize) {
    let place = place as usize;
    (place / CHUNK, place % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_name_finds_nothing() {
        let mut slots = Slots::default();
        let old = slots.insert(1, "first");
        assert_eq!(slots.remove(old, 1), Some("first"));
        let new = slots.insert(2, "second");
        assert_eq!(new, old);
        assert_eq!(slots.remove(old, 1), None);
        assert_eq!(slots.get(old, 1), None);
        assert_eq!(slots.get(new, 2), Some(&"second"));
        assert_eq!(slots.number_at(new), Some(2));
    }

    #[test]
    fn memory_goes_when_entries_go() {
        let mut slots = Slots::default();
        let places: Vec<u32> = (0..100_000).map(|number| slots.insert(number, number)).collect();
        assert!(slots.capacity() >= 100_000);
        // One in a thousand stays, the very last among them.
        for (number, place) in (0..).zip(&places) {
            if number % 1000 != 999 {
                slots.remove(*place, number);
            }
        }
        assert!(slots.capacity() <= 102 * CHUNK, "{}", slots.capacity());
        for (number, place) in (0..).zip(&places) {
            let stays = number % 1000 == 999;
            assert_eq!(slots.get(*place, number).copied(), stays.then_some(number));
            slots.remove(*place, number);
        }
        assert!(slots.iter().next().is_none());
        assert!(
            slots.capacity() <= 2 * CHUNK && slots.beyond.is_none(),
            "{}",
            slots.capacity()
        );
        // Slots come again, and no old name finds what is in them.
        let again: Vec<u32> = (0..1000)
            .map(|number| slots.insert(200_000 + number, number))
            .collect();
        assert!(
            (0..)
                .zip(&places)
                .all(|(number, place)| slots.get(*place, number).is_none())
        );
        assert!(
            (0..)
                .zip(&again)
                .all(|(number, place)| slots.get(*place, 200_000 + number) == Some(&number))
        );
    }

    #[test]
    fn an_entry_that_comes_and_goes_moves_no_memory() {
        let mut slots = Slots::default();
        let full: Vec<u32> = (0..CHUNK as u32).map(|number| slots.insert(number, 0)).collect();
        let first = slots.insert(1_000, 0);
        slots.remove(first, 1_000);
        let before = slots.capacity();
        for number in 1_001..1_100 {
            let place = slots.insert(number, 0);
            slots.remove(place, number);
            assert_eq!(slots.capacity(), before);
        }
        assert!(
            (0..)
                .zip(&full)
                .all(|(number, place)| slots.get(*place, number).is_some())
        );
    }

    #[test]
    fn it_does_what_a_map_does() {
        let (mut slots, mut map) = (Slots::default(), std::collections::HashMap::new());
        let mut random = 7_u64;
        let mut gone = Vec::new();
        for number in 0..200_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // It grows, and shrinks, and grows.
            let grows = (number / 20_000) % 2 == 0;
            if (random >> 33) % 3 < if grows { 2 } else { 1 } {
                map.insert((slots.insert(number, number), number), number);
            } else if let Some(name) = map.keys().next().copied() {
                assert_eq!(slots.remove(name.0, name.1), map.remove(&name));
                gone.push(name);
            }
            if number.is_multiple_of(10_000) {
                let chunks = std::iter::once(&slots.first).chain(slots.chunks_beyond());
                let capacity: u32 = chunks.map(Chunk::capacity).sum();
                assert_eq!(capacity, slots.capacity);
            }
        }
        assert!(
            map.iter()
                .all(|(name, value)| slots.get(name.0, name.1) == Some(value))
        );
        assert!(gone.iter().all(|name| slots.get(name.0, name.1).is_none()));
        let walked: std::collections::HashMap<_, _> = slots
            .iter()
            .map(|(place, number, value)| ((place, number), *value))
            .collect();
        assert_eq!(walked, map);
        let changed: Vec<_> = slots
            .iter_mut()
            .map(|(place, number, value)| ((place, number), *value))
            .collect();
        assert_eq!(changed.len(), map.len());
        let (mut step_by_step, mut at) = (0, 0);
        while let Some((place, number, value)) = slots.next(at) {
            assert_eq!(map.get(&(place, number)), Some(value));
            (step_by_step, at) = (step_by_step + 1, place + 1);
        }
        assert_eq!(step_by_step, map.len());
    }

    #[test]
    fn a_small_table_moves_into_the_room_of_another() {
        let mut slots = Slots::default();
        let places: Vec<u32> = (0..5).map(|number| slots.insert(number, number)).collect();
        slots.remove(places[2], 2);
        let mut large = Slots::default();
        (0..100).for_each(|number| {
            large.insert(number, number);
        });
        large.clear();
        let room = large.capacity();
        slots.move_into(large);
        assert_eq!(slots.capacity(), room);
        assert_eq!(
            (slots.get(places[4], 4), slots.get(places[2], 2)),
            (Some(&4), None)
        );
        assert_eq!(slots.insert(7, 7), places[2]);
    }
}
