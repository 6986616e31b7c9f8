//! `cargo xtask plan measure`: what this machine does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tare_plan::{Calibration, Observation, Sent};
use tare_testbed::Network;
use tokio_util::sync::CancellationToken;

use super::pass::BUDGET;
use super::series::{Amounts, Series};
use crate::build::{self, BUILD};
use crate::cli::MeasurePlan;
use crate::kept::write_atomically;
use crate::session::{Begin, POSTGRES, Session, shown};
use crate::{Ending, workspace};

/// The name of the step.
const STEP: &str = "calibration";
const ROUNDS: usize = 3;
/// A read, which waits for the audit queue's disk, and a mutation, which waits for PostgreSQL's.
pub const ACTIONS: [&str; 2] = [READ, WRITE];
pub const READ: &str = "view_part_details";
pub const WRITE: &str = "consume_part";
/// Requests at a time, next to the database.
const CONCURRENCY: [usize; 6] = [1, 2, 4, 6, 12, MANY];
const MANY: usize = 32;
/// Requests per second, next to the database: with few of them nothing stays warm.
const RATES: [f64; 2] = [100.0, 500.0];
/// The same as shares of what many at a time are answered.
const SHARES: [f64; 4] = [0.15, 0.3, 0.45, 0.6];
/// Connections of the load at a rate.
pub const AT_A_RATE: usize = 64;
/// As far away as it is measured, in milliseconds.
const FAR_MS: f64 = 10.0;
/// Requests at a time there.
const CONCURRENCY_FAR: usize = 16;
/// Connections to one tenant's database at most: the usual, and the fewest.
const POOL_SIZES: [usize; 2] = [USUAL_POOL, 1];
pub const USUAL_POOL: usize = 16;

/// Requests per second that many at a time are answered, of each action.
pub type Most = BTreeMap<String, f64>;

/// `cargo xtask plan measure`.
pub async fn run(options: MeasurePlan, stop: CancellationToken) -> Result<Ending> {
    let amounts = Amounts::of(options.passes.quick, ROUNDS);
    let plan = [
        (POSTGRES.to_owned(), Duration::from_secs(6)),
        (BUILD.to_owned(), Duration::from_secs(5)),
        (STEP.to_owned(), amounts.usual(&passes(&Most::new()))),
    ];
    let begin = Begin { command: "plan measure", network: Network::LOOPBACK, quick: options.passes.quick };
    let mut session = Session::begin(begin, &options.passes.judged, &plan, stop)?;
    let measured = async {
        let (progress, stop) = (session.progress.clone(), session.stop.clone());
        let mut testbed = session.testbed(options.passes.postgres).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        let mut calibration = begun(&session, testbed.fixture.tenants().len());
        let (program, testbed) = (&*built.server, &mut testbed);
        let mut series = Series { program, testbed, amounts, progress: &progress, stop: &stop };
        let measuring = async {
            let passes = passes(&most(&mut series).await?);
            series.observe(&passes).await
        };
        calibration.passes = session.step(STEP, measuring).await?;
        keep(&session, &calibration, &options.calibration)
    };
    let measured = measured.await;
    session.finish(measured)
}

/// A calibration of this machine, by this commit, with nothing in it yet.
pub fn begun(session: &Session, tenants: usize) -> Calibration {
    let evidence = &session.evidence;
    let postgres = evidence.postgres.as_ref();
    let postgres = postgres.map(|postgres| format!("{} ({})", postgres.version, postgres.provider));
    let (began, commit) = (evidence.run.started_at.clone(), evidence.run.commit.clone());
    let mut calibration = Calibration::begun(evidence.machine.clone(), postgres.unwrap_or_default(), began, commit);
    (calibration.tenants, calibration.budget) = (tenants, BUDGET);
    let cores = calibration.machine.cores;
    // As both programs have it.
    (calibration.load_threads, calibration.server_threads) = ((cores / 2).max(1), cores.div_ceil(2));
    calibration
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

/// A closed loop next to the database, connections kept.
pub fn looped(action: &str, concurrency: usize) -> Sent {
    let pool_size = USUAL_POOL;
    Sent { action: action.to_owned(), rate: None, concurrency, round_trip_ms: 0.0, pool_size, pooled: true }
}

/// Measures what rates are chosen by, once.
pub async fn most(series: &mut Series<'_>) -> Result<Most> {
    let once = Amounts { rounds: 1, ..series.amounts };
    let all = std::mem::replace(&mut series.amounts, once);
    let observed = series.observe(&ACTIONS.map(|action| looped(action, MANY))).await;
    series.amounts = all;
    let of = |Observation { sent, throughput, .. }: Observation| (sent.action, throughput);
    Ok(observed?.into_iter().map(of).collect())
}

/// A share of that, in whole tens for a table.
pub fn share_of(most: &Most, action: &str, share: f64) -> f64 {
    let most = most.get(action).copied().unwrap_or_default();
    (most * share / 10.0).round().max(1.0) * 10.0
}

/// Everything that a model needs.
pub fn passes(most: &Most) -> Vec<Sent> {
    let mut passes = Vec::new();
    for action in ACTIONS {
        passes.extend(CONCURRENCY.map(|concurrency| looped(action, concurrency)));
        let rates = RATES.into_iter().chain(SHARES.map(|share| share_of(most, action, share)));
        passes.extend(rates.map(|rate| Sent { rate: Some(rate), ..looped(action, AT_A_RATE) }));
        let far = Sent { round_trip_ms: FAR_MS, ..looped(action, CONCURRENCY_FAR) };
        passes.extend(POOL_SIZES.map(|pool_size| Sent { pool_size, ..far.clone() }));
    }
    // A mutation tells the cost of opening a connection: behind it nothing opens one more.
    let opening = Sent { pooled: false, ..looped(WRITE, 1) };
    passes.extend([0.0, FAR_MS].map(|round_trip_ms| Sent { round_trip_ms, ..opening.clone() }));
    passes
}
