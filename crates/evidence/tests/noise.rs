//! Comparisons of a state with itself, and with one that is slower, made of recorded noise.
//!
//! `noise/quiet.json` and `noise/busy.json` are from the `pairs.json` of a `cargo xtask compare HEAD HEAD` on two processors, the second
//! beside a compiler that kept one of them busy: of each figure the logarithms of the rounds' ratios, in hundred-thousandths. A comparison
//! takes some of each figure's rounds, each at most once, and has base and head the other way round in half of all cases: all of its rounds
//! then, so that what made one of the two slower for the whole of a recording does so here.

use std::collections::BTreeMap;

use tare_evidence::{Measured, Verdict, decide};

/// As in `fixtures/perf.toml`.
const THRESHOLD: f64 = 0.05;
/// How often each figure was visited in a recording.
const RECORDED: usize = 9;
/// How often a comparison visits each in its eight minutes when nothing is decided early.
const VISITS: usize = 6;
/// Comparisons made of each recording.
const COMPARISONS: usize = 100;
/// What a processor alone works at.
const CPU_BOUND: [&str; 4] =
    ["auth/hs256 time", "auth/hs256-key-per-request time", "auth/es256 time", "response/timings time"];

/// One figure's recorded rounds.
struct Noise {
    name: String,
    logs: Vec<f64>,
}

fn recorded(text: &str) -> Vec<Noise> {
    let figures: BTreeMap<String, Vec<i32>> = serde_json::from_str(text).unwrap();
    let logs = |values: Vec<i32>| values.into_iter().map(|value| f64::from(value) / 1e5).collect();
    figures.into_iter().map(|(name, values)| Noise { name, logs: logs(values) }).collect()
}

fn quiet() -> Vec<Noise> {
    recorded(include_str!("noise/quiet.json"))
}

fn busy() -> Vec<Noise> {
    recorded(include_str!("noise/busy.json"))
}

/// The rounds of a figure in another order, with base and head the other way round when `turned`.
fn another(logs: &[f64], turned: bool, random: &mut fastrand::Rng) -> Vec<f64> {
    let mut logs: Vec<_> = logs.iter().map(|log| if turned { -log } else { *log }).collect();
    random.shuffle(&mut logs);
    logs
}

/// The verdicts of a comparison; `planted` is how much slower the head is, by figure.
fn compare(noise: &[Noise], planted: impl Fn(&str) -> f64, random: &mut fastrand::Rng) -> Vec<Verdict> {
    let turned = random.bool();
    let all: Vec<Vec<_>> = noise
        .iter()
        .map(|figure| {
            let slower = planted(&figure.name).ln_1p();
            another(&figure.logs, turned, random).into_iter().map(|log| log + slower).collect()
        })
        .collect();
    let mut taken = vec![0; all.len()];
    let mut verdicts = vec![Verdict::Undecided; all.len()];
    // What is decided leaves its time to what is not.
    let mut visits_left = VISITS * all.len();
    while visits_left > 0 {
        for ((taken, logs), verdict) in taken.iter_mut().zip(&all).zip(&verdicts) {
            if *verdict == Verdict::Undecided && visits_left > 0 {
                visits_left -= 1;
                // What is quickly measured is measured more often in a visit. No round is used twice.
                *taken = logs.len().min(*taken + (logs.len() / RECORDED).max(1));
            }
        }
        let measured =
            all.iter().zip(&taken).map(|(logs, taken)| Measured::of_pairs(logs[..*taken].to_vec(), THRESHOLD));
        verdicts = decide(&measured.collect::<Vec<_>>());
    }
    verdicts
}

#[test]
fn a_state_is_as_fast_as_itself() {
    for (name, noise) in [("quiet", quiet()), ("busy", busy())] {
        assert!(noise.len() > 60, "{name}: {} figures", noise.len());
        let mut random = fastrand::Rng::with_seed(1);
        let (mut alarms, mut same) = (0, 0);
        for _ in 0..COMPARISONS {
            let verdicts = compare(&noise, |_| 0.0, &mut random);
            alarms += usize::from(verdicts.contains(&Verdict::Slower));
            same += verdicts.iter().filter(|verdict| **verdict == Verdict::Same).count();
        }
        println!("{name}: {alarms} alarms, {} of {} the same", same / COMPARISONS, noise.len());
        assert!(alarms <= 1, "{name}: {alarms} alarms in {COMPARISONS} comparisons");
        // One that never says anything raises no alarm either.
        assert!(same / COMPARISONS >= 4, "{name}: {} of {} are told to be the same", same / COMPARISONS, noise.len());
    }
}

#[test]
fn five_percent_are_found_where_the_processor_alone_counts() {
    for (name, noise) in [("quiet", quiet()), ("busy", busy())] {
        for slower in CPU_BOUND {
            let place = noise.iter().position(|figure| figure.name == slower).unwrap();
            let mut random = fastrand::Rng::with_seed(2);
            let planted = |figure: &str| if figure == slower { THRESHOLD } else { 0.0 };
            let found = (0..COMPARISONS).filter(|_| compare(&noise, planted, &mut random)[place] == Verdict::Slower);
            let found = found.count();
            println!("{name}: {slower} found in {found}");
            assert!(found * 20 >= COMPARISONS * 19, "{name}: {slower} is found in {found} of {COMPARISONS}");
        }
    }
}
