//! Benches, run by their executables on the run's own testbed.

mod again;
pub mod executable;
pub mod turns;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use tare_evidence::Bench;
use tare_testbed::{HANDOVER, NETWORK, Network, PrivateFolder};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::baseline::{self, Beside};
use crate::build::{self, BUILD};
use crate::cli::{self, Baselines, BenchName};
use crate::guard::Guarded;
use crate::progress::Progress;
use crate::session::{Begin, POSTGRES, Session};
use crate::{Ending, criterion, workspace};

/// Every bench executable, in the order a request takes the components.
pub const ALL: [BenchName; 8] = [
    BenchName::Auth,
    BenchName::Tenant,
    BenchName::Connection,
    BenchName::Action,
    BenchName::Audit,
    BenchName::Response,
    BenchName::Request,
    BenchName::Relay,
];

/// Measurements in each of them, for telling beforehand how long they take.
const fn measurements(bench: BenchName) -> u32 {
    match bench {
        BenchName::Response => 2,
        BenchName::Relay => 3,
        BenchName::Auth | BenchName::Tenant => 4,
        BenchName::Request => 8,
        BenchName::Audit => 10,
        BenchName::Action => 12,
        BenchName::Connection => 14,
    }
}

/// How benches are run.
#[derive(Clone)]
pub struct Settings {
    pub quick: bool,
    pub network: Network,
    pub baselines: Baselines,
}

impl Settings {
    /// Refuses a baseline that was not saved of all `benches`.
    pub fn check(&self, benches: &[BenchName]) -> Result<()> {
        let Some(name) = &self.baselines.baseline else { return Ok(()) };
        match benches.iter().find(|bench| !criterion::has_baseline(&criterion::home(), bench.name(), name)) {
            Some(bench) => {
                let bench = bench.name();
                bail!(
                    "there is no baseline {name:?} of {bench} to compare with; save one first with --save-baseline {name}, or unpack one \
                     with `cargo xtask baseline unpack`"
                )
            }
            None => Ok(()),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--bench".to_owned()];
        if self.network != Network::LOOPBACK {
            // Waiting makes it long, and sure.
            let waiting = ["--warm-up-time", "0.1", "--measurement-time", "0.5", "--sample-size", "10", "--noplot"];
            arguments.extend(waiting.map(str::to_owned));
        } else if self.quick {
            let quick = ["--warm-up-time", "0.2", "--measurement-time", "0.8", "--sample-size", "20", "--noplot"];
            arguments.extend(quick.map(str::to_owned));
        }
        let Baselines { save_baseline, baseline } = &self.baselines;
        // Lenient, for what is new has none, and is remarked on in the end.
        for (flag, name) in [("--save-baseline", save_baseline), ("--baseline-lenient", baseline)] {
            arguments.extend(name.iter().flat_map(|name| [flag.to_owned(), name.clone()]));
        }
        arguments
    }

    /// The steps, and how long they usually take.
    pub fn plan(&self, benches: &[BenchName]) -> Vec<(String, Duration)> {
        let one = if self.quick { Duration::from_millis(2_600) } else { Duration::from_secs(11) };
        let one = one + self.network.round_trip * 100;
        benches.iter().map(|&bench| (step(bench), one * measurements(bench))).collect()
    }
}

fn step(bench: BenchName) -> String {
    format!("bench {}", bench.name())
}

/// `cargo xtask bench`.
pub async fn run(options: cli::Bench, stop: CancellationToken) -> Result<Ending> {
    let settings = Settings { quick: options.quick, network: options.postgres.network, baselines: options.baselines };
    let benches = if options.benches.is_empty() { ALL.to_vec() } else { options.benches };
    settings.check(&benches)?;
    let mut plan = vec![(POSTGRES.to_owned(), Duration::from_secs(6)), (BUILD.to_owned(), Duration::from_secs(5))];
    plan.extend(settings.plan(&benches));
    let command = if settings.quick { "bench --quick" } else { "bench" };
    let begin = Begin { command, network: settings.network, quick: settings.quick };
    let mut session = Session::begin(begin, &options.judged, &plan, stop)?;
    session.predicted = options.predicted.distances_ms;
    let measured = async {
        let progress = session.progress.clone();
        let testbed = session.testbed(options.postgres).await?;
        let built = session.step(BUILD, build::build(&progress, true)).await?;
        let folder = PrivateFolder::new()?;
        let handover = folder.path().join("testbed.json");
        testbed.fixture.hand_over(&handover)?;
        run_all(&mut session, &built, &benches, &settings, &handover).await
    };
    let measured = measured.await;
    session.finish(measured)
}

/// Runs `benches` one after the other; what each measured is in the evidence before the next begins.
pub async fn run_all(
    session: &mut Session,
    built: &build::Built,
    benches: &[BenchName],
    settings: &Settings,
    handover: &Path,
) -> Result<()> {
    let progress = session.progress.clone();
    for &bench in benches {
        let executable = built.bench(bench.name())?;
        let log = session.beside(&format!("criterion-{}.txt", bench.name()));
        let measured = session.step(&step(bench), run_one(&progress, executable, settings, handover, &log)).await?;
        if let Some(name) = &settings.baselines.save_baseline {
            let on = baseline::On::of(&session.evidence, &measured);
            baseline::keep(&criterion::home(), name, bench.name(), on)?;
        }
        session.evidence.benches.extend(measured);
        session.save()?;
    }
    again::look(session, built, settings.network, handover).await?;
    if let Some(name) = &settings.baselines.baseline {
        let benches: Vec<_> = benches.iter().map(|bench| bench.name()).collect();
        let beside =
            Beside { name, benches: &benches, evidence: &session.evidence, compare: &session.config().compare };
        session.evidence.changes = Some(beside.read(&criterion::home()));
        session.save()?;
    }
    Ok(())
}

async fn run_one(
    progress: &Progress,
    executable: &Path,
    settings: &Settings,
    handover: &Path,
    log: &Path,
) -> Result<Vec<Bench>> {
    let since = SystemTime::now();
    let mut command = Command::new(executable);
    command
        .args(settings.arguments())
        .env(HANDOVER, handover)
        .env(NETWORK, settings.network.to_string())
        .env("CRITERION_HOME", criterion::home())
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut bench = Guarded::spawn(&mut command)?;
    let mut results = BufReader::new(bench.child.stdout.take().context("the bench's output")?).lines();
    let mut remarks = BufReader::new(bench.child.stderr.take().context("the bench's output")?).lines();
    let mut log_file = File::create(log).await.with_context(|| format!("cannot write {}", log.display()))?;
    let (mut results_open, mut remarks_open, mut last_remark) = (true, true, String::new());
    while results_open || remarks_open {
        let line = tokio::select! {
            line = results.next_line(), if results_open => {
                let line = line?;
                results_open = line.is_some();
                line
            }
            line = remarks.next_line(), if remarks_open => {
                let line = line?;
                remarks_open = line.is_some();
                last_remark = line.clone().filter(|line| !line.trim().is_empty() && !line.starts_with("note: ")).unwrap_or(last_remark);
                line
            }
        };
        let Some(line) = line else { continue };
        if let Some(at) = line.strip_prefix("Benchmarking ") {
            progress.at(at);
        }
        log_file.write_all(format!("{line}\n").as_bytes()).await?;
    }
    log_file.flush().await?;
    let status = bench.wait().await?;
    if !status.success() {
        bail!("the bench ended with {status}: {last_remark}; all it said is in {}", log.display());
    }
    criterion::measured(&criterion::home(), since)
}
