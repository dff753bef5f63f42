//! Every bound and flood counter of one connection, named, with its default, its reason and its CVE.
//!
//! Two kinds. *Bounds* are plain numbers. *Rates* are token buckets: a burst, a refill per second, and where ordinary
//! traffic brings its own share (a WINDOW_UPDATE for each DATA frame that we sent) tokens are *earned* by that traffic, so
//! that a busy honest peer never runs dry and an idle attacker does.

use std::time::{Duration, Instant};

/// A token bucket's shape: `burst` at once, `per_second` on and on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The number that may come at once.
    pub burst: u32,
    /// The number that may come each second for ever.
    pub per_second: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        burst: u32::MAX,
        per_second: u32::MAX,
    };

    /// `burst` at once, `per_second` on and on.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

/// Every bound and flood counter of one connection. Reaching a fatal one ends the connection with ENHANCE_YOUR_CALM;
/// the others are answered on the stream and reported by [`Connection::take_reached`](crate::Connection::take_reached).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams that the peer may have open (server), or that we open at most (client). Edge 256: gRPC clients live with
    /// 100, and each stream may hold a window of data. More are refused one by one (RFC 9113 §5.1.2).
    pub max_concurrent_streams: u32,
    /// Streams refused because too many were open. Edge 2,000 at once and 100/s, half a one more earned by each stream
    /// that a backend answered: a client may send a whole flight before it has read our SETTINGS. Fatal. What comes
    /// later on a stream that was refused is ignored (RFC 9113 §5.1), for as many as this allows at once.
    pub refused_streams: Rate,
    /// Sum of name + value + 32 over all fields of a head or of trailers (RFC 9113 §6.5.2), cookie crumbs counted.
    /// Edge 64 KiB: gRPC clients stop at 8 to 16 KiB. More: `RequestTooLarge`, or the stream is reset; more than four
    /// times as much: fatal, for then the block is not read to its end, and that breaks the table.
    pub max_header_list_size: u32,
    /// Number of fields of a head or of trailers, cookie crumbs counted one by one. Edge 256. One octet of a header
    /// block can name a field of the table, so size on the wire bounds nothing (CVE-2026-49975 class, the HPACK bomb
    /// CVE-2016-6581). Answered like `max_header_list_size`.
    pub max_header_fields: u32,
    /// Octets of one header block as sent, over all its CONTINUATION frames. Edge 256 KiB, four times the list, so that
    /// a list that is too large can still be answered. Fatal, for what is not decoded breaks the table.
    pub max_header_block: u32,
    /// Octets of header lists that the octets of their blocks do not explain, which four each do: what a table makes of
    /// one octet. Edge 16 MiB at once and 1 MiB/s; each request brings its own back, up to 8 KiB, when it ends, unless it
    /// was turned away or reset at once. So metadata that repeats on every RPC costs nothing, while a block of 33 octets
    /// that stands for 61 KiB (CVE-2016-6581, the HPACK bomb, one list at a time) is soon too much. Fatal.
    pub header_expansion: Rate,
    /// Requests over `max_header_list_size` or `max_header_fields`, each of which is read and answered. Edge 200 at once
    /// and 20/s, half a one more earned by each stream that a backend answered. Fatal.
    pub oversized_requests: Rate,
    /// Requests that the caller answered or refused itself, for no backend is meant ([`Connection::turned_away`]). Edge
    /// 2,000 at once and 200/s, half a one more earned by each stream that a backend answered. Fatal.
    ///
    /// [`Connection::turned_away`]: crate::Connection::turned_away
    pub turned_away: Rate,
    /// Interim (1xx) heads of one response. 100: servers send one or two. The stream is reset. RFC 9110 §15.2 sets no
    /// bound, and each is relayed.
    pub max_informational: u32,
    /// CONTINUATION frames of one header block, empty ones too. Edge 32. Fatal. CVE-2024-27983, CVE-2023-45288,
    /// CVE-2024-28182: endless CONTINUATION frames that no header list limit sees.
    pub max_continuations: u32,
    /// Resets by the peer of streams that had no response head yet and were younger than `rapid_reset_age`. Edge 1,000
    /// at once and 33/s, seven eighths of one more earned by each stream that a backend answered and that ended in
    /// order. Fatal.
    /// CVE-2023-44487 (rapid reset): the reset frees the place at once while the backend still works.
    pub rapid_resets: Rate,
    /// The same at or after the stream's own deadline ([`Connection::expect_reset_after`]): explained, and yet work for
    /// a backend. Edge 20,000 at once and 5,000/s, half a one more earned by each such stream: a full connection whose calls all end
    /// by a deadline of 100 ms resets 2,560/s. Fatal.
    ///
    /// [`Connection::expect_reset_after`]: crate::Connection::expect_reset_after
    pub deadline_resets: Rate,
    /// The age from which the reset of a stream is no rapid one. Edge 1 s: deadlines and impatient people are older.
    pub rapid_reset_age: Duration,
    /// Resets that the peer made us send: malformed messages, broken windows, frames on closed streams. Edge 100 at
    /// once and 10/s. Fatal. CVE-2025-8671 (made you reset): rapid reset by our own hand.
    pub provoked_resets: Rate,
    /// PING frames that want an answer. Edge 200 at once and 10/s, one more earned by each DATA frame that we sent
    /// (gRPC measures bandwidth with one PING per round trip of data). Fatal. CVE-2019-9512.
    pub pings: Rate,
    /// SETTINGS frames that want an answer. Edge 50 at once and 1/s. Backend 1,000 at once and 10/s: servers that measure
    /// bandwidth send about ten in all. Fatal. A new initial window costs the same however many streams there are, but where
    /// one was raised to nearly 2^31 and windows grow, all may have to be looked at: one more for each 1,024 of them.
    /// CVE-2019-9515.
    pub settings: Rate,
    /// PRIORITY frames, which do nothing here. Edge 500 at once and 10/s, two more earned by each new stream. Fatal.
    /// CVE-2019-9513.
    pub priorities: Rate,
    /// WINDOW_UPDATE frames. Edge 2,000 at once and 100/s; more are earned by each stream (4) and by each DATA frame
    /// that we sent (4, and one for each 256 octets). Fatal.
    pub window_updates: Rate,
    /// DATA frames without payload that do not end their stream. Edge 10,000 at once and 100/s, one more earned by each
    /// DATA frame with payload. They are swallowed and cost nothing, hence the width. Fatal. CVE-2019-9518.
    pub empty_data: Rate,
    /// Frames of unknown types, which are skipped (RFC 9113 §5.5). Edge 500 at once and 10/s, two more earned by each
    /// new stream. Fatal.
    pub unknown_frames: Rate,
    /// GOAWAY frames. Edge 8 at once and 1 per second: a graceful end has two. Fatal.
    pub goaways: Rate,
    /// Octets of answers that the peer made us write and has not read: acknowledgements and resets, and (server) heads
    /// and trailers, for which another 4 KiB are allowed per stream of `max_concurrent_streams`: a client that pauses
    /// has all its calls answered meanwhile. Edge 256 KiB, so 1.25 MiB in all. Fatal once more is asked for.
    /// CVE-2019-9517 (internal data buffering), and all the floods above by a peer that never reads. Whoever drives the
    /// connection does well to stop reading from it long before. Heads and trailers wait on their streams, unframed, from
    /// this and [`Config::max_output`](crate::Config::max_output) on: what was one octet each for whoever sent them may be
    /// a thousand for a peer without a table.
    pub max_unread_answers: u32,
    /// Octets of payload that wait on all streams for windows or for the peer to read. Edge 64 MiB. Not enforced here,
    /// for bytes that were accepted are never dropped: [`Connection::over_queue_bound`](crate::Connection::over_queue_bound)
    /// names the victim, and its owner resets it. CVE-2019-9511, CVE-2019-9517 (closed windows).
    pub max_queued: usize,
}

