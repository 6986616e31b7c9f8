//! What is kept of an action taken apart, and of what its database did meanwhile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Interval;

/// One action taken apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Profile {
    /// The strategy of the built-in server; nothing for somebody else's service.
    pub strategy: Option<String>,
    /// The action.
    pub name: String,
    /// Times each way was measured.
    pub samples: usize,
    /// The action's query on a connection kept open; median and its interval.
    pub database_ms: Option<Interval>,
    /// The whole request; median and its interval.
    pub request_ms: Interval,
    /// Where a typical request's time goes, in the order the server told it, `network` last. They add up to the request.
    pub components: Vec<Component>,
    /// How far away the database and the API are.
    pub distances: Vec<Distance>,
    /// What the database was asked to do.
    pub work: Option<Work>,
    /// How the database carried the action's statements out.
    pub plans: Vec<Plan>,
    /// What stands out, the most costly first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub remarks: Vec<String>,
    /// What the figures come to, in a sentence.
    pub finding: String,
    /// The next thing to do, in a sentence.
    pub next: String,
}

/// A part of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Told")]
#[schemars(!from)]
pub struct Component {
    /// `auth`, `tenant`, `connection`, `action`, `audit`, `response`, `network`, or what the server calls it.
    pub name: String,
    /// Its part of a typical request.
    pub ms: Interval,
    /// Whether it was not measured: the server tells nothing, and the overhead is split as published.
    pub estimated: bool,
}

/// A component as it is told; up to version 4 by its name and its milliseconds alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Whole { name: String, ms: Interval, estimated: bool },
    Pair(String, f64),
}

impl From<Told> for Component {
    fn from(told: Told) -> Self {
        match told {
            Told::Whole { name, ms, estimated } => Self { name, ms, estimated },
            Told::Pair(name, ms) => {
                Self { name, ms: Interval { estimate: ms, lower: ms, upper: ms }, estimated: false }
            }
        }
    }
}

/// How far away something is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distance {
    /// `database` or `API`.
    pub to: String,
    /// One round trip; median and its interval.
    pub round_trip_ms: Interval,
    /// By what exchange it was measured.
    pub by: String,
}

/// What the database was asked to do for some requests, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Work {
    /// Requests it was counted over.
    pub requests: u64,
    /// Round trips between service and database; nothing where they could not be counted.
    pub round_trips: Option<u64>,
    /// Connections opened meanwhile.
    pub connections: Option<u64>,
    /// Statements, the one that took longest in all first.
    pub statements: Vec<Statement>,
}

impl Work {
    /// `count` for each request.
    pub fn per_request(&self, count: u64) -> f64 {
        count as f64 / self.requests.max(1) as f64
    }
}

/// A statement that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// Its text, with `$1` for what differs between calls.
    pub sql: String,
    /// How often.
    pub calls: u64,
    /// Rows returned or changed in all.
    pub rows: u64,
    /// Time in the database in all, in milliseconds.
    pub total_ms: f64,
    /// Whether a function called it, and no client: it is no round trip.
    pub nested: bool,
}

impl Statement {
    /// Time of one call, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.total_ms / self.calls.max(1) as f64
    }
}

/// How a statement was carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The statement.
    pub sql: String,
    /// Whether a function called it.
    pub nested: bool,
    /// How often it was carried out with such a plan.
    pub calls: u64,
    /// Time of all calls, in milliseconds.
    pub ms: f64,
    /// Rows expected of one call.
    pub estimated_rows: f64,
    /// Rows of one call, the mean of all.
    pub actual_rows: f64,
    /// Blocks found in shared memory.
    pub shared_hit: u64,
    /// Blocks read from the system.
    pub shared_read: u64,
    /// Blocks written to temporary files.
    pub temp_written: u64,
    /// The nodes as lines, indented by depth.
    pub nodes: Vec<String>,
}

