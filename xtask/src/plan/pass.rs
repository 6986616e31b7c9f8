//! One pass on the built-in server, with what it took of the processors.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tare_gateway::{Fix, Strategy};
use tare_plan::{Observation, Sent};
use tare_stress::{Extent, Pace};
use tare_testbed::Testbed;
use tokio_util::sync::CancellationToken;

use super::cpu::{self, Processes};
use crate::load::{Sending, VARIETY};
use crate::service::{Service, Way};
use crate::stress::{ANY_PORT, Amount};

/// Connections of the server at most.
pub const BUDGET: usize = 80;
/// Sent before anything is counted: connections are opened, and caches filled.
pub const WARMUP: Duration = Duration::from_millis(400);

/// Less than this no disk takes.
const LEAST_MS: f64 = 0.01;
/// Processors that others may keep busy without a pass being sent again.
const QUIET: f64 = 0.15;
/// How long the machine is looked at, and how long it is waited for.
const LOOK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until hardly anything runs on this machine, for some time at most.
async fn until_quiet() -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let (before, looked) = (cpu::machine()?, Instant::now());
        tokio::time::sleep(LOOK).await;
        if (cpu::machine()? - before) / looked.elapsed().as_secs_f64() <= QUIET {
            break;
        }
    }
    Ok(())
}

/// How a pass is sent.
#[derive(Clone, Copy)]
pub struct How {
    /// How long it is counted.
    pub time: Duration,
    /// How often it is sent at most, when others disturb it. Once, and nothing quiet is waited for.
    pub attempts: usize,
}

/// A server as it is measured.
pub struct Bed<'a> {
    testbed: &'a Testbed,
    service: Service,
    pool_size: usize,
    pooled: bool,
    round_trip_ms: f64,
}

impl<'a> Bed<'a> {
    /// Starts one on the testbed, `round_trip_ms` away from its database as the testbed says.
    pub async fn start(
        program: &Path,
        testbed: &'a Testbed,
        pool_size: usize,
        pooled: bool,
        round_trip_ms: f64,
    ) -> Result<Self> {
        let strategy = if pooled { Strategy::AFTER } else { Strategy::AFTER.without(Fix::Pooling) };
        let [pool_size_option, budget] = [format!("--pool-size={pool_size}"), format!("--budget={BUDGET}")];
        let way = Way { options: &[&pool_size_option, &budget], ..Way::of(strategy) };
        let service = Service::start(program, testbed, way, ANY_PORT).await?;
        Ok(Self { testbed, service, pool_size, pooled, round_trip_ms })
    }

    /// Lets it end.
    pub async fn stop(self) -> Result<()> {
        self.service.stop().await.map(drop)
    }

    /// Sends `action` for some time, in a closed loop or evenly at a rate. What others disturb is sent again, a few times; the least
    /// disturbed counts.
    pub async fn observe(
        &self,
        action: &str,
        rate: Option<f64>,
        concurrency: usize,
        How { time, attempts }: How,
        stop: &CancellationToken,
    ) -> Result<Observation> {
        let mut best: Option<Observation> = None;
        for _ in 0..attempts {
            if attempts > 1 {
                until_quiet().await?;
            }
            let observation = self.observe_once(action, rate, concurrency, time, stop).await?;
            let quiet = observation.others <= QUIET;
            if best.as_ref().is_none_or(|best| observation.others < best.others) {
                best = Some(observation);
            }
            if quiet {
                break;
            }
        }
        best.context("no pass was sent")
    }

    async fn observe_once(
        &self,
        action: &str,
        rate: Option<f64>,
        concurrency: usize,
        time: Duration,
        stop: &CancellationToken,
    ) -> Result<Observation> {
        let fixture = &self.testbed.fixture;
        let amount = |time: Duration| Amount {
            extent: Extent { requests: u64::MAX, time },
            pace: rate.map(Pace::constant),
            warmup: 0,
            ..Amount::published(concurrency)
        };
        let send = async |time: Duration| {
            let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, &self.service).await?;
            let pass = tare_stress::run(amount(time).load(sending, None), stop, |_| ()).await?.pass;
            match pass.failures.first() {
                _ if pass.interrupted => bail!("interrupted"),
                Some(failure) => bail!(
                    "{} of {} requests failed, the first: {}",
                    pass.requests - pass.succeeded,
                    pass.requests,
                    failure.example
                ),
                None => Ok(pass),
            }
        };
        send(WARMUP).await?;
        let Some(server) = self.service.id() else { bail!("the server has ended") };
        // There may be no connection at this moment, and one of ours is found as well.
        let database = &fixture.tenants()[0].login.database;
        let _found_by = fixture.server().admin(database).await?;
        let processes = Processes::find(server, database)?;
        let trips = || self.testbed.relay().map(|relay| relay.counts());
        let (before, trips_before) = (processes.used()?, trips());
        let pass = send(time).await?;
        let (after, trips_after) = (processes.used()?, trips());
        let (cpu_ms, others) = after.since(&before, pass.requests);
        let passed = trips_before.zip(trips_after).map(|(before, after)| after.since(before).round_trips_with_tcp());
        // A mutation takes its audit row along, and has a component of nothing.
        let audit = pass.components.iter().find(|(name, latency)| name == "audit" && latency.p50_ms >= LEAST_MS);
        Ok(Observation {
            sent: Sent {
                action: action.to_owned(),
                rate,
                concurrency,
                round_trip_ms: self.round_trip_ms,
                pool_size: self.pool_size,
                pooled: self.pooled,
            },
            requests: pass.requests,
            throughput: pass.throughput(),
            latency: pass.latency,
            audit: audit.map(|(_, latency)| *latency),
            cpu_ms,
            round_trips: passed.map(|passed| passed as f64 / pass.requests as f64),
            others,
        })
    }
}
