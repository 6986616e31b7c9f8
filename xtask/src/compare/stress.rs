//! Passes of the built-in servers of both states.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tare_evidence::Figure;
use tare_gateway::{Fix, Strategy};
use tare_stress::Extent;
use tare_testbed::{Network, Testbed};

use super::sides::Sides;
use crate::pass::Measuring;
use crate::session::Session;
use crate::stress::{Amount, PUBLISHED_ACTION};

/// Requests at a time, as published.
const CONCURRENCY: usize = 10;

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

    /// One pass of one state: each of [`FIGURES`].
    pub async fn pass(&mut self, nth: usize, strategy: Strategy, session: &Session) -> Result<Vec<f64>> {
        let testbed = &mut self.testbeds[nth];
        // A bench may have put them elsewhere.
        testbed.put_at(self.network).await?;
        let measuring = Measuring {
            program: &self.programs[nth],
            testbed,
            progress: session.progress.clone(),
            stop: session.stop.clone(),
            logs: session.beside(""),
        };
        let pass = measuring.pass(strategy, PUBLISHED_ACTION, &amount(strategy)).await?;
        Ok(vec![pass.latency.p50_ms, pass.latency.p95_ms, pass.latency.p99_ms, pass.throughput()])
    }
}

/// So many requests that P99 is not one of them alone; where each opens a connection, as many as take as long.
fn amount(strategy: Strategy) -> Amount {
    let (warmup, requests) = if strategy.has(Fix::Pooling) { (1_000, 2_000) } else { (20, 200) };
    Amount { warmup, extent: Extent { requests, time: Duration::MAX }, ..Amount::published(CONCURRENCY) }
}
