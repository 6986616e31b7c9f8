//! Every flag of every command.

mod baseline;
mod calibrate;
mod compare;
mod fleet;
mod load;
mod plan;
mod profile;
mod torture;

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tare_gateway::Strategy;
use tare_testbed::{Network, Provider, Size};

pub use self::baseline::{Baseline, Baselines};
pub use self::calibrate::{Calibrate, CalibrationPart};
pub use self::compare::Compare;
pub use self::fleet::{Fleet, FleetCommand, FleetFixture};
pub use self::load::{Format, Merge, Stress, StressCommand, Subject};
pub use self::plan::{CALIBRATION, CheckPlan, MeasurePlan, Plan, PlanCommand, Route};
pub use self::profile::Profile;
pub use self::torture::Torture;

/// Finds out which component of a multi-tenant API is slow, what each fix is worth, and keeps it from coming back.
///
/// Exit codes: 0 all targets and budgets are met, 1 something was measured and missed, 2 it could not be measured.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The main job: benches, stress before and after, and what they come to.
    Perf(Perf),
    /// The benches alone, each component's ways side by side.
    Bench(Bench),
    /// Load on the built-in server or any URL: so many at a time, at a rate, or to find the highest rate that holds.
    Stress(Box<Stress>),
    /// How far the figures of the load can be trusted on this machine: known latencies, a stall, memory, and beside oha and wrk.
    Calibrate(Calibrate),
    /// One action taken apart: where a request's time goes, what the database is asked to do and how, and what to do next.
    Profile(Box<Profile>),
    /// Two states of the code, measured in turns: what is faster, what is slower, and how sure that is.
    Compare(Compare),
    /// What a fleet would do: so many tenants, instances, connections, so far apart, simulated from what this machine was measured
    /// to do; and what to change next.
    Plan(Box<Plan>),
    /// What goes wrong in production, on purpose: databases, connections, clients and the server itself, under load, and whether
    /// everything that was acknowledged is there once afterwards.
    Torture(Torture),
    /// Load from many containers on one Docker engine: PostgreSQL, PgBouncer, gateways and workers that begin together, merged exactly
    /// and judged as one pass.
    Fleet(Box<Fleet>),
    /// Shows the evidence of an earlier run.
    Report(Report),
    /// The course of every figure over many runs, and the commits at which it changed.
    History(History),
    /// Criterion's baselines, which --save-baseline keeps and --baseline compares with: as one file and back, and which there are.
    #[command(subcommand)]
    Baseline(Baseline),
    /// The built-in server on a testbed of its own, until Ctrl-C.
    Serve(Serve),
    /// A PostgreSQL with the fixtures in it, until Ctrl-C.
    Db(Db),
}

/// What PostgreSQL to measure against.
#[derive(Debug, Clone, Copy, Args)]
pub struct Postgres {
    /// Where PostgreSQL comes from: `url` (DATABASE_URL), `container` or `system`; the first of these that works when left out.
    #[arg(long = "postgres", value_name = "PROVIDER")]
    pub provider: Option<Provider>,

    /// Parts in the fixture, over 5 tenants. With few of them an index does not matter.
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = parts)]
    parts: usize,

    /// How far away it is from the service: loopback, zone (1 ms), region (10 ms), remote (50 ms), or as
    /// rtt=80ms,jitter=5ms,bandwidth=100mbit.
    #[arg(long, value_name = "NETWORK", default_value_t = Network::LOOPBACK)]
    pub network: Network,
}

impl Postgres {
    /// How much to put into it.
    pub const fn size(&self) -> Size {
        Size::with_parts(self.parts)
    }
}

/// What a run is held to.
#[derive(Debug, Clone, Args)]
pub struct Judged {
    /// Targets and budgets.
    #[arg(long, value_name = "FILE", default_value = "fixtures/perf.toml")]
    pub config: PathBuf,

    /// Where evidence is written, a folder for each run.
    #[arg(long, value_name = "FOLDER", default_value = "target/perf")]
    pub output: PathBuf,
}

/// Distances at which nothing is measured.
#[derive(Debug, Clone, Default, Args)]
pub struct Predicted {
    /// Also tell what each bench would take at this distance: rtt=120ms, or a profile. May be given more than once.
    #[arg(long = "predict", value_name = "NETWORK", value_parser = distance)]
    pub distances_ms: Vec<f64>,
}