impl Limits {
    /// For strangers.
    pub fn edge() -> Self {
        Self {
            max_concurrent_streams: 256,
            refused_streams: Rate::new(2_000, 100),
            max_header_list_size: 64 << 10,
            max_header_fields: 256,
            max_header_block: 256 << 10,
            header_expansion: Rate::new(16 << 20, 1 << 20),
            oversized_requests: Rate::new(200, 20),
            turned_away: Rate::new(2_000, 200),
            max_informational: 100,
            max_continuations: 32,
            rapid_resets: Rate::new(1_000, 33),
            deadline_resets: Rate::new(20_000, 5_000),
            rapid_reset_age: Duration::from_secs(1),
            provoked_resets: Rate::new(100, 10),
            pings: Rate::new(200, 10),
            settings: Rate::new(50, 1),
            priorities: Rate::new(500, 10),
            window_updates: Rate::new(2_000, 100),
            empty_data: Rate::new(10_000, 100),
            unknown_frames: Rate::new(500, 10),
            goaways: Rate::new(8, 1),
            max_unread_answers: 256 << 10,
            max_queued: 64 << 20,
        }
    }

    /// For our own servers: a connection to one is shared by many clients and must not end for what one of them made it
    /// carry. Memory stays bounded; rates do not end it short of madness.
    pub fn backend() -> Self {
        let wide = Rate::new(100_000, 10_000);
        Self {
            max_concurrent_streams: u32::MAX,
            refused_streams: Rate::UNLIMITED,
            max_header_list_size: 256 << 10,
            max_header_fields: 2_048,
            max_header_block: 1 << 20,
            header_expansion: Rate::UNLIMITED,
            oversized_requests: Rate::UNLIMITED,
            turned_away: Rate::UNLIMITED,
            max_informational: 100,
            max_continuations: 256,
            rapid_resets: Rate::UNLIMITED,
            deadline_resets: Rate::UNLIMITED,
            rapid_reset_age: Duration::ZERO,
            provoked_resets: wide,
            pings: wide,
            settings: Rate::new(1_000, 10),
            priorities: wide,
            window_updates: Rate::UNLIMITED,
            empty_data: Rate::UNLIMITED,
            unknown_frames: wide,
            goaways: Rate::new(1_000, 10),
            max_unread_answers: 4 << 20,
            max_queued: 256 << 20,
        }
    }
}

