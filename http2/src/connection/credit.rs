//! The tokens that the peer's streams earn back of the rates that they spend, by the caller's reports on them.

use super::Connection;
use crate::limits::Limit;
use crate::stream::{Stream, StreamKey};
use std::time::Duration;

/// The wire explains this many octets of a header list with each of its own: Huffman code and the 32 octets that count
/// for each field make that much of plain text.
const LIST_OCTETS_PER_OCTET: usize = 4;
/// The most of `header_expansion` that one request brings back. A table has 4,096 octets, so ordinary metadata that comes
/// out of it is never more than about this.
const MOST_EXPANSION: u32 = 8 << 10;
/// Shorter deadlines explain no reset: anybody could ask for them.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(10);
/// A reset may come this much before the deadline, or a tenth of it: HEADERS may have been on their way for longer.
const EARLY: Duration = Duration::from_millis(5);
/// A deadline, in milliseconds, that explains a reset at any age.
const AT_ANY_AGE: u32 = 1;

/// Octets of a header list that its block does not explain.
pub(super) fn expansion(list: usize, block: usize) -> u32 {
    let unexplained = list.saturating_sub(block.saturating_mul(LIST_OCTETS_PER_OCTET));
    u32::try_from(unexplained).unwrap_or(u32::MAX)
}

impl Connection {
    /// Server: a backend has answered this stream. Once it ends in order, that earns the peer seven eighths of a rapid reset,
    /// and half of one refusal or request that is turned away.
    #[inline]
    pub fn served(&mut self, stream: StreamKey) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.served = true;
        }
    }

    /// Server: the caller answers or refuses this request itself, because no backend is to have it. It earns nothing
    /// and counts against [`Limits::turned_away`](crate::Limits::turned_away); if that is exceeded, the next
    /// [`receive`](Self::receive) is an error.
    pub fn turned_away(&mut self, stream: StreamKey) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.turned_away = true;
        }
        let rate = self.config.limits.turned_away;
        if let Some(clock) = &self.clock
            && !self.buckets.turned_away.take(rate, clock)
        {
            self.exceeded.get_or_insert(Limit::TurnedAway);
        }
    }

    /// Server: the peer gives this request so much time (`grpc-timeout`). A reset by the peer at that age or later
    /// counts against [`Limits::deadline_resets`](crate::Limits::deadline_resets) and not against `rapid_resets`, if it
    /// is at least 10 ms. Where nearly as many streams are open as may be, so does an earlier one: the client's library
    /// may have written the field before the call waited for its stream, and of its time little is left.
    #[inline]
    pub fn expect_reset_after(&mut self, stream: StreamKey, timeout: Duration) {
        let most = self.config.limits.max_concurrent_streams as usize;
        let is_crowded = self.streams.len() >= most - most / 8;
        if timeout >= SHORTEST_DEADLINE
            && let Some(stream) = self.streams.get_mut(stream)
        {
            let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            stream.deadline_ms = if is_crowded { AT_ANY_AGE } else { millis };
        }
    }

    /// Gives back the tokens of a stream of the peer at its end, `in_order` or not.
    #[inline]
    pub(super) fn earn(&mut self, key: StreamKey, in_order: bool) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let limits = &self.config.limits;
        if in_order && stream.served {
            self.buckets.served(limits);
        }
        if !stream.turned_away {
            let expansion = u32::from(stream.expansion);
            self.buckets
                .header_expansion
                .earn(limits.header_expansion, expansion);
        }
    }
}

impl Stream {
    /// A header block of this stream had this expansion, which comes back as far as that goes.
    pub(super) fn note_expansion(&mut self, expansion: u32) {
        let sum = u32::from(self.expansion).saturating_add(expansion);
        self.expansion = u16::try_from(sum.min(MOST_EXPANSION)).unwrap_or(u16::MAX);
    }

    /// `true` if its deadline explains a reset at this age.
    pub(super) fn is_past_deadline(&self, age: Duration) -> bool {
        self.deadline_ms != 0 && explains_reset(Duration::from_millis(self.deadline_ms.into()), age)
    }
}

/// `true` if a peer that gave its request so much time resets it at this age because the time is over.
pub fn explains_reset(timeout: Duration, age: Duration) -> bool {
    age >= timeout.saturating_sub(EARLY.max(timeout / 10))
}