/// A part of the main job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All benches.
    Benches,
    Bench(BenchName),
    Stress,
    Profile,
    Ceiling,
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Benches,
            Self::Bench(BenchName::Auth),
            Self::Bench(BenchName::Tenant),
            Self::Bench(BenchName::Connection),
            Self::Bench(BenchName::Action),
            Self::Bench(BenchName::Audit),
            Self::Bench(BenchName::Response),
            Self::Bench(BenchName::Request),
            Self::Bench(BenchName::Relay),
            Self::Stress,
            Self::Profile,
            Self::Ceiling,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Benches => "benches",
            Self::Bench(bench) => bench.name(),
            Self::Stress => "stress",
            Self::Profile => "profile",
            Self::Ceiling => "ceiling",
        }))
    }
}

#[derive(Debug, Args)]
pub struct Perf {
    /// Fewer samples and shorter rounds: some four minutes once built.
    #[arg(long)]
    pub quick: bool,

    /// Only the decision matrix: what each fix is worth under load, alone and taken away from all of them.
    #[arg(long, conflicts_with_all = ["only", "skip", "workers", "save_baseline", "baseline", "distances_ms"])]
    pub matrix: bool,

    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<Part>,

    /// All but these parts.
    #[arg(long, value_delimiter = ',', value_name = "PARTS", conflicts_with = "only")]
    pub skip: Vec<Part>,

    #[command(flatten)]
    pub baselines: Baselines,
    #[command(flatten)]
    pub predicted: Predicted,
    /// Requests that the built-in server works on at a time without any fix, as by so many blocking threads; all there are when
    /// left out. What was published looks like 4.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// Only these benches; all when none is named.
    #[arg(value_name = "BENCH")]
    pub benches: Vec<BenchName>,

    /// Fewer samples.
    #[arg(long)]
    pub quick: bool,

    #[command(flatten)]
    pub baselines: Baselines,
    #[command(flatten)]
    pub predicted: Predicted,
    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

/// A bench executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchName {
    Auth,
    Tenant,
    Connection,
    Action,
    Audit,
    Response,
    Request,
    Relay,
}

impl BenchName {
    /// The name of its target.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Tenant => "tenant",
            Self::Connection => "connection",
            Self::Action => "action",
            Self::Audit => "audit",
            Self::Response => "response",
            Self::Request => "request",
            Self::Relay => "relay",
        }
    }
}

#[derive(Debug, Args)]
pub struct Report {
    /// Each an evidence.json or its folder; the latest run's when left out. Several are shown side by side.
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,

    /// Markdown instead of text.
    #[arg(long, conflicts_with_all = ["html", "open", "improvements"])]
    pub markdown: bool,

    /// A page with pictures, in one file: report.html beside the evidence.
    #[arg(long)]
    pub html: bool,

    /// The same, and opens it in the browser.
    #[arg(long)]
    pub open: bool,

    /// What was improved, for the description of a change: before, after, fixes with their share, lessons.
    #[arg(long, conflicts_with_all = ["html", "open", "distances_ms"])]
    pub improvements: bool,

    /// What evidence may hold, as JSON Schema; docs/evidence.schema.json is that.
    #[arg(long, conflicts_with_all = ["html", "open", "improvements", "markdown", "runs", "distances_ms"])]
    pub schema: bool,

    #[command(flatten)]
    pub predicted: Predicted,
}

#[derive(Debug, Args)]
pub struct History {
    /// Where runs are looked for, in every folder below.
    #[arg(value_name = "FOLDER", default_value = "target/perf")]
    pub folder: PathBuf,

    /// Also the runs on other machines, PostgreSQL versions and networks than the latest.
    #[arg(long)]
    pub all: bool,

    /// Markdown instead of text.
    #[arg(long)]
    pub markdown: bool,

    /// Targets and budgets: `compare.threshold` says what is no change.
    #[arg(long, value_name = "FILE", default_value = "fixtures/perf.toml")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The fixes of the server: `before`, `after`, or fixes joined by `+`.
    #[arg(long, default_value = "after")]
    pub strategy: Strategy,

    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub address: std::net::SocketAddr,

    /// Requests that the built-in server works on at a time, as by so many blocking threads; all there are when left out.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,

    #[command(flatten)]
    pub postgres: Postgres,
}

#[derive(Debug, Args)]
pub struct Db {
    #[command(flatten)]
    pub postgres: Postgres,
}

fn distance(given: &str) -> Result<f64, String> {
    let network: Network = given.parse().map_err(|error: tare_testbed::NetworkError| error.to_string())?;
    match given.contains("jitter=") || given.contains("bandwidth=") {
        true => Err("a prediction is made of the distance alone, as in rtt=120ms".into()),
        false => Ok(network.round_trip.as_secs_f64() * 1e3),
    }
}

fn parts(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(parts @ 100..=10_000_000) => Ok(parts),
        _ => Err("must be a whole number from 100 to 10000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
