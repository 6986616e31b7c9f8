//! What each fix is worth, concluded from rounds in which every strategy was measured once.

use std::cmp::Ordering;

use crate::published::PublishedGain;
use crate::units::{percent, time};
use crate::{Alternative, Cell, Interval, Matrix, MatrixRow, median};

/// With fewer rounds their median has no interval of 95 %, and nothing is told to be worth doing.
const LEAST_ROUNDS: usize = 6;
/// How many times more one gain is than the other to be told of.
const MUCH: f64 = 3.0;
/// The strategy without any fix.
const BEFORE: &str = "before";

/// What the requests of one round took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// In milliseconds.
    pub p95_ms: f64,
}

/// What an action took under a strategy, round by round.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The strategy.
    pub strategy: String,
    /// The action.
    pub action: String,
    /// In the order of the rounds, so that the same place in two of them is the same round.
    pub rounds: Vec<Percentiles>,
}

/// Which strategies tell what a fix is worth, beside `before` and `after`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The fix.
    pub fix: String,
    /// The strategy that has it and no other.
    pub alone: String,
    /// The strategy that has every other.
    pub removed: String,
}

/// What the fixes are worth: their rows, what shows of those that share a gain, and the next thing to do. A fix that was not
/// measured, or that nothing was published of, has no row. How many requests a round has and how many at a time is for the
/// caller to fill in.
pub fn conclude(published: &[PublishedGain], compared: &[Compared], measured: &[Series]) -> Matrix {
    let rounds = measured.iter().map(|series| series.rounds.len()).min().unwrap_or(0);
    if rounds == 0 {
        return Matrix { next: nothing_to_do(rounds), ..Matrix::default() };
    }
    let worths = published.iter().filter_map(|gain| {
        let compared = compared.iter().find(|compared| compared.fix == gain.fix)?;
        Worth::of(gain, compared, measured)
    });
    let worths: Vec<_> = worths.collect();
    let mut rows: Vec<_> = worths.iter().map(|worth| worth.row(rounds)).collect();
    rows.sort_by(|one, other| highest_first(one.priority, other.priority));
    Matrix {
        rounds,
        cells: measured.iter().map(cell).collect(),
        interactions: worths.iter().filter_map(Worth::interaction).collect(),
        next: rows.iter().find(|row| row.priority.is_some()).map_or_else(|| nothing_to_do(rounds), to_do),
        rows,
        ..Matrix::default()
    }
}

/// What `way` takes off `against`, by rounds of both. Nothing when they were not both measured.
pub fn alternative(way: &str, against: &str, action: &str, measured: &[Series]) -> Option<Alternative> {
    let rounds = |name: &str| {
        let of = measured.iter().find(|one| one.strategy == name && one.action == action)?;
        Some(of.rounds.as_slice()).filter(|rounds| !rounds.is_empty())
    };
    let (with, without) = (rounds(way)?, rounds(against)?);
    Some(Alternative {
        way: way.into(),
        against: against.into(),
        action: action.into(),
        gain_p50: paired(with, without, p50, taken_off),
        gain_p95: paired(with, without, p95, taken_off),
    })
}

/// A fix and the four cells that tell of it.
struct Worth<'a> {
    gain: &'a PublishedGain,
    before: &'a [Percentiles],
    alone: &'a [Percentiles],
    removed: &'a [Percentiles],
    after: &'a [Percentiles],
}

impl<'a> Worth<'a> {
    fn of(gain: &'a PublishedGain, compared: &Compared, measured: &'a [Series]) -> Option<Self> {
        let rounds = |strategy: &str| {
            let of = measured.iter().find(|one| one.strategy == strategy && one.action == gain.action)?;
            Some(of.rounds.as_slice())
        };
        Some(Self {
            gain,
            before: rounds(BEFORE)?,
            alone: rounds(&compared.alone)?,
            removed: rounds(&compared.removed)?,
            after: rounds(crate::AFTER)?,
        })
    }

