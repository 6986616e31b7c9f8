//! Verdicts on many figures at once.

use super::{Estimate, Verdict};
use crate::Interval;

/// What share of the figures called slower or faster may be so by chance (Benjamini and Hochberg 1995).
const FALSE_DISCOVERIES: f64 = 0.01;
/// How probable it may be that one called the same is not.
const FALSE_SAME: f64 = 0.005;

/// A figure that both states have, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    sample: Sample,
    /// How much worse the head is; nothing while there are too few pairs.
    estimate: Option<Estimate>,
    /// What is less than this share is no change.
    threshold: f64,
}

/// What an estimate is from.
#[derive(Clone, Debug, PartialEq)]
enum Sample {
    /// Logarithms of the ratios of pairs.
    Pairs(Vec<f64>),
    /// Times that were taken one after the other.
    Apart([Vec<f64>; 2]),
}

impl Measured {
    /// Measured in turns: `logs` are of how many times worse the head is, pair by pair.
    pub fn of_pairs(logs: Vec<f64>, threshold: f64) -> Self {
        Self { estimate: Estimate::of_pairs(&logs), sample: Sample::Pairs(logs), threshold }
    }

    /// Measured one after the other, in nanoseconds.
    pub fn of_samples(base: &[f64], head: &[f64], threshold: f64) -> Self {
        let sample = Sample::Apart([base.to_vec(), head.to_vec()]);
        Self { estimate: Estimate::of_samples(base, head), sample, threshold }
    }

    /// How many times worse the head is, with 95 % confidence; nothing while there are too few pairs.
    pub fn interval(&self) -> Option<Interval> {
        let estimate = self.estimate?;
        Some(match &self.sample {
            Sample::Pairs(logs) => estimate.interval_of_pairs(logs),
            Sample::Apart([base, head]) => estimate.interval_of_samples(base, head),
        })
    }

    /// A change of the threshold has to be found; what is proven to be more than half of it is therefore called one.
    fn margin(&self) -> f64 {
        self.threshold / 2.0
    }
}

/// A verdict for each of `measured`, in their order. They are judged together: with many, one of them differs by chance.
pub fn decide(measured: &[Measured]) -> Vec<Verdict> {
    let one_sided = measured.iter().flat_map(|one| {
        let p = |of: fn(&Estimate, f64) -> f64| one.estimate.map_or(1.0, |estimate| of(&estimate, one.margin()));
        [p(Estimate::p_slower), p(Estimate::p_faster)]
    });
    let one_sided: Vec<_> = one_sided.collect();
    let significant = discovered(&one_sided, FALSE_DISCOVERIES);
    let verdict = |(one, found): (&Measured, &[bool])| {
        let Some(estimate) = one.estimate else { return Verdict::Undecided };
        let margin = 1.0 + one.margin();
        let interval = || one.interval().unwrap_or_default();
        match found {
            _ if estimate.p_same(one.threshold) <= FALSE_SAME => Verdict::Same,
            [true, _] if interval().lower > margin => Verdict::Slower,
            [_, true] if interval().upper < 1.0 / margin => Verdict::Faster,
            _ => Verdict::Undecided,
        }
    };
    measured.iter().zip(significant.chunks(2)).map(verdict).collect()
}

/// Which of the hypotheses with these probabilities are rejected, so that on average at most the share `rate` of the rejected
/// ones are true.
fn discovered(probabilities: &[f64], rate: f64) -> Vec<bool> {
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all = sorted.len() as f64;
    let within = |&(nth, p): &(usize, &f64)| *p <= rate * (nth + 1) as f64 / all;
    let highest = sorted.iter().enumerate().filter(within).map(|(_, p)| *p).next_back();
    probabilities.iter().map(|p| highest.is_some_and(|highest| *p <= highest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten pairs that scatter by about `scatter` around a ratio.
    fn measured(ratio: f64, scatter: f64) -> Measured {
        let away = [-1.5, -0.8, 0.4, 1.1, -0.2, 1.3, -1.1, 0.7, 0.1, 0.0];
        Measured::of_pairs(away.map(|away| f64::ln(ratio) + scatter * away).into(), 0.05)
    }

    #[test]
    fn a_verdict_is_what_is_proven() {
        let sure = [(1.06, 0.005), (0.94, 0.005), (1.0, 0.005), (1.02, 0.002), (1.06, 0.2), (1.0, 0.2)];
        let verdicts = decide(&sure.map(|(ratio, scatter)| measured(ratio, scatter)));
        use Verdict::{Faster, Same, Slower, Undecided};
        assert_eq!(verdicts, [Slower, Faster, Same, Same, Undecided, Undecided]);
        assert_eq!(decide(&[Measured::of_pairs(vec![], 0.05)]), [Undecided]);
    }

    #[test]
    fn more_is_asked_of_one_among_many() {
        let odd = measured(1.09, 0.035);
        assert_eq!(decide(std::slice::from_ref(&odd)), [Verdict::Slower]);
        let mut many = vec![measured(1.0, 0.2); 99];
        many.push(odd);
        assert_eq!(decide(&many)[99], Verdict::Undecided);
    }

    #[test]
    fn the_rate_of_false_discoveries_is_kept_by_rank() {
        // The second would not do alone, and does beside the first.
        assert_eq!(discovered(&[0.004, 0.009, 0.9, 0.5], 0.02), [true, true, false, false]);
        assert_eq!(discovered(&[0.009, 0.9, 0.5, 0.9], 0.02), [false; 4]);
        assert_eq!(discovered(&[], 0.02), [] as [bool; 0]);
    }
}
