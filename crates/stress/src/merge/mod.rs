//! What several workers measured, as one pass: exact, or refused.

mod refuse;

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use tare_evidence::{ActionPass, Failure, Latency, Pass, PassPart, Share, Span};

use crate::load::BARS;
use crate::tally::NETWORK;
use crate::timeline::TOLD;
use crate::times::{Times, bars, summary};
use crate::{Entry, Log};

/// How far apart workers may begin, in seconds, by their own clocks and by the service's.
const TOGETHER: f64 = 1.0;

/// What one worker left.
pub struct Part {
    /// Where it was read, for messages and evidence.
    pub folder: String,
    /// Its machine, in words.
    pub machine: String,
    /// What it measured.
    pub pass: Pass,
    /// The histograms of that, as [`Part::new`] has them.
    pub log: Log,
}

impl Part {
    /// A part. Intervals of `log` are joined to the spans that `pass` tells of, for many workers to take little memory.
    pub fn new(folder: String, machine: String, pass: Pass, log: Log) -> Self {
        let log = log.joined(|entry| span_of(&pass, entry));
        Self { folder, machine, pass, log }
    }
}

/// Why parts are no whole.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to put together.
    #[error("there is no worker's evidence to merge")]
    Nothing,
    /// A pass that was nobody's share.
    #[error("{folder} holds no share of a load: its pass was made without --share, and stands for itself")]
    NoShare {
        /// Where.
        folder: String,
    },
    /// Workers that were not told the same.
    #[error(
        "{one} and {other} are of different loads: {what} is {this} in the first and {that} in the second; \
         start all workers with the same but --share"
    )]
    Different {
        /// Where the one was read.
        one: String,
        /// Where the other was read.
        other: String,
        /// What is not the same.
        what: &'static str,
        /// In the one.
        this: String,
        /// In the other.
        that: String,
    },
    /// Two parts of one worker.
    #[error("worker {worker} is there twice, in {one} and in {other}; leave out the one that is not of this load")]
    Twice {
        /// Which.
        worker: u64,
        /// Where.
        one: String,
        /// And where.
        other: String,
    },
    /// Workers that left nothing.
    #[error(
        "{} of {workers} did not report; without it the load is not what was asked for: collect its folder, or measure again",
        named(.missing)
    )]
    Missing {
        /// Which.
        missing: Vec<u64>,
        /// Of so many.
        workers: u64,
    },
    /// A log that is not that of its evidence, or not all of it.
    #[error(
        "the histograms of {folder} are not those of its evidence: {what}; copy both again from the machine that wrote them"
    )]
    Incomplete {
        /// Where.
        folder: String,
        /// What differs.
        what: String,
    },
    /// Workers that did not begin together.
    #[error(
        "worker {late} began {by} after worker {early}{clock}, and {TOGETHER:.0} s is the most; {advice}",
        by = seconds(*.by_s)
    )]
    Apart {
        /// Who began first.
        early: u64,
        /// Who began last.
        late: u64,
        /// By so much, or more.
        by_s: f64,
        /// By whose clock, in words.
        clock: &'static str,
        /// What to do.
        advice: &'static str,
    },
}

/// The pass that the workers of `parts` made together, and all their histograms as one log. What can be counted is exactly what one
/// worker would have counted; what sets the slowest requests apart cannot be told of several, and is left out. It is interrupted
/// when one of them was.
///
/// # Errors
/// [`MergeError`], when they are not all shares of one load, each once and whole, and begun together.
pub fn merge(mut parts: Vec<Part>) -> Result<(Pass, Log), MergeError> {
    let shares = parts.iter().map(share).collect::<Result<Vec<_>, _>>()?;
    let workers = shares.first().ok_or(MergeError::Nothing)?.workers;
    parts.iter().try_for_each(|other| refuse::different(&parts[0], other))?;
    refuse::incomplete_set(&parts, workers)?;
    parts.iter().try_for_each(refuse::other_log)?;
    parts.sort_by_key(worker);
    refuse::apart(&parts)?;

    let first = parts.iter().map(began).fold(f64::INFINITY, f64::min);
    let seconds = parts.iter().map(|part| began(part) - first + part.pass.seconds).fold(0.0, f64::max);
    let mut pass = together(&parts, first, seconds);
    pass.timeline = timeline(&parts, first, seconds);
    let log = Log::merge(parts.into_iter().map(|part| part.log));
    tell_latencies(&mut pass, &log);
    Ok((pass, log))
}

