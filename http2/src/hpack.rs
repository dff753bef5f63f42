//! Header compression (RFC 7541), both directions.
//!
//! [`Decoder`] turns header blocks into [`Field`]s, [`Encoder`] turns fields into header blocks. Between two
//! connections of a proxy nothing is copied: the entry that one side's decoder made is the entry that the other
//! side's encoder keeps in its table and finds by the hash that was worked out once.

mod decoder;
mod encoder;
mod huffman;
mod index;
mod integer;
mod table;

use std::{error, fmt};

pub use decoder::{Decoded, Decoder};
pub use encoder::Encoder;

#[cfg(doc)]
use crate::Field;

/// The table size that both ends begin with (RFC 9113 §6.5.2).
const DEFAULT_TABLE_SIZE: usize = 4096;

/// Why a header block cannot be read. The two tables may differ from here on, so the connection must end with
/// `COMPRESSION_ERROR` (RFC 9113 §4.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The block ends inside a field.
    Truncated,
    /// An integer above 32 bits, or written in more bytes than it needs by far (RFC 7541 §5.1).
    IntegerOverflow,
    /// Index 0, or one beyond both tables (RFC 7541 §2.3.3, §6.1).
    InvalidIndex,
    /// A code that is no symbol, EOS inside a string, or padding that is not the front of EOS or is longer than
    /// seven bits (RFC 7541 §5.2).
    InvalidHuffman,
    /// A table size above the one that we announced (RFC 7541 §6.3).
    SizeUpdateTooLarge,
    /// A table size update after a field (RFC 7541 §4.2).
    SizeUpdateMisplaced,
    /// We announced a smaller table, the peer agreed, and did not say so in its next block (RFC 9113 §4.3.1).
    SizeUpdateMissing,
    /// The list is larger than [`Decoder::stopping_past`] reads.
    ListTooLarge,
    /// There are more fields than [`Decoder::stopping_past`] reads.
    TooManyFields,
    /// Fields over the limit named a long name by index again and again: bytes to copy for us, none to send for
    /// the peer.
    NamesAmplified,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the header block ends inside a field",
            Self::IntegerOverflow => "an integer in the header block is too long",
            Self::InvalidIndex => "the header block names an entry that is in no table",
            Self::InvalidHuffman => "a string in the header block is not valid Huffman code",
            Self::SizeUpdateTooLarge => "the header block sets a larger table than was announced",
            Self::SizeUpdateMisplaced => "the header block sets the table size after a field",
            Self::SizeUpdateMissing => "the header block does not confirm the smaller table",
            Self::ListTooLarge => "the header block holds too large a list",
            Self::TooManyFields => "the header block holds too many fields",
            Self::NamesAmplified => "the header block repeats long names by index beyond the limit",
        })
    }
}

impl error::Error for DecodeError {}
