//! The load loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tare_evidence::Pass;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::tally::{Outcome, Tally};
use crate::{Connection, Error, Request, Target};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// How much load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many requests.
    Requests(u64),
    /// As many as can be begun in that time.
    Time(Duration),
}

/// What load to send, and what counts as success.
pub struct Load {
    /// What it is called in the evidence.
    pub name: String,
    /// The strategy of the service, if it is ours.
    pub strategy: Option<String>,
    /// Where to.
    pub target: Target,
    /// Sent in turn, over and over.
    pub requests: Vec<Request>,
    /// JSON pointers to what the body of a success holds.
    pub promises: Vec<String>,
    /// Workers, each with a connection of its own.
    pub concurrency: usize,
    /// Requests sent before counting begins; one more is sent first of all, to see whether anything answers.
    pub warmup: u64,
    /// Requests counted.
    pub extent: Extent,
    /// How long a request may take before it is given up.
    pub timeout: Duration,
}

/// Sends the load. `progress` is told how many requests have been counted, several times a second. When `stop` is
/// cancelled, requests under way are given up uncounted, and the pass says that it was interrupted.
///
/// # Errors
/// [`Error::NoRequests`], and [`Error::NoAnswer`] when the first request gets no answer of any kind.
pub async fn run(load: Load, stop: &CancellationToken, progress: impl Fn(u64)) -> Result<Pass, Error> {
    if load.requests.is_empty() || load.concurrency == 0 {
        return Err(Error::NoRequests);
    }
    let load = Arc::new(load);
    let mut workers: Vec<_> = (0..load.concurrency).map(|_| Connection::new(load.target.clone())).collect();
    probe(&load, &mut workers[0]).await?;
    let (workers, _) = phase(&load, workers, Extent::Requests(load.warmup), stop, |_| ()).await;
    let start = Instant::now();
    let (_, tally) = phase(&load, workers, load.extent, stop, progress).await;
    let seconds = start.elapsed().as_secs_f64();

    let requests = tally.requests();
    Ok(Pass {
        strategy: load.strategy.clone(),
        name: load.name.clone(),
        url: load.target.url().to_owned(),
        concurrency: load.concurrency,
        warmup: load.warmup + 1,
        requests,
        succeeded: tally.succeeded,
        statuses: tally.statuses.clone(),
        seconds,
        interrupted: stop.is_cancelled(),
        latency: tally.latency(),
        components: tally.components(),
        failures: tally.failures(),
    })
}

/// Whether anything answers at all; what it answers is for the pass to tell.
async fn probe(load: &Load, connection: &mut Connection) -> Result<(), Error> {
    let failed = |reason: String| Error::NoAnswer { url: load.target.url().to_owned(), reason };
    match send(load, connection, 0).await {
        Outcome::Answer(_) => Ok(()),
        Outcome::NoAnswer(reason) => Err(failed(reason.to_string())),
        Outcome::Timeout(after) => Err(failed(format!("nothing came back within {} s", after.as_secs_f64()))),
    }
}

async fn send(load: &Load, connection: &mut Connection, nth: u64) -> Outcome {
    let request = &load.requests[(nth % load.requests.len() as u64) as usize];
    match tokio::time::timeout(load.timeout, connection.send(request)).await {
        Ok(Ok(answer)) => Outcome::Answer(answer),
        Ok(Err(reason)) => Outcome::NoAnswer(reason),
        Err(_) => Outcome::Timeout(load.timeout),
    }
}

/// Lets every worker take requests until `extent` is reached; the workers come back with their connections.
async fn phase(
    load: &Arc<Load>,
    workers: Vec<Connection>,
    extent: Extent,
    stop: &CancellationToken,
    progress: impl Fn(u64),
) -> (Vec<Connection>, Tally) {
    let started = Instant::now();
    let (begun, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running = JoinSet::new();
    for mut connection in workers {
        let (load, stop, begun, done) = (load.clone(), stop.clone(), begun.clone(), done.clone());
        running.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let nth = begun.fetch_add(1, Ordering::Relaxed);
                let over = match extent {
                    Extent::Requests(requests) => nth >= requests,
                    Extent::Time(time) => started.elapsed() >= time,
                };
                if over || stop.is_cancelled() {
                    return (connection, tally);
                }
                let start = Instant::now();
                let outcome = tokio::select! {
                    biased;
                    outcome = send(&load, &mut connection, nth) => outcome,
                    () = stop.cancelled() => return (connection, tally),
                };
                tally.count(&outcome, start.elapsed(), &load.promises);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut tick = tokio::time::interval(TICK);
    let (mut workers, mut total) = (Vec::new(), Tally::default());
    loop {
        tokio::select! {
            joined = running.join_next() => match joined {
                Some(Ok((connection, tally))) => {
                    workers.push(connection);
                    total.add(tally);
                }
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => return (workers, total),
            },
            _ = tick.tick() => progress(done.load(Ordering::Relaxed)),
        }
    }
}
