//! What several workers measured, as one pass: exact, or refused.

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
    parts.iter().try_for_each(|other| refuse_different(&parts[0], other))?;
    refuse_incomplete_set(&parts, workers)?;
    parts.iter().try_for_each(refuse_other_log)?;
    parts.sort_by_key(worker);
    refuse_apart(&parts)?;

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

/// Evidence without a share is older than the moment it began at, and was refused.
fn began(part: &Part) -> f64 {
    part.pass.began_s.unwrap_or_default()
}

/// What must be the same for all who share a load.
fn told(pass: &Pass) -> Vec<(&'static str, String)> {
    let Share { workers, whole, .. } = pass.share.clone().unwrap_or_default();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not given".into());
    vec![
        ("the URL", pass.url.clone()),
        ("the number of workers", workers.to_string()),
        ("the rate", or_none(pass.rate.clone())),
        ("the number of requests", or_none(whole.requests.map(|requests| requests.to_string()))),
        ("the time", or_none(whole.seconds.map(seconds))),
        ("the concurrency", whole.concurrency.to_string()),
        ("the warm-up", whole.warmup.to_string()),
        ("the time-out", seconds(whole.timeout_s)),
        ("the seed", or_none(whole.seed.map(|seed| seed.to_string()))),
        ("the agreed start", or_none(pass.start_s.map(|start| format!("{start} s after 1970")))),
        ("the mark of what is sent", whole.sent),
    ]
}

fn refuse_different(one: &Part, other: &Part) -> Result<(), MergeError> {
    let both = told(&one.pass).into_iter().zip(told(&other.pass));
    match both.into_iter().find(|(this, that)| this != that) {
        None => Ok(()),
        Some(((what, this), (_, that))) => {
            Err(MergeError::Different { one: one.folder.clone(), other: other.folder.clone(), what, this, that })
        }
    }
}

fn refuse_incomplete_set(parts: &[Part], workers: u64) -> Result<(), MergeError> {
    let mut there = BTreeMap::new();
    for part in parts {
        if let Some(one) = there.insert(worker(part), part.folder.clone()) {
            return Err(MergeError::Twice { worker: worker(part), one, other: part.folder.clone() });
        }
    }
    let missing: Vec<_> = (1..=workers).filter(|worker| !there.contains_key(worker)).collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::Missing { missing, workers }) }
}

/// A log that breaks off after a whole line looks like a shorter one; its evidence tells.
fn refuse_other_log(part: &Part) -> Result<(), MergeError> {
    let Part { pass, log, .. } = part;
    let failed = |what: String| Err(MergeError::Incomplete { folder: part.folder.clone(), what });
    let whole = log.whole().len();
    if whole != pass.requests {
        return failed(format!("{whole} requests, and {} in the evidence", pass.requests));
    }
    let statuses = pass.statuses.iter().map(|(status, count)| (format!("status:{status}"), Some(*count)));
    let actions = pass.actions.iter().map(|action| (action_tag(&action.name), Some(action.requests)));
    let components = pass.components.iter().map(|(name, _)| (component_tag(name), None));
    let lateness = pass.lateness.map(|_| (LATENESS.to_owned(), Some(pass.requests)));
    for (tag, count) in statuses.chain(actions).chain(components).chain(lateness) {
        match (log.tagged(&tag), count) {
            (None, Some(1..) | None) => return failed(format!("they lack {tag}")),
            (Some(times), Some(count)) if times.len() != count => {
                return failed(format!("{} of {tag}, and {count} in the evidence", times.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// By their own clocks, which tells who was late; and by the service's, which tells whose clock is off.
fn refuse_apart(parts: &[Part]) -> Result<(), MergeError> {
    let own = parts.iter().map(|part| (worker(part), began(part), began(part)));
    let service = parts.iter().filter_map(|part| {
        let ahead = part.pass.ahead?;
        Some((worker(part), began(part) + ahead.at_least_ms / 1e3, began(part) + ahead.at_most_ms / 1e3))
    });
    refuse_gap(own, "", "have them start earlier, and --start-at farther ahead")?;
    let advice = "their own clocks do not show it, so those are wrong: set them by NTP and measure again";
    refuse_gap(service, " by the service's clock", advice)
}

/// Whether the last to begin did so too long after the first. Of each is known who, and from when to when it was.
fn refuse_gap(
    began: impl Iterator<Item = (u64, f64, f64)>,
    clock: &'static str,
    advice: &'static str,
) -> Result<(), MergeError> {
    let began: Vec<_> = began.collect();
    let last = began.iter().max_by(|one, other| one.1.total_cmp(&other.1));
    let first = began.iter().min_by(|one, other| one.2.total_cmp(&other.2));
    match (first, last) {
        (Some(&(early, _, first)), Some(&(late, last, _))) if last - first > TOGETHER => {
            Err(MergeError::Apart { early, late, by_s: last - first, clock, advice })
        }
        _ => Ok(()),
    }
}

/// All that is a sum.
fn together(parts: &[Part], began: f64, seconds: f64) -> Pass {
    let first = &parts[0].pass;
    let passes = || parts.iter().map(|part| &part.pass);
    let mut statuses = BTreeMap::new();
    for (status, count) in passes().flat_map(|pass| &pass.statuses) {
        *statuses.entry(*status).or_default() += count;
    }
    Pass {
        strategy: first.strategy.clone(),
        name: first.name.clone(),
        url: first.url.clone(),
        rate: first.rate.clone(),
        concurrency: passes().map(|pass| pass.concurrency).sum(),
        warmup: passes().map(|pass| pass.warmup).sum(),
        requests: passes().map(|pass| pass.requests).sum(),
        succeeded: passes().map(|pass| pass.succeeded).sum(),
        statuses,
        failures: failures(passes()),
        seconds,
        interrupted: passes().any(|pass| pass.interrupted),
        connections: passes().map(|pass| pass.connections).sum(),
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
            Some(known) => known.count += failure.count,
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
                known.requests += action.requests;
                known.succeeded += action.succeeded;
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
            all[place(span)].1 += span.failed;
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
