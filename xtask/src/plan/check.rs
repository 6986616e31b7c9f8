//! `cargo xtask plan check`: what was predicted beside what is measured.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tare_evidence::Check;
use tare_evidence::units::{rate, time};
use tare_plan::{
    Arrival, Calibration, Extent, Model, Observation, Ranges, Scenario, Sent, Spacing, beyond, quietest, simulate,
};
use tare_report::{Section, Table, markdown_of};
use tare_testbed::Network;
use tokio_util::sync::CancellationToken;

use super::measure::{AT_A_RATE, Most, READ, WRITE, begun, keep, looped, most, passes, share_of};
use super::pass::{BUDGET, WARMUP};
use super::series::{Amounts, JITTER, Series};
use super::{read, together};
use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli::{self, CheckPlan};
use crate::kept::write_atomically;
use crate::session::{Begin, POSTGRES, Session};

/// The name of the step.
const STEP: &str = "check";
const ROUNDS: usize = 5;
/// How far throughput and P95 may be off.
const WITHIN: [f64; 2] = [0.1, 0.2];
/// Processors that others may keep busy at most for times to be judged.
const DISTURBED: f64 = 0.5;
/// Simulated passes of each.
const SEEDS: u64 = 9;

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
    /// So much of what the most at a time are answered.
    Share(f64),
    Callers(usize),
}

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
    one(WRITE, Load::Share(0.25), 16, 0, "a mutation at a low rate: the disk is waited for"),
    one(WRITE, Load::Share(0.5), 16, 0, "a mutation at half of what there is: commits are shared"),
    one(READ, Load::Callers(8), 16, 0, "a read by a few callers"),
    one(READ, Load::Callers(24), 16, 0, "a read, saturated"),
    one(WRITE, Load::Callers(24), 16, 0, "a mutation, saturated"),
    one(READ, Load::Callers(12), 16, 5, "a read at a distance: the network is what is waited for"),
    one(READ, Load::Callers(24), 2, 5, "a read at a distance with few connections: the pools hold it back"),
    one(WRITE, Load::Share(0.15), 4, 8, "a mutation at a low rate and a distance"),
];

/// One of them, predicted and measured: throughput and P95.
struct Compared {
    configuration: &'static Configuration,
    scenario: Scenario,
    passes: Vec<Observation>,
    predicted: [f64; 2],
    measured: [f64; 2],
    /// Whether half of the passes were so close to what was measured as predictions are judged by.
    repeats: bool,
}

