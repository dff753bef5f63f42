//! The index by which the encoder finds an entry in its table: by hash, in four places at most.

use super::table::Table;
use crate::field::entry::Entry;

/// A cache of places, four to a group. Nothing is ever removed: a slot whose entry left the table is stale, and
/// still says that such a field was seen before.
///
/// A peer that makes hashes meet fills groups and makes us forget places. It loses compression; the cost of a
/// look-up stays four compares.
#[derive(Debug, Default)]
pub(super) struct FieldIndex {
    /// None until the first field, then a power of two.
    groups: Vec<[Candidate; SLOTS]>,
}

#[derive(Copy, Clone, Debug)]
struct Candidate {
    /// The upper half of the hash; the lower half chose the group.
    tag: u32,
    /// The number that the entry had when it was put into the table.
    number: u32,
}

const SLOTS: usize = 4;

/// 32 slots, 256 bytes.
const FIRST_GROUPS: usize = 8;

/// The index's knowledge of a field.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Sighting {
    /// The entry is in the table, this many entries behind the newest.
    InTable(usize),
    /// The entry was seen not long ago, or something with the same tag was.
    Again,
    First,
}

impl FieldIndex {
    pub(super) fn find(&self, entry: &Entry, table: &Table) -> Sighting {
        let hash = entry.hash();
        let mut sighting = Sighting::First;
        for slot in self.groups.get(self.group_of(hash)).into_iter().flatten() {
            if slot.tag != tag_of(hash) {
                continue;
            }
            match table.at(slot.age(table)) {
                Some(found) if entry.same(found) => return Sighting::InTable(slot.age(table)),
                Some(_) => {}
                None => sighting = Sighting::Again,
            }
        }
        sighting
    }

    /// Notes that a field was seen which is not in the table. False if its group has no place that is not needed
    /// for the table.
    pub(super) fn remember(&mut self, entry: &Entry, table: &Table) -> bool {
        self.grow(table);
        // Just too old to be in the table, and it only gets older.
        let number = table.inserted().wrapping_sub(table.len() as u32).wrapping_sub(1);
        self.put(entry.hash(), number, table, false)
    }

    /// Notes that this entry has just become the newest in the table.
    pub(super) fn inserted(&mut self, entry: &Entry, table: &Table) {
        self.grow(table);
        self.put(entry.hash(), table.inserted().wrapping_sub(1), table, true);
    }

    /// Writes a slot to the front of its group, over the one that was useless for the longest time.
    fn put(&mut self, hash: u64, number: u32, table: &Table, must: bool) -> bool {
        let at = self.group_of(hash);
        let Some(group) = self.groups.get_mut(at) else {
            return false;
        };
        let stale = |slot: &Candidate| slot.age(table) >= table.len();
        let same = group
            .iter()
            .position(|slot| slot.tag == tag_of(hash) && stale(slot));
        let victim = same
            .or_else(|| group.iter().rposition(stale))
            .or(must.then_some(SLOTS - 1));
        let Some(moved) = victim.and_then(|victim| group.get_mut(..=victim)) else {
            return false;
        };
        moved.rotate_right(1);
        if let Some(front) = moved.first_mut() {
            *front = Candidate {
                tag: tag_of(hash),
                number,
            };
        }
        true
    }

    /// At most a quarter of the slots are in use, so that most groups have room to remember.
    fn grow(&mut self, table: &Table) {
        if table.len() < self.groups.len() && !self.groups.is_empty() {
            return;
        }
        let groups = (self.groups.len() * 2).max(FIRST_GROUPS);
        let unused = Candidate {
            tag: 0,
            number: table.inserted().wrapping_sub(table.len() as u32).wrapping_sub(1),
        };
        self.groups = vec![[unused; SLOTS]; groups];
        for age in (0..table.len()).rev() {
            if let Some(entry) = table.at(age) {
                let number = table.inserted().wrapping_sub(1).wrapping_sub(age as u32);
                self.put(entry.hash(), number, table, true);
            }
        }
    }

    pub(super) fn heap(&self) -> usize {
        self.groups.capacity() * size_of::<[Candidate; SLOTS]>()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn group_of(&self, hash: u64) -> usize {
        hash as usize & self.groups.len().wrapping_sub(1)
    }
}

impl Candidate {
    fn age(&self, table: &Table) -> usize {
        table.inserted().wrapping_sub(1).wrapping_sub(self.number) as usize
    }
}

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}
