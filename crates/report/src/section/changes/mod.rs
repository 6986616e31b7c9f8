//! What changed between two states of the code.

use std::collections::HashSet;

use tare_evidence::units::{percent, whole};
use tare_evidence::{Change, Changes, Check, Evidence, Figure, Interval, Method, State, Verdict};

use super::{Section, Table, short, table};
use crate::plot::{AFTER, Axis, BEFORE, Chart, Mark, Plot, Row, Scale, Series, Unit};

/// Changes that a sentence names; more are hard to read.
const NAMED: usize = 8;
/// Characters of a state's name that head a column.
const HEADER: usize = 18;

/// All that is told of changes, in the order it is read.
pub(crate) fn sections(evidence: &Evidence) -> Vec<Section> {
    let Some(changes) = &evidence.changes else { return Vec::new() };
    let told = [changed(changes), undecided(changes)].concat();
    let what_changed = Section {
        title: "What changed".into(),
        paragraphs: [compared(changes)]
            .into_iter()
            .chain(same_sentence(changes))
            .chain(changes.remarks.iter().cloned())
            .collect(),
        table: rows(changes, &told),
        plots: vec![plot(changes)],
        essential: true,
        ..Section::default()
    };
    let same = [
        ("What is the same", rows(changes, &same_times(changes))),
        ("What is counted the same", counted_same(changes)),
    ];
    let same = same.into_iter().filter(|(_, table)| table.is_some());
    let same = same.map(|(title, table)| Section { title: title.into(), table, ..Section::default() });
    [what_changed].into_iter().chain(same).collect()
}

/// What is timed, with the interval of each difference.
fn plot(changes: &Changes) -> Plot {
    let (slower, faster) = (Verdict::Slower, Verdict::Faster);
    let verdicts = [(slower, BEFORE), (faster, AFTER), (Verdict::Same, SAME), (Verdict::Undecided, UNDECIDED)];
    let row = |change: &Change| {
        let Interval { estimate, lower, upper } = change.ratio?;
        let series = verdicts.iter().position(|(verdict, _)| *verdict == change.verdict)?;
        let mark = Mark::dot(series, estimate - 1.0, Some([lower - 1.0, upper - 1.0]));
        Some(Row { name: change.what(), marks: vec![mark] })
    };
    Plot {
        title: format!("Each time of {} beside {}", changes.head.name, changes.base.name),
        description:
            "A dot for each figure, how much more or less it is, with the interval it lies in; the tables have the \
                      figures."
                .into(),
        chart: Chart::Rows {
            x: Axis { name: "more, or less, than the base", unit: Unit::Share, scale: Scale::Linear },
            series: verdicts.map(|(verdict, colour)| Series::new(verdict.word(Figure::Time), colour)).into(),
            rows: changes.changes.iter().filter_map(row).collect(),
        },
    }
}

/// The colours of what is as before, and of what is not known.
const SAME: usize = 2;
const UNDECIDED: usize = 4;

/// What became worse, the worst first, and then what became better, the best first.
pub(crate) fn changed(changes: &Changes) -> Vec<&Change> {
    let mut worse = slower(changes);
    let mut better: Vec<_> = changes.with(Verdict::Faster).collect();
    better.sort_by(|one, other| times_worse(one).total_cmp(&times_worse(other)));
    worse.append(&mut better);
    worse
}

/// What became worse, the worst first.
pub(crate) fn slower(changes: &Changes) -> Vec<&Change> {
    let mut slower: Vec<_> = changes.with(Verdict::Slower).collect();
    slower.sort_by(|one, other| times_worse(other).total_cmp(&times_worse(one)));
    slower
}

/// What may be either, first what may be worst.
pub(crate) fn undecided(changes: &Changes) -> Vec<&Change> {
    let at_worst = |change: &Change| match change.ratio {
        Some(ratio) if change.figure == Figure::Throughput => 1.0 / ratio.lower,
        Some(ratio) => ratio.upper,
        None => times_worse(change),
    };
    let mut undecided: Vec<_> = changes.with(Verdict::Undecided).collect();
    undecided.sort_by(|one, other| at_worst(other).total_cmp(&at_worst(one)));
    undecided
}

