use tare_evidence::{Interval, Machine, Run};

use super::*;
use crate::{markdown, terminal, terminal_summary};

pub(crate) fn timed(id: &str, figure: Figure, percent: f64, verdict: Verdict) -> Change {
    let ratio = 1.0 + percent / 100.0;
    Change {
        id: id.into(),
        figure,
        base: 4_710.0,
        head: 4_710.0 * ratio,
        ratio: Some(Interval { estimate: ratio, lower: ratio - 0.011, upper: ratio + 0.011 }),
        pairs: 40,
        threshold: 0.05,
        verdict,
    }
}

pub(crate) fn compared_evidence(changes: Vec<Change>) -> Evidence {
    let state = |name: &str, commit: &str, dirty| State { name: name.into(), commit: Some(commit.repeat(40)), dirty };
    let changes = Changes {
        base: state("main", "9", false),
        head: state("the working tree", "a", true),
        method: Method::InTurns,
        threshold: 0.05,
        changes,
        remarks: vec!["auth/es256 is not in main.".into()],
    };
    let run = Run { command: "compare main".into(), started_at: "2026-11-27T12:00:00Z".into(), ..Run::default() };
    let checks = changes.checks().collect();
    Evidence { changes: Some(changes), checks, ..Evidence::begun(run, Machine::default()) }
}

pub(crate) fn every_verdict() -> Evidence {
    compared_evidence(vec![
        timed("response/copied", Figure::Time, 0.3, Verdict::Same),
        timed("connection/new-tls", Figure::Time, 4.0, Verdict::Undecided),
        timed("tenant/cached", Figure::Time, -9.0, Verdict::Faster),
        timed("auth/hs256", Figure::Time, 5.2, Verdict::Slower),
        Change::counted("auth/hs256", Figure::RoundTrips, 0, 0),
        Change::counted("auth/hs256", Figure::Allocations, 12, 12),
        Change::counted("request/after", Figure::RoundTrips, 1, 2),
        Change::counted("request/before", Figure::Allocations, 1_300, 1_250),
    ])
}

#[test]
fn what_changed_is_first_and_what_is_the_same_is_for_a_closer_look() {
    let evidence = every_verdict();
    let told = sections(&evidence);
    let rows = &told[0].table.as_ref().unwrap().rows;
    let of: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[3], &*row[5])).collect();
    assert_eq!(
        of,
        [
            ("request/after round trips", "+1", "more"),
            ("auth/hs256 time", "+5.2 % (+4.1 to +6.3)", "slower"),
            ("tenant/cached time", "-9.0 % (-10.1 to -7.9)", "faster"),
            ("request/before allocations", "-50", "fewer"),
            ("connection/new-tls time", "+4.0 % (+2.9 to +5.1)", "undecided"),
        ]
    );
    assert_eq!(told[1].table.as_ref().unwrap().rows[0][0], "response/copied time");
    let counted = told[2].table.as_ref().unwrap();
    assert_eq!(
        (&counted.header[1..], &counted.rows[0][..]),
        (&["round trips".into(), "allocations".into()][..], &["auth/hs256".into(), "0".into(), "12".into()][..])
    );
    let (summary, whole) = (terminal_summary(&evidence, &[]), terminal(&evidence, &[]));
    assert!(!summary.contains("response/copied") && whole.contains("response/copied"), "{summary}");
    assert!(summary.contains("1 is the same within 5 %, and 2 are counted the same to the last one."), "{summary}");
    assert!(markdown(&evidence, &[]).contains("## What is the same"));
    let widest = whole.lines().filter(|line| line.starts_with('│')).map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|widest| widest <= 120), "{whole}");
}