/// Which limit was reached.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each is explained at the field of `Limits` with its name"
)]
pub enum Limit {
    ConcurrentStreams,
    RefusedStreams,
    HeaderListSize,
    HeaderFields,
    HeaderBlock,
    HeaderExpansion,
    OversizedRequests,
    TurnedAway,
    Informational,
    Continuations,
    RapidResets,
    DeadlineResets,
    ProvokedResets,
    Pings,
    Settings,
    Priorities,
    WindowUpdates,
    EmptyData,
    UnknownFrames,
    Goaways,
    UnreadAnswers,
    Queued,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::ConcurrentStreams,
        Self::RefusedStreams,
        Self::HeaderListSize,
        Self::HeaderFields,
        Self::HeaderBlock,
        Self::HeaderExpansion,
        Self::OversizedRequests,
        Self::TurnedAway,
        Self::Informational,
        Self::Continuations,
        Self::RapidResets,
        Self::DeadlineResets,
        Self::ProvokedResets,
        Self::Pings,
        Self::Settings,
        Self::Priorities,
        Self::WindowUpdates,
        Self::EmptyData,
        Self::UnknownFrames,
        Self::Goaways,
        Self::UnreadAnswers,
        Self::Queued,
    ];

    /// Its name in metrics and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConcurrentStreams => "max_concurrent_streams",
            Self::RefusedStreams => "refused_streams",
            Self::HeaderListSize => "max_header_list_size",
            Self::HeaderFields => "max_header_fields",
            Self::HeaderBlock => "max_header_block",
            Self::HeaderExpansion => "header_expansion",
            Self::OversizedRequests => "oversized_requests",
            Self::TurnedAway => "turned_away",
            Self::Informational => "max_informational",
            Self::Continuations => "max_continuations",
            Self::RapidResets => "rapid_resets",
            Self::DeadlineResets => "deadline_resets",
            Self::ProvokedResets => "provoked_resets",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window_updates",
            Self::EmptyData => "empty_data",
            Self::UnknownFrames => "unknown_frames",
            Self::Goaways => "goaways",
            Self::UnreadAnswers => "max_unread_answers",
            Self::Queued => "max_queued",
        }
    }
}

/// The time since a connection began, worked out only when asked for.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) began: Instant,
    pub(crate) now: Instant,
}

impl Clock {
    /// Milliseconds of the connection's life; wraps after 49 days, so only differences count.
    #[inline]
    pub(crate) fn millis(&self) -> u32 {
        let life = self.now.saturating_duration_since(self.began);
        #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
        let millis = (life.as_secs() as u32)
            .wrapping_mul(1000)
            .wrapping_add(life.subsec_millis());
        millis
    }
}

/// The tokens that are left of a [`Rate`]. Refilled only when it has run dry, which costs one subtraction per event and
/// lets at most two bursts through where an exact bucket lets one.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    tokens: u32,
    filled_ms: u32,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            tokens: rate.burst,
            filled_ms: 0,
        }
    }

    /// Ordinary traffic brought `n` tokens with it.
    #[inline]
    pub(crate) fn earn(&mut self, rate: Rate, n: u32) {
        self.tokens = self.tokens.saturating_add(n).min(rate.burst);
    }

    /// One event; false once the rate is exceeded.
    #[inline]
    pub(crate) fn take(&mut self, rate: Rate, clock: &Clock) -> bool {
        self.take_many(rate, clock, 1)
    }

    /// `n` events at once; false once the rate is exceeded.
    #[inline]
    pub(crate) fn take_many(&mut self, rate: Rate, clock: &Clock, n: u32) -> bool {
        if self.tokens < n {
            let now = clock.millis();
            let elapsed = u64::from(now.wrapping_sub(self.filled_ms));
            let fresh = elapsed.saturating_mul(u64::from(rate.per_second)) / 1000;
            let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
            if fresh > 0 {
                self.tokens = self.tokens.saturating_add(fresh).min(rate.burst);
                self.filled_ms = now;
            }
            if self.tokens < n {
                return false;
            }
        }
        self.tokens -= n;
        true
    }
}

