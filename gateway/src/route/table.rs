//! A hash table that is filled once and asked often, with the hash computed by the caller, so that one
//! hash serves several tables.

/// Keys come from the configuration only, so nobody outside can make them collide on purpose: an
/// unkeyed hash is safe here.
#[derive(Debug)]
pub(super) struct Table<V> {
    /// Positions in `entries` plus one; zero is free. A power of two long, at most half full, so every
    /// search ends; empty while there is no entry.
    slots: Vec<u32>,
    entries: Vec<TableEntry<V>>,
}

#[derive(Debug)]
struct TableEntry<V> {
    hash: u64,
    key: Box<[u8]>,
    value: V,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            entries: Vec::new(),
        }
    }
}

impl<V> Table<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &*entry.key)
    }

    /// The value of `key`, whose [`hash`] the caller knows.
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: u64) -> Option<&V> {
        self.search(key, hash).map(|(_, entry)| &entry.value)
    }

    #[inline]
    fn search(&self, key: &[u8], hash: u64) -> Option<(usize, &TableEntry<V>)> {
        self.probe(hash)
            .find(|(_, entry)| entry.hash == hash && *entry.key == *key)
    }

    /// The entries that sit where `hash` would, with their positions, in the order in which they are searched.
    #[inline]
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, &TableEntry<V>)> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        std::iter::from_fn(move || {
            // Free slots end the search, and so does an empty table.
            let position = self.slots.get(place)?.checked_sub(1)? as usize;
            place = (place + 1) & mask;
            self.entries.get(position).map(|entry| (position, entry))
        })
    }
}

impl<V: Default> Table<V> {
    /// The value of `key`, made if it is new.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut V {
        let hash = hash(key);
        let known = self.search(key, hash).map(|(position, _)| position);
        let position = known.unwrap_or(self.entries.len());
        if known.is_none() {
            self.entries.push(TableEntry {
                hash,
                key: key.into(),
                value: V::default(),
            });
            if self.slots.len() < self.entries.len() * 2 {
                self.slots = vec![0; (self.entries.len() * 2).next_power_of_two()];
                self.arrange(0);
            } else {
                self.arrange(position);
            }
        }
        #[expect(clippy::indexing_slicing, reason = "a found position, or the one just pushed")]
        &mut self.entries[position].value
    }

    /// Gives the entries from the position `first` on their slots.
    fn arrange(&mut self, first: usize) {
        let mask = self.slots.len().wrapping_sub(1);
        for (position, entry) in self.entries.iter().enumerate().skip(first) {
            let mut place = entry.hash as usize & mask;
            while let Some(slot) = self.slots.get_mut(place) {
                if *slot == 0 {
                    *slot = position as u32 + 1;
                    break;
                }
                place = (place + 1) & mask;
            }
        }
    }
}

/// Eight bytes at a time, each step a multiplication folded onto itself; the last step overlaps.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let start = fold(bytes.len() as u64 ^ 0x2d35_8dcc_aa6c_78a5, K);
    let (words, short) = bytes.as_chunks::<8>();
    let all = words
        .iter()
        .fold(start, |state, word| fold(state ^ u64::from_le_bytes(*word), K));
    let tail = match (bytes.last_chunk::<8>(), short) {
        (_, []) => return all,
        (Some(last), _) => u64::from_le_bytes(*last),
        (None, few) => few.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    fold(all ^ tail, K)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_value_and_no_other_does() {
        let mut table = Table::<usize>::default();
        assert_eq!(table.find(b"x", hash(b"x")), None);
        for n in 0..500_usize {
            *table.entry(n.to_string().as_bytes()) = n;
        }
        *table.entry(b"7") = 1007;
        for n in 0..1000_usize {
            let key = n.to_string();
            let expected = if n == 7 {
                Some(1007)
            } else {
                Some(n).filter(|&n| n < 500)
            };
            assert_eq!(
                table.find(key.as_bytes(), hash(key.as_bytes())).copied(),
                expected
            );
        }
    }

    #[test]
    fn a_search_is_short_however_many_keys_there_are() {
        let mut table = Table::<usize>::default();
        let keys: Vec<String> = (0..150_000)
            .map(|n| format!("/package.Service{n}/Method"))
            .collect();
        for key in &keys {
            *table.entry(key.as_bytes()) += 1;
        }
        let looks = |key: &String| {
            let hash = hash(key.as_bytes());
            1 + table
                .probe(hash)
                .position(|(_, entry)| *entry.key == *key.as_bytes())
                .unwrap()
        };
        assert_eq!(table.keys().count(), keys.len());
        assert!(keys.iter().map(looks).sum::<usize>() <= 2 * keys.len());
    }

    #[test]
    fn one_hash_for_different_keys_is_distinguished_by_the_key() {
        let mut table = Table::<u8>::default();
        *table.entry(b"a") = 1;
        assert_eq!(table.find(b"b", hash(b"a")), None);
    }
}
