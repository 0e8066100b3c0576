//! L4: many durations in little room: each is counted in one of a few thousand buckets, whose width
//! is at most 1/64 of what they hold.

/// Buckets of every power of two, and the number of values that have one each.
const STEPS: usize = 128;
/// Half of [`STEPS`] new buckets for each further power of two that a u64 may have.
const BUCKETS: usize = STEPS + (64 - STEPS.ilog2() as usize) * (STEPS / 2);

/// Durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS].into(), count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly; 0 of none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What this share of them (0.5 is the median) did not exceed, or up to 1/64 more; 0 of none.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return largest(at).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(STEPS.ilog2());
    shift as usize * (STEPS / 2) + (ns >> shift) as usize
}

/// The largest value that is counted in this bucket.
fn largest(bucket: usize) -> u64 {
    let shift = (bucket / (STEPS / 2)).saturating_sub(1);
    let step = (bucket - shift * (STEPS / 2)) as u64;
    // The last bucket ends with the last value there is.
    (((u128::from(step) + 1) << shift) - 1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_are_narrow() {
        for at in 0..BUCKETS - 1 {
            let (last, next) = (largest(at), largest(at) + 1);
            assert_eq!((bucket(last), bucket(next)), (at, at + 1));
            assert!(largest(at + 1) - next <= next / 64, "the bucket from {next}");
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!(largest(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.max(), histogram.count()), (0, 0, 0));
        for value in (1..=1000).rev() {
            histogram.record(value * 1000);
        }
        for (share, exact) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999)] {
            let (found, exact) = (histogram.quantile(share), exact * 1000);
            assert!((exact..=exact + exact / 64).contains(&found), "{share}: {found}");
        }
        assert_eq!((histogram.quantile(1.0), histogram.count()), (1_000_000, 1000));
        let mut one = Histogram::default();
        one.record(77_777);
        assert_eq!(one.quantile(0.5), 77_777);
    }
}
