//! A histogram of how long things took, in buckets that double.

use std::time::Duration;

use super::counter::Counter;
use super::totals;

/// Nanoseconds of the first bucket's bound.
const FIRST: u64 = 100_000;
/// Buckets with a bound; one more has none.
const BOUNDED: usize = 20;

/// Upper bounds of the buckets, each twice the one before: 100 µs to 52.4 s. What took longer is only in
/// the last bucket, which has no bound.
pub const HISTOGRAM_BOUNDS: [Duration; BOUNDED] = {
    let mut bounds = [Duration::ZERO; BOUNDED];
    let mut index = 0;
    while index < BOUNDED {
        #[expect(
            clippy::indexing_slicing,
            reason = "the loop's condition; checked when compiled"
        )]
        {
            bounds[index] = Duration::from_nanos(FIRST << index);
        }
        index += 1;
    }
    bounds
};

#[derive(Debug, Default)]
pub(super) struct Buckets {
    counts: [Counter; BOUNDED + 1],
    nanoseconds: Counter,
}

impl Buckets {
    #[inline]
    pub(super) fn record(&self, took: Duration) {
        let seconds = took.as_secs().saturating_mul(1_000_000_000);
        let nanoseconds = seconds.saturating_add(took.subsec_nanos().into());
        if let Some(count) = self.counts.get(bucket_of(nanoseconds)) {
            count.add(1);
        }
        self.nanoseconds.add(nanoseconds);
    }

    pub(super) fn add_to(&self, total: &mut totals::Histogram) {
        total.counts.resize(BOUNDED + 1, 0);
        for (sum, count) in total.counts.iter_mut().zip(&self.counts) {
            *sum += count.value();
        }
        total.sum += Duration::from_nanos(self.nanoseconds.value());
    }
}

/// The first bucket whose bound is not below.
#[inline]
fn bucket_of(nanoseconds: u64) -> usize {
    let doublings = u64::BITS - (nanoseconds.saturating_sub(1) / FIRST).leading_zeros();
    (doublings as usize).min(BOUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_belongs_to_its_bucket_and_a_nanosecond_more_to_the_next() {
        assert_eq!(bucket_of(0), 0);
        for (index, bound) in HISTOGRAM_BOUNDS.iter().enumerate() {
            let nanoseconds = bound.as_nanos() as u64;
            assert_eq!(bucket_of(nanoseconds), index);
            assert_eq!(bucket_of(nanoseconds + 1), index + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BOUNDED);
        assert_eq!(HISTOGRAM_BOUNDS[0], Duration::from_micros(100));
        assert!(HISTOGRAM_BOUNDS[BOUNDED - 1] > Duration::from_secs(50));
    }

    #[test]
    fn counts_and_sum_are_kept() {
        let buckets = Buckets::default();
        buckets.record(Duration::from_micros(50));
        buckets.record(Duration::from_millis(150));
        buckets.record(Duration::from_secs(3600));
        buckets.record(Duration::MAX);
        let mut total = totals::Histogram::default();
        buckets.add_to(&mut total);
        assert_eq!(total.counts.iter().sum::<u64>(), 4);
        assert_eq!(total.counts[0], 1);
        assert_eq!(total.counts[11], 1);
        assert_eq!(total.counts[BOUNDED], 2);
    }
}