fn share(part: &Part) -> Result<&Share, MergeError> {
    part.pass.share.as_ref().ok_or_else(|| MergeError::NoShare { folder: part.folder.clone() })
}

fn worker(part: &Part) -> u64 {
    part.pass.share.as_ref().map_or(0, |share| share.worker)
}

/// Whoever has a share keeps this, too.
fn began(part: &Part) -> f64 {
    part.pass.began_s.unwrap_or_default()
}

/// All that is a sum.
fn together(parts: &[Part], began: f64, seconds: f64) -> Pass {
    let first = &parts[0].pass;
    let passes = || parts.iter().map(|part| &part.pass);
    // Of evidence that others wrote, which may say anything.
    let sum = |count: fn(&Pass) -> u64| passes().map(count).fold(0, u64::saturating_add);
    let mut statuses = BTreeMap::new();
    for (status, count) in passes().flat_map(|pass| &pass.statuses) {
        *statuses.entry(*status).or_default() += count;
    }
    Pass {
        strategy: first.strategy.clone(),
        name: first.name.clone(),
        url: first.url.clone(),
        rate: first.rate.clone(),
        concurrency: passes().map(|pass| pass.concurrency).fold(0, usize::saturating_add),
        warmup: sum(|pass| pass.warmup),
        requests: sum(|pass| pass.requests),
        succeeded: sum(|pass| pass.succeeded),
        statuses,
        failures: failures(passes()),
        seconds,
        interrupted: passes().any(|pass| pass.interrupted),
        connections: sum(|pass| pass.connections),
        lateness: first.lateness,
        components: components(passes()),
        actions: actions(passes()),
        began_s: Some(began),
        start_s: first.start_s,
        parts: parts.iter().map(told_of).collect(),
        ..Pass::default()
    }
}

fn told_of(Part { folder, machine, pass, .. }: &Part) -> PassPart {
    PassPart {
        worker: pass.share.as_ref().map_or(0, |share| share.worker),
        folder: folder.clone(),
        machine: machine.clone(),
        began_s: pass.began_s.unwrap_or_default(),
        ahead: pass.ahead,
        seconds: pass.seconds,
        requests: pass.requests,
        succeeded: pass.succeeded,
        latency: pass.latency,
        interrupted: pass.interrupted,
    }
}

/// The most frequent first, with the example of whom it met first.
fn failures<'a>(passes: impl Iterator<Item = &'a Pass>) -> Vec<Failure> {
    let mut all: Vec<Failure> = Vec::new();
    for failure in passes.flat_map(|pass| &pass.failures) {
        match all.iter_mut().find(|known| known.kind == failure.kind) {
            Some(known) => known.count = known.count.saturating_add(failure.count),
            None => all.push(failure.clone()),
        }
    }
    all.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    all
}

/// The names alone, the network last.
fn components<'a>(passes: impl Iterator<Item = &'a Pass>) -> Vec<(String, Latency)> {
    let mut seen = BTreeSet::new();
    let names = passes.flat_map(|pass| &pass.components).map(|(name, _)| name).filter(|name| seen.insert(*name));
    let mut all: Vec<_> = names.map(|name| (name.clone(), Latency::default())).collect();
    all.sort_by_key(|(name, _)| name == NETWORK);
    all
}

