//! Passes in turns, each on a server as it asks for.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tare_plan::{Observation, Sent};
use tare_testbed::{Network, Testbed};
use tokio_util::sync::CancellationToken;

use super::pass::{Bed, WARMUP};
use crate::progress::Progress;

/// Starting a server, and looking for a quiet moment.
const BESIDES: Duration = Duration::from_millis(500);
/// The jitter of a distance is so much of it, as named ones have it: without it those who wait for it fall in step.
pub const JITTER: u32 = 10;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Amounts {
    pub rounds: usize,
    /// How long a pass in a closed loop takes.
    pub pass: Duration,
    /// How often a pass is sent at most, when others disturb it. Once, and nothing quiet is waited for.
    pub attempts: usize,
}

impl Amounts {
    /// So many rounds, or one that is short.
    pub fn of(quick: bool, rounds: usize) -> Self {
        match quick {
            true => Self { rounds: 1, pass: Duration::from_secs(1), attempts: 1 },
            false => Self { rounds, pass: Duration::from_secs(2), attempts: 4 },
        }
    }

    /// How long a pass takes. At a rate twice as long: its P95 is of what comes in bursts, and of those there are few.
    pub fn time(self, is_paced: bool) -> Duration {
        if is_paced { self.pass * 2 } else { self.pass }
    }

    /// What these passes usually take.
    pub fn usual(self, passes: &[Sent]) -> Duration {
        let round: Duration = passes.iter().map(|sent| self.time(sent.rate.is_some()) + WARMUP + BESIDES).sum();
        round * self.rounds as u32
    }
}

/// What passes are sent with.
pub struct Series<'a> {
    pub program: &'a Path,
    pub testbed: &'a mut Testbed,
    pub amounts: Amounts,
    pub progress: &'a Progress,
    pub stop: &'a CancellationToken,
}

impl Series<'_> {
    /// Sends each pass once in every round. Servers, and the passes on each, come in another order every time: a machine that becomes
    /// slower or faster does so for all of them alike.
    pub async fn observe(&mut self, passes: &[Sent]) -> Result<Vec<Observation>> {
        let Self { program, amounts, progress, stop, .. } = *self;
        let mut observed = Vec::new();
        for round in 1..=amounts.rounds {
            let mut servers = by_server(passes);
            fastrand::shuffle(&mut servers);
            for mut of_server in servers {
                fastrand::shuffle(&mut of_server);
                let Some(first) = of_server.first() else { continue };
                self.testbed.put_at(network(first)).await?;
                let bed = Bed::start(program, self.testbed, first).await?;
                for sent in of_server {
                    let observation = bed.observe(sent, amounts, stop).await?;
                    progress.at(format!("round {round} of {}: {}", amounts.rounds, told(&observation)));
                    observed.push(observation);
                }
                bed.stop().await?;
            }
        }
        self.testbed.put_at(Network::LOOPBACK).await?;
        Ok(observed)
    }
}

/// Those together that need the same server.
fn by_server(passes: &[Sent]) -> Vec<Vec<&Sent>> {
    let mut servers: Vec<Vec<&Sent>> = Vec::new();
    let server = |sent: &Sent| (sent.round_trip_ms.to_bits(), sent.pool_size, sent.pooled);
    for sent in passes {
        match servers.iter_mut().find(|others| server(others[0]) == server(sent)) {
            Some(others) => others.push(sent),
            None => servers.push(vec![sent]),
        }
    }
    servers
}

fn network(sent: &Sent) -> Network {
    let round_trip = Duration::from_secs_f64(sent.round_trip_ms / 1e3);
    match round_trip.is_zero() {
        true => Network::LOOPBACK,
        false => Network { round_trip, jitter: round_trip / JITTER, bandwidth: None },
    }
}

/// `view_part_details, 4 at a time: 3,120/s, P50 1.20 P95 1.90 ms, CPU 0.11 + 0.12 + 0.20 ms, others 0.02`.
fn told(observation: &Observation) -> String {
    let Observation { sent, throughput, latency, cpu_ms, others, .. } = observation;
    format!(
        "{}, {}{}: {throughput:.0}/s, P50 {:.2} P95 {:.2} ms, CPU {:.3} + {:.3} + {:.3} ms, others {others:.2}",
        sent.action,
        sent.rate.map_or_else(|| format!("{} at a time", sent.concurrency), |rate| format!("{rate:.0} a second")),
        if sent.round_trip_ms > 0.0 { format!(", {} ms away", sent.round_trip_ms) } else { String::new() },
        latency.p50_ms,
        latency.p95_ms,
        cpu_ms.load,
        cpu_ms.server,
        cpu_ms.postgres,
    )
}
