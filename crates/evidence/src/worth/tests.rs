use super::*;
use crate::Complexity;

fn gain(fix: &str, action: &str, complexity: Complexity) -> PublishedGain {
    PublishedGain {
        fix: fix.into(),
        document: "decision matrix".into(),
        published: 0.7,
        without: String::new(),
        with: String::new(),
        action: action.into(),
        complexity,
        helps: "every request".into(),
    }
}

fn compared(fix: &str) -> Compared {
    Compared { fix: fix.into(), alone: fix.into(), removed: format!("all but {fix}") }
}

/// P95 is twice P50.
fn series(strategy: &str, p50_ms: &[f64]) -> Series {
    let rounds = p50_ms.iter().map(|&p50_ms| Percentiles { p50_ms, p95_ms: 2.0 * p50_ms });
    Series { strategy: strategy.into(), action: "view".into(), rounds: rounds.collect() }
}

fn of(ms: Interval) -> [f64; 3] {
    [ms.estimate, ms.lower, ms.upper].map(|share| (share * 1e6).round() / 1e6)
}

fn worth() -> Matrix {
    let published = [
        gain("cache", "view", Complexity::Low),
        gain("pool", "view", Complexity::Medium),
        gain("noise", "view", Complexity::Low),
        gain("unmeasured", "view", Complexity::Low),
    ];
    let cells = [
        series("before", &[100.0, 200.0, 100.0, 100.0, 100.0, 100.0]),
        series("cache", &[80.0, 160.0, 79.0, 81.0, 80.0, 82.0]),
        series("pool", &[40.0, 80.0, 38.0, 42.0, 41.0, 39.0]),
        series("noise", &[90.0, 210.0, 99.0, 101.0, 90.0, 110.0]),
        series("all but cache", &[12.0; 6]),
        series("all but pool", &[75.0; 6]),
        series("all but noise", &[10.0; 6]),
        series("after", &[10.0; 6]),
    ];
    conclude(&published, &["cache", "pool", "noise"].map(compared), &cells)
}

#[test]
fn gains_and_losses_are_of_paired_rounds() {
    let matrix = worth();
    assert_eq!((matrix.rounds, matrix.cells.len(), matrix.rows.len()), (6, 8, 3));
    let pool = &matrix.rows[0];
    // The round in which the machine was twice as slow is none of the interval's ends.
    assert_eq!(of(pool.gain_p50), [0.6, 0.58, 0.62]);
    assert_eq!(of(pool.gain_p95), [0.6, 0.58, 0.62]);
    assert_eq!(of(pool.loss_p50), [6.5; 3]);
    assert_eq!(of(matrix.rows[1].loss_p95), [0.2; 3]);
    assert_eq!(of(matrix.cells[2].p95_ms), [81.0, 76.0, 160.0]);
}

#[test]
fn the_gain_for_its_complexity_says_what_is_next() {
    let matrix = worth();
    let order: Vec<_> = matrix.rows.iter().map(|row| (&*row.fix, row.priority)).collect();
    assert_eq!(order.iter().map(|(fix, _)| *fix).collect::<Vec<_>>(), ["pool", "cache", "noise"]);
    assert!((order[0].1.unwrap() - 0.3).abs() < 1e-9 && (order[1].1.unwrap() - 0.2).abs() < 1e-9, "{order:?}");
    assert_eq!(order[2].1, None, "its interval holds zero");
    assert_eq!(
        matrix.next,
        "Next: pool. It takes 60 % (58 % to 62 %) off the P95 of view, of medium complexity; see docs/pool.md."
    );
}

#[test]
fn a_fix_that_matters_less_beside_the_others_is_told_of() {
    // pool: 60 ms alone, 65 ms as the last.
    assert_eq!(
        worth().interactions,
        [
            "cache as the only fix takes 20.0 ms off view, and as the last one takes 2.00 ms off view: with the others there, it matters less."
        ]
    );
}

#[test]
fn a_fix_that_matters_more_beside_the_others_is_told_of() {
    let cells = [
        series("before", &[100.0; 6]),
        series("query", &[101.0, 99.0, 100.0, 100.0, 102.0, 98.0]),
        series("all but query", &[16.0; 6]),
        series("after", &[10.0; 6]),
    ];
    let matrix = conclude(&[gain("query", "view", Complexity::Low)], &[compared("query")], &cells);
    assert_eq!(
        matrix.interactions,
        [
            "query as the only fix takes nothing off view that shows, and as the last one takes 6.00 ms off view: it matters more once the others are there."
        ]
    );
    assert_eq!(matrix.next, "Next: nothing. No fix takes anything off P95 that shows.");
}

#[test]
fn what_makes_it_slower_has_no_priority() {
    let cells = [
        series("before", &[10.0; 6]),
        series("slower", &[12.0; 6]),
        series("all but slower", &[9.0; 6]),
        series("after", &[10.0; 6]),
    ];
    let matrix = conclude(&[gain("slower", "view", Complexity::Low)], &[compared("slower")], &cells);
    assert_eq!(of(matrix.rows[0].gain_p95), [-0.2; 3]);
    assert_eq!(matrix.rows[0].priority, None);
    assert_eq!(told(Interval { estimate: -2.0, lower: -3.0, upper: -1.0 }, "view"), "adds 2.00 ms to view");
}

#[test]
fn a_few_rounds_decide_nothing() {
    let cells = ["before", "pool", "all but pool", "after"].map(|strategy| series(strategy, &[10.0; 5]));
    let matrix = conclude(&[gain("pool", "view", Complexity::Low)], &[compared("pool")], &cells);
    assert_eq!((matrix.rounds, matrix.rows[0].priority), (5, None));
    assert_eq!(matrix.next, "Next: measure to the end. 5 rounds tell of no fix for certain.");
    assert_eq!(conclude(&[], &[], &[]).rows.len(), 0);
}

#[test]
fn an_alternative_is_held_against_another_round_by_round() {
    let measured = [series("pool", &[10.0, 20.0]), series("pooler", &[12.0, 24.0])];
    let gained = |way, against| alternative(way, against, "view", &measured).map(|found| of(found.gain_p95));
    assert_eq!(gained("pooler", "pool"), Some([-0.2; 3]));
    assert_eq!(gained("pooler", "not measured"), None);
    assert!(alternative("pooler", "pool", "another action", &measured).is_none());
}
