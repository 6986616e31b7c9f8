//! What each fix is worth, measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Interval;

/// Each fix alone on top of `before`, and each taken away from `after`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// Rounds, in each of which every strategy was measured once.
    pub rounds: usize,
    /// Requests of an action under a strategy in one round, at least; up to ten times as many where they take little time.
    pub requests: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// What each strategy took, by action.
    pub cells: Vec<Cell>,
    /// A row for each fix, the one to do next first.
    pub rows: Vec<MatrixRow>,
    /// What can be had instead of a fix, or on top of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// What shows of fixes that share a gain, in sentences.
    pub interactions: Vec<String>,
    /// The next thing to do, in a sentence.
    pub next: String,
}

/// What an action took under a strategy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// How much work it is.
    pub complexity: Complexity,
    /// What it helps.
    pub helps: String,
    /// The gain of P95 for its complexity, as [`Complexity::weight`] counts it; the highest is next. Nothing when the gain may
    /// be none.
    pub priority: Option<f64>,
}

/// One way beside another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alternative {
    /// The way.
    pub way: String,
    /// What it is held against.
    pub against: String,
    /// The action that was asked for.
    pub action: String,
    /// What it takes off that, as a share of it; negative when it takes more. Medians over paired rounds.
    pub gain_p50: Interval,
    /// The same of P95.
    pub gain_p95: Interval,
}

/// How much work a fix is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// A change in one place.
    #[default]
    Low,
    /// A part of its own, with settings and ways to fail.
    Medium,
    /// The way the work is done changes.
    High,
}

impl Complexity {
    /// The name used in `fixtures/published.toml`, evidence and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// What a gain is divided by: 1, 2 or 3.
    pub const fn weight(self) -> f64 {
        match self {
            Self::Low => 1.0,
            Self::Medium => 2.0,
            Self::High => 3.0,
        }
    }
}
