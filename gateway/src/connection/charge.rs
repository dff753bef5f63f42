//! The account of one connection in the memory of its worker.

/// The memory that one connection is charged with.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    /// The memory that its RPCs keep beside the streams of HTTP/2; see [`Relay::memory`](crate::relay::Relay::memory).
    pub(crate) rpcs: usize,
    /// All of it, as it was last counted, and what was free then.
    pub(crate) held: usize,
    pub(crate) free: usize,
    /// The least since the last look at large connections.
    pub(crate) least: usize,
    /// The least of the time before that look: what does not move.
    pub(crate) steady: usize,
    /// The connection is in the list of large ones.
    pub(crate) is_large: bool,
    /// Of a backend: what of it is frames and header blocks that have not ended.
    pub(crate) unfinished: usize,
}

impl Charge {
    /// A relay was counted with `before` and keeps `now`.
    pub(crate) fn recount(&mut self, before: u32, now: u32) {
        self.rpcs = (self.rpcs + now as usize).saturating_sub(before as usize);
    }

    /// The order in which clients give way. What moves counts little, for it will be gone in a moment.
    pub(crate) fn weight(&self) -> usize {
        self.steady.min(self.held).max(self.held / 16)
    }

    /// Most of what it holds now was not there half a second ago.
    pub(crate) fn is_moving(&self) -> bool {
        2 * self.weight() < self.held
    }
}
