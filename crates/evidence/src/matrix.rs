//! What each fix is worth, measured.

use serde::{Deserialize, Serialize};

use crate::Interval;

/// Each fix alone on top of `before`, and each taken away from `after`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Rounds, in each of which every strategy was measured once.
    pub rounds: usize,
    /// Requests of one strategy in one round.
    pub requests: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// What each strategy took, by action.
    pub cells: Vec<Cell>,
    /// A row for each fix, the one to do next first.
    pub rows: Vec<MatrixRow>,
    /// What shows of fixes that share a gain, in sentences.
    pub interactions: Vec<String>,
    /// The next thing to do, in a sentence.
    pub next: String,
}

/// What an action took under a strategy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The strategy.
    pub strategy: String,
    /// The action.
    pub action: String,
    /// Median over the rounds of each round's P50.
    pub p50_ms: Interval,
    /// Median over the rounds of each round's P95.
    pub p95_ms: Interval,
}

/// What one fix is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// The fix.
    pub fix: String,
    /// The action it was measured on: the one it helps most.
    pub action: String,
    /// What it takes off `before`, as a share of it: `1 - with / without`, medians over paired rounds.
    pub gain_p50: Interval,
    /// The same of P95.
    pub gain_p95: Interval,
    /// What `after` takes more without it: `without / with - 1`.
    pub loss_p50: Interval,
    /// The same of P95.
    pub loss_p95: Interval,
    /// What was published to be gained, as a share.
    pub published: Option<f64>,
    /// How much work it is: `low`, `medium` or `high`.
    pub complexity: String,
    /// What it helps.
    pub helps: String,
    /// The gain of P95 for its complexity; the highest is next.
    pub priority: f64,
}
