//! `cargo xtask plan check`: what was predicted beside what is measured.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tare_evidence::Check;
use tare_evidence::units::{rate, time};
use tare_plan::{Arrival, Extent, Model, Observation, Scenario, Spacing, beyond, quietest, simulate};
use tare_report::{Section, Table, markdown_of};
use tare_testbed::{Network, Testbed};
use tokio_util::sync::CancellationToken;

use super::measure::{AT_A_RATE, Amounts, JITTER, STEP as CALIBRATION, away, begun, calibrate, keep};
use super::pass::{BUDGET, Bed, How, WARMUP};
use super::{read, together};
use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli::{self, CheckPlan};
use crate::kept::write_atomically;
use crate::progress::Progress;
use crate::session::{Begin, POSTGRES, Session};

/// The name of the step.
const STEP: &str = "check";
/// How far throughput and P95 may be off.
const THROUGHPUT_WITHIN: f64 = 0.1;
const P95_WITHIN: f64 = 0.2;
/// Processors that others may keep busy at most for times to be judged.
const DISTURBED: f64 = 0.5;
/// Simulated passes of each.
const SEEDS: u64 = 9;
/// Callers that saturate the server: rates are shares of what is predicted for them.
const MANY: usize = 32;

/// What is predicted and measured.
struct Configuration {
    action: &'static str,
    load: Load,
    pool_size: usize,
    round_trip_ms: u64,
    /// Why it is looked at.
    why: &'static str,
}

/// The load of one.
#[derive(Clone, Copy)]
enum Load {
    /// So much of what many callers are predicted to get.
    Share(f64),
    Callers(usize),
}

const READ: &str = "view_part_details";
const WRITE: &str = "consume_part";

const fn one(
    action: &'static str,
    load: Load,
    pool_size: usize,
    round_trip_ms: u64,
    why: &'static str,
) -> Configuration {
    Configuration { action, load, pool_size, round_trip_ms, why }
}

/// None of them is a pass of the calibration.
const CONFIGURATIONS: [Configuration; 10] = [
    one(READ, Load::Share(0.2), 16, 0, "a read at a low rate: hardly anybody waits"),
    one(READ, Load::Share(0.5), 16, 0, "a read at half of what there is"),
    one(WRITE, Load::Share(0.3), 16, 0, "a mutation at a low rate: the disk is waited for"),
    one(WRITE, Load::Share(0.6), 16, 0, "a mutation at a high rate: commits are shared"),
    one(READ, Load::Callers(8), 16, 0, "a read by a few callers"),
    one(READ, Load::Callers(24), 16, 0, "a read, saturated"),
    one(WRITE, Load::Callers(24), 16, 0, "a mutation, saturated"),
    one(READ, Load::Callers(12), 16, 5, "a read at a distance: the network is what is waited for"),
    one(READ, Load::Callers(24), 2, 5, "a read at a distance with few connections: the pools hold it back"),
    one(WRITE, Load::Share(0.15), 4, 8, "a mutation at a low rate and a distance"),
];

/// One of them, predicted and measured.
struct Compared<'a> {
    configuration: &'a Configuration,
    scenario: Scenario,
    /// Throughput and P95.
    predicted: [f64; 2],
    measured: Vec<Observation>,
}

