//! The results of reloads, for metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Counters of reloads since the start.
#[derive(Debug)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    last_applied: AtomicBool,
    /// Milliseconds since the Unix epoch; the start counts as the first success.
    applied_at: AtomicU64,
}

/// Them at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadTotals {
    /// Applied.
    pub applied: u64,
    /// Refused; nothing changed.
    pub refused: u64,
    /// The result of the last one: true if it was applied, and before the first.
    pub last_applied: bool,
    /// The time at which the configuration that runs was applied, since the Unix epoch.
    pub applied_at: Duration,
}

impl Reloads {
    /// At the start of the program.
    pub fn new(now: Duration) -> Self {
        let at = AtomicU64::new(milliseconds(now));
        Self {
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_applied: AtomicBool::new(true),
            applied_at: at,
        }
    }

    /// A reload took effect.
    pub fn applied(&self, now: Duration) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.applied_at.store(milliseconds(now), Ordering::Relaxed);
        self.last_applied.store(true, Ordering::Relaxed);
    }

    /// A reload was refused and changed nothing.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.last_applied.store(false, Ordering::Relaxed);
    }

    /// Them now.
    pub fn totals(&self) -> ReloadTotals {
        ReloadTotals {
            applied: self.applied.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            last_applied: self.last_applied.load(Ordering::Relaxed),
            applied_at: Duration::from_millis(self.applied_at.load(Ordering::Relaxed)),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
