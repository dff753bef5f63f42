//! A number that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only its owner may change it: changing is a load and a store, not one step.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline]
    pub(super) fn add(&self, more: u64) {
        self.set(self.value().wrapping_add(more));
    }

    #[inline]
    pub(super) fn one_less(&self) {
        self.set(self.value().saturating_sub(1));
    }
}
