//! What is kept of a run. Times end in their unit: `_ns` for benches, `_ms` for requests, `seconds` for what took long.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Changes, Check, Law, Limit, Matrix, Pass, Profile, Row};

/// The version of this format; it changes when older readers would misunderstand.
pub const VERSION: u32 = 6;
/// The oldest that is read. What it did not have is not there, and what it told otherwise is understood.
pub const OLDEST: u32 = 4;

/// What `evidence.json` may hold, as JSON Schema.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Evidence)
}

/// One run, as it is written to `evidence.json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// What was run, when, and on which commit.
    pub run: Run,
    /// The machine it was run on.
    pub machine: Machine,
    /// The PostgreSQL it was run against; nothing when only somebody else's service was measured.
    pub postgres: Option<Postgres>,
    /// What was done, in order, and how long it took.
    pub steps: Vec<Step>,
    /// Criterion's measurements, by id.
    pub benches: Vec<Bench>,
    /// Benches that missed a budget one after the other, timed again in turns.
    #[serde(default)]
    pub in_turns: Vec<InTurns>,
    /// Stress passes, in order.
    pub passes: Vec<Pass>,
    /// Highest rates at which targets still held.
    pub limits: Vec<Limit>,
    /// Throughput through HTTP beside that of the database alone, by action.
    pub ceilings: Vec<Ceiling>,
    /// Actions taken apart.
    pub profiles: Vec<Profile>,
    /// What each fix is worth; nothing unless it was asked for.
    pub matrix: Option<Matrix>,
    /// One state of the code beside another; nothing unless two were compared.
    pub changes: Option<Changes>,
    /// Published figure, this run before, this run after.
    pub comparison: Vec<Row>,
    /// What had to be reached, and whether it was.
    pub checks: Vec<Check>,
}

impl Evidence {
    /// Evidence of a run in which nothing was measured yet.
    pub fn begun(run: Run, machine: Machine) -> Self {
        Self {
            version: VERSION,
            run,
            machine,
            postgres: None,
            steps: Vec::new(),
            benches: Vec::new(),
            in_turns: Vec::new(),
            passes: Vec::new(),
            limits: Vec::new(),
            ceilings: Vec::new(),
            profiles: Vec::new(),
            matrix: None,
            changes: None,
            comparison: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// What was measured under `id`.
    pub fn bench(&self, id: &str) -> Option<&Bench> {
        self.benches.iter().find(|bench| bench.id == id)
    }

    /// The first pass of a strategy: the one that comparisons and budgets mean.
    pub fn pass(&self, strategy: &str) -> Option<&Pass> {
        self.passes.iter().find(|pass| pass.strategy.as_deref() == Some(strategy))
    }

    /// What tells `pass` from the others: `after` for the first of a strategy, `after consume_part` for one of another
    /// action, and what was asked for where there is no strategy.
    pub fn label(&self, pass: &Pass) -> String {
        let Some(strategy) = &pass.strategy else { return pass.name.clone() };
        match self.pass(strategy) {
            Some(first) if first.name != pass.name => format!("{strategy} {}", pass.name),
            _ => strategy.clone(),
        }
    }
}

/// The version alone, to look at before the rest is understood.
#[derive(Debug, Deserialize)]
pub struct Versioned {
    /// [`VERSION`] when it was written.
    pub version: u32,
}

/// What was run, when, and on which commit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The command, as typed.
    pub command: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Whether there were changes beyond the commit.
    pub dirty: bool,
    /// Whether it was a quick run, with fewer samples and requests.
    pub quick: bool,
    /// Whether it was stopped before its end; then nothing is judged by it.
    pub interrupted: bool,
    /// The network between the service and its database.
    pub network: Network,
    /// Other runs that measured on the same machine at the same time, and so disturbed its times: `process 4711, bench --quick`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
}

/// The network between a service and its database. Without distance by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Its profile, `remote`, or as it was given: `rtt=80ms,jitter=5ms`.
    pub name: String,
    /// Round-trip time, in milliseconds.
    pub round_trip_ms: f64,
    /// By how much a round trip may take longer or shorter, in milliseconds.
    pub jitter_ms: f64,
    /// Bits per second; nothing where it is not limited.
    pub bandwidth_bps: Option<u64>,
}

