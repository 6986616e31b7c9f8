//! Times, counted in a histogram, and what is told of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use tare_evidence::{Bar, Latency};

/// Significant digits kept of every time.
const DIGITS: u8 = 3;
/// Nanoseconds of the longest time that is told apart: a day.
const LONGEST: u64 = 86_400_000_000_000;

/// A histogram of times, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Times(pub(crate) Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(DIGITS).expect("three digits are within what the histogram allows"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        self.0.record(nanoseconds).expect("the histogram resizes itself up to any time within its bound");
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("a histogram that resizes itself takes any other");
    }

    /// At this quantile; 0 when there are none.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        milliseconds(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn summary(&self) -> Latency {
        summary(&self.0)
    }

    /// At most `most` classes; see [`bars`].
    pub fn bars(&self, most: usize) -> Vec<Bar> {
        bars(&self.0, most)
    }
}

/// What is told of `times`, which are in nanoseconds; all 0 when there are none.
pub fn summary(times: &Histogram<u64>) -> Latency {
    let quantile = |quantile| milliseconds(times.value_at_quantile(quantile));
    match times.is_empty() {
        true => Latency::default(),
        false => Latency {
            min_ms: milliseconds(times.min()),
            mean_ms: times.mean() / 1e6,
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: milliseconds(times.max()),
        },
    }
}

/// `times`, which are in nanoseconds, in at most `most` classes that a terminal can draw: equal ones up to P99, and the
/// rest up to the maximum in the last two, so that a few outliers do not press all others into one class. Equal ones
/// throughout where nothing lies far above P99. The counts add up to all times.
pub fn bars(times: &Histogram<u64>, most: usize) -> Vec<Bar> {
    if times.is_empty() {
        return Vec::new();
    }
    // No value of the histogram lies astride a bound, so every count belongs to one class.
    let mut bounds: Vec<_> =
        bounds(times, most.max(1)).into_iter().map(|bound| times.highest_equivalent(bound)).collect();
    bounds.dedup();
    let mut bars: Vec<_> = bounds.iter().map(|&bound| Bar { up_to_ms: milliseconds(bound), requests: 0 }).collect();
    for value in times.iter_recorded() {
        let class = bounds.partition_point(|&bound| bound < value.value_iterated_to());
        bars[class].requests += value.count_at_value();
    }
    bars
}

/// Upper ends of classes in ascending order, the last of them the maximum.
fn bounds(times: &Histogram<u64>, most: usize) -> Vec<u64> {
    let (min, max) = (times.min(), times.max());
    if times.lowest_equivalent(max) == min {
        return vec![max];
    }
    // With fewer than 100 times P99 is the maximum itself, and an outlier would set the scale.
    let body = [0.99, 0.95, 0.90].map(|quantile| times.value_at_quantile(quantile)).into_iter().find(|&end| end < max);
    let tail = match most {
        1 => 0,
        2..6 => 1,
        _ => 2,
    };
    match body {
        Some(end) if tail > 0 && is_far(min, end, max, most - tail, tail) => {
            let mut bounds = equal(min, end, most - tail);
            if tail == 2 {
                // Half-way in proportion: the tail spans orders of magnitude.
                bounds.push(((end as f64 * max as f64).sqrt() as u64).clamp(end, max));
            }
            bounds.push(max);
            bounds
        }
        _ => equal(min, max, most),
    }
}

/// Whether `max` is out of reach of `tail` more classes like the `classes` equal ones from `min` to `end`.
fn is_far(min: u64, end: u64, max: u64, classes: usize, tail: usize) -> bool {
    let width = (end - min) as f64 / classes as f64;
    (max - end) as f64 > tail as f64 * width
}

fn equal(from: u64, to: u64, classes: usize) -> Vec<u64> {
    let width = (to - from) as f64 / classes as f64;
    // Computed bounds could miss the end by a rounding error.
    (1..classes).map(|nth| from + (nth as f64 * width) as u64).chain([to]).collect()
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(microseconds: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::new();
        microseconds.into_iter().for_each(|time| times.record(Duration::from_micros(time)));
        times
    }

    fn requests(bars: &[Bar]) -> u64 {
        bars.iter().map(|bar| bar.requests).sum()
    }

    #[test]
    fn the_summary_tells_p999() {
        let latency = times((0..10_000).map(|nth| if nth < 9_980 { 1_000 } else { 50_000 })).summary();
        assert!((latency.p99_ms - 1.0).abs() < 0.01 && (latency.p999_ms - 50.0).abs() < 0.1, "{latency:?}");
        assert_eq!(Times::new().summary(), Latency::default());
    }

    #[test]
    fn equal_times_are_one_bar_and_no_times_are_none() {
        let times = times([5_000; 300]);
        let bars = times.bars(12);
        assert_eq!((bars.len(), bars[0].requests), (1, 300));
        assert_eq!(bars[0].up_to_ms, times.summary().max_ms);
        assert_eq!(Times::new().bars(12), []);
    }

    #[test]
    fn an_even_spread_is_drawn_in_equal_classes() {
        let bars = times(1..=10_000).bars(10);
        assert_eq!((bars.len(), requests(&bars)), (10, 10_000));
        assert!(bars.iter().all(|bar| bar.requests.abs_diff(1_000) < 20), "{bars:?}");
    }

    #[test]
    fn a_long_tail_leaves_most_classes_to_what_is_usual() {
        let usual = (0..9_950).map(|nth| 1_000 + nth % 1_000);
        let bars = times(usual.chain((1..=50).map(|nth| nth * 100_000))).bars(12);
        assert_eq!((bars.len(), requests(&bars)), (12, 10_000));
        let (body, tail) = bars.split_at(10);
        assert!(body.iter().all(|bar| bar.up_to_ms < 2.1 && bar.requests > 900), "{bars:?}");
        assert!(tail[0].up_to_ms > 90.0 && tail[1].up_to_ms >= 5_000.0 && tail[1].requests >= 49, "{bars:?}");
    }

    #[test]
    fn an_outlier_among_few_does_not_set_the_scale() {
        let bars = times((0..40).map(|nth| 1_000 + nth * 10).chain([9_000_000])).bars(12);
        assert_eq!((requests(&bars), bars[11].requests), (41, 1));
        assert!(bars[9].up_to_ms < 2.0, "{bars:?}");
    }

    #[test]
    fn one_outlier_among_equals_is_told_apart() {
        let bars = times([1_000; 999].into_iter().chain([80_000])).bars(12);
        let counts: Vec<_> = bars.iter().map(|bar| bar.requests).filter(|&requests| requests > 0).collect();
        assert_eq!(counts, [999, 1], "{bars:?}");
    }

    #[test]
    fn bars_ascend_to_the_maximum_and_add_up_whatever_the_times() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (count, magnitude) = (random.usize(1..2_000), random.u32(1..36));
            let mut times = Times::new();
            for _ in 0..count {
                let spread = random.u32(0..=magnitude);
                times.record(Duration::from_nanos(random.u64(1..=1 << spread)));
            }
            let most = random.usize(0..30);
            let bars = times.bars(most);
            assert_eq!(requests(&bars), count as u64, "seed {seed}");
            assert!(!bars.is_empty() && bars.len() <= most.max(1), "seed {seed}: {bars:?}");
            assert!(bars.is_sorted_by(|one, next| one.up_to_ms < next.up_to_ms), "seed {seed}: {bars:?}");
            assert_eq!(bars.last().unwrap().up_to_ms, times.summary().max_ms, "seed {seed}");
        }
    }
}
