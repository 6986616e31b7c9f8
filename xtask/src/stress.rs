//! Stress passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use tare_evidence::Pass;
use tare_gateway::Strategy;
use tare_profile::Watched;
use tare_stress::{Extent, Line, Live, Load, Measured, Pace, Seen, Share, csv};
use tare_testbed::{Network, Template, Testbed};
use tokio_util::sync::CancellationToken;

use crate::build::{self, BUILD};
use crate::cli::{self, StressCommand};
use crate::kept::write_atomically;
use crate::limit::{self, Looking};
use crate::load::{Sending, VARIETY, warn_of_unused_token};
use crate::progress::Progress;
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session};
use crate::watch::{self, Moment, Watch};
use crate::{Ending, merge, worker};

/// The action that was published.
pub const PUBLISHED_ACTION: &str = "view_part_details";
/// A free port of this machine's own.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Requests that were published.
const PUBLISHED_REQUESTS: u64 = 500;

/// How much load, and how it is sent.
#[derive(Clone)]
pub struct Amount {
    pub extent: Extent,
    pub pace: Option<Pace>,
    pub concurrency: usize,
    pub streams: usize,
    pub threads: usize,
    pub warmup: u64,
    pub timeout: Duration,
    /// Whether each request is told of.
    pub every: bool,
    /// Of several machines, which this is; what is above but for the pace is this one's share.
    pub share: Share,
    pub start: Option<SystemTime>,
}

impl Amount {
    /// What was published, so many at a time.
    pub fn published(concurrency: usize) -> Self {
        Self {
            extent: Extent { requests: PUBLISHED_REQUESTS, time: Duration::MAX },
            pace: None,
            concurrency,
            streams: 1,
            threads: threads(None),
            warmup: 50,
            timeout: tare_stress::TIMEOUT,
            every: false,
            share: Share::WHOLE,
            start: None,
        }
    }

    /// What was asked for, of which it may be a share. A pass always has an end.
    fn of(options: &cli::Stress) -> Result<Self> {
        let share = options.share.unwrap_or(Share::WHOLE);
        let requests = requests(options);
        let concurrency = share.of(options.concurrency as u64) as usize;
        worker::refuse_too_few("-c", options.concurrency as u64, share)?;
        worker::refuse_too_few("-n", requests, share)?;
        options.start_at.map_or(Ok(()), worker::refuse_moment)?;
        Ok(Self {
            extent: Extent { requests: share.of(requests), time: options.duration.unwrap_or(Duration::MAX) },
            pace: options.rate.clone(),
            concurrency,
            streams: options.streams,
            threads: threads(options.threads),
            warmup: share.of(options.warmup),
            timeout: options.timeout,
            every: options.verbose,
            share,
            start: options.start_at,
        })
    }

    /// The load that is so much.
    pub fn load(&self, Sending { name, target, mix }: Sending, strategy: Option<String>) -> Load {
        let Self { extent, pace, concurrency, streams, threads, warmup, timeout, every, share, start } = self.clone();
        Load {
            name,
            strategy,
            target,
            mix,
            pace,
            concurrency,
            streams,
            threads,
            warmup,
            extent,
            timeout,
            every,
            share,
            start,
        }
    }

    /// How long it takes, where the amount says so.
    fn duration(&self) -> Option<Duration> {
        let pace = self.pace.as_ref();
        let counted = pace.and_then(|pace| pace.due(self.share.number(self.extent.requests)).or(pace.duration()));
        let bounded = (self.extent.time < Duration::MAX).then_some(self.extent.time);
        [counted, bounded].into_iter().flatten().min()
    }
}

/// Requests that were asked for, of all workers together.
pub fn requests(options: &cli::Stress) -> u64 {
    let has_end = options.duration.is_some() || options.rate.as_ref().is_some_and(|pace| pace.duration().is_some());
    options.requests.unwrap_or(if has_end { u64::MAX } else { PUBLISHED_REQUESTS })
}

/// Half of the processors unless told otherwise: those who answer need some, too.
fn threads(asked: Option<u16>) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or((processors / 2).max(1), usize::from)
}

/// `cargo xtask stress`.
pub async fn run(options: cli::Stress, stop: CancellationToken) -> Result<Ending> {
    if let Some(StressCommand::Merge(options)) = &options.command {
        return merge::run(options, stop);
    }
    let amount = Amount::of(&options)?;
    let looking = options.find_limit.then(|| Looking::of(&options));
    match options.subject.url.clone() {
        Some(url) => own(&options, &url, &amount, looking, stop).await,
        None => built_in(&options, &amount, looking, stop).await,
    }
}