/// What is proven to be the same, in the order of the benches.
pub(crate) fn same_times(changes: &Changes) -> Vec<&Change> {
    changes.with(Verdict::Same).filter(|change| !change.figure.is_exact()).collect()
}

/// What is counted the same, one row for each id.
pub(crate) fn counted_same(changes: &Changes) -> Option<Table> {
    let same: Vec<_> = changes.with(Verdict::Same).filter(|change| change.figure.is_exact()).collect();
    let (mut figures, mut ids) = (Vec::new(), Vec::new());
    for change in &same {
        if !figures.contains(&change.figure) {
            figures.push(change.figure);
        }
        if !ids.contains(&&*change.id) {
            ids.push(&*change.id);
        }
    }
    figures.sort_unstable();
    let shown = |id: &str, figure: Figure| {
        let found = same.iter().find(|change| change.id == id && change.figure == figure);
        found.map_or_else(String::new, |change| figure.shown(change.head))
    };
    let row = |id: &&str| {
        let counts = figures.iter().map(|figure| shown(id, *figure));
        [(*id).to_owned()].into_iter().chain(counts).collect()
    };
    let header: Vec<_> = [""].into_iter().chain(figures.iter().map(|figure| figure.name())).collect();
    table(&header, ids.iter().map(row).collect())
}

/// Of how much worse the head is, the best estimate. What there was none of is infinitely more.
fn times_worse(change: &Change) -> f64 {
    match change.ratio {
        Some(ratio) => change.figure.times_worse(1.0, ratio.estimate),
        None => change.figure.times_worse(change.base, change.head),
    }
}

/// One row for each of `told`.
pub(crate) fn rows(changes: &Changes, told: &[&Change]) -> Option<Table> {
    let pairs = match changes.method {
        Method::InTurns => "pairs",
        Method::Baseline => "samples",
    };
    let [base, head] = [&changes.base.name, &changes.head.name].map(|name| beginning(name, HEADER));
    let row = |change: &&Change| {
        let [base, head] = [change.base, change.head].map(|value| change.figure.shown(value));
        let pairs = if change.pairs == 0 { String::new() } else { change.pairs.to_string() };
        let verdict = change.verdict.word(change.figure).to_owned();
        vec![change.what(), base, head, difference(change), pairs, verdict]
    };
    table(&["", &base, &head, "difference", pairs, "verdict"], told.iter().map(row).collect())
}

/// With its interval, or of a count how many more or fewer: both counts stand beside it.
fn difference(change: &Change) -> String {
    match (change.ratio, change.head - change.base) {
        (Some(_), _) => change.difference(),
        (None, 0.0) => "0".into(),
        (None, more) => format!("{}{}", if more > 0.0 { '+' } else { '-' }, whole(more)),
    }
}

/// What is compared with what, how, and what counts as a change.
pub(crate) fn compared(changes: &Changes) -> String {
    let [base, head] = [&changes.base, &changes.head].map(state);
    let how = match changes.method {
        Method::InTurns => "measured in turns in one go on one machine: what disturbs one disturbs the other",
        Method::Baseline => "which was measured at another time: what the machine did then is part of the difference",
    };
    format!(
        "{head} beside {base}, {how}. A change of {} has to be found, and what is proven to be less is the same; of the \
         undecided it is not known.",
        percent(changes.threshold)
    )
}

/// `main (9f8e7d6a1)`, `the working tree (9f8e7d6a1 with changes)`.
fn state(State { name, commit, dirty }: &State) -> String {
    let with_changes = if *dirty { "with changes" } else { "" };
    let commit = commit.as_deref().filter(|commit| !commit.starts_with(&**name)).map(short);
    let more: Vec<_> =
        commit.iter().map(|commit| &**commit).chain([with_changes]).filter(|part| !part.is_empty()).collect();
    match more.is_empty() {
        true => name.clone(),
        false => format!("{name} ({})", more.join(" ")),
    }
}