/// `cargo xtask plan check`.
pub async fn run(options: CheckPlan, stop: CancellationToken) -> Result<Ending> {
    let amounts = Amounts::of(options.passes.quick, ROUNDS);
    let unknown = Most::new();
    let mut sending: Vec<_> = CONFIGURATIONS.iter().map(|one| sent(&scenario(one, &unknown, 1))).collect();
    if options.calibration.is_none() {
        sending.extend(passes(&unknown));
    }
    let plan = [
        (POSTGRES.to_owned(), Duration::from_secs(6)),
        (BUILD.to_owned(), Duration::from_secs(5)),
        (STEP.to_owned(), amounts.usual(&sending)),
    ];
    let begin = Begin { command: "plan check", network: Network::LOOPBACK, quick: options.passes.quick };
    let given = options.calibration.as_deref().map(read).transpose()?;
    let mut session = Session::begin(begin, &options.passes.judged, &plan, stop)?;
    let measured = async {
        let (progress, stop) = (session.progress.clone(), session.stop.clone());
        let mut testbed = session.testbed(options.passes.postgres).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        let anew = given.is_none();
        let mut calibration = given.unwrap_or_else(|| begun(&session, testbed.fixture.tenants().len()));
        let (program, testbed) = (&*built.server, &mut testbed);
        let mut series = Series { program, testbed, amounts, progress: &progress, stop: &stop };
        let (scenarios, mut observed) = session.step(STEP, observe(&mut series, &calibration, anew)).await?;
        let of_scenarios = scenarios.map(|scenario| {
            let sent = sent(&scenario);
            (scenario, observed.extract_if(.., |pass| pass.sent == sent).collect::<Vec<_>>())
        });
        if anew {
            calibration.passes = observed;
            keep(&session, &calibration, Path::new(cli::CALIBRATION))?;
        }
        let model = Model::fit(&calibration)?;
        let compared = CONFIGURATIONS.iter().zip(of_scenarios);
        let compared = compared.map(|(configuration, (scenario, passes))| {
            within(&model.ranges, &scenario)?;
            Compared::of(configuration, scenario, passes, &model, amounts)
        });
        let compared = compared.collect::<Result<Vec<_>>>()?;
        let section = told(&compared);
        eprintln!("\n{}\n", tare_report::terminal_of(std::slice::from_ref(&section)));
        let passes: Vec<_> = compared.iter().flat_map(|one| &one.passes).collect();
        write_atomically(&session.beside("plan-check.json"), &serde_json::to_string_pretty(&passes)?)?;
        write_atomically(&session.beside("plan-check.md"), &markdown_of(&[section]))?;
        let disturbed = compared.iter().map(|one| least_others(&one.passes)).fold(0.0, f64::max);
        anyhow::ensure!(
            disturbed <= DISTURBED,
            "others kept {disturbed:.2} processors busy even in the quietest pass of a configuration, and times cannot be judged by that; \
             run it again when nobody else uses this machine"
        );
        let unsteady: Vec<_> = compared.iter().filter(|one| !one.repeats).map(|one| name(&one.scenario)).collect();
        anyhow::ensure!(
            unsteady.is_empty(),
            "this machine does not repeat itself: not even half of the passes came as close to their own median as predictions are to \
             come, of {}; run it again when nobody else uses the machine, its disk or its host",
            unsteady.join("; ")
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

/// Measures all of them, and a calibration `anew`, in turns.
async fn observe(
    series: &mut Series<'_>,
    given: &Calibration,
    anew: bool,
) -> Result<([Scenario; CONFIGURATIONS.len()], Vec<Observation>)> {
    let most = most(series).await?;
    let scenarios = CONFIGURATIONS.each_ref().map(|one| scenario(one, &most, given.tenants));
    let mut sending: Vec<_> = scenarios.iter().map(sent).collect();
    if anew {
        sending.extend(passes(&most));
    } else {
        scenarios.iter().try_for_each(|scenario| within(&Ranges::of(given), scenario))?;
    }
    let observed = series.observe(&sending).await?;
    Ok((scenarios, observed))
}

fn scenario(configuration: &Configuration, most: &Most, tenants: usize) -> Scenario {
    let &Configuration { action, load, pool_size, round_trip_ms, .. } = configuration;
    let arrival = match load {
        Load::Callers(callers) => Arrival::Callers { callers, think_ms: 0.0 },
        Load::Share(share) => Arrival::Rate {
            per_second: share_of(most, action, share),
            spacing: Spacing::Even,
            at_a_time: Some(AT_A_RATE),
        },
    };
    let (round_trip_ms, jitter_ms) = (round_trip_ms as f64, round_trip_ms as f64 / f64::from(JITTER));
    Scenario { arrival, tenants, pool_size, budget: BUDGET, round_trip_ms, jitter_ms, ..together(action) }
}

/// The same as a pass.
fn sent(Scenario { action, arrival, pool_size, round_trip_ms, .. }: &Scenario) -> Sent {
    let (rate, concurrency) = match *arrival {
        Arrival::Callers { callers, .. } => (None, callers),
        Arrival::Rate { per_second, .. } => (Some(per_second), AT_A_RATE),
    };
    Sent { rate, pool_size: *pool_size, round_trip_ms: *round_trip_ms, ..looped(action, concurrency) }
}

/// Whether a calibration reaches so far.
fn within(ranges: &Ranges, scenario: &Scenario) -> Result<()> {
    let not_measured = beyond(ranges, scenario);
    anyhow::ensure!(
        not_measured.is_empty(),
        "the calibration does not reach {}: {}; measure again",
        name(scenario),
        not_measured.join("; ")
    );
    Ok(())
}

/// Throughput and P95 of passes as long as those that are measured: the medians of as many with different chances. Queues that
/// drift have no more time for it here than there.
fn as_measured(model: &Model, scenario: &Scenario, amounts: Amounts) -> Result<[f64; 2]> {
    let per_second = simulate(model, scenario, Extent::default())?.throughput;
    let pass = amounts.time(matches!(scenario.arrival, Arrival::Rate { .. }));
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

/// `view_part_details, 24 callers, 5 ms away, pool size 2`.
fn name(Scenario { action, arrival, pool_size, round_trip_ms, .. }: &Scenario) -> String {
    let load = match arrival {
        Arrival::Callers { callers, .. } => format!("{callers} callers"),
        Arrival::Rate { per_second, .. } => rate(*per_second),
    };
    let far = if *round_trip_ms > 0.0 { format!(", {round_trip_ms} ms away") } else { String::new() };
    format!("{action}, {load}{far}, pool size {pool_size}")
}

impl Compared {
    /// Beside the medians of the quietest of its passes.
    fn of(
        configuration: &'static Configuration,
        scenario: Scenario,
        passes: Vec<Observation>,
        model: &Model,
        amounts: Amounts,
    ) -> Result<Self> {
        let all: Vec<_> = passes.iter().collect();
        let quiet = quietest(&all);
        let middle = |of: &dyn Fn(&Observation) -> f64| {
            let samples: Vec<_> = quiet.iter().map(|pass| of(pass)).collect();
            (!samples.is_empty()).then(|| tare_evidence::median(samples).estimate).context("it was not measured")
        };
        let figures: [fn(&Observation) -> f64; 2] = [|pass| pass.throughput, |pass| pass.latency.p95_ms];
        let measured = [middle(&figures[0])?, middle(&figures[1])?];
        let of = |nth: usize| quiet.iter().map(|pass| figures[nth](pass)).collect::<Vec<_>>();
        let repeats = (0..2).all(|nth| repeats(&of(nth), measured[nth], WITHIN[nth]));
        let predicted = as_measured(model, &scenario, amounts)?;
        Ok(Self { configuration, scenario, passes, predicted, measured, repeats })
    }
}

/// Whether at least half of them are `within` that share of their `median`.
fn repeats(samples: &[f64], median: f64, within: f64) -> bool {
    let close = samples.iter().filter(|sample| (**sample / median - 1.0).abs() <= within).count();
    close * 2 >= samples.len()
}

fn judged(one: &Compared) -> Vec<Check> {
    let check = |what: &str, nth: usize, shown: fn(f64) -> String| Check {
        what: format!("{what} of {}", name(&one.scenario)),
        measured: shown(one.measured[nth]),
        required: format!("as predicted, {}, within {:.0} %", shown(one.predicted[nth]), WITHIN[nth] * 100.0),
        met: (one.predicted[nth] / one.measured[nth] - 1.0).abs() <= WITHIN[nth],
    };
    vec![check("throughput", 0, rate), check("P95", 1, time)]
}

fn told(compared: &[Compared]) -> Section {
    let header =
        ["configuration", "why", "throughput predicted", "measured", "off", "P95 predicted", "measured", "off"];
    let row = |one: &Compared| {
        let off = |nth: usize| format!("{:+.0} %", (one.predicted[nth] / one.measured[nth] - 1.0) * 100.0);
        vec![
            name(&one.scenario),
            one.configuration.why.to_owned(),
            rate(one.predicted[0]),
            rate(one.measured[0]),
            off(0),
            time(one.predicted[1]),
            time(one.measured[1]),
            off(1),
        ]
    };
    let rows = compared.iter().map(row).collect();
    let others: f64 = compared.iter().flat_map(|one| &one.passes).map(|pass| pass.others).fold(0.0, f64::max);
    let paragraphs = vec![format!(
        "Predicted from the calibration alone, which was measured in turns with what is beside it: the medians of the quietest passes. Others on this machine kept up to {others:.2} processors busy meanwhile."
    )];
    let table = Table { header: header.map(str::to_owned).into(), rows };
    Section::new("Predicted and measured", paragraphs, Some(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_repeats_itself_when_half_of_its_passes_come_close() {
        // P95 of two configurations, in five passes each.
        assert!(repeats(&[1.93, 2.27, 2.26, 1.9, 2.59], 2.26, 0.2));
        assert!(!repeats(&[44.53, 4.12, 29.95, 6.41, 19.81], 19.81, 0.2));
        assert!(repeats(&[3.0], 3.0, 0.1), "one pass is all there is of a quick check");
    }

    #[test]
    fn none_of_what_is_predicted_is_a_pass_of_the_calibration() {
        let most = Most::from([(READ.to_owned(), 5_000.0), (WRITE.to_owned(), 3_000.0)]);
        let calibration = passes(&most);
        assert!(CONFIGURATIONS.iter().all(|one| !calibration.contains(&sent(&scenario(one, &most, 5)))));
    }
}
