//! How much worse one state is than the other, from samples that were not taken in turns.

use super::estimate::{bootstrapped, redrawn, trimmed};
use super::{Change, Estimate, Figure, Measured, Verdict, decide};
use crate::{Interval, median};

/// The samples of one bench in both states.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// `component/way`.
    pub id: String,
    /// Nanoseconds of one iteration, at the time of the base.
    pub base: Vec<f64>,
    /// And now.
    pub head: Vec<f64>,
    /// What is proven to be less than this share is no change.
    pub threshold: f64,
}

impl Estimate {
    /// From times of the base and times of the head, each by itself (Yuen 1974, with the degrees of freedom of Welch). Nothing
    /// when there are fewer than six of either. It knows how far the samples of one process scatter, and not how far two
    /// processes do.
    pub fn of_samples(base: &[f64], head: &[f64]) -> Option<Self> {
        let (log, error, freedom) = difference(trimmed(&logs(base))?, trimmed(&logs(head))?);
        Some(Self { log, error, freedom })
    }

    /// The interval that holds the ratio with 95 % confidence, in the same way.
    pub(super) fn interval_of_samples(self, base: &[f64], head: &[f64]) -> Interval {
        let (base, head) = (logs(base), logs(head));
        let mut random = fastrand::Rng::with_seed((base.len() + head.len()) as u64);
        bootstrapped(self, || {
            let (log, error, _) = difference(redrawn(&base, &mut random), redrawn(&head, &mut random));
            (log, error)
        })
    }
}

fn logs(times: &[f64]) -> Vec<f64> {
    times.iter().map(|time| time.ln()).collect()
}

/// Of the head's trimmed mean from the base's, its standard error, and the error's degrees of freedom.
fn difference(base: (f64, f64, f64), head: (f64, f64, f64)) -> (f64, f64, f64) {
    let (base_square, head_square) = (base.1.powi(2), head.1.powi(2));
    let square = base_square + head_square;
    let freedom = square.powi(2) / (base_square.powi(2) / base.2 + head_square.powi(2) / head.2);
    (head.0 - base.0, square.sqrt(), freedom)
}

/// What the times of each of `benches` come to, judged together.
pub fn changed_times(benches: &[Samples]) -> Vec<Change> {
    let measured: Vec<_> =
        benches.iter().map(|one| Measured::of_samples(&one.base, &one.head, one.threshold)).collect();
    let verdicts = decide(&measured);
    let change = |((samples, measured), verdict): ((&Samples, &Measured), Verdict)| Change {
        id: samples.id.clone(),
        figure: Figure::Time,
        base: median(samples.base.clone()).estimate,
        head: median(samples.head.clone()).estimate,
        ratio: measured.interval(),
        pairs: samples.head.len(),
        threshold: samples.threshold,
        verdict,
    };
    benches.iter().zip(&measured).zip(verdicts).map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty times around `nanoseconds`, scattered by about `scatter`.
    fn around(nanoseconds: f64, scatter: f64) -> Vec<f64> {
        let away = [
            -1.5, -0.8, 0.4, 1.1, -0.2, 1.3, -1.1, 0.7, 0.1, 0.0, 0.3, -0.4, 0.9, -0.6, 1.7, -1.9, 0.2, -0.1, 0.5, -0.7,
        ];
        away.map(|away| nanoseconds * (scatter * away).exp()).into()
    }

    fn samples(base: Vec<f64>, head: Vec<f64>) -> Samples {
        Samples { id: "auth/hs256".into(), base, head, threshold: 0.05 }
    }

    #[test]
    fn a_ratio_is_estimated_with_its_interval() {
        let estimate = Estimate::of_samples(&around(100.0, 0.01), &around(110.0, 0.01)).unwrap();
        let interval = || estimate.interval_of_samples(&around(100.0, 0.01), &around(110.0, 0.01));
        let Interval { estimate: ratio, lower, upper } = interval();
        assert!((ratio - 1.1).abs() < 1e-9, "{ratio}");
        assert!(lower > 1.09 && lower < ratio && ratio < upper && upper < 1.11, "{lower} {upper}");
        assert_eq!(interval(), interval(), "chance has a seed");
    }

    #[test]
    fn either_side_makes_it_uncertain_and_the_worse_one_sets_the_freedom() {
        let error = |base: f64, head: f64| {
            let estimate = Estimate::of_samples(&around(100.0, base), &around(100.0, head)).unwrap();
            (estimate.error, estimate.freedom)
        };
        let (alike, alike_freedom) = error(0.01, 0.01);
        // By hand: twelve of twenty are kept on each side.
        assert!((alike_freedom - 22.0).abs() < 1e-9, "{alike_freedom}");
        let (one, one_freedom) = error(0.01, 0.0001);
        assert!((alike / one - 2.0_f64.sqrt()).abs() < 1e-3, "{alike} {one}");
        assert!((one_freedom - 11.0).abs() < 0.1, "{one_freedom}");
        assert_eq!(error(0.0001, 0.01).0, one);
    }

    #[test]
    fn few_samples_tell_nothing_and_equal_ones_prove_nothing() {
        let (few, enough) = (around(100.0, 0.01)[..5].to_vec(), around(100.0, 0.01));
        assert_eq!(Estimate::of_samples(&few, &enough), None);
        assert_eq!(Estimate::of_samples(&enough, &few), None);
        let equal = Estimate::of_samples(&[100.0; 10], &[100.0; 10]).unwrap();
        assert!(equal.p_slower(0.025) > 0.5 && equal.p_faster(0.025) > 0.5, "{equal:?}");
    }

    #[test]
    fn each_bench_has_a_verdict_and_its_medians() {
        let found = changed_times(&[
            samples(around(100.0, 0.01), around(110.0, 0.01)),
            samples(around(100.0, 0.01), around(90.0, 0.01)),
            samples(around(100.0, 0.01), around(100.0, 0.01)),
            samples(around(100.0, 0.5), around(110.0, 0.5)),
            samples(vec![100.0], around(200.0, 0.01)),
        ]);
        let verdicts: Vec<_> = found.iter().map(|change| change.verdict).collect();
        use Verdict::{Faster, Same, Slower, Undecided};
        assert_eq!(verdicts, [Slower, Faster, Same, Undecided, Undecided]);
        assert_eq!((found[4].base, found[4].ratio, found[4].pairs), (100.0, None, 20));
        assert!((found[0].base - 100.05).abs() < 0.01 && (found[0].head - 110.055).abs() < 0.01, "{:?}", found[0]);
    }
}