/// `cargo xtask plan check`.
pub async fn run(options: CheckPlan, stop: CancellationToken) -> Result<Ending> {
    let amounts = Amounts::of(options.passes.quick);
    let each = amounts.pass + Duration::from_millis(900);
    let mut plan = vec![(POSTGRES.to_owned(), Duration::from_secs(6)), (BUILD.to_owned(), Duration::from_secs(5))];
    plan.extend(options.calibration.is_none().then(|| (CALIBRATION.to_owned(), amounts.usual())));
    plan.push((STEP.to_owned(), each * (CONFIGURATIONS.len() * amounts.rounds) as u32));
    let begin = Begin { command: "plan check", network: Network::LOOPBACK, quick: options.passes.quick };
    let given = options.calibration.as_deref().map(read).transpose()?;
    let mut session = Session::begin(begin, &options.passes.judged, &plan, stop)?;
    let measured = async {
        let (progress, stop) = (session.progress.clone(), session.stop.clone());
        let mut testbed = session.testbed(options.passes.postgres).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        let model = match given {
            Some(model) => model,
            None => {
                let begun = begun(&session);
                let calibrated = calibrate(begun, &built.server, &mut testbed, amounts, &progress, &stop);
                let calibration = session.step(CALIBRATION, calibrated).await?;
                keep(&session, &calibration, Path::new(cli::CALIBRATION))?;
                Model::fit(&calibration)?
            }
        };
        let mut compared = predict(&model, testbed.fixture.tenants().len(), amounts.pass)?;
        let measuring = measure(&mut compared, &built.server, &mut testbed, amounts, &progress, &stop);
        session.step(STEP, measuring).await?;
        let section = told(&compared)?;
        eprintln!("\n{}\n", tare_report::terminal_of(std::slice::from_ref(&section)));
        let passes: Vec<_> = compared.iter().flat_map(|one| &one.measured).collect();
        write_atomically(&session.beside("plan-check.json"), &serde_json::to_string_pretty(&passes)?)?;
        write_atomically(&session.beside("plan-check.md"), &markdown_of(&[section]))?;
        let disturbed = compared.iter().map(|one| least_others(&one.measured)).fold(0.0, f64::max);
        anyhow::ensure!(
            disturbed <= DISTURBED,
            "others kept {disturbed:.2} processors busy even in the quietest pass of a configuration, and times cannot be judged by that; \
             run it again when nobody else uses this machine"
        );
        session.evidence.checks.extend(compared.iter().flat_map(judged));
        Ok(())
    };
    let measured = measured.await;
    session.finish(measured)
}

/// Processors that others kept busy in the pass that was disturbed least.
fn least_others(passes: &[Observation]) -> f64 {
    passes.iter().map(|pass| pass.others).fold(f64::INFINITY, f64::min)
}

/// What is predicted, before anything of it is measured.
fn predict(model: &Model, tenants: usize, pass: Duration) -> Result<Vec<Compared<'static>>> {
    let mut compared = Vec::new();
    for configuration in &CONFIGURATIONS {
        let Configuration { action, load, pool_size, round_trip_ms, .. } = configuration;
        let callers = |callers| Arrival::Callers { callers, think_ms: 0.0 };
        let scenario = |arrival| Scenario {
            arrival,
            tenants,
            pool_size: *pool_size,
            budget: BUDGET,
            round_trip_ms: *round_trip_ms as f64,
            jitter_ms: *round_trip_ms as f64 / f64::from(JITTER),
            ..together(action)
        };
        let scenario = match *load {
            Load::Callers(many) => scenario(callers(many)),
            Load::Share(share) => {
                let near = Scenario { round_trip_ms: 0.0, jitter_ms: 0.0, ..scenario(callers(MANY)) };
                let most = simulate(model, &near, Extent::default())?.throughput;
                // In whole tens, for a table.
                let per_second = (most * share / 10.0).round().max(1.0) * 10.0;
                scenario(Arrival::Rate { per_second, spacing: Spacing::Even, at_a_time: Some(AT_A_RATE) })
            }
        };
        let not_measured = beyond(&model.ranges, &scenario);
        anyhow::ensure!(
            not_measured.is_empty(),
            "the calibration does not reach {}: {}; measure again",
            name(&scenario),
            not_measured.join("; ")
        );
        let predicted = as_measured(model, &scenario, pass)?;
        compared.push(Compared { configuration, scenario, predicted, measured: Vec::new() });
    }
    Ok(compared)
}

/// Throughput and P95 of passes as long as those that are measured: the medians of as many with different chances. Queues that
/// drift have no more time for it here than there.
fn as_measured(model: &Model, scenario: &Scenario, pass: Duration) -> Result<[f64; 2]> {
    let per_second = simulate(model, scenario, Extent::default())?.throughput;
    let requests = |time: Duration| (per_second * time.as_secs_f64()).ceil() as usize;
    let (mut throughput, mut p95) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let extent = Extent { seed, warmup: requests(WARMUP), requests: requests(pass) };
        let outcome = simulate(model, scenario, extent)?;
        throughput.push(outcome.throughput);
        p95.push(outcome.latency.p95_ms);
    }
    Ok([throughput, p95].map(|samples| tare_evidence::median(samples).estimate))
}

