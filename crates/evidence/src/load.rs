//! What is kept of load: passes, and the limits that were found with them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Activity;

/// Latency, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub min_ms: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// Requests that did not succeed for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// `template` (could not be made), `connect`, `tls`, `timeout`, `reset`, `body` or `status`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// What the first of them met.
    pub example: String,
}

/// One stress pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pass {
    /// The strategy of the built-in server; nothing for somebody else's service.
    pub strategy: Option<String>,
    /// What was asked for: the action.
    pub name: String,
    /// Where.
    pub url: String,
    /// The rate at which requests were due, as it was given: `500` a second, or in stages `100..1000:60s`. Nothing for a
    /// closed loop, in which a request is sent when the one before it on its connection is answered.
    pub rate: Option<String>,
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests sent before counting began.
    pub warmup: u64,
    /// Requests counted.
    pub requests: u64,
    /// Those answered with a success and the body promised.
    pub succeeded: u64,
    /// Answers by status code; requests without an answer are not here.
    pub statuses: BTreeMap<u16, u64>,
    /// Why the others did not succeed, the most frequent first.
    pub failures: Vec<Failure>,
    /// From the first counted request to the last answer.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Connections opened while it was counted.
    pub connections: u64,
    /// Time until each counted request's outcome was known, failures included; at a rate counted from when it was due.
    pub latency: Latency,
    /// At a rate: how long after it was due each request was sent, for want of an idle connection.
    pub lateness: Option<Latency>,
    /// Latency for each component the server told of in `Server-Timing`, and `network`, which is the rest.
    pub components: Vec<(String, Latency)>,
    /// Latency of answers by status code.
    pub latency_by_status: BTreeMap<u16, Latency>,
    /// Each action of a mix.
    pub actions: Vec<ActionPass>,
    /// How often which latency was met, in classes that follow one another.
    pub histogram: Vec<Bar>,
    /// What happened when, in spans of equal length that follow one another.
    pub timeline: Vec<Span>,
    /// What sets the slowest requests apart; nothing where there were too few.
    pub tail: Option<Tail>,
    /// What the database did meanwhile; nothing where it was not looked at.
    pub activity: Option<Activity>,
}

/// One action of a pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionPass {
    /// The action.
    pub name: String,
    /// Requests counted.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Of its requests.
    pub latency: Latency,
}

/// A class of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bar {
    /// Its upper end in milliseconds; its lower end is that of the class before, or the least latency met.
    pub up_to_ms: f64,
    /// Requests in it.
    pub requests: u64,
}

/// A span of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// When it began, in seconds since counting began.
    pub from_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Requests that came to their end in it.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Median latency, in milliseconds.
    pub p50_ms: f64,
    /// In milliseconds.
    pub p95_ms: f64,
    /// In milliseconds.
    pub p99_ms: f64,
}

/// What sets the requests above P95 apart from those around the median.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// Requests between P40 and P60 that are compared.
    pub typical_requests: u64,
    /// Requests above P95.
    pub slow_requests: u64,
    /// Mean latency of the typical, in milliseconds.
    pub typical_ms: f64,
    /// Mean latency of the slow, in milliseconds.
    pub slow_ms: f64,
    /// Where the difference lies, the largest share first.
    pub shares: Vec<TailShare>,
    /// What was going on when the slow ones were under way, the most telling first.
    pub circumstances: Vec<Circumstance>,
}

/// A component's part in the difference between slow and typical requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TailShare {
    /// The component; `waiting` is for an idle connection of the load's own, `network` the rest.
    pub component: String,
    /// Its mean in typical requests, in milliseconds.
    pub typical_ms: f64,
    /// Its mean in slow requests, in milliseconds.
    pub slow_ms: f64,
    /// Of the whole difference, 1 is all of it; below 0 where the component is faster in slow requests.
    pub share: f64,
}

/// Something that was going on for a part of the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Circumstance {
    /// `requests waited for a connection of the pool`.
    pub what: String,
    /// Share of the slow requests that ended meanwhile, 0 to 1.
    pub of_slow: f64,
    /// Share of all requests that ended meanwhile.
    pub of_all: f64,
}

/// The highest rate at which targets still hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The strategy of the built-in server; nothing for somebody else's service.
    pub strategy: Option<String>,
    /// What was asked for: the action.
    pub name: String,
    /// What had to hold, in words.
    pub targets: String,
    /// The highest rate that held, requests per second; nothing when the lowest tried did not hold.
    pub held: Option<f64>,
    /// The lowest rate that did not hold; nothing when the highest tried held.
    pub failed: Option<f64>,
    /// Every pass, in order.
    pub trials: Vec<Trial>,
}

/// One pass in search of a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Requests due per second.
    pub rate: f64,
    /// Requests that came to their end per second.
    pub throughput: f64,
    /// Of its requests.
    pub latency: Latency,
    /// Share of them that succeeded, 0 to 1.
    pub success_rate: f64,
    /// What did not hold, in words; empty when all did.
    pub missed: Vec<String>,
}

impl Pass {
    /// Share of requests that succeeded, 0 to 1.
    pub fn success_rate(&self) -> f64 {
        self.succeeded as f64 / self.requests.max(1) as f64
    }

    /// Answers with a status of 500 or more.
    pub fn server_errors(&self) -> u64 {
        self.statuses.range(500..).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Requests per second.
    pub fn throughput(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}
