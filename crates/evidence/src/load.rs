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
    /// When counting began by this machine's own clock, in seconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_s: Option<f64>,
    /// When it was to begin, in seconds since 1970 (UTC); nothing where no moment was agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_s: Option<f64>,
    /// Of a worker among several: its share of the whole load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Of such a worker: how far the service's clock is ahead of its own; nothing where answers do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
    /// Of a pass that several workers made together: what each of them did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PassPart>,
}

/// A worker's share of a load that several machines send together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Which of the workers, from 1.
    pub worker: u64,
    /// Workers in all.
    pub workers: u64,
    /// The load of all of them together, as each was told it.
    pub whole: WholeLoad,
}

/// A load that workers share, and that is the same for each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WholeLoad {
    /// Requests at most; nothing when only time ends it.
    pub requests: Option<u64>,
    /// Seconds at most; nothing when it ends with its requests.
    pub seconds: Option<f64>,
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests sent before counting begins.
    pub warmup: u64,
    /// After how many seconds a request is given up.
    pub timeout_s: f64,
    /// Where chance begins; nothing when each worker takes another.
    pub seed: Option<u64>,
    /// Stands for what is sent, values of headers left out: where it differs, something else was sent.
    pub sent: String,
}

/// How far one clock is ahead of another, in milliseconds; below 0 where it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ahead {
    /// No less than so much.
    pub at_least_ms: f64,
    /// No more than so much.
    pub at_most_ms: f64,
}

/// What one worker did of a pass that several made together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PassPart {
    /// Which of the workers, from 1.
    pub worker: u64,
    /// Where its evidence was read.
    pub folder: String,
    /// Its machine: processors and operating system.
    pub machine: String,
    /// When it began by its own clock, in seconds since 1970 (UTC).
    pub began_s: f64,
    /// How far the service's clock is ahead of its own; nothing where answers do not tell.
    pub ahead: Option<Ahead>,
    /// From its first counted request to its last answer.
    pub seconds: f64,
    /// Requests counted.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Of its requests.
    pub latency: Latency,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
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