impl Default for Network {
    fn default() -> Self {
        Self { name: Self::LOOPBACK.into(), round_trip_ms: 0.0, jitter_ms: 0.0, bandwidth_bps: None }
    }
}

impl Network {
    /// The name of the profile without distance.
    pub const LOOPBACK: &str = "loopback";

    /// Whether a round trip takes time, so that times are comparable to those of a database elsewhere.
    pub fn has_distance(&self) -> bool {
        self.round_trip_ms > 0.0
    }
}

/// The machine a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system and kernel.
    pub system: String,
    /// Model of the processor.
    pub cpu: String,
    /// Processors that could be used.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Load average over one minute when the run began.
    pub load: f64,
}

/// The PostgreSQL a run was made against.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Postgres {
    /// `url`, `container` or `system`.
    pub provider: String,
    /// `15.8`.
    pub version: String,
    /// Whether connections were encrypted.
    pub tls: bool,
    /// Settings that matter here.
    pub settings: BTreeMap<String, String>,
    /// Tenants in the fixture.
    pub tenants: usize,
    /// Parts in the fixture.
    pub parts: usize,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its name, as shown while it runs.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// A figure and the interval it lies in with 95 % confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The figure.
    pub estimate: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// What Criterion measured under one id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bench {
    /// `component/way`.
    pub id: String,
    /// Median time of one iteration.
    pub median_ns: Interval,
    /// Mean time of one iteration.
    pub mean_ns: Interval,
    /// Standard deviation.
    pub std_dev_ns: f64,
    /// Samples taken.
    pub samples: usize,
    /// Round trips of one iteration, exact; nothing where they were not counted.
    pub round_trips: Option<u64>,
    /// Bytes to the server and back of one iteration, exact; nothing where they were not counted, or were not the same each time.
    pub wire_bytes: Option<u64>,
    /// How often one iteration asks for memory, exact; nothing where it was not counted, or was not the same each time.
    pub allocations: Option<u64>,
    /// What distance does to its time; nothing where it was not measured at several.
    pub law: Option<Law>,
}

impl Bench {
    /// Median time of one iteration, in milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.median_ns.estimate / 1e6
    }
}

/// Two benches of one run, timed in turns of milliseconds: a machine that changes its pace does so for both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InTurns {
    /// The bench judged.
    pub id: String,
    /// The bench it is held against.
    pub against: String,
    /// The judged one's time over the other's: the median over the rounds.
    pub ratio: f64,
    /// Rounds, each with processes of its own.
    pub rounds: usize,
}

/// The same work through HTTP, through a bare HTTP server, and on the database alone, in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// The action.
    pub action: String,
    /// What sent the requests: `wrk`, or `tare`, which costs more of the machine.
    pub client: String,
    /// Connections in each.
    pub concurrency: usize,
    /// Rounds; the figures are medians over them.
    pub rounds: usize,
    /// Requests per second through HTTP.
    pub http_per_second: f64,
    /// Transactions per second of pgbench with the same SQL, prepared.
    pub pgbench_per_second: f64,
    /// Median of the rounds' ratios of HTTP to pgbench, 0 to 1.
    pub share: f64,
    /// The same work through a bare HTTP server. Only sent by wrk, and not measured by earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare: Option<Bare>,
}

/// A server that does nothing but hand its requests to the database by way of a pool: it checks no token, looks no tenant up, and
/// audits no read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bare {
    /// Requests per second.
    pub per_second: f64,
    /// Median of the rounds' ratios to pgbench, 0 to 1.
    pub share: f64,
}
