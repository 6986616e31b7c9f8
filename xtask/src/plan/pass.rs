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
use super::measure::WRITE;
use super::series::Amounts;
use crate::load::{Sending, VARIETY};
use crate::service::{Service, Way};
use crate::stress::{ANY_PORT, Amount};

/// Connections of the server at most.
pub const BUDGET: usize = 80;
/// Sent before anything is counted: connections are opened, and caches filled.
pub const WARMUP: Duration = Duration::from_millis(400);
/// Sent on each connection once more before the first is counted.
const WARMUP_EACH: u64 = 4;

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

/// A server as it is measured.
pub struct Bed<'a> {
    testbed: &'a Testbed,
    service: Service,
}

impl<'a> Bed<'a> {
    /// Starts one on the testbed that `sent` can be sent to, and whatever needs the same.
    pub async fn start(program: &Path, testbed: &'a Testbed, sent: &Sent) -> Result<Self> {
        let strategy = if sent.pooled { Strategy::AFTER } else { Strategy::AFTER.without(Fix::Pooling) };
        let [pool_size, budget] = [format!("--pool-size={}", sent.pool_size), format!("--budget={BUDGET}")];
        let way = Way { options: &[&pool_size, &budget], ..Way::of(strategy) };
        let service = Service::start(program, testbed, way, ANY_PORT).await?;
        Ok(Self { testbed, service })
    }

    /// Lets it end.
    pub async fn stop(self) -> Result<()> {
        self.service.stop().await.map(drop)
    }

    /// Sends a pass, in a closed loop or evenly at a rate. What others disturb is sent again, a few times; the least disturbed counts.
    pub async fn observe(&self, sent: &Sent, amounts: Amounts, stop: &CancellationToken) -> Result<Observation> {
        let mut best: Option<Observation> = None;
        for _ in 0..amounts.attempts {
            if amounts.attempts > 1 {
                until_quiet().await?;
            }
            let observation = self.observe_once(sent, amounts.time(sent.rate.is_some()), stop).await?;
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

    async fn observe_once(&self, sent: &Sent, time: Duration, stop: &CancellationToken) -> Result<Observation> {
        let fixture = &self.testbed.fixture;
        let amount = |time: Duration, warmup: u64| Amount {
            extent: Extent { requests: u64::MAX, time },
            pace: sent.rate.map(Pace::constant),
            warmup,
            ..Amount::published(sent.concurrency)
        };
        let send = async |time: Duration, warmup: u64, begins: &mut dyn FnMut()| {
            let sending = Sending::action(fixture, fixture.tenants(), &sent.action, VARIETY, &self.service).await?;
            let load = amount(time, warmup).load(sending, None);
            let pass = tare_stress::run(load, stop, |_| begins()).await?.pass;
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
        send(WARMUP, 0, &mut || ()).await?;
        let Some(server) = self.service.id() else { bail!("the server has ended") };
        // There may be no connection at this moment, and one of ours is found as well.
        let database = &fixture.tenants()[0].login.database;
        let _found_by = fixture.server().admin(database).await?;
        let processes = Processes::find(server, database)?;
        let trips = || self.testbed.relay().map(|relay| relay.counts());
        // Its connections are opened before it is counted: at a rate the first requests would wait for them.
        let (opened, mut begun) = (WARMUP_EACH * sent.concurrency as u64, None);
        let mut begins = || {
            begun.get_or_insert_with(|| (processes.used(), trips()));
        };
        let pass = send(time, opened, &mut begins).await?;
        let (before, trips_before) = begun.context("nothing was counted")?;
        let before = before?;
        let (after, trips_after) = (processes.used()?, trips());
        let (cpu_ms, others) = after.since(&before, pass.requests);
        let passed = trips_before.zip(trips_after).map(|(before, after)| after.since(before).round_trips_with_tcp());
        // A mutation takes its audit row along, and has a component of nothing.
        let audit = pass.components.iter().find(|(name, _)| name == "audit" && sent.action != WRITE);
        Ok(Observation {
            sent: sent.clone(),
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
