//! What holds of the statistics whatever the samples are.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tare_evidence::{Counted, Interval, Measured, Point, Verdict, change_points, decide, median, typical};

/// As in `fixtures/perf.toml`.
const THRESHOLD: f64 = 0.05;

/// The same samples each time.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// Times in nanoseconds, of a few and of many iterations.
fn times(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    vec((0_u32..1_000, 0_i32..9).prop_map(|(digits, power)| f64::from(digits + 1) * 10_f64.powi(power)), count)
}

/// Logarithms of the ratios of pairs: around a change that there may be, scattered by what a machine does.
fn logs() -> impl Strategy<Value = Vec<f64>> {
    (-0.3_f64..0.3, 0.0001_f64..0.3).prop_flat_map(|(change, scatter)| {
        vec((-1.0_f64..1.0).prop_map(move |away| change + scatter * away.powi(3)), 0..30)
    })
}

/// Values and the same in another order.
fn shuffled(values: impl Strategy<Value = Vec<f64>>) -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    values.prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle()))
}

fn verdict(logs: &[f64]) -> Verdict {
    decide(&[Measured::of_pairs(logs.to_vec(), THRESHOLD)])[0]
}

/// How bad a verdict is.
fn rank(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Faster => -1,
        Verdict::Same | Verdict::Undecided => 0,
        Verdict::Slower => 1,
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_median_lies_in_its_interval_among_the_samples_whatever_their_order((times, other_order) in shuffled(times(1..200))) {
        let Interval { estimate, lower, upper } = median(times.clone());
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        prop_assert!(least <= lower && lower <= estimate && estimate <= upper && upper <= most);
        // The ends are samples, and no more than half of all are beyond the middle.
        prop_assert!(times.contains(&lower) && times.contains(&upper));
        let beyond = |count: usize| 2 * count <= times.len();
        prop_assert!(beyond(times.iter().filter(|time| **time < estimate).count()));
        prop_assert!(beyond(times.iter().filter(|time| **time > estimate).count()));
        prop_assert_eq!(median(other_order), median(times));
    }

    #[test]
    fn what_is_measured_in_another_unit_has_the_same_median(times in times(1..100)) {
        let [one, other] = [median(times.clone()), median(times.iter().map(|time| time * 1024.0).collect())];
        let scaled = Interval { estimate: one.estimate * 1024.0, lower: one.lower * 1024.0, upper: one.upper * 1024.0 };
        prop_assert_eq!(other, scaled);
    }

    #[test]
    fn a_typical_pair_is_no_faster_and_no_slower_than_every_pair(pairs in vec((1.0_f64..1e6, 0.5_f64..2.0), 1..50)) {
        let pairs: Vec<_> = pairs.into_iter().map(|(base, ratio)| [base, base * ratio]).collect();
        let [base, head] = typical(&pairs).unwrap();
        prop_assert!(pairs.iter().any(|pair| pair[0] <= base) && pairs.iter().any(|pair| pair[0] >= base));
        let ratio = head / base * (1.0 + 1e-12);
        prop_assert!(pairs.iter().any(|[base, head]| head / base <= ratio));
        prop_assert!(pairs.iter().any(|[base, head]| head / base >= ratio * (1.0 - 2e-12)));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn an_interval_holds_its_estimate_which_lies_among_the_pairs((logs, other_order) in shuffled(logs())) {
        let Some(interval) = Measured::of_pairs(logs.clone(), THRESHOLD).interval() else {
            prop_assert!(logs.len() < 6 && verdict(&logs) == Verdict::Undecided);
            return Ok(());
        };
        prop_assert!(logs.len() >= 6);
        let Interval { estimate, lower, upper } = interval;
        prop_assert!(0.0 < lower && lower <= estimate && estimate <= upper && upper.is_finite(), "{interval:?}");
        let among = logs.iter().any(|log| log.exp() <= estimate * (1.0 + 1e-12))
            && logs.iter().any(|log| log.exp() >= estimate * (1.0 - 1e-12));
        prop_assert!(among, "{interval:?}");
        prop_assert_eq!(Measured::of_pairs(other_order, THRESHOLD).interval().unwrap().estimate, estimate);
        prop_assert_eq!(Measured::of_pairs(logs, THRESHOLD).interval(), Some(interval), "chance has a seed");
    }

    #[test]
    fn base_and_head_the_other_way_round_are_as_much_the_other_way_round(logs in logs()) {
        let mirrored: Vec<_> = logs.iter().map(|log| -log).collect();
        let [one, other] = [&logs, &mirrored].map(|logs| Measured::of_pairs(logs.clone(), THRESHOLD).interval());
        if let (Some(one), Some(other)) = (one, other) {
            let close = |one: f64, other: f64| (one * other - 1.0).abs() < 1e-9;
            prop_assert!(close(one.estimate, other.estimate) && close(one.lower, other.upper), "{one:?} {other:?}");
        }
        let opposite = match verdict(&logs) {
            Verdict::Faster => Verdict::Slower,
            Verdict::Slower => Verdict::Faster,
            neither => neither,
        };
        prop_assert_eq!(verdict(&mirrored), opposite);
    }

    #[test]
    fn who_becomes_slower_is_never_told_to_be_less_so(logs in logs(), more in 0.0_f64..0.2) {
        let slower: Vec<_> = logs.iter().map(|log| log + more).collect();
        prop_assert!(rank(verdict(&slower)) >= rank(verdict(&logs)), "{:?} {:?}", verdict(&logs), verdict(&slower));
    }

    #[test]
    fn each_of_many_has_a_verdict_that_its_interval_bears_out(many in vec(logs(), 0..6), turned in 0_usize..6) {
        let mut measured: Vec<_> = many.into_iter().map(|logs| Measured::of_pairs(logs, THRESHOLD)).collect();
        let mut verdicts = decide(&measured);
        prop_assert_eq!(verdicts.len(), measured.len());
        for (measured, verdict) in measured.iter().zip(&verdicts) {
            let interval = measured.interval();
            match verdict {
                Verdict::Slower => prop_assert!(interval.unwrap().lower > 1.0 + THRESHOLD / 2.0),
                Verdict::Faster => prop_assert!(interval.unwrap().upper < 1.0 / (1.0 + THRESHOLD / 2.0)),
                Verdict::Same => {
                    let estimate = interval.unwrap().estimate;
                    prop_assert!(estimate < 1.0 + THRESHOLD && estimate > 1.0 / (1.0 + THRESHOLD));
                }
                Verdict::Undecided => {}
            }
            // Alone it is not held against others.
            let alone = decide(std::slice::from_ref(measured))[0];
            prop_assert!(*verdict == alone || *verdict == Verdict::Undecided, "{verdict:?} among many, {alone:?} alone");
        }
        // They are judged together, and not one after the other.
        if !measured.is_empty() {
            let turned = turned % measured.len();
            measured.rotate_left(turned);
            verdicts.rotate_left(turned);
            prop_assert_eq!(decide(&measured), verdicts);
        }
    }

    #[test]
    fn samples_apart_have_an_interval_that_holds_their_estimate(base in times(0..30), head in times(0..30)) {
        let interval = Measured::of_samples(&base, &head, THRESHOLD).interval();
        prop_assert_eq!(interval.is_some(), base.len() >= 6 && head.len() >= 6);
        if let Some(Interval { estimate, lower, upper }) = interval {
            prop_assert!(0.0 < lower && lower <= estimate && estimate <= upper, "{lower} {estimate} {upper}");
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn levels_last_and_are_found_in_any_unit(
        levels in vec((3_usize..12, 100.0_f64..200.0), 1..4),
        scatter in vec(0.0_f64..1.0, 40),
    ) {
        let values = levels.iter().flat_map(|(length, level)| std::iter::repeat_n(*level, *length));
        let values: Vec<_> = values.zip(&scatter).map(|(level, away)| level + away).collect();
        let places = change_points(&values, THRESHOLD);
        let ends: Vec<_> = [0].into_iter().chain(places.iter().copied()).chain([values.len()]).collect();
        prop_assert!(ends.windows(2).all(|ends| places.is_empty() || ends[1] >= ends[0] + 3), "{ends:?}");
        // What is scattered by 1 % has no change of 5 % but where the level changes.
        let mut at = 0;
        let changes: Vec<_> = levels.iter().map(|(length, _)| { at += length; at }).collect();
        prop_assert!(places.iter().all(|place| changes.contains(place)), "{places:?} {changes:?}");
        let doubled: Vec<_> = values.iter().map(|value| value * 2.0).collect();
        prop_assert_eq!(change_points(&doubled, THRESHOLD), places);
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_line_is_found_from_any_points_on_it(
        work in 0.0_f64..100.0,
        trips in 0_u32..20,
        (distances, other_order) in shuffled(vec(0.0_f64..100.0, 2..10)),
        away in vec(-0.5_f64..0.5, 10),
    ) {
        let at = |distance: &f64| work + f64::from(trips) * distance;
        let law = |distances: &[f64], away: &[f64]| {
            let point = |(distance, away): (&f64, &f64)| Point { distance_ms: *distance, time_ms: at(distance) + away };
            Counted { points: distances.iter().zip(away).map(point).collect(), ..Counted::default() }.law()
        };
        let span = distances.iter().copied().fold(0.0, f64::max) - distances.iter().copied().fold(f64::INFINITY, f64::min);
        prop_assume!(span > 1.0);
        let found = law(&distances, &[0.0; 10]).unwrap();
        prop_assert!((found.round_trips - f64::from(trips)).abs() < 1e-6 && (found.work_ms - work).abs() < 1e-6, "{found:?}");
        prop_assert!(found.agrees_with(u64::from(trips)) && found.error_ms < 1e-6);
        let other = law(&other_order, &[0.0; 10]).unwrap();
        prop_assert!((other.at(80.0) - found.at(80.0)).abs() < 1e-6);
        // However the points scatter, no work is less than none, and none takes less than no time.
        let scattered = law(&distances, &away).unwrap();
        prop_assert!(scattered.work_ms >= 0.0 && scattered.error_ms >= 0.0 && scattered.at(0.0) >= 0.0);
    }
}
