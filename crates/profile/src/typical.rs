//! A typical request, taken apart: means over the requests in the middle. Medians of parts do not add up to the median of the
//! whole; the parts of the same requests do.

use tare_evidence::Interval;

/// The requests that are typical, by their rank among all: the fifth around the median.
const FROM: f64 = 0.4;
const TO: f64 = 0.6;
/// How often the samples are drawn anew for the intervals.
const RESAMPLES: usize = 400;

/// The mean of each part over the typical ones of `rows`, and the interval it lies in with 95 % confidence, by bootstrap. Each
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

fn middle(mut rows: Vec<&Vec<f64>>) -> Vec<f64> {
    rows.sort_by(|one, other| one[0].total_cmp(&other[0]));
    let count = rows.len() as f64;
    let from = (count * FROM) as usize;
    let to = ((count * TO).ceil() as usize).max(from + 1);
    let typical = &rows[from..to];
    let mean = |part: usize| typical.iter().map(|row| row[part]).sum::<f64>() / typical.len() as f64;
    (0..rows[0].len()).map(mean).collect()
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
        assert!((whole.estimate - 51.0).abs() < 1.0, "{whole:?}");
        assert!((one.estimate + other.estimate - whole.estimate).abs() < 1e-9);
        assert!(whole.lower <= whole.estimate && whole.estimate <= whole.upper && whole.lower > 35.0, "{whole:?}");
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
