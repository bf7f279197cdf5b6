//! How often each duration came, in buckets that grow with the duration: 128 to each doubling, so that a percentile is told
//! with an error below one in 128 whatever its size.

/// Buckets to each doubling, as a power of two.
const PRECISION_BITS: u32 = 7;
const LINEAR: u64 = 1 << PRECISION_BITS;

/// Durations in microseconds.
#[derive(Clone, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// What a run's durations come to, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Histogram {
    /// Counts one.
    pub(super) fn record(&mut self, micros: u64) {
        let at = bucket(micros);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.min = if self.count == 0 { micros } else { self.min.min(micros) };
        self.max = self.max.max(micros);
        self.count += 1;
        self.sum += u128::from(micros);
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The duration, in microseconds, that `per_mille` of a thousand did not exceed: the upper end of its bucket, never more
    /// than the longest. 0 of nothing.
    pub(super) fn at(&self, per_mille: u64) -> u64 {
        // Of 1 to `count`, the rank of the one that is asked for.
        let rank = (self.count.saturating_mul(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return last_of(at).min(self.max);
            }
        }
        self.max
    }

    /// The percentiles, or nothing of nothing.
    pub(super) fn summary(&self) -> Option<Summary> {
        let ms = |micros: u64| micros as f64 / 1000.0;
        (self.count > 0).then(|| Summary {
            min: ms(self.min),
            mean: self.sum as f64 / self.count as f64 / 1000.0,
            p50: ms(self.at(500)),
            p90: ms(self.at(900)),
            p99: ms(self.at(990)),
            p999: ms(self.at(999)),
            max: ms(self.max),
        })
    }
}

/// Below 256 each value has its own bucket; above, the highest eight bits choose it.
fn bucket(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    let at = u64::from(shift) * LINEAR + (micros >> shift);
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The highest value of a bucket.
fn last_of(at: usize) -> u64 {
    let at = at as u64;
    if at < 2 * LINEAR {
        return at;
    }
    let shift = at / LINEAR - 1;
    let top = at - shift * LINEAR;
    ((top + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, last_of};

    fn of(all: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        all.into_iter().for_each(|micros| histogram.record(micros));
        histogram
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut at = 0;
        for micros in 0..100_000 {
            let next = bucket(micros);
            assert!(next == at || next == at + 1, "{micros}");
            if next == at + 1 {
                assert_eq!(last_of(at), micros - 1);
            }
            at = next;
        }
        assert_eq!(last_of(bucket(u64::MAX >> 1)), u64::MAX >> 1);
    }

    #[test]
    fn percentiles_are_right_within_a_bucket() {
        let all = of(1..=10_000);
        for (per_mille, exact) in
            [(1, 10), (500, 5000), (900, 9000), (990, 9900), (999, 9990), (1000, 10_000)]
        {
            let told = all.at(per_mille);
            assert!(told >= exact && (told - exact) * 128 <= exact, "{per_mille}: {told}");
        }
    }

    #[test]
    fn small_values_and_extremes_are_exact() {
        let few = of([3, 1, 2]);
        assert_eq!((few.at(1), few.at(500), few.at(1000)), (1, 2, 3));
        let summary = of([1_000_001, 7]).summary().unwrap();
        assert_eq!((summary.min, summary.max), (0.007, 1000.001));
        assert!(Histogram::default().summary().is_none());
        assert_eq!(Histogram::default().at(500), 0);
    }

    #[test]
    fn a_sum_counts_both() {
        let mut both = of([5, 10]);
        both.add(&of([1, 100_000]));
        both.add(&Histogram::default());
        assert_eq!((both.count(), both.at(1), both.at(1000)), (4, 1, 100_000));
        let mut empty = Histogram::default();
        empty.add(&both);
        assert_eq!((empty.at(1), empty.count()), (1, 4));
    }
}
