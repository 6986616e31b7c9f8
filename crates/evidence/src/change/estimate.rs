//! How much worse one state is than the other, and how sure that is.
//!
//! All of it is on logarithms of ratios: twice as slow and twice as fast are equally far from the same.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::Interval;

/// The share of pairs that is cut off at each end: what a machine does now and then is no part of the figure (Wilcox, Introduction
/// to Robust Estimation and Hypothesis Testing, 4.3).
const TRIMMED: f64 = 0.2;
/// With fewer pairs nothing is left of them that tells how far they scatter.
pub const LEAST: usize = 6;
/// Samples drawn for an interval.
const DRAWN: usize = 1_999;

/// The pair that stands for `pairs` of base and head, measured within one moment: of the half that took least, for what else a machine
/// does only ever adds to a time (Chen and Revels, Robust benchmarking in noisy environments, 2016). A pair counts as a whole, so that
/// neither side is favoured. The base in the median, and the head as many times that as is the median of the ratios; nothing of none.
pub fn typical(pairs: &[[f64; 2]]) -> Option<[f64; 2]> {
    let mut pairs = pairs.to_vec();
    pairs.sort_by(|one, other| (one[0] * one[1]).total_cmp(&(other[0] * other[1])));
    pairs.truncate(pairs.len().div_ceil(2));
    if pairs.is_empty() {
        return None;
    }
    let over = |of: fn(&[f64; 2]) -> f64| crate::median(pairs.iter().map(of).collect()).estimate;
    let (base, ratio) = (over(|[base, _]| *base), over(|[base, head]| head / base));
    Some([base, base * ratio])
}

/// How many times worse the head is than the base, as logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Of the ratio.
    pub log: f64,
    /// Standard error of it.
    pub error: f64,
    /// Degrees of freedom of that error.
    pub freedom: f64,
}

impl Estimate {
    /// From the logarithms of the ratios of pairs that were measured in turns. Nothing of fewer than six.
    pub fn of_pairs(logs: &[f64]) -> Option<Self> {
        let (log, error, freedom) = trimmed(logs)?;
        Some(Self { log, error, freedom })
    }

    /// The interval that holds the ratio with 95 % confidence: `logs` are drawn from anew, by chance that is the same each time.
    pub(super) fn interval_of_pairs(self, logs: &[f64]) -> Interval {
        let mut random = fastrand::Rng::with_seed(logs.len() as u64);
        bootstrapped(self, || {
            let (log, error, _) = redrawn(logs, &mut random);
            (log, error)
        })
    }

    /// How probable it is to see this, or more, where the ratio is `1 + margin` at most.
    pub fn p_slower(&self, margin: f64) -> f64 {
        self.above(margin.ln_1p())
    }

    /// How probable it is to see this, or less, where the ratio is `1 / (1 + margin)` at least.
    pub fn p_faster(&self, margin: f64) -> f64 {
        self.below(-margin.ln_1p())
    }

    /// How probable it is to see something as near to 1 as this, where the ratio is not within `threshold` of it (two one-sided
    /// tests; Schuirmann 1987).
    pub fn p_same(&self, threshold: f64) -> f64 {
        self.below(threshold.ln_1p()).max(self.above(-threshold.ln_1p()))
    }

    /// Probability of this or more, where the truth is `bound`.
    fn above(&self, bound: f64) -> f64 {
        student((bound - self.log) / self.error, self.freedom)
    }

    /// Probability of this or less, where the truth is `bound`.
    fn below(&self, bound: f64) -> f64 {
        student((self.log - bound) / self.error, self.freedom)
    }
}

/// The share of Student's distribution below `t`.
fn student(t: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(distribution) if !t.is_nan() => distribution.cdf(t),
        // No scatter and no difference tells of nothing.
        _ => 1.0,
    }
}