/// Measures all of them in turns.
async fn measure(
    compared: &mut [Compared<'_>],
    program: &Path,
    testbed: &mut Testbed,
    amounts: Amounts,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<()> {
    let how = How { time: amounts.pass, attempts: amounts.attempts };
    for round in 0..amounts.rounds {
        for one in compared.iter_mut() {
            let Scenario { action, arrival, pool_size, round_trip_ms, .. } = &one.scenario;
            progress.at(format!("{}, round {} of {}", name(&one.scenario), round + 1, amounts.rounds));
            testbed.put_at(away(Duration::from_secs_f64(round_trip_ms / 1e3))).await?;
            let bed = Bed::start(program, testbed, *pool_size, true, *round_trip_ms).await?;
            let (rate, concurrency) = match *arrival {
                Arrival::Callers { callers, .. } => (None, callers),
                Arrival::Rate { per_second, .. } => (Some(per_second), AT_A_RATE),
            };
            one.measured.push(bed.observe(action, rate, concurrency, how, stop).await?);
            bed.stop().await?;
        }
    }
    testbed.put_at(Network::LOOPBACK).await.map_err(Into::into)
}

/// `view_part_details, 24 callers, 5 ms away, pool size 2`.
fn name(Scenario { action, arrival, pool_size, round_trip_ms, .. }: &Scenario) -> String {
    let load = match arrival {
        Arrival::Callers { callers, .. } => format!("{callers} callers"),
        Arrival::Rate { per_second, .. } => rate(*per_second),
    };
    let far = if *round_trip_ms > 0.0 { format!(", {round_trip_ms} ms away") } else { String::new() };
    format!("{action}, {load}{far}, pool size {pool_size}")
}

impl Compared<'_> {
    /// Throughput and P95, the medians of its passes.
    fn measured(&self) -> Result<[f64; 2]> {
        let all: Vec<_> = self.measured.iter().collect();
        let quiet = quietest(&all);
        let middle = |of: &dyn Fn(&Observation) -> f64| {
            let samples: Vec<_> = quiet.iter().map(|pass| of(pass)).collect();
            (!samples.is_empty()).then(|| tare_evidence::median(samples).estimate).context("it was not measured")
        };
        Ok([middle(&|pass| pass.throughput)?, middle(&|pass| pass.latency.p95_ms)?])
    }
}

fn judged(one: &Compared<'_>) -> Vec<Check> {
    let Ok([throughput, p95]) = one.measured() else { return Vec::new() };
    let check = |what: &str, [predicted, measured]: [f64; 2], within: f64, shown: fn(f64) -> String| Check {
        what: format!("{what} of {}", name(&one.scenario)),
        measured: shown(measured),
        required: format!("as predicted, {}, within {:.0} %", shown(predicted), within * 100.0),
        met: (predicted / measured - 1.0).abs() <= within,
    };
    vec![
        check("throughput", [one.predicted[0], throughput], THROUGHPUT_WITHIN, rate),
        check("P95", [one.predicted[1], p95], P95_WITHIN, time),
    ]
}

fn told(compared: &[Compared<'_>]) -> Result<Section> {
    let header =
        ["configuration", "why", "throughput predicted", "measured", "off", "P95 predicted", "measured", "off"];
    let mut rows = Vec::new();
    for one in compared {
        let ([throughput, p95], [seen_throughput, seen_p95]) = (one.predicted, one.measured()?);
        let off = |predicted: f64, measured: f64| format!("{:+.0} %", (predicted / measured - 1.0) * 100.0);
        rows.push(vec![
            name(&one.scenario),
            one.configuration.why.to_owned(),
            rate(throughput),
            rate(seen_throughput),
            off(throughput, seen_throughput),
            time(p95),
            time(seen_p95),
            off(p95, seen_p95),
        ]);
    }
    let others: f64 = compared.iter().flat_map(|one| &one.measured).map(|pass| pass.others).fold(0.0, f64::max);
    let paragraphs = vec![format!(
        "Predicted from the calibration alone, then measured: the medians of the quietest passes. Others on this machine kept up to {others:.2} processors busy meanwhile."
    )];
    let table = Table { header: header.map(str::to_owned).into(), rows };
    Ok(Section::new("Predicted and measured", paragraphs, Some(table)))
}