/// They are the same of all, in the same order; a worker may have had no turn for the last of them.
fn actions<'a>(passes: impl Iterator<Item = &'a Pass>) -> Vec<ActionPass> {
    let mut all: Vec<ActionPass> = Vec::new();
    for action in passes.flat_map(|pass| &pass.actions) {
        match all.iter_mut().find(|known| known.name == action.name) {
            Some(known) => {
                known.requests = known.requests.saturating_add(action.requests);
                known.succeeded = known.succeeded.saturating_add(action.succeeded);
            }
            None => all.push(action.clone()),
        }
    }
    all
}

/// All that is read off a histogram.
fn tell_latencies(pass: &mut Pass, log: &Log) {
    let whole = log.whole();
    let of = |tag: String| log.tagged(&tag).map(summary).unwrap_or_default();
    pass.latency = summary(&whole);
    pass.histogram = bars(&whole, BARS);
    pass.lateness = pass.lateness.map(|_| of(LATENESS.to_owned()));
    pass.latency_by_status = pass.statuses.keys().map(|status| (*status, of(format!("status:{status}")))).collect();
    for (name, latency) in &mut pass.components {
        *latency = of(component_tag(name));
    }
    for action in &mut pass.actions {
        action.latency = of(action_tag(&action.name));
    }
}

/// What happened when, on the time axis of the earliest. No span of a worker is cut: each is counted where its middle lies.
fn timeline(parts: &[Part], first: f64, seconds: f64) -> Vec<Span> {
    let spans = || parts.iter().flat_map(|part| &part.pass.timeline);
    let length = spans().map(|span| span.seconds).fold(seconds / TOLD as f64, f64::max);
    let count = (seconds / length).ceil();
    if !(1.0..=TOLD as f64).contains(&count) {
        return Vec::new();
    }
    let mut all: Vec<(Times, u64)> = (0..count as usize).map(|_| (Times::new(), 0)).collect();
    for part in parts {
        let shift = began(part) - first;
        let place = |span: &Span| ((shift + middle(span.from_s, span.seconds)) / length).min(count - 1.0) as usize;
        for span in &part.pass.timeline {
            let failed = &mut all[place(span)].1;
            *failed = failed.saturating_add(span.failed);
        }
        for entry in part.log.entries.iter().filter(|entry| entry.tag.is_none()) {
            if let Some(span) = span_of(&part.pass, entry) {
                add(&mut all[place(&part.pass.timeline[span])].0, &entry.times);
            }
        }
    }
    let told = |(nth, (times, failed)): (usize, (Times, u64))| {
        let Latency { p50_ms, p95_ms, p99_ms, .. } = times.summary();
        let from_s = nth as f64 * length;
        Span { from_s, seconds: length.min(seconds - from_s), requests: times.0.len(), failed, p50_ms, p95_ms, p99_ms }
    };
    all.into_iter().enumerate().map(told).collect()
}

/// Which span of the pass an interval of its log belongs to: times in a log are to the millisecond.
fn span_of(pass: &Pass, entry: &Entry) -> Option<usize> {
    let middle = middle(entry.from_s, entry.seconds);
    let within = pass.timeline.iter().rposition(|span| span.from_s <= middle);
    within.or((!pass.timeline.is_empty()).then_some(0))
}

fn middle(from: f64, length: f64) -> f64 {
    from + length / 2.0
}

fn add(all: &mut Times, times: &Histogram<u64>) {
    all.0.add(times).expect("a histogram that resizes itself takes any other");
}

/// The tag of how late requests were.
pub(crate) const LATENESS: &str = "lateness";

/// The tag of an action's times.
pub(crate) fn action_tag(name: &str) -> String {
    format!("action:{name}")
}

/// The tag of a component's times.
pub(crate) fn component_tag(name: &str) -> String {
    format!("component:{name}")
}

/// `worker 3`, `workers 3 and 5`.
fn named(workers: &[u64]) -> String {
    match workers {
        [one] => format!("worker {one}"),
        [all @ .., last] => {
            let all: Vec<_> = all.iter().map(u64::to_string).collect();
            format!("workers {} and {last}", all.join(", "))
        }
        [] => String::new(),
    }
}

fn seconds(seconds: f64) -> String {
    format!("{:.3} s", seconds)
}
