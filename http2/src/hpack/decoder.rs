//! Header blocks in, fields out.

use std::iter;

use super::table::Table;
use super::{DEFAULT_TABLE_SIZE, DecodeError, huffman, integer};
use crate::field::entry::{Entry, HEADER, NameFacts};
use crate::field::predefined::{STATIC_LEN, name_index, row_at};
use crate::field::{Field, Indexing, Name};

/// Reads the header blocks of one peer, in the order in which they were sent.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The table size in our SETTINGS.
    announced: usize,
    /// The largest table that the peer may choose now.
    limit: usize,
    /// The next block must begin with a size update.
    update_due: bool,
    /// Past these sizes and numbers of fields no block is read on.
    stop: (usize, usize),
    /// The buffer in which a literal is put together: [`HEADER`] bytes, name, value.
    text: Vec<u8>,
}

/// The size and the verdict of one decoded header block.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Decoded {
    /// Sum of the sizes of all fields, dropped ones too (RFC 9113 §6.5.2).
    pub list_size: usize,
    /// Number of all fields, dropped ones too.
    pub fields: usize,
    /// A limit was passed, and the fields from there on were dropped.
    pub too_large: bool,
}

/// A block may make us copy this many bytes of indexed names for each of its own, beyond what a list of ordinary
/// size holds. It is the price of the cheapest literal, two bytes that make an entry.
const NAME_BYTES_PER_BYTE: usize = 32;

/// Larger scratch space is given back after the block, so that idle connections stay small.
const KEPT_SCRATCH: usize = 1024;

impl Decoder {
    /// A decoder for a peer to which our SETTINGS announce `table_size` (4,096 if they say nothing).
    ///
    /// The peer may use the default size until it has seen our SETTINGS; see [`Self::settings_acknowledged`].
    pub fn new(table_size: usize) -> Self {
        Self {
            table: Table::new(DEFAULT_TABLE_SIZE),
            announced: table_size,
            limit: table_size.max(DEFAULT_TABLE_SIZE),
            update_due: false,
            stop: (usize::MAX, usize::MAX),
            text: Vec::new(),
        }
    }

    /// The decoder, for which a block with more than `list_size` octets of fields or more than `fields` of them is
    /// an error as soon as that is seen: what such a block costs is then bounded, whatever its length.
    #[must_use]
    pub fn stopping_past(mut self, list_size: usize, fields: usize) -> Self {
        self.stop = (list_size, fields);
        self
    }

    /// The peer acknowledged our SETTINGS. Matters only if they announced less than 4,096: the next block must
    /// then begin with an update to a size that fits (RFC 9113 §4.3.1), and no later one may go above.
    pub fn settings_acknowledged(&mut self) {
        self.limit = self.announced;
        self.update_due = self.table.max_size() > self.limit;
    }

    /// Octets that it has from the allocator.
    pub(crate) fn heap(&self) -> usize {
        self.table.heap() + self.text.capacity()
    }

