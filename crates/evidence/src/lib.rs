//! The data model of a run, and what follows from it: readings, comparisons, checks. No I/O.
//!
//! Everything that is shown of a run is rendered from its [`Evidence`], and nothing else is.
//!
//! ```
//! use tare_evidence::{Config, Latency, Pass, judge_pass};
//!
//! let config = Config::parse("[targets.after]\nsuccess_rate = 0.99\np95_ms = 500").unwrap();
//! let latency = Latency { p95_ms: 620.0, ..Latency::default() };
//! let pass = Pass { requests: 500, succeeded: 500, latency, ..Pass::default() };
//! let checks = judge_pass(&config.targets["after"], &pass);
//! let missed: Vec<_> = checks.iter().filter(|check| !check.met).collect();
//! assert_eq!((&*missed[0].what, &*missed[0].measured, &*missed[0].required), ("P95", "620.0 ms", "< 500 ms"));
//! ```

mod change;
mod check;
mod comparison;
mod config;
mod history;
mod law;
mod load;
mod matrix;
mod model;
mod profile;
mod published;
mod reading;
mod server_timing;
mod statistics;
pub mod units;
mod worth;

pub use change::{
    Change, Changes, Estimate, Figure, Measured, Method, Samples, State, Verdict, changed_times, decide, typical,
};
pub use check::{AFTER, Check, judge, judge_pass, missed, missed_by_benches};
pub use comparison::{Fit, Row, compare};
pub use config::{AtNetwork, Budget, Ceiling as CeilingTarget, Compare, Config, Targets};
pub use history::{Group, Occasion, Recorded, Recording, Setting, Trend, Turn, change_points, history};
pub use law::{Counted, Law, Point};
pub use load::{
    ActionPass, Ahead, Bar, Circumstance, Failure, Latency, Limit, Pass, PassPart, Share, Span, Tail, TailShare, Trial,
    WholeLoad,
};
pub use matrix::{Alternative, Cell, Complexity, Matrix, MatrixRow};
pub use model::{
    Bare, Bench, Ceiling, Evidence, InTurns, Interval, Machine, Network, OLDEST, Postgres, Run, Step, VERSION,
    Versioned, schema,
};
pub use profile::{
    Activity, Blocker, Component, Distance, Finding, FindingKind, Plan, Profile, Proof, Side, Statement, Wait, Work,
};
pub use published::{Published, PublishedComponent, PublishedGain, PublishedP95, PublishedStress, Range};
pub use reading::{LatencyReading, SuccessReading};
pub use server_timing::server_timing;
pub use statistics::median;
pub use worth::{Compared, Percentiles, Series, alternative, conclude};