async fn own(
    options: &cli::Stress,
    url: &str,
    amount: &Amount,
    looking: Option<Looking>,
    stop: CancellationToken,
) -> Result<Ending> {
    refuse_network(options.postgres.network)?;
    let mut sending = Sending::own(&options.subject, url, options.mix.as_deref(), options.seed).await?;
    if options.no_reuse {
        sending.target = sending.target.without_reuse();
    }
    let ahead = amount.start.and_then(|start| start.duration_since(SystemTime::now()).ok()).unwrap_or_default();
    let usual = ahead + amount.duration().unwrap_or(Duration::from_secs(amount.extent.requests / 20));
    let shared = options.share.map(|share| worker::share(share, options, &sending.mix));
    let (command, name, usual) = match &looking {
        Some(looking) => ("stress --url --find-limit", limit::STEP.to_owned(), looking.usual()),
        None => ("stress --url", "stress url".to_owned(), usual),
    };
    let begin = Begin { command, network: options.postgres.network, quick: false };
    let mut session = Session::begin(begin, &options.judged, &[(name.clone(), usual)], stop)?;
    session.format = options.format;
    if let Some(start) = amount.start {
        session.progress.say(&worker::waiting(ahead, start));
    }
    let measured = match looking {
        Some(looking) => looking.find(&mut session, amount, None, async || Ok(sending.clone())).await,
        None => {
            let (progress, stop) = (session.progress.clone(), session.stop.clone());
            let measured = session.step(&name, async {
                let sampler = if options.watch_database { Some(watch::database().await?) } else { None };
                let mut measured = send(sending, None, amount, &progress, &stop).await?;
                measured.pass.share = shared;
                if let Some(sampler) = sampler {
                    let watched = sampler.end(measured.began).await;
                    tell(&mut measured, watched.map_err(Into::into), Vec::new(), &progress);
                }
                Ok(measured)
            });
            measured.await.and_then(|measured| keep(&mut session, measured))
        }
    };
    session.finish(measured)
}

async fn built_in(
    options: &cli::Stress,
    amount: &Amount,
    looking: Option<Looking>,
    stop: CancellationToken,
) -> Result<Ending> {
    let cli::Stress { subject, workers, postgres, .. } = options;
    warn_of_unused_token();
    Template::named(&subject.action)?;
    let way = Way { workers: *workers, ..Way::of(subject.strategy) };
    let (name, usual) = match &looking {
        Some(looking) => (limit::STEP.to_owned(), looking.usual()),
        None => (step(way.strategy, &subject.action), usual(way, amount, postgres.network)),
    };
    let plan =
        [(POSTGRES.to_owned(), Duration::from_secs(6)), (BUILD.to_owned(), Duration::from_secs(5)), (name, usual)];
    let workers = way.workers.map_or_else(String::new, |workers| format!(" --workers {workers}"));
    let search = if looking.is_some() { " --find-limit" } else { "" };
    let command = format!("stress --strategy {}{workers}{search}", way.strategy);
    let begin = Begin { command: &command, network: postgres.network, quick: false };
    let mut session = Session::begin(begin, &options.judged, &plan, stop)?;
    session.format = options.format;
    let measured = async {
        let progress = session.progress.clone();
        let mut testbed = session.testbed(*postgres).await?;
        testbed.put_at(postgres.network).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        match looking {
            None => pass(&mut session, &built.server, &testbed, &subject.action, way, amount).await,
            Some(looking) => {
                let service = Service::start(&built.server, &testbed, way, ANY_PORT).await?;
                let fixture = &testbed.fixture;
                let sending =
                    async || Sending::action(fixture, fixture.tenants(), &subject.action, VARIETY, &service).await;
                looking.find(&mut session, amount, Some(way.strategy.to_string()), sending).await?;
                service.stop().await.map(drop)
            }
        }
    };
    let measured = measured.await;
    session.finish(measured)
}

/// A network is ours to choose only where the service is.
pub fn refuse_network(network: Network) -> Result<()> {
    match network {
        Network::LOOPBACK => Ok(()),
        _ => bail!("--network is between the built-in server and its database; a service at --url is where it is"),
    }
}

/// The name of a pass's step.
pub fn step(strategy: Strategy, action: &str) -> String {
    match action {
        PUBLISHED_ACTION => format!("stress {strategy}"),
        other => format!("stress {strategy} {other}"),
    }
}

/// How long a pass usually takes, for telling it beforehand.
pub fn usual(way: Way<'_>, amount: &Amount, network: Network) -> Duration {
    let (work, round_trips) = match way.strategy {
        Strategy::BEFORE => (Duration::from_millis(20), 30),
        _ => (Duration::from_micros(500), 1),
    };
    let at_a_time = way.workers.map_or(amount.concurrency, |workers| amount.concurrency.min(workers.into()));
    let each = work + network.round_trip * round_trips / at_a_time as u32;
    let of = |requests: u64| each.mul_f64(requests as f64);
    Duration::from_millis(500) + of(amount.warmup) + amount.duration().unwrap_or_else(|| of(amount.extent.requests))
}