/// How much is the same, within what.
fn same_sentence(changes: &Changes) -> Option<String> {
    let (counts, times): (Vec<_>, Vec<_>) = changes.with(Verdict::Same).partition(|change| change.figure.is_exact());
    let own = times.iter().filter(|change| change.threshold != changes.threshold).count();
    let own = match own {
        0 => String::new(),
        own => format!(" ({own} of them within a threshold of their own)"),
    };
    let is = |count: usize| if count == 1 { "is" } else { "are" };
    let within = format!("{} {} the same within {}{own}", times.len(), is(times.len()), percent(changes.threshold));
    let equal = format!("{} {} counted the same", counts.len(), is(counts.len()));
    match (times.len(), counts.len()) {
        (0, 0) => None,
        (_, 0) => Some(format!("{within}.")),
        (0, _) => Some(format!("{equal}.")),
        _ => Some(format!("{within}, and {equal} to the last one.")),
    }
}

/// One sentence: what is slower, and how many of the rest are what.
pub(super) fn verdict(changes: &Changes) -> String {
    let (base, slower) = (&changes.base.name, slower(changes));
    let rest = tally(changes);
    if changes.changes.is_empty() {
        return format!("Nothing was measured of both {} and {base}.", changes.head.name);
    }
    if slower.is_empty() {
        // What is undecided may be.
        let proven = if changes.with(Verdict::Undecided).next().is_some() { "proven to be " } else { "" };
        return format!("Nothing is {proven}slower than {base}: {rest}.");
    }
    let mut named: Vec<_> =
        slower.iter().take(NAMED).map(|change| format!("{} {}", change.what(), change.difference())).collect();
    if slower.len() > NAMED {
        named.push(format!("and {} more", slower.len() - NAMED));
    }
    let rest = if rest.is_empty() { rest } else { format!(" {rest}.") };
    format!("{} than {base}: {}.{rest}", worse(&slower), named.join("; "))
}

/// `Slower`, or `More` where only counts are.
fn worse(slower: &[&Change]) -> &'static str {
    if slower.iter().all(|change| change.figure.is_exact()) { "More" } else { "Slower" }
}

/// A few words for a heading.
pub(crate) fn headline(changes: &Changes) -> String {
    let (base, all) = (&changes.base.name, changes.changes.len());
    match slower(changes).as_slice() {
        [] if all == 0 => format!("nothing to compare with {base}"),
        [] => format!("nothing slower than {base}"),
        slower => format!("{} of {all} {} than {base}", slower.len(), worse(slower).to_lowercase()),
    }
}

/// `3 faster, 2 fewer, 50 the same, 2 undecided`: all but what is worse.
fn tally(changes: &Changes) -> String {
    let count = |verdict: Verdict, exact: Option<bool>| {
        changes.with(verdict).filter(|change| exact.is_none_or(|exact| change.figure.is_exact() == exact)).count()
    };
    let counted = [
        (count(Verdict::Faster, Some(false)), "faster"),
        (count(Verdict::Faster, Some(true)), "fewer"),
        (count(Verdict::Same, None), "the same"),
        (count(Verdict::Undecided, None), "undecided"),
    ];
    let told = counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    told.collect::<Vec<_>>().join(", ")
}

/// Where to look first: at the worst, beside what was counted of the same work, for a count tells why.
pub(super) fn next(changes: &Changes) -> Option<String> {
    let worst = *slower(changes).first()?;
    let counts = changes.changes.iter().filter(|change| change.id == worst.id && change.figure.is_exact());
    let (equal, differing): (Vec<_>, Vec<_>) = counts.partition(|change| change.verdict == Verdict::Same);
    let told = |change: &&Change| format!("{} {}", change.figure.name(), change.difference());
    let others: Vec<_> = differing.iter().filter(|change| change.figure != worst.figure).map(told).collect();
    let why = match (worst.figure.is_exact(), others.as_slice(), equal.as_slice()) {
        (_, [_, ..], _) => format!(", and {}", others.join(", ")),
        (false, [], [_, ..]) => {
            let names: Vec<_> = equal.iter().map(|change| change.figure.name()).collect();
            format!(". Its {} are the same: it does as often what it did, and takes longer", names.join(" and "))
        }
        (_, [], _) => String::new(),
    };
    Some(format!("Next: look at {}: {}{why}.", worst.id, told(&worst)))
}

/// The checks that are not of changes: targets and budgets.
pub(crate) fn other_checks(evidence: &Evidence) -> Vec<&Check> {
    let of_changes: HashSet<_> = evidence.changes.iter().flat_map(Changes::checks).map(|check| check.what).collect();
    evidence.checks.iter().filter(|check| !of_changes.contains(&check.what)).collect()
}

fn beginning(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