/// The trimmed mean, its standard error and the error's degrees of freedom (Yuen 1974).
pub(super) fn trimmed(values: &[f64]) -> Option<(f64, f64, f64)> {
    if values.len() < LEAST {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(of_sorted(&sorted))
}

fn of_sorted(sorted: &[f64]) -> (f64, f64, f64) {
    let count = sorted.len();
    let cut = (TRIMMED * count as f64) as usize;
    let kept = &sorted[cut..count - cut];
    let mean = kept.iter().sum::<f64>() / kept.len() as f64;
    // Winsorised: what was cut off counts as the outermost that was kept.
    let (lowest, highest) = (kept[0], kept[kept.len() - 1]);
    let ends = cut as f64;
    let centre = (kept.iter().sum::<f64>() + ends * (lowest + highest)) / count as f64;
    let square = |value: f64| (value - centre).powi(2);
    let squares = kept.iter().copied().map(square).sum::<f64>() + ends * (square(lowest) + square(highest));
    let deviation = (squares / (count as f64 - 1.0)).sqrt();
    let error = deviation / ((1.0 - 2.0 * TRIMMED) * (count as f64).sqrt());
    (mean, error, kept.len() as f64 - 1.0)
}

/// The interval that holds the ratio with 95 % confidence, by bootstrapping how far a sample's trimmed mean is from the truth in
/// its own standard errors (percentile-t). `again` draws a sample anew and tells its mean and error.
pub(super) fn bootstrapped(Estimate { log, error, .. }: Estimate, again: impl FnMut() -> (f64, f64)) -> Interval {
    let drawn = std::iter::repeat_with(again).take(DRAWN);
    // One value drawn over and over tells nothing of the scatter.
    let told = drawn.filter(|(_, error)| *error > 0.0);
    let mut distances: Vec<_> = told.map(|(mean, error)| (mean - log).abs() / error).collect();
    distances.sort_by(f64::total_cmp);
    let far = distances.get((distances.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0);
    Interval { estimate: log.exp(), lower: (log - far * error).exp(), upper: (log + far * error).exp() }
}

/// The trimmed mean of as many of `values`, drawn by chance, and its error.
pub(super) fn redrawn(values: &[f64], random: &mut fastrand::Rng) -> (f64, f64, f64) {
    let mut drawn: Vec<_> = values.iter().map(|_| values[random.usize(..values.len())]).collect();
    drawn.sort_by(f64::total_cmp);
    of_sorted(&drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten pairs around `log`, scattered by about 1 %.
    fn around(log: f64) -> Vec<f64> {
        [-0.015, -0.008, 0.004, 0.011, -0.002, 0.013, -0.011, 0.007, 0.001, 0.0].map(|away| log + away).into()
    }

    fn interval(logs: &[f64]) -> Interval {
        Estimate::of_pairs(logs).unwrap().interval_of_pairs(logs)
    }

    #[test]
    fn a_ratio_is_estimated_with_its_interval() {
        let Interval { estimate, lower, upper } = interval(&around(1.05_f64.ln()));
        assert!((1.045..1.055).contains(&estimate), "{estimate}");
        assert!(lower > 1.03 && lower < estimate && estimate < upper && upper < 1.07, "{lower} {upper}");
    }

    #[test]
    fn what_a_machine_does_now_and_then_moves_nothing() {
        let mut logs = around(0.0);
        let calm = Estimate::of_pairs(&logs).unwrap();
        logs[0] = 2.0;
        let disturbed = Estimate::of_pairs(&logs).unwrap();
        assert!((disturbed.log - calm.log).abs() < 0.005, "{disturbed:?}");
        assert!(interval(&logs).upper < 1.04, "{disturbed:?}");
    }

    #[test]
    fn the_trimmed_mean_and_its_error_are_those_of_the_literature() {
        // By hand: of ten values the two at each end are cut off, and count as 3 and 8.
        let (mean, error, freedom) = trimmed(&(1..=10).map(f64::from).collect::<Vec<_>>()).unwrap();
        assert_eq!((mean, freedom), (5.5, 5.0));
        let winsorised = (2.0 * (3.0 * 2.5_f64.powi(2) + 1.5_f64.powi(2) + 0.5_f64.powi(2)) / 9.0).sqrt();
        assert!((error - winsorised / (0.6 * 10.0_f64.sqrt())).abs() < 1e-12, "{error}");
    }

    #[test]
    fn pairs_of_one_moment_are_one() {
        // The machine was twice as slow for half of the time, and once for the head alone.
        let pairs = [[10.0, 10.5], [20.0, 21.0], [10.0, 10.5], [20.0, 21.0], [10.0, 21.0]];
        let [base, head] = typical(&pairs).unwrap();
        assert_eq!(base, 10.0);
        assert!((head - 10.5).abs() < 1e-9, "{head}");
        assert_eq!(typical(&[]), None);
    }

    #[test]
    fn few_pairs_tell_nothing_and_equal_ones_prove_nothing() {
        assert_eq!(Estimate::of_pairs(&[0.0; LEAST - 1]), None);
        let equal = Estimate::of_pairs(&[0.0; 10]).unwrap();
        assert!(equal.p_slower(0.025) > 0.5 && equal.p_faster(0.025) > 0.5, "{equal:?}");
    }

    #[test]
    fn each_question_has_its_own_probability() {
        let slower = Estimate::of_pairs(&around(1.1_f64.ln())).unwrap();
        assert!(slower.p_slower(0.025) < 1e-5 && slower.p_faster(0.025) > 0.999 && slower.p_same(0.05) > 0.99);
        let same = Estimate::of_pairs(&around(0.0)).unwrap();
        assert!(same.p_same(0.05) < 1e-4 && same.p_slower(0.025) > 0.99 && same.p_slower(0.0) > 0.3);
    }
}
