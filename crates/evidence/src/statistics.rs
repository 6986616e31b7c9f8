//! Statistics on samples.

use crate::Interval;

/// The quantile of the normal distribution that leaves 2.5 % above it.
const Z: f64 = 1.959_964;

/// The median of `samples` and the interval it lies in with 95 % confidence, by ranks: no distribution is assumed. With fewer
/// than six samples the interval is all of them, which is less than 95 %.
///
/// # Panics
/// Without samples.
pub fn median(mut samples: Vec<f64>) -> Interval {
    samples.sort_by(f64::total_cmp);
    let count = samples.len();
    let estimate = match count % 2 {
        0 => f64::midpoint(samples[count / 2 - 1], samples[count / 2]),
        _ => samples[count / 2],
    };
    // The binomial distribution of how many samples lie below the median, approximated by the normal one.
    let spread = Z * (count as f64).sqrt() / 2.0;
    let lower = (count as f64 / 2.0 - spread).floor().max(0.0) as usize;
    let upper = ((count as f64 / 2.0 + spread).ceil() as usize).min(count - 1);
    Interval { estimate, lower: samples[lower], upper: samples[upper] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_its_interval_around_it() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).estimate, 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).estimate, 2.5);
        assert_eq!(median(vec![7.0]), Interval { estimate: 7.0, lower: 7.0, upper: 7.0 });
        // Of 100 ordered samples, the 40th and the 61st hold the median with 95 %: the usual table.
        let hundred = median((1..=100).map(f64::from).collect());
        assert_eq!((hundred.lower, hundred.upper), (41.0, 61.0));
    }
}
