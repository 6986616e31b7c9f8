//! What changed between two states of the code: each figure of the one beside the same figure of the other.

mod decide;
mod estimate;
mod samples;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{rate, time, whole};
use crate::{Check, Counted, Interval};

pub use self::decide::{Measured, decide};
pub use self::estimate::{Estimate, typical};
pub use self::samples::{Samples, changed_times};

/// Two states of the code, and every figure of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// What is compared with.
    pub base: State,
    /// What is judged.
    pub head: State,
    /// How the two were measured.
    pub method: Method,
    /// A share: what is proven to be less than this is no change. Single ids may have another.
    pub threshold: f64,
    /// One for each figure of each id that both have, in the order of the benches.
    pub changes: Vec<Change>,
    /// What could not be compared, and what makes the comparison less certain: sentences.
    pub remarks: Vec<String>,
}

/// A state of the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// As it was asked for: `main`, `the working tree`, `baseline main`.
    pub name: String,
    /// Its commit, where it is known.
    pub commit: Option<String>,
    /// Whether there were changes beyond the commit.
    pub dirty: bool,
}

/// How two states were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// In turns on one machine in one go: a pair of figures is of the same moment.
    InTurns,
    /// One now, and one at another time: what the machine did then is part of the difference.
    Baseline,
}

/// One figure of one id in both states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `component/way` of a bench, `stress/strategy` of a pass.
    pub id: String,
    /// Which of its figures, and by that its unit.
    pub figure: Figure,
    /// Of the base.
    pub base: f64,
    /// Of the head.
    pub head: f64,
    /// Head over base with 95 % confidence; nothing of a count, which needs none, and while there are too few pairs.
    pub ratio: Option<Interval>,
    /// Pairs measured in turns, or samples of the head beside a baseline; 0 of a count.
    pub pairs: usize,
    /// What is proven to be less than this share is no change.
    pub threshold: f64,
    /// What it comes to.
    pub verdict: Verdict,
}

/// A figure that two states have, and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Of one iteration of a bench, in nanoseconds.
    Time,
    /// Of the requests of a pass, in milliseconds.
    P50,
    /// Of the requests of a pass, in milliseconds.
    P95,
    /// Of the requests of a pass, in milliseconds.
    P99,
    /// Of a pass, in requests per second: more is better.
    Throughput,
    /// Of one iteration, exact.
    RoundTrips,
    /// Of one iteration, exact: how often memory was asked for.
    Allocations,
    /// Of one iteration, exact: bytes to the server and back.
    WireBytes,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Proven to be better; of a count, less.
    Faster,
    /// Proven to be worse; of a count, more.
    Slower,
    /// Proven to be within the threshold; of a count, equal.
    Same,
    /// Not proven to be either.
    Undecided,
}

impl Figure {
    /// Those that are counted.
    pub const COUNTED: [Self; 3] = [Self::RoundTrips, Self::Allocations, Self::WireBytes];

    /// What of it was `counted`; nothing of what is timed, or was not the same each time.
    pub fn of(self, counted: &Counted) -> Option<u64> {
        match self {
            Self::RoundTrips => Some(counted.round_trips),
            Self::Allocations => counted.allocations,
            Self::WireBytes => counted.wire_bytes,
            Self::Time | Self::P50 | Self::P95 | Self::P99 | Self::Throughput => None,
        }
    }

    /// Its name, as in `auth/hs256 time`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::P50 => "P50",
            Self::P95 => "P95",
            Self::P99 => "P99",
            Self::Throughput => "throughput",
            Self::RoundTrips => "round trips",
            Self::Allocations => "allocations",
            Self::WireBytes => "bytes on the wire",
        }
    }

    /// Whether it is counted and not timed.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::RoundTrips | Self::Allocations | Self::WireBytes)
    }

    /// A value of it, with its unit: `4.71 µs`, `7`, `812 req/s`.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Time => time(value / 1e6),
            Self::P50 | Self::P95 | Self::P99 => time(value),
            Self::Throughput => rate(value),
            Self::RoundTrips | Self::Allocations | Self::WireBytes => whole(value),
        }
    }

    /// Head over base, where the head is so many times worse: of a throughput, the other way round.
    pub fn ratio(self, times_worse: Interval) -> Interval {
        match (self, times_worse) {
            (Self::Throughput, Interval { estimate, lower, upper }) => {
                Interval { estimate: 1.0 / estimate, lower: 1.0 / upper, upper: 1.0 / lower }
            }
            _ => times_worse,
        }
    }

    /// How many times worse `head` is than `base`: more of a time, less of a throughput.
    pub fn times_worse(self, base: f64, head: f64) -> f64 {
        match self {
            Self::Throughput => base / head,
            _ => head / base,
        }
    }
}

impl Verdict {
    /// `faster`, `slower`, `same`, `undecided`; of what is counted `fewer` and `more`.
    pub const fn word(self, figure: Figure) -> &'static str {
        match (self, figure.is_exact()) {
            (Self::Faster, false) => "faster",
            (Self::Faster, true) => "fewer",
            (Self::Slower, false) => "slower",
            (Self::Slower, true) => "more",
            (Self::Same, _) => "same",
            (Self::Undecided, _) => "undecided",
        }
    }
}

impl Change {
    /// A count in both states: no doubt about it.
    pub fn counted(id: &str, figure: Figure, base: u64, head: u64) -> Self {
        let verdict = match head.cmp(&base) {
            std::cmp::Ordering::Less => Verdict::Faster,
            std::cmp::Ordering::Equal => Verdict::Same,
            std::cmp::Ordering::Greater => Verdict::Slower,
        };
        let [base, head] = [base, head].map(|count| count as f64);
        Self { id: id.to_owned(), figure, base, head, ratio: None, pairs: 0, threshold: 0.0, verdict }
    }

    /// `auth/hs256 time`.
    pub fn what(&self) -> String {
        format!("{} {}", self.id, self.figure.name())
    }

    /// By how much: `+5.2 % (+4.1 to +6.3)`, or `6 → 7` of a count.
    pub fn difference(&self) -> String {
        let share = |ratio: f64| format!("{:+.1}", (ratio - 1.0) * 100.0);
        match self.ratio {
            Some(Interval { estimate, lower, upper }) => {
                format!("{} % ({} to {})", share(estimate), share(lower), share(upper))
            }
            None => format!("{} → {}", self.figure.shown(self.base), self.figure.shown(self.head)),
        }
    }
}

impl Changes {
    /// Those with that verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.verdict == verdict)
    }

    /// What is required of each: not to be worse. What is undecided is not held against anybody.
    pub fn checks(&self) -> impl Iterator<Item = Check> {
        self.changes.iter().map(|change| Check {
            what: format!("{} beside {}", change.what(), self.base.name),
            measured: change.difference(),
            required: match change.figure {
                figure if figure.is_exact() => "not more".into(),
                Figure::Throughput => format!("not {} less", crate::units::percent(change.threshold)),
                _ => format!("not {} more", crate::units::percent(change.threshold)),
            },
            met: change.verdict != Verdict::Slower,
        })
    }
}
