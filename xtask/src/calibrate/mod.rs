//! `cargo xtask calibrate`: how far the figures of the load can be trusted, on this machine.
//!
//! An instrument is held against what is known: a service with known latencies, a service that stalls, a long pass beside a
//! short one, and the same load sent by others.

mod clients;
mod known;
mod memory;
mod rivals;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tare_evidence::{Check, Latency, Pass};
use tare_stress::{Extent, Mix, Pace, Request, Target};
use tokio_util::sync::CancellationToken;

use self::known::Known;
use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli::{Calibrate, CalibrationPart as Part};
use crate::load::Sending;
use crate::progress::Progress;
use crate::service::{Service, Way};
use crate::session::{Begin, Session};
use crate::stress::{ANY_PORT, Amount, send};

/// Requests per second to the service that stalls.
const RATE: f64 = 500.0;
/// Requests per second to the one with known latencies: few enough for none to wait for a processor.
const SLOW_RATE: f64 = 250.0;
/// How long a service stalls.
const STALL: Duration = Duration::from_secs(1);
/// When it does, after counting began.
const BEFORE_STALL: Duration = Duration::from_secs(3);
/// How long a pass with a stall takes.
const WITH_STALL: Duration = Duration::from_secs(10);
/// Connections to the service that stalls.
const CONNECTIONS: usize = 64;
/// Connections at a rate to the one with known latencies: more than are busy at a time, and few enough to stay warm.
const ENOUGH: usize = 8;
/// Connections in a closed loop of known latencies.
const FEW: usize = 4;

/// How much is done.
pub struct Plan {
    /// Times that a known service takes, which are all taken equally often.
    times: usize,
    rounds: usize,
    round: Duration,
    requests: u64,
}

impl Plan {
    fn of(quick: bool) -> Self {
        match quick {
            true => Self { times: 2_500, rounds: 3, round: Duration::from_secs(3), requests: 500_000 },
            false => Self { times: 10_000, rounds: 7, round: Duration::from_secs(5), requests: 2_000_000 },
        }
    }

    fn usual(&self, part: Part) -> Duration {
        match part {
            Part::Latencies => Duration::from_secs_f64(self.times as f64 * (1.0 / SLOW_RATE + 0.002)),
            Part::Stall => 2 * WITH_STALL,
            Part::Memory => Duration::from_micros(35) * self.requests as u32,
            Part::Clients => self.round * self.rounds as u32 * 2,
            Part::Rivals => {
                self.round * (self.rounds * rivals::CLIENTS * rivals::CONNECTIONS.len()) as u32
                    + Duration::from_secs(10)
            }
        }
    }
}

/// `cargo xtask calibrate`.
pub async fn run(options: Calibrate, stop: CancellationToken) -> Result<Ending> {
    let plan = Plan::of(options.quick);
    let parts = if options.parts.is_empty() { Part::ALL.to_vec() } else { options.parts.clone() };
    let steps: Vec<_> = parts.iter().map(|part| (part.name().to_owned(), plan.usual(*part))).collect();
    let command = if options.quick { "calibrate --quick" } else { "calibrate" };
    let begin = Begin { command, network: options.postgres.network, quick: options.quick };
    let mut session = Session::begin(begin, &options.judged, &steps, stop)?;
    let measured = measure(&mut session, &parts, &plan, &options).await;
    session.finish(measured)
}

async fn measure(session: &mut Session, parts: &[Part], plan: &Plan, options: &Calibrate) -> Result<()> {
    let (progress, stop) = (session.progress.clone(), session.stop.clone());
    for part in parts {
        let checks = match part {
            Part::Latencies => session.step(part.name(), latencies(plan, &progress, &stop)).await?,
            Part::Stall => session.step(part.name(), stall(&progress, &stop)).await?,
            Part::Clients => session.step(part.name(), clients::measure(plan, &progress)).await?,
            Part::Memory => session.step(part.name(), memory::measure(plan.requests, &progress)).await?,
            Part::Rivals => {
                let testbed = session.testbed(options.postgres).await?;
                let built = session.step(BUILD, build::build(&progress, false)).await?;
                let way = Way::of(tare_gateway::Strategy::AFTER);
                let service = Service::start(&built.server, &testbed, way, ANY_PORT).await?;
                let measured = rivals::measure(&testbed, &service, plan, &progress);
                let checks = session.step(part.name(), measured).await?;
                service.stop().await?;
                checks
            }
        };
        session.evidence.checks.extend(checks);
        session.save()?;
    }
    Ok(())
}

/// What is sent to a service that is known.
async fn sending(known: &Known, name: &str) -> Result<Sending> {
    let mix = Mix::prepared(name, vec![Request::get()], Vec::new());
    Ok(Sending { name: name.to_owned(), target: Target::resolve(&known.url(), false, None).await?, mix: Arc::new(mix) })
}

