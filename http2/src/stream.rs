//! The stream states of RFC 9113 §5.1.

/// Names one stream of one connection. A key outlives its stream harmlessly: ids are never used twice.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// The id on the wire (RFC 9113 §5.1.1).
    pub fn id(self) -> u32 {
        self.id
    }
}
