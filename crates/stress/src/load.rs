//! One pass: what load to send, and what came of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tare_evidence::Pass;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::merge::{LATENESS, action_tag, component_tag};
use crate::moment::{seconds, wait_until};
use crate::outcome::Outcome;
use crate::tally::{Recent, Tally};
use crate::timeline::{Timeline, WINDOW, Window, spans};
use crate::times::Times;
use crate::worker::{Crew, attempt};
use crate::{Action, Connection, Entry, Error, LogError, Mix, Pace, Share, Target, log};

/// Classes of the histogram that is told.
pub(crate) const BARS: usize = 12;
/// How long before an agreed moment connections are opened and warmed.
const WARM_UP: Duration = Duration::from_secs(10);

/// How much load, at most: whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// So many requests.
    pub requests: u64,
    /// As many as can be begun in that time.
    pub time: Duration,
}

/// What load to send, and what counts as success.
pub struct Load {
    /// What it is called in the evidence.
    pub name: String,
    /// The strategy of the service, if it is ours.
    pub strategy: Option<String>,
    /// Where to.
    pub target: Target,
    /// What is sent.
    pub mix: Arc<Mix>,
    /// When requests are due. Nothing for a closed loop: each is sent when the one before it on its connection is answered.
    pub pace: Option<Pace>,
    /// Requests at a time.
    pub concurrency: usize,
    /// How many of them share a connection, where it is HTTP/2.
    pub streams: usize,
    /// Threads that send.
    pub threads: usize,
    /// Requests sent before counting begins, as fast as they are answered; one more is sent first of all, to see whether
    /// anything answers.
    pub warmup: u64,
    /// Requests counted.
    pub extent: Extent,
    /// How long a request may take before it is given up.
    pub timeout: Duration,
    /// Whether each request is told of.
    pub every: bool,
    /// Which of several machines this is that send it together: of requests, and of the moments at which they are due, every so
    /// manieth is taken, so that none is sent by two. `concurrency`, `warmup` and `extent` are this machine's own.
    pub share: Share,
    /// When counting begins, which is at once when that is past; nothing for as soon as the connections are warm.
    pub start: Option<SystemTime>,
}

/// How a pass goes, told several times a second.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Since counting began.
    pub elapsed: Duration,
    /// Requests counted so far.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Requests of the last moments, per second.
    pub per_second: f64,
    /// Percentiles so far.
    pub p50_ms: f64,
    /// Percentiles so far.
    pub p95_ms: f64,
    /// Percentiles so far.
    pub p99_ms: f64,
    /// Each request since this was last told, where it was asked for.
    pub lines: Vec<Line>,
    /// How long it is until counting begins, where a moment was agreed on and is ahead.
    pub ahead: Option<Duration>,
}

/// One request, told of by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number, from 1.
    pub nth: u64,
    /// Index of its action.
    pub action: usize,
    /// Its status, where it was answered.
    pub status: Option<u16>,
    /// The kind of its failure, where it failed.
    pub failure: Option<&'static str>,
    /// In milliseconds.
    pub latency_ms: f64,
}

/// What came of a pass.
pub struct Measured {
    /// What is kept as evidence.
    pub pass: Pass,
    /// Its latencies over time.
    pub windows: Vec<Window>,
    /// Its histograms, as the text of a log that [`crate::Log::parse`] reads.
    pub log: String,
    /// When counting began.
    pub began: Instant,
}

/// Sends the load. `progress` is told how it goes, several times a second. When `stop` is cancelled, requests under way are
/// given up uncounted, and the pass says that it was interrupted.
///
/// # Errors
/// [`Error::NoRequests`], [`Error::NoAnswer`] when the first request gets no answer of any kind, and [`Error::Threads`].
pub async fn run(load: Load, stop: &CancellationToken, mut progress: impl FnMut(&Live)) -> Result<Measured, Error> {
    if load.concurrency == 0 || load.mix.is_empty() {
        return Err(Error::NoRequests);
    }
    probe(&load).await?;
    let stop = stop.child_token();
    // Threads end with this future, also when it is dropped half-way.
    let _ended_with_this = stop.clone().drop_guard();
    let start = load.start;
    let mut waiting = |left: Duration, after: Duration| {
        progress(&Live { ahead: Some(left + after), ..Live::default() });
    };
    if let Some(start) = start {
        // Not at once: a service closes connections that are idle for long.
        wait_until(start - WARM_UP, &stop, |left| waiting(left, WARM_UP)).await;
    }
    let mut crew = Crew::start(load, &stop).map_err(Error::Threads)?;
    crew.warm_up().await;
    if let Some(start) = start {
        wait_until(start, &stop, |left| waiting(left, Duration::ZERO)).await;
    }
    let mut watch = Watch::new(crew.common.begin());
    let mut tick = tokio::time::interval(WINDOW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            biased;
            () = crew.ended() => true,
            _ = tick.tick() => false,
        };
        progress(&watch.look(&crew.tallies));
        if ended {
            break;
        }
    }
    let interrupted = stop.is_cancelled();
    let (common, tally) = crew.end();
    Ok(watch.measured(&common.load, tally, interrupted)?)
}

