//! http2

mod field;
pub mod hpack;

pub use field::{Field, Indexing, Name};
pub use hpack::{DecodeError, Decoded, Decoder, Encoder};
