//! What a simulation comes to.

use serde::Serialize;
use tare_evidence::{Latency, median};

/// Beyond so much of its capacity a resource is what holds the rest back.
const FULL: f64 = 0.95;

/// What came of a simulated load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Requests answered per second.
    pub throughput: f64,
    /// From when a request was due to its answer.
    pub latency: Latency,
    /// In which P95 lies with 95 % confidence, by ten parts of the time.
    pub p95_ms: [f64; 2],
    /// Connections to all databases.
    pub connections: Connections,
    /// How busy everything was, the busiest first.
    pub uses: Vec<Use>,
    /// Whether it keeps up: what is due is answered, and no more wait at the end than at the beginning.
    pub keeps_up: bool,
    /// Requests that it is told of.
    pub requests: usize,
}

/// Connections of all instances to all databases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Connections {
    /// Open, on average.
    pub open: f64,
    /// Open, at most.
    pub peak: f64,
    /// In use, on average.
    pub used: f64,
    /// Opened per second.
    pub opened_per_second: f64,
}

/// How busy one resource was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Use {
    /// Which.
    pub resource: Resource,
    /// Of its capacity, 0 to 1.
    pub share: f64,
    /// What a request waited for it because of others, in milliseconds on average.
    pub waited_ms: f64,
}

/// What requests may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The cores of the one machine that all runs on.
    Machine,
    /// Threads of the load.
    LoadThreads,
    /// Threads of the server.
    ServerThreads,
    /// The relay that stands for the network.
    Relay,
    /// Cores of PostgreSQL's machine.
    PostgresCores,
    /// The disk that PostgreSQL commits to.
    Commit,
    /// The disk of the server's audit queue.
    AuditQueue,
    /// Connections to one tenant's database.
    PoolSize,
    /// Connections of an instance.
    Budget,
    /// Connections that an instance may open in a second.
    Openings,
}

impl Resource {
    /// Whether it does something, and is not only held.
    const fn works(self) -> bool {
        !matches!(self, Self::PoolSize | Self::Budget)
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Machine => "the machine's cores",
            Self::LoadThreads => "the load's threads",
            Self::ServerThreads => "the server's threads",
            Self::Relay => "the relay",
            Self::PostgresCores => "PostgreSQL's cores",
            Self::Commit => "PostgreSQL's disk",
            Self::AuditQueue => "the audit queue's disk",
            Self::PoolSize => "the connections of a tenant",
            Self::Budget => "the budget of connections",
            Self::Openings => "the openings of connections",
        }
    }
}

impl Outcome {
    /// What is the first to hold the load back: the busiest. Connections are held by who waits for something else, and are all in use
    /// where that is what holds the load back.
    ///
    /// # Panics
    /// Never: there is always a machine.
    pub fn bottleneck(&self) -> Use {
        let works = self.uses.iter().find(|one| one.share >= FULL && one.resource.works());
        *works.or(self.uses.first()).expect("there is always a machine")
    }

    /// Whether it holds the load back already.
    pub fn is_held_back(&self) -> bool {
        !self.keeps_up || self.bottleneck().share >= FULL
    }
}

/// Of latencies in milliseconds.
pub(crate) fn latency(mut each: Vec<f64>) -> Latency {
    if each.is_empty() {
        return Latency::default();
    }
    each.sort_by(f64::total_cmp);
    let at = |share: f64| each[((each.len() as f64 * share).ceil() as usize).clamp(1, each.len()) - 1];
    Latency {
        min_ms: each[0],
        mean_ms: each.iter().sum::<f64>() / each.len() as f64,
        p50_ms: at(0.50),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: each[each.len() - 1],
    }
}

/// In which P95 lies, by those of ten parts.
pub(crate) fn p95_interval(each: &[f64]) -> [f64; 2] {
    let parts = each.chunks(each.len().div_ceil(10).max(1)).map(|part| latency(part.to_vec()).p95_ms);
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        return [0.0; 2];
    }
    let interval = median(parts);
    [interval.lower, interval.upper]
}