/// Percentiles of known latencies, in a closed loop and at a rate.
async fn latencies(plan: &Plan, progress: &Progress, stop: &CancellationToken) -> Result<Vec<Check>> {
    let times = times(plan.times);
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let known = Known::start(times).context("cannot serve")?;
    let mut checks = Vec::new();
    // In a closed loop each is busy all the time, and more of them than processors would wait for one.
    for (name, pace, concurrency) in
        [("closed loop", None, FEW), ("at a rate", Some(Pace::constant(SLOW_RATE)), ENOUGH)]
    {
        let amount = Amount {
            extent: Extent { requests: plan.times as u64, time: Duration::MAX },
            pace,
            warmup: 200,
            ..Amount::published(concurrency)
        };
        let pass = send(sending(&known, name).await?, None, &amount, progress, stop).await?.pass;
        let Latency { p50_ms, p95_ms, p99_ms, p999_ms, .. } = pass.latency;
        for (percentile, share, measured) in
            [("P50", 0.5, p50_ms), ("P95", 0.95, p95_ms), ("P99", 0.99, p99_ms), ("P99.9", 0.999, p999_ms)]
        {
            let truth = ms(sorted[((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1]);
            let off = truth * 0.01 + 0.1;
            checks.push(Check {
                what: format!("{name}: {percentile} of known latencies"),
                measured: format!("{measured:.2} ms"),
                required: format!("{truth:.2} ± {off:.2} ms"),
                met: (measured - truth).abs() <= off,
            });
        }
    }
    Ok(checks)
}

/// Times with a long tail, from 2 to some 200 ms, the same in every run.
fn times(many: usize) -> Vec<Duration> {
    // Quantiles of a log-logistic distribution, in an order that has them all mixed.
    let nth = |n: usize| {
        let share = (n as f64 + 0.5) / many as f64;
        Duration::from_secs_f64(0.006 * (share / (1.0 - share)).powf(0.45))
            .clamp(Duration::from_millis(2), Duration::from_millis(200))
    };
    let step = (many as f64 * 0.618) as usize | 1;
    let coprime = (step..).find(|step| gcd(*step, many) == 1).unwrap_or(1);
    (0..many).map(|n| nth(n * coprime % many)).collect()
}

fn gcd(one: usize, other: usize) -> usize {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// A service that stalls for a second, as its users find it and as a closed loop does.
async fn stall(progress: &Progress, stop: &CancellationToken) -> Result<Vec<Check>> {
    let at_a_rate = stalled(Some(Pace::constant(RATE)), progress, stop).await?;
    let closed = stalled(None, progress, stop).await?;
    let mut checks = Vec::new();
    // Of the requests due while it stalls, the one due first waits for all of the stall.
    let all = RATE * WITH_STALL.as_secs_f64();
    let truth = |share: f64| STALL.as_secs_f64() * 1e3 - all * (1.0 - share) / RATE * 1e3;
    type Percentile = (&'static str, f64, fn(&Latency) -> f64);
    let percentiles: [Percentile; 2] =
        [("P99", 0.99, |latency| latency.p99_ms), ("P99.9", 0.999, |latency| latency.p999_ms)];
    for (name, share, of) in percentiles {
        let (truth, measured) = (truth(share), of(&at_a_rate.latency));
        checks.push(Check {
            what: format!("{name} with a stall of a second"),
            measured: format!("{measured:.0} ms"),
            required: format!("{truth:.0} ms ± 5 %"),
            met: (measured / truth - 1.0).abs() <= 0.05,
        });
        progress.say(&format!(
            "{name} of a service that stalls for a second: {truth:.0} ms by arithmetic, {measured:.0} ms at a rate, {:.1} ms \
             in a closed loop",
            of(&closed.latency)
        ));
    }
    Ok(checks)
}

async fn stalled(pace: Option<Pace>, progress: &Progress, stop: &CancellationToken) -> Result<Pass> {
    let known = Known::start(Vec::new()).context("cannot serve")?;
    let amount = Amount {
        extent: Extent { requests: u64::MAX, time: WITH_STALL },
        pace,
        // Without a warm-up, counting begins when this does.
        warmup: 0,
        ..Amount::published(CONNECTIONS)
    };
    let from = Instant::now() + BEFORE_STALL;
    known.stall(from, from + STALL);
    Ok(send(sending(&known, "stall").await?, None, &amount, progress, stop).await?.pass)
}

/// Processor time that `who` has taken so far. Of children, those that have ended.
fn cpu(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let time = |time: TimeVal| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000);
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
