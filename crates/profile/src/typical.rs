//! A typical request, taken apart: what the parts of requests around the median come to. Medians of parts do not add up to the
//! median of the whole; the parts of the same requests do.

use tare_evidence::Interval;

/// The requests that are typical, by their rank among all: the fifth around the median.
const FROM: f64 = 0.4;
const TO: f64 = 0.6;
/// How often the samples are drawn anew for the intervals.
const RESAMPLES: usize = 400;

/// Each part of a request that takes the median of `rows`, and the interval it lies in with 95 % confidence, by bootstrap. Each
/// row is a request: the whole, by which they are ranked, and its parts, as many in each. The first of what is returned is
/// the whole.
///
/// # Panics
/// Without rows.
pub fn typical(rows: &[Vec<f64>]) -> Vec<Interval> {
    let all: Vec<_> = rows.iter().collect();
    let estimates = middle(all.clone());
    let mut random = fastrand::Rng::with_seed(rows.len() as u64);
    let resampled: Vec<_> =
        (0..RESAMPLES).map(|_| middle((0..all.len()).map(|_| all[random.usize(..all.len())]).collect())).collect();
    let interval = |(part, estimate)| {
        let mut of: Vec<f64> = resampled.iter().map(|parts| parts[part]).collect();
        of.sort_by(f64::total_cmp);
        let at = |share: f64| of[((RESAMPLES as f64 * share) as usize).min(RESAMPLES - 1)];
        Interval { estimate, lower: at(0.025), upper: at(0.975) }
    };
    estimates.into_iter().enumerate().map(interval).collect()
}

/// The parts of a request that takes the median. Those a little faster and those a little slower are weighed so that the whole
/// comes to it: few requests have a gap around the median, or more of them on one side, and their plain mean is beside it.
fn middle(mut rows: Vec<&Vec<f64>>) -> Vec<f64> {
    rows.sort_by(|one, other| one[0].total_cmp(&other[0]));
    let count = rows.len();
    let from = (count as f64 * FROM) as usize;
    let to = ((count as f64 * TO).ceil() as usize).max(from + 1);
    // The one in the middle, if there is one, is on both sides.
    let (faster, slower) = (&rows[from..count.div_ceil(2)], &rows[count / 2..to]);
    let median = f64::midpoint(faster[faster.len() - 1][0], slower[0][0]);
    let mean = |of: &[&Vec<f64>], part: usize| of.iter().map(|row| row[part]).sum::<f64>() / of.len() as f64;
    let (low, high) = (mean(faster, 0), mean(slower, 0));
    let weight = if high > low { (median - low) / (high - low) } else { 0.5 };
    (0..rows[0].len()).map(|part| mean(faster, part) * (1.0 - weight) + mean(slower, part) * weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_typical_request_add_up_to_it() {
        // The larger part changes sides from request to request, so that medians of parts would not add up.
        let row = |nth: usize| match nth % 2 {
            0 => vec![nth as f64, nth as f64, 0.0],
            _ => vec![nth as f64, 0.0, nth as f64],
        };
        let rows: Vec<_> = (1..=101).map(row).collect();
        let [whole, one, other] = typical(&rows)[..] else { panic!("three") };
        assert!((whole.estimate - 51.0).abs() < 1e-9, "{whole:?}");
        assert!((one.estimate + other.estimate - whole.estimate).abs() < 1e-9);
        assert!(whole.lower <= whole.estimate && whole.estimate <= whole.upper && whole.lower > 35.0, "{whole:?}");
    }

    #[test]
    fn a_gap_above_the_median_does_not_draw_it_there() {
        let rows: Vec<_> = (0..50).map(|nth| if nth < 26 { 10.0 } else { 20.0 }).map(|ms| vec![ms, ms]).collect();
        assert_eq!(typical(&rows)[1].estimate, 10.0);
        let few: Vec<_> = [1.0, 2.0, 4.0, 9.0].map(|ms| vec![ms, ms]).into();
        assert_eq!(typical(&few)[0].estimate, 3.0);
    }

    #[test]
    fn slow_requests_are_not_typical() {
        let rows: Vec<_> = (0..50).map(|nth| vec![if nth < 5 { 1e6 } else { 1.0 + f64::from(nth) * 0.01 }]).collect();
        assert!(typical(&rows)[0].upper < 2.0);
    }

    #[test]
    fn one_request_is_typical_of_itself() {
        assert_eq!(typical(&[vec![3.0, 1.0]])[1], Interval { estimate: 1.0, lower: 1.0, upper: 1.0 });
    }
}