/// One pass on a built-in server of its own, into the evidence; and proof that the server did what it was asked.
pub async fn pass(
    session: &mut Session,
    program: &Path,
    testbed: &Testbed,
    action: &str,
    way: Way<'_>,
    amount: &Amount,
) -> Result<()> {
    let (fixture, strategy) = (&testbed.fixture, way.strategy);
    let service = Service::start(program, testbed, way, ANY_PORT).await?;
    let audited = fixture.audit_rows().await?;
    let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &service).await?;
    let (progress, stop) = (session.progress.clone(), session.stop.clone());
    let watch = Watch::start(&service, fixture).await?;
    let sent = send(sending, Some(strategy.to_string()), amount, &progress, &stop);
    let mut measured = session.step(&step(strategy, action), sent).await?;
    let (watched, seen) = watch.end(measured.began).await;
    tell(&mut measured, watched, seen, &session.progress);
    let pass = measured.pass.clone();
    keep(session, measured)?;
    let log = session.beside(&format!("server-{strategy}.txt"));
    service.stop_into(&log, &session.progress).await?;
    expect_audit_rows(&pass, fixture.audit_rows().await? - audited)
}

/// What went on meanwhile at the database and elsewhere, and what of it slow requests have in common. A pass is what it is when
/// its database could not be watched to the end.
fn tell(measured: &mut Measured, watched: Result<Watched>, mut moments: Vec<Moment>, progress: &Progress) {
    let pass = &mut measured.pass;
    match watched {
        Ok(watched) => {
            pass.activity = Some(watched.activity);
            moments.extend(watched.moments);
        }
        Err(reason) => progress.say(&format!("the database could not be watched to the end: {reason:#}")),
    }
    if let Some(tail) = &mut pass.tail {
        let since = |(at, what): &Moment| Some(Seen { at: at.checked_duration_since(measured.began)?, what });
        let seen: Vec<_> = moments.iter().filter_map(since).collect();
        tail.circumstances = tare_stress::circumstances(&measured.windows, pass.latency.p95_ms, &seen);
    }
}

/// Into the evidence, with its histograms and its timeline beside it.
fn keep(session: &mut Session, measured: Measured) -> Result<()> {
    let Measured { pass, log, .. } = measured;
    session.evidence.passes.push(pass);
    let pass = session.evidence.passes.last().expect("it was just put there");
    let name = merge::file_name(&session.evidence);
    write_atomically(&session.beside(&format!("{name}.hlog")), &log)?;
    write_atomically(&session.beside(&format!("{name}.csv")), &csv(pass))?;
    session.save()
}

/// Sends the load and counts it.
pub async fn send(
    sending: Sending,
    strategy: Option<String>,
    amount: &Amount,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Measured> {
    let names: Vec<_> = sending.mix.actions().iter().map(|action| action.name().to_owned()).collect();
    let load = amount.load(sending, strategy);
    let began = Instant::now();
    let measured = tare_stress::run(load, stop, |live| {
        live.lines.iter().for_each(|line| progress.say(&told(line, &names)));
        if let Some(whole) = expected(live, amount) {
            // The warm-up is part of the step, too.
            progress.expect(began.elapsed().saturating_sub(live.elapsed) + whole);
        }
        progress.at(match (live.ahead, amount.start) {
            (Some(left), Some(start)) => worker::waiting(left, start),
            _ => so_far(live),
        });
    });
    Ok(measured.await?)
}

/// How long a pass takes, judged by what it did so far.
fn expected(live: &Live, amount: &Amount) -> Option<Duration> {
    let by_count = || {
        let share = live.requests as f64 / amount.extent.requests as f64;
        (share > 0.02).then(|| live.elapsed.div_f64(share))
    };
    amount.duration().or_else(by_count)
}

/// `4,120 requests, 812/s, P50 3.1 P95 9.0 P99 12.4 ms, 3 failed`.
fn so_far(live: &Live) -> String {
    let Live { requests, failed, per_second, p50_ms, p95_ms, p99_ms, .. } = live;
    let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{requests} requests, {per_second:.0}/s, P50 {p50_ms:.1} P95 {p95_ms:.1} P99 {p99_ms:.1} ms{failed}")
}

/// A request by itself.
fn told(line: &Line, names: &[String]) -> String {
    let status = line.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let action = if names.len() > 1 { &*names[line.action] } else { "" };
    let failure = line.failure.unwrap_or_default();
    format!("{:>7}  {status:>3}  {:>10.2} ms  {action}  {failure}", line.nth, line.latency_ms).trim_end().to_owned()
}

/// An audited service has one row for each request that succeeded, and may have one for each that did not, or the pass measured
/// something else than it says. The server has been stopped, and so has written what it had queued.
pub fn expect_audit_rows(pass: &Pass, written: i64) -> Result<()> {
    let sent = (pass.requests + pass.warmup) as i64;
    let least = if pass.succeeded == pass.requests { sent } else { pass.succeeded as i64 };
    match pass.interrupted || (least..=sent).contains(&written) {
        true => Ok(()),
        false => bail!("{sent} requests left {written} audit rows; what the service did is not what it was asked"),
    }
}
