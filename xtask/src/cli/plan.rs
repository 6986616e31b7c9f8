//! What is planned.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tare_testbed::Network;

use super::{Format, Judged, Postgres};

const EXAMPLES: &str = "\x1b[1mExamples\x1b[0m
  What this machine can do, which everything else follows from; some minutes:
      cargo xtask plan measure
  What it does at 300 requests a second, with its database 5 ms away:
      cargo xtask plan --rate 300 --distance 5ms
  The same over several pool sizes and distances:
      cargo xtask plan --callers 32 --pool-size 1,2,4 --distance 1ms,5ms,10ms
  A fleet larger than anything that was measured:
      cargo xtask plan --tenants 10000 --rate 5000 --instances 10 --server-cores 4 --postgres-cores 32 --extrapolate
  Whether what is told can be trusted here: ten configurations, predicted and measured:
      cargo xtask plan check";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = EXAMPLES)]
pub struct Plan {
    #[command(subcommand)]
    pub command: Option<PlanCommand>,

    /// What this machine was measured to do, as `plan measure` wrote it.
    #[arg(long, value_name = "FILE", default_value = CALIBRATION)]
    pub calibration: PathBuf,

    /// What is asked of the fleet.
    #[arg(long, default_value = "view_part_details")]
    pub action: String,

    /// Tenants, each with a database of its own; as many as were measured when left out. This and all that follows may be several,
    /// apart by commas: every combination is simulated.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub tenants: Vec<usize>,

    /// Requests per second of all tenants together, by chance.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', required_unless_present = "callers")]
    pub rate: Vec<f64>,

    /// Callers instead, each of which sends its next request when it has an answer.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', conflicts_with = "rate")]
    pub callers: Vec<usize>,

    /// Processes of the server. More than one has each on a machine of its own.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "1")]
    pub instances: Vec<usize>,

    /// Connections of an instance to one tenant's database at most.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "16")]
    pub pool_size: Vec<usize>,

    /// Connections of an instance at most.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "80")]
    pub budget: Vec<usize>,

    /// From an instance to the database and back: 500us, 2ms, or a network: zone, region, remote; none when left out.
    #[arg(long, value_name = "TIME", value_delimiter = ',', value_parser = distance, default_value = "loopback")]
    pub distance: Vec<Network>,

    /// Cores of each instance, on a machine of its own.
    #[arg(long, value_name = "NUMBER")]
    pub server_cores: Option<usize>,

    /// Cores of PostgreSQL, on a machine of its own.
    #[arg(long, value_name = "NUMBER")]
    pub postgres_cores: Option<usize>,

    /// Which instance a request goes to.
    #[arg(long, default_value = "any")]
    pub routing: Route,

    /// Also what lies beyond what was measured. Each such thing is said.
    #[arg(long)]
    pub extrapolate: bool,

    /// Where chance begins: the same seed comes to the same.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Requests to simulate of each.
    #[arg(long, value_name = "NUMBER", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    pub requests: u32,

    /// Also write it as a page, with a picture of how P95 grows with the load.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Also write the picture alone, as SVG.
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,

    /// What is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,
}

/// Where a calibration is unless it is said.
pub const CALIBRATION: &str = "target/plan.json";

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Measures what this machine does, for plans to be made of: some three minutes.
    Measure(MeasurePlan),
    /// Measures ten configurations that the calibration knows nothing of, and holds beside them what was predicted.
    Check(CheckPlan),
}

#[derive(Debug, Args)]
pub struct MeasurePlan {
    /// Where to write it.
    #[arg(long, value_name = "FILE", default_value = CALIBRATION)]
    pub calibration: PathBuf,

    #[command(flatten)]
    pub passes: Passes,
}

/// How it is measured.
#[derive(Debug, Args)]
pub struct Passes {
    /// Fewer and shorter passes.
    #[arg(long)]
    pub quick: bool,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

#[derive(Debug, Args)]
pub struct CheckPlan {
    /// What to predict from. Measured anew, and written there, when left out.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,

    #[command(flatten)]
    pub passes: Passes,
}

/// Which instance a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Route {
    /// Any, by chance.
    Any,
    /// The same for each tenant.
    ByTenant,
}

/// `2ms`, or the name of a network.
fn distance(given: &str) -> Result<Network, String> {
    let named = given.parse::<Network>();
    named
        .or_else(|_| format!("rtt={given}").parse())
        .map_err(|error| format!("it is a time like 2ms, or else: {error}"))
}
