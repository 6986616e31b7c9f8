//! Where a series changes its level to stay.
//!
//! Segmentation by ranks: no distribution is assumed, and what one run does differently moves nothing. Looked for is the stretch that
//! is most unlike the rest, at an end or in the middle (circular binary segmentation; Olshen and others 2004), for a level that goes
//! there and back is seen by no single cut.

/// With fewer values a level is not known.
const LEAST: usize = 3;
/// Orders in which a series is put to know what chance does.
const ORDERS: usize = 999;
/// How many of them may be as unlike: a change is found in one of fifty series that have none.
const AS_MUCH: usize = 19;

/// The places in `values`, the earliest first, from which on the level is another: proven, and at least by the share `threshold`.
/// The same values always give the same places.
pub fn change_points(values: &[f64], threshold: f64) -> Vec<usize> {
    // Twice as slow and twice as fast are equally far from the same. What takes no time at all is as low as can be.
    let logs: Vec<_> = values.iter().map(|value| value.max(f64::MIN_POSITIVE).ln()).collect();
    let mut cuts = vec![0, logs.len()];
    segment(&logs, 0, &mut cuts);
    cuts.sort_unstable();
    cuts.dedup();
    worth_telling(&logs, cuts, threshold.ln_1p())
}

/// Cuts `logs`, whose first value is the one at `from` of all, where it is proven to change.
fn segment(logs: &[f64], from: usize, cuts: &mut Vec<usize>) {
    if logs.len() < 2 * LEAST {
        return;
    }
    let Some((begin, end)) = proven(&ranks(logs)) else { return };
    cuts.extend([from + begin, from + end]);
    for (begin, end) in [(0, begin), (begin, end), (end, logs.len())] {
        segment(&logs[begin..end], from + begin, cuts);
    }
}

/// The stretch that is most unlike the rest, if it is more so than in other orders of the same values.
fn proven(ranks: &[f64]) -> Option<(usize, usize)> {
    let (seen, stretch) = most_unlike(ranks);
    let mut random = fastrand::Rng::with_seed(ranks.len() as u64);
    let mut order = ranks.to_vec();
    let mut as_much = 0;
    for _ in 0..ORDERS {
        random.shuffle(&mut order);
        as_much += usize::from(most_unlike(&order).0 >= seen);
        if as_much > AS_MUCH {
            return None;
        }
    }
    Some(stretch)
}

/// The stretch whose ranks are furthest off what they would be without a change, and by how many standard deviations (those of
/// Wilcoxon's rank sum).
fn most_unlike(ranks: &[f64]) -> (f64, (usize, usize)) {
    let (count, all) = (ranks.len(), ranks.len() as f64);
    let mut sums = vec![0.0];
    sums.extend(ranks.iter().scan(0.0, |sum, rank| {
        *sum += rank;
        Some(*sum)
    }));
    let deviations: Vec<_> =
        (0..=count).map(|length| (length as f64 * (all - length as f64) * (all + 1.0) / 12.0).sqrt()).collect();
    let mut most = (0.0, (0, count));
    for begin in [0].into_iter().chain(LEAST..=count - LEAST) {
        for end in (begin + LEAST..=count - LEAST).chain([count]) {
            let length = end - begin;
            if length < LEAST || length > count - LEAST {
                continue;
            }
            let off = (sums[end] - sums[begin] - length as f64 * (all + 1.0) / 2.0).abs() / deviations[length];
            if off > most.0 {
                most = (off, (begin, end));
            }
        }
    }
    most
}

/// The places of `cuts`, which are the ends as well, without those at which the level changes by less than `least`. Each is put where
/// it leaves the least unexplained.
fn worth_telling(logs: &[f64], mut cuts: Vec<usize>, least: f64) -> Vec<usize> {
    loop {
        for nth in 1..cuts.len().saturating_sub(1) {
            cuts[nth] = cuts[nth - 1] + split(&logs[cuts[nth - 1]..cuts[nth + 1]]);
        }
        let step = |nth: usize| (level(logs, cuts[nth], cuts[nth + 1]) - level(logs, cuts[nth - 1], cuts[nth])).abs();
        let steps = (1..cuts.len().saturating_sub(1)).map(|nth| (step(nth), nth));
        match steps.min_by(|one, other| one.0.total_cmp(&other.0)) {
            Some((step, nth)) if step < least => {
                cuts.remove(nth);
            }
            Some(_) => return cuts[1..cuts.len() - 1].to_vec(),
            None => return Vec::new(),
        }
    }
}