    fn row(&self, rounds: usize) -> MatrixRow {
        let taken_more = |with: f64, without: f64| without / with - 1.0;
        let gain_p95 = paired(self.alone, self.before, p95, taken_off);
        let is_sure = rounds >= LEAST_ROUNDS && gain_p95.lower > 0.0;
        MatrixRow {
            fix: self.gain.fix.clone(),
            action: self.gain.action.clone(),
            gain_p50: paired(self.alone, self.before, p50, taken_off),
            gain_p95,
            loss_p50: paired(self.after, self.removed, p50, taken_more),
            loss_p95: paired(self.after, self.removed, p95, taken_more),
            published: Some(self.gain.published),
            complexity: self.gain.complexity,
            helps: self.gain.helps.clone(),
            priority: is_sure.then(|| gain_p95.estimate / self.gain.complexity.weight()),
        }
    }

    /// A sentence, where what the fix takes off in milliseconds depends on whether the others are there.
    fn interaction(&self) -> Option<String> {
        let less = |with: f64, without: f64| without - with;
        let alone = paired(self.alone, self.before, p50, less);
        let last = paired(self.after, self.removed, p50, less);
        let (fix, action) = (&self.gain.fix, &self.gain.action);
        let figures = |what: &str| {
            let [alone, last] = [told(alone, action), told(last, action)];
            format!("{fix} as the only fix {alone}, and as the last one {last}: {what}.")
        };
        if is_much_more(alone, last) {
            Some(figures("with the others there, it matters less"))
        } else if is_much_more(last, alone) {
            Some(figures("it matters more once the others are there"))
        } else {
            None
        }
    }
}

fn taken_off(with: f64, without: f64) -> f64 {
    1.0 - with / without
}

fn p50(percentiles: &Percentiles) -> f64 {
    percentiles.p50_ms
}

fn p95(percentiles: &Percentiles) -> f64 {
    percentiles.p95_ms
}

/// The median over the rounds of what becomes of each round's two figures. In a round both met the same machine; over rounds it
/// may have been another.
fn paired(
    with: &[Percentiles],
    without: &[Percentiles],
    figure: fn(&Percentiles) -> f64,
    between: fn(f64, f64) -> f64,
) -> Interval {
    median(with.iter().zip(without).map(|(with, without)| between(figure(with), figure(without))).collect())
}

fn cell(series: &Series) -> Cell {
    let over_rounds = |figure: fn(&Percentiles) -> f64| median(series.rounds.iter().map(figure).collect());
    Cell {
        strategy: series.strategy.clone(),
        action: series.action.clone(),
        p50_ms: over_rounds(p50),
        p95_ms: over_rounds(p95),
    }
}

/// Those without a priority last, in the order they were in.
fn highest_first(one: Option<f64>, other: Option<f64>) -> Ordering {
    let of = |priority: Option<f64>| priority.unwrap_or(f64::NEG_INFINITY);
    of(other).total_cmp(&of(one))
}

/// Not by chance: the intervals are apart, too.
fn is_much_more(larger: Interval, smaller: Interval) -> bool {
    larger.lower > 0.0 && larger.lower > smaller.upper && larger.estimate > MUCH * smaller.estimate
}

/// What becomes of the action's time, when so much is taken off.
fn told(ms: Interval, action: &str) -> String {
    match ms {
        Interval { lower, .. } if lower > 0.0 => format!("takes {} off {action}", time(ms.estimate)),
        Interval { upper, .. } if upper < 0.0 => format!("adds {} to {action}", time(-ms.estimate)),
        _ => format!("takes nothing off {action} that shows"),
    }
}

fn to_do(row: &MatrixRow) -> String {
    let MatrixRow { fix, action, gain_p95, complexity, .. } = row;
    let [gain, lower, upper] = [gain_p95.estimate, gain_p95.lower, gain_p95.upper].map(whole_percent);
    format!(
        "Next: {fix}. It takes {gain} ({lower} to {upper}) off the P95 of {action}, of {} complexity; see docs/{fix}.md.",
        complexity.name()
    )
}

fn nothing_to_do(rounds: usize) -> String {
    match rounds {
        ..LEAST_ROUNDS => format!("Next: measure to the end. {rounds} rounds tell of no fix for certain."),
        _ => "Next: nothing. No fix takes anything off P95 that shows.".into(),
    }
}

fn whole_percent(share: f64) -> String {
    percent((share * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests;
