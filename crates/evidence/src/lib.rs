//! The data model of a run, and what follows from it: readings, comparisons, checks. No I/O.
//!
//! Everything that is shown of a run is rendered from its [`Evidence`], and nothing else is.

mod check;
mod comparison;
mod config;
mod model;
mod published;
mod reading;
mod server_timing;
mod statistics;

pub use check::{Check, judge, missed};
pub use comparison::{Row, compare};
pub use config::{Budget, Ceiling as CeilingTarget, Config, Targets};
pub use model::{
    Bench, Ceiling, Evidence, Failure, Interval, Latency, Machine, Pass, Postgres, Profile, Run, Step, VERSION,
    Versioned,
};
pub use published::{Published, PublishedComponent, PublishedStress};
pub use reading::{LatencyReading, SuccessReading};
pub use server_timing::server_timing;
pub use statistics::median;
