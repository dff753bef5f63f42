//! RFC 7541.

use crate::Field;

/// Why a header block cannot be read. The connection ends with COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The block ends inside a field.
    Truncated,
}

/// What a header block came to.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Decoded {
    /// Sum of the sizes of all fields, dropped ones too (RFC 9113 §6.5.2).
    pub list_size: usize,
    /// Number of all fields, dropped ones too.
    pub fields: usize,
    /// A limit was passed and fields were dropped.
    pub too_large: bool,
}

/// Reads header blocks.
#[derive(Debug)]
pub struct Decoder(());
impl Decoder {
    /// A decoder with the table size that we announced.
    pub fn new(_table_size: usize) -> Self {
        Self(())
    }
    /// Our SETTINGS were acknowledged: from now on the peer must keep to the announced table size.
    pub fn settings_acknowledged(&mut self) {}
    /// Decodes one whole header block, appending to `out`.
    pub fn decode(
        &mut self,
        _block: &[u8],
        _max_list_size: usize,
        _max_fields: usize,
        _out: &mut Vec<Field>,
    ) -> Result<Decoded, DecodeError> {
        unimplemented!()
    }
}

/// Writes header blocks.
#[derive(Debug)]
pub struct Encoder(());
impl Encoder {
    /// A new encoder.
    #[expect(clippy::new_without_default, reason = "stub")]
    pub fn new() -> Self {
        Self(())
    }
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_max_table_size(&mut self, _peer: usize) {}
    /// Appends one header block.
    pub fn encode(&mut self, _fields: &[Field], _out: &mut Vec<u8>) {
        unimplemented!()
    }
}
