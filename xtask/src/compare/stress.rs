//! Passes of the built-in servers of both states.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tare_evidence::{Figure, Pass};
use tare_gateway::{Fix, Strategy};
use tare_stress::Extent;
use tare_testbed::{Network, Testbed};

use super::sides::Sides;
use crate::bench::turns::{TURNS_OF_A_ROUND, is_mirrored};
use crate::pass::Running;
use crate::service::Way;
use crate::session::Session;
use crate::stress::{Amount, PUBLISHED_ACTION};

/// Requests at a time, as published.
const CONCURRENCY: usize = 10;

/// How often turns are taken in a round.
const TIMES: usize = 2;

/// The figures of a pass that are compared.
pub const FIGURES: [Figure; 4] = [Figure::P50, Figure::P95, Figure::P99, Figure::Throughput];

/// The servers of both states, each with its databases.
pub struct Servers {
    programs: [PathBuf; 2],
    testbeds: [Testbed; 2],
    network: Network,
}

impl Servers {
    /// Nothing where one of the states has none.
    pub async fn of(sides: &Sides) -> Result<Option<Self>> {
        let [base, head] = sides.both.each_ref().map(|side| side.executables.server.clone());
        let (Some(base), Some(head)) = (base, head) else { return Ok(None) };
        let mut testbeds = Vec::new();
        for (bed, side) in sides.beds.iter().zip(&sides.both) {
            let testbed = Testbed::handed_over(&bed.handover).await;
            testbeds.push(testbed.with_context(|| format!("the databases of {}", side.name()))?);
        }
        let testbeds = testbeds.try_into().ok().context("there are two states")?;
        Ok(Some(Self { programs: [base, head], testbeds, network: sides.beds[0].network }))
    }

    /// A round: servers of both states, each sent a few requests in turns; each of [`FIGURES`], pair by pair.
    pub async fn turns(&mut self, strategy: Strategy, round: usize, session: &Session) -> Result<Vec<Vec<[f64; 2]>>> {
        let stop = &session.stop;
        let (mut running, audited) = (Vec::new(), self.audit_rows().await?);
        let order = if is_mirrored(round) { [1, 0] } else { [0, 1] };
        for side in order {
            let (program, testbed) = (&self.programs[side], &mut self.testbeds[side]);
            // A bench may have put them elsewhere.
            testbed.put_at(self.network).await?;
            running.push(Running::start(program, testbed, Way::of(strategy), PUBLISHED_ACTION).await?);
        }
        let mut sent = 0;
        for running in &running {
            let pass = running.pass(warmup(strategy), stop).await?;
            sent += pass.requests + pass.warmup;
        }
        let mut measured = vec![Vec::new(); FIGURES.len()];
        for _ in 0..TIMES {
            let mut pairs = [[0.0; 2]; FIGURES.len()];
            let mut passes = [0.0; 2];
            for turn in TURNS_OF_A_ROUND {
                let side = order[turn];
                passes[side] += 1.0;
                let pass = running[turn].pass(amount(strategy), stop).await?;
                sent += pass.requests + pass.warmup;
                for (pair, figure) in pairs.iter_mut().zip(figures(&pass)) {
                    // The mean so far.
                    pair[side] += (figure - pair[side]) / passes[side];
                }
            }
            for (measured, pair) in measured.iter_mut().zip(pairs) {
                measured.push(pair);
            }
        }
        for running in running {
            running.end(&session.beside(""), &session.progress).await?;
        }
        let rows = self.audit_rows().await? - audited;
        ensure!(
            rows == sent as i64,
            "{sent} requests left {rows} audit rows; what the servers did is not what they were asked"
        );
        Ok(measured)
    }

    /// Of both states together.
    async fn audit_rows(&self) -> Result<i64> {
        let [base, head] = &self.testbeds;
        let rows = base.fixture.audit_rows().await?;
        match base.fixture.control().database == head.fixture.control().database {
            true => Ok(rows),
            false => Ok(rows + head.fixture.audit_rows().await?),
        }
    }
}

/// The order of [`FIGURES`].
fn figures(pass: &Pass) -> [f64; FIGURES.len()] {
    [pass.latency.p50_ms, pass.latency.p95_ms, pass.latency.p99_ms, pass.throughput()]
}

/// So many requests that P99 is not one of them alone; where each opens a connection, as many as take as long.
fn amount(strategy: Strategy) -> Amount {
    let requests = if strategy.has(Fix::Pooling) { 500 } else { 50 };
    Amount { warmup: 0, extent: Extent { requests, time: Duration::MAX }, ..Amount::published(CONCURRENCY) }
}

/// Requests until pools no longer grow.
fn warmup(strategy: Strategy) -> Amount {
    let requests = if strategy.has(Fix::Pooling) { 1_000 } else { 20 };
    Amount { extent: Extent { requests, time: Duration::MAX }, ..amount(strategy) }
}
