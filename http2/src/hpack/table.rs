//! The dynamic table (RFC 7541 §2.3.2, §4), the same for both ends.

use std::collections::VecDeque;
use std::fmt;

use crate::field::entry::Entry;

/// Entries from the newest on; never larger than its maximum.
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// The number of entries that were ever put in, modulo 2^32.
    inserted: u32,
}

impl Table {
    pub(super) fn new(max_size: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size,
            inserted: 0,
        }
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// The entry that was put in `age` entries before the newest.
    pub(super) fn at(&self, age: usize) -> Option<&Entry> {
        self.entries.get(age)
    }

    /// RFC 7541 §4.3: a smaller maximum evicts at once.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    /// RFC 7541 §4.4: evicts what must go first; an entry larger than the table leaves it empty and stays outside.
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(self.max_size.saturating_sub(size));
        if size <= self.max_size {
            self.size += size;
            self.entries.push_front(entry);
            self.inserted = self.inserted.wrapping_add(1);
        }
    }

    fn evict(&mut self, bound: usize) {
        while self.size > bound {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size -= oldest.size();
        }
    }

    /// Octets that it has from the allocator: an entry's size (RFC 7541 §4.1) is just what it takes.
    pub(super) fn heap(&self) -> usize {
        self.size + self.entries.capacity() * size_of::<Entry>()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// Counts only: entries hold what their senders may want kept secret.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("entries", &self.entries.len())
            .field("size", &self.size)
            .field("max_size", &self.max_size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field;

    fn entry(name: &str, value: &str) -> Entry {
        Field::new(name.as_bytes(), value.as_bytes())
            .source()
            .expect_err("not static")
            .clone()
    }

    fn names(table: &Table) -> Vec<String> {
        table
            .entries
            .iter()
            .map(|e| String::from_utf8_lossy(e.text().0).into_owned())
            .collect()
    }

    #[test]
    fn the_oldest_go_first_and_only_as_many_as_must() {
        let mut table = Table::new(3 * 34);
        for name in ["a", "b", "c"] {
            table.insert(entry(name, "1"));
        }
        assert_eq!(
            (names(&table), table.size()),
            (vec!["c".into(), "b".into(), "a".into()], 102)
        );
        table.insert(entry("d", "12"));
        assert_eq!((names(&table), table.size()), (vec!["d".into(), "c".into()], 69));
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::new(100);
        table.insert(entry("a", "1"));
        table.insert(entry("b", &"x".repeat(68)));
        assert_eq!((table.len(), table.size()), (0, 0));
        table.insert(entry("c", &"x".repeat(67)));
        assert_eq!((table.len(), table.size()), (1, 100));
    }

    #[test]
    fn a_smaller_maximum_evicts_at_once() {
        let mut table = Table::new(100);
        table.insert(entry("a", "1"));
        table.insert(entry("b", "1"));
        table.set_max_size(67);
        assert_eq!(names(&table), ["b"]);
        table.set_max_size(0);
        assert_eq!((table.len(), table.size()), (0, 0));
    }
}