/// Whether anything answers at all; what it answers is for the pass to tell.
async fn probe(load: &Load) -> Result<(), Error> {
    let failed = |reason: String| Error::NoAnswer { url: load.target.url().to_owned(), reason };
    let (mut connection, number) = (Connection::new(load.target.clone()), load.share.number(0));
    let (_, outcome) = attempt(&load.mix, &mut connection, number, Duration::ZERO, load.timeout).await;
    match outcome {
        // A template that fails for one request need not fail for the others.
        Outcome::Answer(_) | Outcome::NoRequest(_) => Ok(()),
        Outcome::NoAnswer(reason) => Err(failed(reason.to_string())),
        Outcome::Timeout(after) => Err(failed(format!("nothing came back within {} s", after.as_secs_f64()))),
    }
}

/// Looks on while others send.
struct Watch {
    began: Instant,
    /// The same in seconds since 1970.
    began_s: f64,
    /// Of all windows together.
    latency: Times,
    failed: u64,
    /// Of the window that is looked at, and a thread's part of it; empty in between. Here for their memory to be used again.
    recent: Recent,
    part: Recent,
    timeline: Timeline,
    looked: Duration,
}

impl Watch {
    fn new(began: Instant) -> Self {
        Self {
            began,
            began_s: seconds(SystemTime::now() - began.elapsed()),
            latency: Times::new(),
            failed: 0,
            recent: Recent::default(),
            part: Recent::default(),
            timeline: Timeline::default(),
            looked: Duration::ZERO,
        }
    }

    /// Takes what came of requests since it last looked.
    fn look(&mut self, tallies: &[Arc<Mutex<Tally>>]) -> Live {
        let now = self.began.elapsed();
        let Self { recent, part, .. } = self;
        for tally in tallies {
            std::mem::swap(&mut tally.lock().unwrap_or_else(PoisonError::into_inner).window, part);
            recent.take(part);
        }
        let (length, requests) = (now - self.looked, recent.latency.0.len());
        self.timeline.push(Window::new(self.looked, length, &recent.latency, recent.failed));
        self.looked = now;
        self.latency.add(&recent.latency);
        self.failed += recent.failed;
        let lines = std::mem::take(&mut recent.lines);
        recent.clear();
        let [p50_ms, p95_ms, p99_ms] = [0.50, 0.95, 0.99].map(|quantile| self.latency.quantile_ms(quantile));
        Live {
            elapsed: now,
            requests: self.latency.0.len(),
            failed: self.failed,
            per_second: requests as f64 / length.as_secs_f64(),
            p50_ms,
            p95_ms,
            p99_ms,
            lines,
            ahead: None,
        }
    }

    fn measured(self, load: &Load, tally: Tally, interrupted: bool) -> Result<Measured, LogError> {
        let windows = self.timeline.finish();
        let names: Vec<_> = load.mix.actions().iter().map(Action::name).collect();
        let log = log(self.began_s, self.looked, &windows, &tally, &names, load.pace.is_some())?;
        let summaries = |times: Vec<(&str, &Times)>| {
            times.into_iter().map(|(name, times)| (name.to_owned(), times.summary())).collect::<Vec<_>>()
        };
        let pass = Pass {
            strategy: load.strategy.clone(),
            name: load.name.clone(),
            url: load.target.url().to_owned(),
            rate: load.pace.as_ref().map(Pace::to_string),
            concurrency: load.concurrency,
            warmup: load.warmup + 1,
            requests: self.latency.0.len(),
            succeeded: tally.succeeded,
            statuses: tally.statuses.iter().map(|(status, times)| (*status, times.0.len())).collect(),
            seconds: self.looked.as_secs_f64(),
            interrupted,
            connections: tally.connections,
            latency: self.latency.summary(),
            lateness: load.pace.is_some().then(|| tally.lateness.summary()),
            components: summaries(tally.components()),
            latency_by_status: tally.statuses.iter().map(|(status, times)| (*status, times.summary())).collect(),
            actions: if names.len() > 1 {
                tally.actions(&names).map(|(action, _)| action).collect()
            } else {
                Vec::new()
            },
            histogram: self.latency.bars(BARS),
            timeline: spans(&windows),
            tail: tally.tail(),
            activity: None,
            began_s: Some(self.began_s),
            start_s: load.start.map(seconds),
            share: None,
            ahead: tally.clock.ahead(),
            parts: Vec::new(),
            failures: tally.failures(&|text| load.mix.redact(text).into_owned()),
        };
        Ok(Measured { pass, windows, log, began: self.began })
    }
}

/// Every histogram of a pass, as the text of a log: the windows in order, then what is tagged, each of the whole pass.
fn log(
    started: f64,
    length: Duration,
    windows: &[Window],
    tally: &Tally,
    names: &[&str],
    at_a_rate: bool,
) -> Result<String, LogError> {
    let of_windows = windows.iter().map(|window| Entry {
        tag: None,
        from_s: window.from().as_secs_f64(),
        seconds: window.length().as_secs_f64(),
        times: window.times(),
    });
    let actions = tally.actions(names).map(|(action, times)| (action_tag(&action.name), times));
    let statuses = tally.statuses.iter().map(|(status, times)| (format!("status:{status}"), times));
    let components = tally.components().into_iter().map(|(name, times)| (component_tag(name), times));
    let lateness = at_a_rate.then(|| (LATENESS.to_owned(), &tally.lateness));
    let tagged = actions.chain(statuses).chain(components).chain(lateness).map(|(tag, times)| Entry {
        tag: Some(tag),
        from_s: 0.0,
        seconds: length.as_secs_f64(),
        times: times.0.clone(),
    });
    log::text(started, of_windows.chain(tagged))
}
