//! `cargo xtask plan measure`: what this machine does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tare_plan::{Calibration, Observation};
use tare_testbed::{Network, Testbed};
use tokio_util::sync::CancellationToken;

use super::pass::{BUDGET, Bed, How};
use crate::build::{self, BUILD};
use crate::cli::MeasurePlan;
use crate::kept::write_atomically;
use crate::progress::Progress;
use crate::session::{Begin, POSTGRES, Session, shown};
use crate::{Ending, workspace};

/// The name of the step.
pub const STEP: &str = "calibration";
/// A read, which waits for the audit queue's disk, and a mutation, which waits for PostgreSQL's.
const ACTIONS: [&str; 2] = ["view_part_details", "consume_part"];
/// What tells the cost of opening a connection: a mutation, behind which nothing opens one more.
const OPENING: &str = ACTIONS[1];
/// Requests at a time, next to the database.
const CONCURRENCY: [usize; 5] = [1, 2, 4, 16, 32];
/// Requests per second, next to the database: with few of them nothing stays warm.
const RATES: [f64; 2] = [100.0, 500.0];
/// Connections of the load at a rate.
pub const AT_A_RATE: usize = 64;
/// As far away as it is measured.
const FAR: Duration = Duration::from_millis(10);
/// Its jitter is a part of it.
pub const JITTER: u32 = 10;
/// Requests at a time there.
const CONCURRENCY_FAR: usize = 16;
/// Connections to one tenant's database at most: the usual, and the fewest.
const POOL_SIZES: [usize; 2] = [16, 1];

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Amounts {
    pub rounds: usize,
    pub pass: Duration,
    /// How often a pass is sent at most, when others disturb it.
    pub attempts: usize,
}

impl Amounts {
    pub fn of(quick: bool) -> Self {
        match quick {
            true => Self { rounds: 1, pass: Duration::from_secs(1), attempts: 1 },
            false => Self { rounds: 3, pass: Duration::from_secs(2), attempts: 4 },
        }
    }

    pub fn usual(self) -> Duration {
        let passes = ACTIONS.len() * (CONCURRENCY.len() + RATES.len()) + 1 + 2 * ACTIONS.len() + 1;
        (self.pass + Duration::from_millis(900)) * (passes * self.rounds) as u32
    }
}

/// `cargo xtask plan measure`.
pub async fn run(options: MeasurePlan, stop: CancellationToken) -> Result<Ending> {
    let amounts = Amounts::of(options.passes.quick);
    let plan = [
        (POSTGRES.to_owned(), Duration::from_secs(6)),
        (BUILD.to_owned(), Duration::from_secs(5)),
        (STEP.to_owned(), amounts.usual()),
    ];
    let begin = Begin { command: "plan measure", network: Network::LOOPBACK, quick: options.passes.quick };
    let mut session = Session::begin(begin, &options.passes.judged, &plan, stop)?;
    let measured = async {
        let progress = session.progress.clone();
        let mut testbed = session.testbed(options.passes.postgres).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        let begun = begun(&session);
        let stop = session.stop.clone();
        let calibrated = calibrate(begun, &built.server, &mut testbed, amounts, &progress, &stop);
        let calibration = session.step(STEP, calibrated).await?;
        keep(&session, &calibration, &options.calibration)
    };
    let measured = measured.await;
    session.finish(measured)
}

/// A calibration of this machine, by this commit.
pub fn begun(session: &Session) -> Calibration {
    let evidence = &session.evidence;
    let postgres = evidence.postgres.as_ref();
    let postgres = postgres.map(|postgres| format!("{} ({})", postgres.version, postgres.provider));
    let (began, commit) = (evidence.run.started_at.clone(), evidence.run.commit.clone());
    Calibration::begun(evidence.machine.clone(), postgres.unwrap_or_default(), began, commit)
}

/// Writes it beside the evidence, and to where plans look for it.
pub fn keep(session: &Session, calibration: &Calibration, file: &Path) -> Result<()> {
    let text = calibration.to_json();
    write_atomically(&session.beside("plan.json"), &text)?;
    let file = from_root(file);
    write_atomically(&file, &text)?;
    session.progress.say(&format!("calibration: {}", shown(&file)));
    Ok(())
}

/// A relative path is meant from the workspace's top folder.
pub fn from_root(file: &Path) -> PathBuf {
    if file.is_absolute() { file.to_owned() } else { workspace::root().join(file) }
}

/// A distance, with the jitter that named ones have: without it those who wait for it fall in step.
pub fn away(round_trip: Duration) -> Network {
    Network { round_trip, jitter: round_trip / JITTER, bandwidth: None }
}

/// Measures everything that a model needs.
pub async fn calibrate(
    mut calibration: Calibration,
    program: &Path,
    testbed: &mut Testbed,
    amounts: Amounts,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Calibration> {
    calibration.tenants = testbed.fixture.tenants().len();
    calibration.budget = BUDGET;
    let cores = calibration.machine.cores;
    // As both programs have it.
    (calibration.load_threads, calibration.server_threads) = ((cores / 2).max(1), cores.div_ceil(2));
    let Amounts { rounds, pass, attempts } = amounts;
    let how = How { time: pass, attempts };
    let mut tell = |observation: Observation| {
        progress.say(&told(&observation));
        calibration.passes.push(observation);
    };
    let [usual, fewest] = POOL_SIZES;

    testbed.put_at(Network::LOOPBACK).await?;
    let bed = Bed::start(program, testbed, usual, true, 0.0).await?;
    for _ in 0..rounds {
        for action in ACTIONS {
            for concurrency in CONCURRENCY {
                tell(bed.observe(action, None, concurrency, how, stop).await?);
            }
            for rate in RATES {
                tell(bed.observe(action, Some(rate), AT_A_RATE, how, stop).await?);
            }
        }
    }
    bed.stop().await?;
    let bed = Bed::start(program, testbed, usual, false, 0.0).await?;
    for _ in 0..rounds {
        tell(bed.observe(OPENING, None, 1, how, stop).await?);
    }
    bed.stop().await?;

    testbed.put_at(away(FAR)).await?;
    let far_ms = FAR.as_secs_f64() * 1e3;
    for pool_size in [usual, fewest] {
        let bed = Bed::start(program, testbed, pool_size, true, far_ms).await?;
        for _ in 0..rounds {
            for action in ACTIONS {
                tell(bed.observe(action, None, CONCURRENCY_FAR, how, stop).await?);
            }
        }
        bed.stop().await?;
    }
    let bed = Bed::start(program, testbed, usual, false, far_ms).await?;
    tell(bed.observe(OPENING, None, 1, how, stop).await?);
    bed.stop().await?;
    testbed.put_at(Network::LOOPBACK).await?;
    Ok(calibration)
}

/// `view_part_details, 4 at a time: 3,120/s, P50 1.20 P95 1.90 ms, CPU 0.11 + 0.12 + 0.20 ms, others 0.02`.
pub fn told(observation: &Observation) -> String {
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