#[test]
fn the_states_are_named_with_their_commits_and_how_they_were_measured() {
    let evidence = every_verdict();
    let mut changes = evidence.changes.unwrap();
    let said = compared(&changes);
    assert!(said.starts_with("the working tree (aaaaaaaaa with changes) beside main (999999999), measured in turns"));
    changes.head = State { name: "1a2b3c4".into(), commit: Some("1a2b3c4d5e6f".into()), dirty: false };
    changes.method = Method::Baseline;
    assert!(compared(&changes).starts_with("1a2b3c4 beside main (999999999), which was measured at another time"));
}

#[test]
fn the_verdict_names_what_is_slower_and_counts_the_rest() {
    let verdict = |changes: Vec<Change>| verdict(&compared_evidence(changes).changes.unwrap());
    assert_eq!(
        verdict(every_verdict().changes.unwrap().changes),
        "Slower than main: request/after round trips 1 → 2; auth/hs256 time +5.2 % (+4.1 to +6.3). 1 faster, 1 fewer, 3 \
         the same, 1 undecided."
    );
    let same = || timed("a/b", Figure::Time, 0.1, Verdict::Same);
    assert_eq!(verdict(vec![same()]), "Nothing is slower than main: 1 the same.");
    let undecided = timed("a/c", Figure::Time, 9.0, Verdict::Undecided);
    assert_eq!(verdict(vec![same(), undecided]), "Nothing is proven to be slower than main: 1 the same, 1 undecided.");
    let more = (0..10).map(|nth| Change::counted(&format!("a/{nth}"), Figure::RoundTrips, 1, 10 + nth)).collect();
    let said = verdict(more);
    assert!(said.starts_with("More than main: a/9 round trips 1 → 19;") && said.ends_with("; and 2 more."), "{said}");
    assert_eq!(verdict(vec![]), "Nothing was measured of both the working tree and main.");
}

#[test]
fn the_first_line_says_where_to_look_and_what_was_counted_there() {
    let next = |changes: Vec<Change>| next(&compared_evidence(changes).changes.unwrap());
    let slower = || timed("auth/hs256", Figure::Time, 5.2, Verdict::Slower);
    let trips = |head| Change::counted("auth/hs256", Figure::RoundTrips, 1, head);
    assert_eq!(
        next(vec![slower(), trips(1)]).unwrap(),
        "Next: look at auth/hs256: time +5.2 % (+4.1 to +6.3). Its round trips are the same: it does as often what it \
         did, and takes longer."
    );
    let more = next(vec![trips(2), slower()]).unwrap();
    assert_eq!(more, "Next: look at auth/hs256: round trips 1 → 2.");
    let allocations = Change::counted("auth/hs256", Figure::Allocations, 100, 101);
    assert_eq!(
        next(vec![slower(), allocations]).unwrap(),
        "Next: look at auth/hs256: time +5.2 % (+4.1 to +6.3), and allocations 100 → 101."
    );
    assert_eq!(next(vec![trips(1)]), None);
}

#[test]
fn throughput_is_worse_when_it_is_less() {
    let less = timed("stress/after", Figure::Throughput, -20.0, Verdict::Slower);
    let evidence = compared_evidence(vec![timed("a/b", Figure::Time, 10.0, Verdict::Slower), less]);
    assert_eq!(slower(evidence.changes.as_ref().unwrap())[0].figure, Figure::Throughput);
}

#[test]
fn targets_and_budgets_are_named_beside_changes() {
    let mut evidence = every_verdict();
    let check = |met| Check {
        what: "tenant/cached against tenant/uncached".into(),
        measured: "5 ×".into(),
        required: "≤ 2 ×".into(),
        met,
    };
    evidence.checks.push(check(false));
    let said = super::super::verdict_sentence(&evidence);
    assert!(said.starts_with("Slower than main: "), "{said}");
    assert!(
        said.ends_with(
            " Missed 1 of 1 targets and budgets: tenant/cached against tenant/uncached (5 ×, required ≤ 2 ×)."
        ),
        "{said}"
    );
    let summary = terminal_summary(&evidence, &[]);
    assert!(!summary.contains("beside main  "), "changes have a table of their own: {summary}");
}
