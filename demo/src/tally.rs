//! Counts of everything that the demo's own clients have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::latency::Latencies;

/// Failures told in words; the others are only counted.
const MAX_TOLD: usize = 8;

/// The four kinds of RPC, by the method that shows each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    GetFeature,
    ListFeatures,
    RecordRoute,
    RouteChat,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::GetFeature,
        Self::ListFeatures,
        Self::RecordRoute,
        Self::RouteChat,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GetFeature => "GetFeature",
            Self::ListFeatures => "ListFeatures",
            Self::RecordRoute => "RecordRoute",
            Self::RouteChat => "RouteChat",
        })
    }
}

/// The RPCs of one kind.
#[derive(Clone, Default)]
pub(super) struct Rpcs {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) latencies: Latencies,
}

/// The figures, without a clock or a lock.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) rpcs: BTreeMap<Kind, Rpcs>,
    /// RPCs that succeeded, by the backend that answered.
    pub(super) served_by: BTreeMap<String, u64>,
    /// RouteChats held open from start to end, and the notes they have exchanged.
    pub(super) long_chats: u64,
    pub(super) long_chat_notes: u64,
    /// TLS handshakes that succeeded, and how many of them were made by kept connections.
    pub(super) handshakes: u64,
    pub(super) kept: u64,
    /// Kept connections that had to be made again.
    pub(super) reconnects: u64,
    /// Number of the newest certificate that a handshake has shown.
    pub(super) newest_seen: u64,
    /// The number of handshakes that have shown a newer certificate than all before them.
    pub(super) rotations_seen: u64,
    /// All failures: of RPCs, handshakes, rotations, promises.
    pub(super) failures: u64,
    /// The first of them, each with the time since the start.
    pub(super) told: Vec<(Duration, String)>,
}

impl Counts {
    pub(super) fn rpc(&mut self, kind: Kind, latency: Duration, served_by: String) {
        let rpcs = self.rpcs.entry(kind).or_default();
        rpcs.succeeded += 1;
        rpcs.latencies.add(latency);
        *self.served_by.entry(served_by).or_default() += 1;
    }

    pub(super) fn failed_rpc(&mut self, kind: Kind, at: Duration, error: &anyhow::Error) {
        self.rpcs.entry(kind).or_default().failed += 1;
        self.failure(at, format!("{kind}: {error:#}"));
    }

    /// A handshake has shown certificate `number`; `newest_before` was the newest seen when it began.
    pub(super) fn handshake(&mut self, number: u64, newest_before: u64, at: Duration) {
        self.handshakes += 1;
        if number < newest_before {
            self.failure(
                at,
                format!("a handshake got certificate {number} after another had got {newest_before}"),
            );
        }
        if number > self.newest_seen {
            // The first certificate is no rotation.
            self.rotations_seen += u64::from(self.newest_seen > 0);
            self.newest_seen = number;
        }
    }

    pub(super) fn failure(&mut self, at: Duration, what: String) {
        self.failures += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push((at, what));
        }
    }

    /// RPCs that succeeded, of all kinds.
    pub(super) fn succeeded(&self) -> u64 {
        self.rpcs.values().map(|rpcs| rpcs.succeeded).sum()
    }
}

/// The figures, shared by everything that runs.
pub(super) struct Tally {
    started_at: Instant,
    counts: Mutex<Counts>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            started_at: Instant::now(),
            counts: Mutex::default(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self, error: &anyhow::Error) {
        self.counts().failure(self.elapsed(), format!("{error:#}"));
    }

    /// Runs one RPC within `deadline` and counts it. Tells whether it succeeded.
    pub(super) async fn rpc(
        &self,
        kind: Kind,
        deadline: Duration,
        call: impl Future<Output = anyhow::Result<String>>,
    ) -> bool {
        let began_at = Instant::now();
        let result = tokio::time::timeout(deadline, call).await;
        let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {deadline:?}")));
        let mut counts = self.counts();
        match result {
            Ok(served_by) => counts.rpc(kind, began_at.elapsed(), served_by),
            Err(error) => {
                counts.failed_rpc(kind, self.elapsed(), &error);
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    #[test]
    fn a_newer_certificate_counts_as_a_rotation_and_the_first_does_not() {
        let mut counts = Counts::default();
        for (number, before) in [(1, 0), (1, 1), (2, 1), (2, 2), (4, 2)] {
            counts.handshake(number, before, AT);
        }
        assert_eq!(
            (counts.handshakes, counts.newest_seen, counts.rotations_seen),
            (5, 4, 2)
        );
        assert_eq!(counts.failures, 0);
    }

    #[test]
    fn an_old_certificate_after_a_newer_one_is_a_failure() {
        let mut counts = Counts::default();
        counts.handshake(2, 0, AT);
        // Began before certificate 2 was seen, so it may end with 1.
        counts.handshake(1, 0, AT);
        assert_eq!(counts.failures, 0);
        counts.handshake(1, 2, AT);
        assert_eq!(counts.failures, 1);
        assert_eq!(counts.newest_seen, 2);
    }

    #[test]
    fn the_first_failures_are_told_and_all_are_counted() {
        let mut counts = Counts::default();
        for n in 0..20 {
            counts.failed_rpc(Kind::RouteChat, AT, &anyhow::anyhow!("number {n}"));
        }
        assert_eq!((counts.failures, counts.told.len()), (20, MAX_TOLD));
        assert_eq!(counts.told[0], (AT, "RouteChat: number 0".to_owned()));
        assert_eq!(counts.rpcs[&Kind::RouteChat].failed, 20);
        assert_eq!(counts.succeeded(), 0);
    }

    #[tokio::test]
    async fn an_rpc_that_never_answers_fails_at_its_deadline() {
        let tally = Tally::new();
        let never = std::future::pending();
        assert!(!tally.rpc(Kind::GetFeature, Duration::from_millis(5), never).await);
        assert!(
            tally
                .rpc(Kind::GetFeature, Duration::from_secs(5), async {
                    Ok("north".to_owned())
                })
                .await
        );
        let counts = tally.counts();
        let rpcs = &counts.rpcs[&Kind::GetFeature];
        assert_eq!(
            (rpcs.succeeded, rpcs.failed, counts.served_by["north"]),
            (1, 1, 1)
        );
    }
}
