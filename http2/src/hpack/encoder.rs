//! Fields in, header blocks out.

use super::index::{FieldIndex, Sighting};
use super::table::Table;
use super::{DEFAULT_TABLE_SIZE, huffman, integer};
use crate::field::entry::Entry;
use crate::field::predefined::STATIC_LEN;
use crate::field::{Field, Indexing};

/// Writes the header blocks for one peer, in the order in which they are sent.
///
/// It spends bytes before CPU, since it works between machines that are close together:
/// - Strings are sent as they are. Huffman code would save 57 of 220 bytes of a request with four fields of its own,
///   and take 520 ns to encode instead of 120, and as much again to decode (`examples/hpack_cost.rs`).
/// - What the sender of a field wanted ([`Field::indexing`]) is kept; and of what may enter the table, a field
///   enters when it is seen for the second time. Trace ids and deadlines, which are seen once, then push nothing
///   out of the table, neither here nor at the peer.
/// - A name that is not in the static table is sent as text even if the dynamic table has it.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    index: FieldIndex,
    /// The table sizes to announce at the beginning of the next block.
    update: Option<SizeUpdate>,
    style: Style,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Style {
    huffman: bool,
    /// Fields enter the table when they are seen first.
    eager: bool,
}

impl Style {
    const LIGHT: Self = Self {
        huffman: false,
        eager: false,
    };
    const COMPACT: Self = Self {
        huffman: true,
        eager: true,
    };
}

/// RFC 7541 §4.2: the smallest maximum since the last block, and the last one.
#[derive(Copy, Clone, Debug)]
struct SizeUpdate {
    smallest: usize,
    last: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder that uses a table of 4,096 bytes at most, whatever the peer allows.
    pub fn new() -> Self {
        Self::with_style(Style::LIGHT)
    }

    /// An encoder that spends CPU before bytes: Huffman code wherever it is not longer, and every field that may
    /// enter the table does so when it is seen first. This is what the examples of RFC 7541 Appendix C do.
    pub fn compact() -> Self {
        Self::with_style(Style::COMPACT)
    }

    fn with_style(style: Style) -> Self {
        Self {
            table: Table::new(DEFAULT_TABLE_SIZE),
            index: FieldIndex::default(),
            update: None,
            style,
        }
    }

    /// Obeys the peer's `SETTINGS_HEADER_TABLE_SIZE`. The next block says so, with the smallest size in between
    /// if there were several (RFC 7541 §4.2). More than 4,096 is not used.
    pub fn set_max_table_size(&mut self, peer: usize) {
        let size = peer.min(DEFAULT_TABLE_SIZE);
        if size == self.table.max_size() {
            return;
        }
        self.table.set_max_size(size);
        let smallest = self.update.map_or(size, |update| update.smallest.min(size));
        self.update = Some(SizeUpdate { smallest, last: size });
    }

    /// Octets that it has from the allocator.
    pub(crate) fn heap(&self) -> usize {
        self.table.heap() + self.index.heap()
    }

    /// Appends one header block with these fields, in their order.
    pub fn encode(&mut self, fields: &[Field], out: &mut Vec<u8>) {
        if let Some(update) = self.update.take() {
            if update.smallest < update.last {
                integer::encode(0x20, 5, update.smallest, out);
            }
            integer::encode(0x20, 5, update.last, out);
        }
        for field in fields {
            match field.source() {
                // RFC 7541 §6.1.
                Ok(row) => out.push(0x80 | row),
                Err(entry) => self.entry(entry, out),
            }
        }
    }

    fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        match entry.indexing() {
            // RFC 7541 §7.1.3: to be sent on in the same form, whatever a table may hold.
            Indexing::Never => self.literal(0x10, 4, entry, out),
            _ if entry.static_field() != 0 => out.push(0x80 | entry.static_field()),
            Indexing::Without => self.literal(0x00, 4, entry, out),
            Indexing::Incremental => self.incremental(entry, out),
        }
    }

    fn incremental(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        // RFC 7541 §4.4: what is larger than the table only empties it.
        if entry.size() > self.table.max_size() {
            return self.literal(0x00, 4, entry, out);
        }
        // What fills the table pushes out everything else, and must have come before.
        let fills = entry.size() > self.table.max_size() / 4 * 3;
        match self.index.find(entry, &self.table) {
            Sighting::InTable(age) => integer::encode(0x80, 7, STATIC_LEN + 1 + age, out),
            Sighting::First if self.waits(entry, fills) => self.literal(0x00, 4, entry, out),
            Sighting::First | Sighting::Again => {
                self.literal(0x40, 6, entry, out);
                self.table.insert(entry.clone());
                self.index.inserted(entry, &self.table);
            }
        }
    }

    /// `true` if a field that is seen first enters the table only when it comes again; that it came is noted.
    fn waits(&mut self, entry: &Entry, fills: bool) -> bool {
        if self.style.eager && !fills {
            return false;
        }
        let noted = self.index.remember(entry, &self.table);
        noted || fills
    }

    /// RFC 7541 §6.2: the name by its static index or as text, then the value.
    fn literal(&self, first: u8, prefix: u32, entry: &Entry, out: &mut Vec<u8>) {
        let (name, value) = entry.text();
        integer::encode(first, prefix, usize::from(entry.static_name()), out);
        if entry.static_name() == 0 {
            self.string(name, out);
        }
        self.string(value, out);
    }

    fn string(&self, text: &[u8], out: &mut Vec<u8>) {
        if self.style.huffman {
            let len = huffman::encoded_len(text);
            if (1..=text.len()).contains(&len) {
                integer::encode(0x80, 7, len, out);
                return huffman::encode(text, out);
            }
        }
        integer::encode(0x00, 7, text.len(), out);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests;