/// Something that stands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What was met, in a sentence.
    pub what: String,
    /// Where: the plan's node, the statement, the component.
    pub at: String,
    /// Its share of the time of the statement, or of the request where it is no statement's, 0 to 1.
    pub share: Option<f64>,
    /// What to do.
    pub advice: String,
    /// What doing it was measured to be worth; nothing where it was not tried.
    pub proof: Option<Proof>,
}

/// What kind of thing stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A large table is read whole for a few of its rows.
    MissingIndex,
    /// An index is read, and most of what it leads to is thrown away.
    FilterAfterIndex,
    /// A row-level-security predicate keeps an index from being used.
    PolicyDefeatsIndex,
    /// Far more or fewer rows than expected.
    Misestimate,
    /// Blocks came from the disk and not from memory.
    ReadFromDisk,
    /// A sort or a hash did not fit into memory.
    SpillToDisk,
    /// A loop within the plan goes round often.
    NestedLoop,
    /// The same statement many times for one request.
    NPlusOne,
    /// Each request opens a connection.
    ConnectionPerRequest,
    /// Requests waited for what another session holds.
    LockWait,
    /// The time goes by in a function, and not in its statements.
    SlowFunction,
    /// The database or the API is far away.
    Distance,
}

/// Whose time a finding is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A statement's in the database.
    Database,
    /// The request's.
    Request,
}

impl FindingKind {
    /// Whose time the finding's share is of.
    pub const fn side(self) -> Side {
        match self {
            Self::NPlusOne | Self::ConnectionPerRequest | Self::LockWait | Self::Distance => Side::Request,
            _ => Side::Database,
        }
    }

    /// The page below `docs/` that tells what to do.
    pub const fn page(self) -> &'static str {
        match self {
            Self::MissingIndex | Self::FilterAfterIndex | Self::PolicyDefeatsIndex => "docs/indexes.md",
            Self::Misestimate | Self::ReadFromDisk | Self::SpillToDisk | Self::NestedLoop => "docs/query.md",
            Self::SlowFunction | Self::LockWait => "docs/profile.md",
            Self::NPlusOne => "docs/one-call.md",
            Self::ConnectionPerRequest => "docs/pooling.md",
            Self::Distance => "docs/distance.md",
        }
    }
}

/// A change tried out in a transaction that was rolled back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// What was done, as SQL.
    pub change: String,
    /// The statement without it; median and its interval, in milliseconds.
    pub without_ms: Interval,
    /// The statement with it, in turns.
    pub with_ms: Interval,
}

impl Proof {
    /// How many times less it takes.
    pub fn gain(&self) -> f64 {
        self.without_ms.estimate / self.with_ms.estimate
    }
}

/// What a database did during a pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// How often it was looked at.
    pub looks: u64,
    /// Sessions at work or in a transaction, the mean over all looks.
    pub busy: f64,
    /// Client sessions at most.
    pub sessions: u64,
    /// What busy sessions were at, the most frequent first; sessions at once on average.
    pub waits: Vec<Wait>,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions rolled back.
    pub rollbacks: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Blocks found in shared memory.
    pub blocks_hit: u64,
    /// Blocks read from the system.
    pub blocks_read: u64,
    /// Bytes written to temporary files.
    pub temp_bytes: u64,
    /// Deadlocks.
    pub deadlocks: u64,
    /// Checkpoints begun.
    pub checkpoints: u64,
    /// Who was waited for, at most a few.
    pub blockers: Vec<Blocker>,
    /// What could not be seen, and why.
    pub remarks: Vec<String>,
}

/// What sessions were at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// `CPU` where a session waited for nothing, else PostgreSQL's type and event, `IO:WALSync`.
    pub what: String,
    /// How many sessions at once, the mean over all looks.
    pub sessions: f64,
}

/// A session that others waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Blocker {
    /// Its process.
    pub pid: i32,
    /// `idle in transaction`, `active`.
    pub state: String,
    /// How long its transaction has lasted, in milliseconds.
    pub transaction_ms: f64,
    /// The beginning of its last statement, without what it was about.
    pub sql: String,
    /// How many sessions waited for it at once, at most.
    pub waiting: u64,
}