    /// Decodes one whole header block (all fragments joined), appending to `out`.
    ///
    /// Past `max_list_size` (sum of [`Field::size`], RFC 9113 §6.5.2) or `max_fields` no field is kept any more but
    /// one `content-type`, by which a refusal is worded; the block is decoded to its end, so that the table stays in
    /// step with the peer's.
    ///
    /// The cost is bounded by the block: an indexed field is a count, and nothing is allocated for it; a literal
    /// is one allocation of its own length, plus its name if that was indexed.
    ///
    /// # Errors
    /// The block breaks RFC 7541. The decoder must not be used again.
    pub fn decode(
        &mut self,
        block: &[u8],
        max_list_size: usize,
        max_fields: usize,
        out: &mut Vec<Field>,
    ) -> Result<Decoded, DecodeError> {
        let mut rest = block;
        self.size_updates(&mut rest)?;
        let mut list = FieldList {
            decoded: Decoded::default(),
            max_list_size,
            max_fields,
            stop: self.stop,
            content_type: false,
            out,
        };
        let mut name_bytes = block
            .len()
            .saturating_mul(NAME_BYTES_PER_BYTE)
            .saturating_add(max_list_size);
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            match first {
                // RFC 7541 §6.1: indexed field.
                0x80.. => self.indexed(integer::decode(first, 7, &mut rest)?, &mut list)?,
                // §6.2.1, §6.2.3, §6.2.2: literals.
                0x40.. => {
                    let index = integer::decode(first, 6, &mut rest)?;
                    self.literal(
                        index,
                        Indexing::Incremental,
                        &mut rest,
                        &mut name_bytes,
                        &mut list,
                    )?;
                }
                // §4.2: size updates stand at the beginning of a block.
                0x20.. => return Err(DecodeError::SizeUpdateMisplaced),
                _ => {
                    let index = integer::decode(first, 4, &mut rest)?;
                    let indexing = if first & 0x10 != 0 {
                        Indexing::Never
                    } else {
                        Indexing::Without
                    };
                    self.literal(index, indexing, &mut rest, &mut name_bytes, &mut list)?;
                }
            }
        }
        let decoded = list.decoded;
        if self.text.len() > KEPT_SCRATCH {
            self.text = Vec::new();
        }
        Ok(decoded)
    }

    /// RFC 7541 §6.3: none or more updates at the front of `rest`.
    fn size_updates(&mut self, rest: &mut &[u8]) -> Result<(), DecodeError> {
        while let Some((&first @ 0x20..0x40, after)) = rest.split_first() {
            *rest = after;
            let size = integer::decode(first, 5, rest)?;
            if size > self.limit {
                return Err(DecodeError::SizeUpdateTooLarge);
            }
            self.table.set_max_size(size);
            self.update_due = false;
        }
        if self.update_due {
            Err(DecodeError::SizeUpdateMissing)
        } else {
            Ok(())
        }
    }

    fn indexed(&self, index: usize, list: &mut FieldList<'_>) -> Result<(), DecodeError> {
        match index {
            0 => Err(DecodeError::InvalidIndex),
            1..=STATIC_LEN => {
                let index = index as u8;
                let row = row_at(index);
                if list.admits(row.size(), || row.known)? {
                    // Not `push`: it wants the field in memory before it knows that there is room, and to move it
                    // from there stalls on the bytes just stored. Measured: a third of a warm request.
                    list.out.extend(iter::once(index).map(Field::predefined));
                }
                Ok(())
            }
            _ => {
                let entry = self
                    .table
                    .at(index - STATIC_LEN - 1)
                    .ok_or(DecodeError::InvalidIndex)?;
                if list.admits(entry.size(), || entry.known())? {
                    list.out
                        .extend(iter::once(entry).map(|entry| Field::shared(entry.clone())));
                }
                Ok(())
            }
        }
    }

    fn literal(
        &mut self,
        index: usize,
        indexing: Indexing,
        rest: &mut &[u8],
        name_bytes: &mut usize,
        list: &mut FieldList<'_>,
    ) -> Result<(), DecodeError> {
        let (name_len, name) = match index {
            0 => {
                let len = read_string(rest, &mut self.text, HEADER)?;
                let name = self.text.get(HEADER..HEADER + len).unwrap_or_default();
                (len, NameFacts::of(name))
            }
            1..=STATIC_LEN => {
                let row = row_at(index as u8);
                room(&mut self.text, HEADER, row.name.len()).copy_from_slice(row.name);
                let facts = NameFacts {
                    known: row.known,
                    index: name_index(index as u8),
                    legal: true,
                };
                (row.name.len(), facts)
            }
            _ => {
                let entry = self
                    .table
                    .at(index - STATIC_LEN - 1)
                    .ok_or(DecodeError::InvalidIndex)?;
                let (name, _) = entry.text();
                *name_bytes = name_bytes
                    .checked_sub(name.len())
                    .ok_or(DecodeError::NamesAmplified)?;
                room(&mut self.text, HEADER, name.len()).copy_from_slice(name);
                (name.len(), entry.name_facts())
            }
        };
        let value_len = read_string(rest, &mut self.text, HEADER + name_len)?;
        let admitted = list.admits(name_len + value_len + 32, || name.known)?;
        if !admitted && indexing != Indexing::Incremental {
            return Ok(());
        }
        let text = self
            .text
            .get_mut(..HEADER + name_len + value_len)
            .unwrap_or_default();
        let entry = Entry::seal(text, name_len, name, indexing);
        if indexing == Indexing::Incremental {
            self.table.insert(entry.clone());
        }
        if admitted {
            list.out.push(Field::shared(entry));
        }
        Ok(())
    }
}

/// The list of fields that a block has come to so far.
struct FieldList<'a> {
    decoded: Decoded,
    max_list_size: usize,
    max_fields: usize,
    stop: (usize, usize),
    /// A `content-type` was kept past the limits.
    content_type: bool,
    out: &'a mut Vec<Field>,
}

impl FieldList<'_> {
    /// Counts a field. `true` if it is kept.
    #[inline]
    fn admits(&mut self, size: usize, name: impl FnOnce() -> Name) -> Result<bool, DecodeError> {
        let decoded = &mut self.decoded;
        decoded.list_size = decoded.list_size.saturating_add(size);
        decoded.fields += 1;
        decoded.too_large |= decoded.list_size > self.max_list_size || decoded.fields > self.max_fields;
        if decoded.too_large {
            return self.admits_past_limits(name());
        }
        Ok(true)
    }

    #[cold]
    fn admits_past_limits(&mut self, name: Name) -> Result<bool, DecodeError> {
        if self.decoded.list_size > self.stop.0 {
            return Err(DecodeError::ListTooLarge);
        }
        if self.decoded.fields > self.stop.1 {
            return Err(DecodeError::TooManyFields);
        }
        let first = name == Name::ContentType && !self.content_type;
        self.content_type |= first;
        Ok(first)
    }
}

/// RFC 7541 §5.2: a string into `text` at `at`; returns its length there.
fn read_string(rest: &mut &[u8], text: &mut Vec<u8>, at: usize) -> Result<usize, DecodeError> {
    let (&first, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
    *rest = after;
    let len = integer::decode(first, 7, rest)?;
    let (raw, after) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    *rest = after;
    if first & 0x80 != 0 {
        return huffman::decode(raw, room(text, at, huffman::decoded_bound(len)));
    }
    room(text, at, len).copy_from_slice(raw);
    Ok(len)
}

/// `len` bytes of `text` from `at` on; it grows when it must and keeps what is before.
fn room(text: &mut Vec<u8>, at: usize, len: usize) -> &mut [u8] {
    let end = at + len;
    if text.len() < end {
        text.resize(end.next_power_of_two().max(256), 0);
    }
    text.get_mut(at..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