fn level(logs: &[f64], from: usize, to: usize) -> f64 {
    median(&logs[from..to])
}

/// The place from which on another level leaves the least away from the two medians.
fn split(logs: &[f64]) -> usize {
    let left_over = |at: usize| away(&logs[..at]) + away(&logs[at..]);
    let places = LEAST..=logs.len() - LEAST;
    places.min_by(|one, other| left_over(*one).total_cmp(&left_over(*other))).unwrap_or(LEAST)
}

fn away(values: &[f64]) -> f64 {
    let middle = median(values);
    values.iter().map(|value| (value - middle).abs()).sum()
}

fn median(values: &[f64]) -> f64 {
    crate::median(values.to_vec()).estimate
}

/// The rank of each value, from 1; of equal ones the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let less = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        less as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise around 1, in one of ten runs five times as far away, as on machines that others use, too.
    fn noise(random: &mut fastrand::Rng, count: usize, scatter: f64) -> Vec<f64> {
        let mut normal = || {
            let (radius, angle) = (1.0 - random.f64(), random.f64() * std::f64::consts::TAU);
            let far = if random.u8(..10) == 0 { 5.0 } else { 1.0 };
            (-2.0 * radius.ln()).sqrt() * angle.cos() * far
        };
        (0..count).map(|_| (scatter * normal()).exp()).collect()
    }

    #[test]
    fn noise_raises_no_alarm() {
        let mut random = fastrand::Rng::with_seed(7);
        for scatter in [0.03, 0.2] {
            let alarms = (0..200).filter(|nth| {
                let count = 20 + nth % 41;
                !change_points(&noise(&mut random, count, scatter), 0.05).is_empty()
            });
            let alarms = alarms.count();
            assert!(alarms <= 10, "{alarms} of 200 with a scatter of {scatter}");
        }
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut found, mut tried) = (0, 0);
        for nth in 0..50 {
            let (count, at) = (30 + nth % 20, 10 + nth % 11);
            let mut values = noise(&mut random, count, 0.03);
            values[at..].iter_mut().for_each(|value| *value *= if nth % 2 == 0 { 1.1 } else { 1.0 / 1.1 });
            tried += 1;
            found += usize::from(matches!(change_points(&values, 0.05)[..], [place] if place.abs_diff(at) <= 1));
        }
        assert!(found * 10 >= tried * 8, "{found} of {tried}");
    }

    #[test]
    fn a_step_there_and_back_is_two_changes() {
        let mut random = fastrand::Rng::with_seed(13);
        let mut values = noise(&mut random, 45, 0.02);
        values[15..30].iter_mut().for_each(|value| *value *= 1.3);
        assert_eq!(change_points(&values, 0.05), [15, 30]);
    }

    #[test]
    fn what_is_certain_and_small_is_no_change() {
        let mut values = vec![100.0; 40];
        values[20..].fill(103.0);
        assert_eq!(change_points(&values, 0.05), [] as [usize; 0]);
        assert_eq!(change_points(&values, 0.02), [20]);
    }

    #[test]
    fn few_equal_and_impossible_values_are_no_change() {
        let impossible = [0.0, f64::NAN, f64::INFINITY, -1.0, 0.0, f64::NAN, 1.0, 1.0];
        for values in [&[][..], &[1.0], &[1.0, 1.0, 1.0, 9.0, 9.0], &[5.0; 50], &[0.0; 10]] {
            assert_eq!(change_points(values, 0.05), [] as [usize; 0], "{values:?}");
        }
        // These only must come to an end.
        change_points(&impossible, 0.05);
    }
}