/// The tokens that are left of each rate of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    pub(crate) refused_streams: Bucket,
    pub(crate) header_expansion: Bucket,
    pub(crate) oversized_requests: Bucket,
    pub(crate) turned_away: Bucket,
    pub(crate) rapid_resets: Bucket,
    pub(crate) deadline_resets: Bucket,
    /// Streams that have earned something; wraps.
    served: u8,
    pub(crate) provoked_resets: Bucket,
    pub(crate) pings: Bucket,
    pub(crate) settings: Bucket,
    pub(crate) priorities: Bucket,
    pub(crate) window_updates: Bucket,
    pub(crate) empty_data: Bucket,
    pub(crate) unknown_frames: Bucket,
    pub(crate) goaways: Bucket,
}

impl Buckets {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            refused_streams: Bucket::new(limits.refused_streams),
            header_expansion: Bucket::new(limits.header_expansion),
            oversized_requests: Bucket::new(limits.oversized_requests),
            turned_away: Bucket::new(limits.turned_away),
            rapid_resets: Bucket::new(limits.rapid_resets),
            deadline_resets: Bucket::new(limits.deadline_resets),
            served: 0,
            provoked_resets: Bucket::new(limits.provoked_resets),
            pings: Bucket::new(limits.pings),
            settings: Bucket::new(limits.settings),
            priorities: Bucket::new(limits.priorities),
            window_updates: Bucket::new(limits.window_updates),
            empty_data: Bucket::new(limits.empty_data),
            unknown_frames: Bucket::new(limits.unknown_frames),
            goaways: Bucket::new(limits.goaways),
        }
    }

    /// A stream began.
    #[inline]
    pub(crate) fn stream_began(&mut self, limits: &Limits) {
        self.priorities.earn(limits.priorities, 2);
        self.unknown_frames.earn(limits.unknown_frames, 2);
        self.window_updates.earn(limits.window_updates, 4);
    }

    /// A stream ended in order, and a backend had answered it: a part of a token, for an answer must not buy as much work
    /// again. Of cancelled calls it is the larger part, since clients that hedge cancel one for each that is answered.
    #[inline]
    pub(crate) fn served(&mut self, limits: &Limits) {
        self.served = self.served.wrapping_add(1);
        if !self.served.is_multiple_of(8) {
            self.rapid_resets.earn(limits.rapid_resets, 1);
        }
        if self.served.is_multiple_of(2) {
            self.refused_streams.earn(limits.refused_streams, 1);
            self.oversized_requests.earn(limits.oversized_requests, 1);
            self.turned_away.earn(limits.turned_away, 1);
            self.deadline_resets.earn(limits.deadline_resets, 1);
        }
    }

    /// We sent a DATA frame, or more of one.
    #[inline]
    pub(crate) fn data_sent(&mut self, limits: &Limits, octets: usize) {
        self.pings.earn(limits.pings, 1);
        self.window_updates.earn(
            limits.window_updates,
            u32::try_from(octets / 256).unwrap_or(u32::MAX).saturating_add(4),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Clock {
        let began = Instant::now();
        Clock {
            began,
            now: began + Duration::from_millis(millis),
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::new(3, 10);
        let mut bucket = Bucket::new(rate);
        let taken = (0..10).filter(|_| bucket.take(rate, &at(0))).count();
        assert_eq!(taken, 3);
        assert!(!bucket.take(rate, &at(99)));
        assert!(bucket.take(rate, &at(100)));
        assert!(!bucket.take(rate, &at(100)));
        let taken = (0..10).filter(|_| bucket.take(rate, &at(60_000))).count();
        assert_eq!(taken, 3, "never more than the burst");
    }

    #[test]
    fn what_is_earned_never_passes_the_burst() {
        let rate = Rate::new(2, 0);
        let mut bucket = Bucket::new(rate);
        bucket.earn(rate, 100);
        let taken = (0..10).filter(|_| bucket.take(rate, &at(0))).count();
        assert_eq!(taken, 2);
        bucket.earn(rate, 1);
        assert!(bucket.take(rate, &at(0)) && !bucket.take(rate, &at(0)));
    }

    #[test]
    fn every_limit_has_a_name_of_its_own() {
        let mut names: Vec<_> = Limit::ALL.iter().map(|l| l.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Limit::ALL.len());
        for (number, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, number);
        }
    }
}
