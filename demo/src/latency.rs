//! Percentiles in a fixed space: sixteen buckets for each doubling, so a value read back is at
//! most a sixteenth too high.

use std::time::Duration;

const PER_DOUBLING: u64 = 16;

/// Up to 2^40 µs, twelve days; what is longer counts as that.
const BUCKETS: usize = 38 * PER_DOUBLING as usize;

#[derive(Clone)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
        }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
            self.count += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The latency that this share of all calls did not exceed; `None` before the first.
    pub(super) fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Duration::from_micros(upper_bound(bucket)))
    }
}

fn bucket_of(micros: u64) -> usize {
    let Some(doublings) = micros.checked_ilog2().filter(|log| *log >= PER_DOUBLING.ilog2()) else {
        return micros as usize;
    };
    let shift = doublings - PER_DOUBLING.ilog2();
    let within = (micros >> shift) - PER_DOUBLING;
    (u64::from(shift + 1) * PER_DOUBLING + within) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let (row, within) = (bucket as u64 / PER_DOUBLING, bucket as u64 % PER_DOUBLING);
    match row.checked_sub(1) {
        None => within,
        Some(shift) => ((PER_DOUBLING + within + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_at_most_a_sixteenth_above_it() {
        for power in 0..40 {
            for value in [
                1 << power,
                (1 << power) + 1,
                (3u64 << power) / 2,
                (2 << power) - 1,
            ] {
                let bound = upper_bound(bucket_of(value));
                assert!(
                    bound >= value && bound <= value + value / 16,
                    "{value} read back as {bound}"
                );
            }
        }
        assert_eq!(bucket_of((1 << 41) - 1), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), None);
        for micros in 1..=100 {
            latencies.add(Duration::from_micros(micros));
        }
        let near = |percent, exact: u64| {
            let read = latencies.percentile(percent).unwrap().as_micros() as u64;
            assert!((exact..=exact + exact / 16).contains(&read), "p{percent}: {read}");
        };
        near(1, 1);
        near(50, 50);
        near(99, 99);
        latencies.add(Duration::MAX);
        assert!(latencies.percentile(100).unwrap() > Duration::from_secs(1_000_000));
    }
}
