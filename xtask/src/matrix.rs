//! The decision matrix: what each fix is worth, alone and beside the others.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tare_evidence::{Compared, Matrix, Pass, Percentiles, Published, PublishedGain, Series, alternative, conclude};
use tare_gateway::{Fix, Strategy};
use tare_stress::Extent;
use tare_testbed::{Network, Template, Testbed, has_pgbouncer};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::beside::{ALTERNATIVES, Beside, Tried};
use crate::build::{self, BUILD};
use crate::cli::Perf;
use crate::pass::Running;
use crate::progress::Progress;
use crate::session::{Begin, POSTGRES, Session, read_published};
use crate::stress::{Amount, PUBLISHED_ACTION, expect_audit_rows};

/// Requests at a time, as published.
const CONCURRENCY: usize = 10;

/// What a request usually takes of the machine when a connection is opened for it.
const SLOW: Duration = Duration::from_millis(20);

/// What is tried, and the actions that are sent to it in each round.
#[derive(Clone, Debug, PartialEq)]
struct Trial {
    tried: Tried,
    actions: Vec<String>,
}

/// What is to be done.
struct Plan {
    trials: Vec<Trial>,
    gains: Vec<PublishedGain>,
    rounds: usize,
    /// Of an action under a strategy in one round, at least.
    requests: u64,
    network: Network,
}

impl Plan {
    fn of(options: &Perf, published: Published, has_pgbouncer: bool) -> Result<Self> {
        let mut trials = trials(&published.gains)?;
        trials.extend(beside(has_pgbouncer));
        // Six is the fewest that give a median an interval of 95 %.
        let (rounds, requests) = if options.quick { (6, 100) } else { (10, 200) };
        Ok(Self { trials, gains: published.gains, rounds, requests, network: options.postgres.network })
    }

    /// The steps in their order, and how long they usually take.
    fn steps(&self) -> Vec<(String, Duration)> {
        let mut steps = vec![(POSTGRES.to_owned(), Duration::from_secs(6)), (BUILD.to_owned(), Duration::from_secs(5))];
        let one: Duration = self.trials.iter().map(|trial| self.usual(trial)).sum();
        steps.extend((0..self.rounds).map(|round| (self.step(round), one)));
        steps
    }

    fn step(&self, round: usize) -> String {
        format!("round {} of {}", round + 1, self.rounds)
    }

    /// The trials in the order of that round. What warms up or gets busy in the course of a round so meets each at another
    /// place.
    fn order(&self, round: usize) -> Vec<Trial> {
        let mut trials = self.trials.clone();
        let first = round * trials.len() / self.rounds % trials.len();
        trials.rotate_left(first);
        trials
    }

    fn usual(&self, Trial { tried: Tried { strategy, .. }, actions }: &Trial) -> Duration {
        let requests = (self.requests(*strategy) + warmup(*strategy)) * actions.len() as u64;
        Duration::from_secs(1) + self.each(*strategy).mul_f64(requests as f64)
    }

    /// How long a request usually takes, those beside it taken together as one.
    fn each(&self, strategy: Strategy) -> Duration {
        let (work, opening) = match strategy.has(Fix::Pooling) {
            true => (Duration::from_millis(2), 1),
            false => (SLOW, 15),
        };
        let statements = if strategy.has(Fix::OneCall) { 0 } else { 15 };
        work + self.network.round_trip * (opening + statements) / CONCURRENCY as u32
    }

    /// A hundred fast requests are over before the machine's noise has changed once; of those there are more.
    fn requests(&self, strategy: Strategy) -> u64 {
        let times = (SLOW.as_secs_f64() / self.each(strategy).as_secs_f64()).clamp(1.0, 10.0);
        (self.requests as f64 * times).round() as u64
    }

    fn amount(&self, strategy: Strategy) -> Amount {
        Amount {
            warmup: warmup(strategy),
            extent: Extent { requests: self.requests(strategy), time: Duration::MAX },
            ..Amount::published(CONCURRENCY)
        }
    }

    fn concluded(&self, series: &[Series]) -> Matrix {
        Matrix {
            requests: self.requests as usize,
            concurrency: CONCURRENCY,
            alternatives: ALTERNATIVES
                .into_iter()
                .filter_map(|(tried, against)| {
                    alternative(&tried.to_string(), &against.to_string(), PUBLISHED_ACTION, series)
                })
                .collect(),
            ..conclude(&self.gains, &Fix::ALL.map(compared), series)
        }
    }
}

/// `before`, each fix alone, each taken away, `after`. Each fix is tried on the action that it helps most: on another it would
/// be measured to be worth nothing.
fn trials(gains: &[PublishedGain]) -> Result<Vec<Trial>> {
    let mut every: Vec<String> = Vec::new();
    let mut of_fixes = Vec::new();
    for fix in Fix::ALL {
        let gain = gains.iter().find(|gain| gain.fix == fix.name());
        let action = &gain.with_context(|| format!("fixtures/published.toml has no gain of {}", fix.name()))?.action;
        Template::named(action).with_context(|| format!("fixtures/published.toml, {}", fix.name()))?;
        if !every.contains(action) {
            every.push(action.clone());
        }
        of_fixes.push((fix, vec![action.clone()]));
    }
    let both = |strategy: Strategy| Trial { tried: strategy.into(), actions: every.clone() };
    let alone = of_fixes.iter().map(|(fix, action)| (Strategy::BEFORE.with(*fix), action));
    let removed = of_fixes.iter().map(|(fix, action)| (Strategy::AFTER.without(*fix), action));
    let of_fixes =
        alone.chain(removed).map(|(strategy, action)| Trial { tried: strategy.into(), actions: action.clone() });
    Ok(std::iter::once(both(Strategy::BEFORE)).chain(of_fixes).chain([both(Strategy::AFTER)]).collect())
}

/// Each of the alternatives once.
fn beside(has_pgbouncer: bool) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for (tried, _) in ALTERNATIVES {
        let can_be = has_pgbouncer || !tried.beside.is_some_and(Beside::needs_pgbouncer);
        if can_be && trials.iter().all(|trial| trial.tried != tried) {
            trials.push(Trial { tried, actions: vec![PUBLISHED_ACTION.to_owned()] });
        }
    }
    trials
}

fn compared(fix: Fix) -> Compared {
    Compared {
        fix: fix.name().to_owned(),
        alone: Strategy::BEFORE.with(fix).to_string(),
        removed: Strategy::AFTER.without(fix).to_string(),
    }
}

/// Requests until pools no longer grow; where the distance is paid many times for each of them, fewer.
fn warmup(strategy: Strategy) -> u64 {
    match (strategy.has(Fix::Pooling), strategy.has(Fix::OneCall)) {
        (true, true) => 1_000,
        (true, false) => 200,
        (false, _) => 20,
    }
}

/// Measures the matrix, keeps its evidence and shows it.
pub async fn run(options: Perf, stop: CancellationToken) -> Result<Ending> {
    let plan = Plan::of(&options, read_published()?, has_pgbouncer())?;
    let command = if options.quick { "perf --matrix --quick" } else { "perf --matrix" };
    let begin = Begin { command, network: plan.network, quick: options.quick };
    let mut session = Session::begin(begin, &options.judged, &plan.steps(), stop)?;
    let measured = measure(&mut session, &plan, &options).await;
    session.finish(measured)
}

async fn measure(session: &mut Session, plan: &Plan, options: &Perf) -> Result<()> {
    if !has_pgbouncer() {
        session.progress.say("what goes through PgBouncer is left out: the program pgbouncer is not installed");
    }
    let mut testbed = session.testbed(options.postgres).await?;
    testbed.put_at(plan.network).await?;
    let built = session.step(BUILD, build::build(&session.progress.clone(), false)).await?;
    let series = plan.trials.iter().flat_map(|Trial { tried, actions }| {
        let one = |action: &String| Series { strategy: tried.to_string(), action: action.clone(), rounds: Vec::new() };
        actions.iter().map(one)
    });
    let mut series: Vec<_> = series.collect();
    let mut took = None;
    for round in 0..plan.rounds {
        let began = Instant::now();
        let trying = Trying {
            program: &built.server,
            testbed: &testbed,
            progress: session.progress.clone(),
            stop: session.stop.clone(),
            logs: session.beside(""),
        };
        let measured = session.step(&plan.step(round), plan.measure(round, &trying, took)).await?;
        for (tried, action, percentiles) in measured {
            let of = series.iter_mut().find(|of| of.strategy == tried.to_string() && of.action == action);
            of.context("every trial has a series")?.rounds.push(percentiles);
        }
        session.evidence.matrix = Some(plan.concluded(&series));
        session.save()?;
        took = Some(began.elapsed());
    }
    Ok(())
}

/// What trials are made with.
struct Trying<'a> {
    program: &'a Path,
    testbed: &'a Testbed,
    progress: Progress,
    stop: CancellationToken,
    /// The folder for what servers complain about.
    logs: PathBuf,
}

impl Trying<'_> {
    /// One pass on a server of its own, and proof that the server did what it was asked.
    async fn pass(&self, tried: Tried, action: &str, amount: Amount) -> Result<Pass> {
        let pass = tried.with(self.testbed, &self.progress, async |way| {
            let running = Running::start(self.program, self.testbed, way, action).await?;
            let audited = self.testbed.fixture.audit_rows().await?;
            let pass = running.pass(amount, &self.stop).await?;
            running.end(&self.logs, &self.progress).await?;
            expect_audit_rows(&pass, self.testbed.fixture.audit_rows().await? - audited)?;
            Ok(pass)
        });
        pass.await
    }
}

impl Plan {
    /// Every strategy once; `expected` is what the round before took.
    async fn measure(
        &self,
        round: usize,
        trying: &Trying<'_>,
        expected: Option<Duration>,
    ) -> Result<Vec<(Tried, String, Percentiles)>> {
        if let Some(expected) = expected {
            trying.progress.expect(expected);
        }
        let mut measured = Vec::new();
        let order = self.order(round);
        for (nth, Trial { tried, actions }) in order.iter().enumerate() {
            for action in actions {
                let at = format!("{} of {}, {tried} {action}", nth + 1, order.len());
                trying.progress.at(at);
                let what = || format!("under {tried}, {action}, in {}", self.step(round));
                let pass = trying.pass(*tried, action, self.amount(tried.strategy)).await.with_context(what)?;
                let percentiles = Percentiles { p50_ms: pass.latency.p50_ms, p95_ms: pass.latency.p95_ms };
                measured.push((*tried, action.clone(), percentiles));
            }
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(arguments: &[&str]) -> Plan {
        let cli = Cli::try_parse_from(["xtask", "perf", "--matrix"].iter().chain(arguments)).unwrap();
        let Command::Perf(options) = cli.command else { panic!("perf") };
        Plan::of(&options, read_published().unwrap(), true).unwrap()
    }

    #[test]
    fn each_fix_is_tried_alone_and_taken_away() {
        let trials = plan(&[]).trials;
        let names: Vec<_> = trials.iter().map(|trial| trial.tried.to_string()).collect();
        assert_eq!((names.len(), &*names[0], &*names[1], &*names[13]), (17, "before", "pooling", "after"));
        assert_eq!(names[14..], ["before through pgbouncer", "after through pgbouncer", "after with cached reads"]);
        assert_eq!(beside(false).len(), 1, "without a PgBouncer");
        assert_eq!(names[7], "tenant-cache+async-audit+indexes+query+one-call");
        assert_eq!(trials[0].actions, ["view_part_details", "consume_part", "list_parts"]);
        assert_eq!(trials[3].actions, ["consume_part"], "async-audit");
        assert_eq!(trials[13].actions, trials[0].actions);
        let cells: usize = trials.iter().map(|trial| trial.actions.len()).sum();
        assert_eq!(cells, 21);
    }

    #[test]
    fn each_round_is_a_step_and_begins_elsewhere() {
        let plan = plan(&["--quick"]);
        let steps = plan.steps();
        assert_eq!((steps.len(), &*steps[2].0, &*steps[7].0), (8, "round 1 of 6", "round 6 of 6"));
        let first = |round| plan.trials.iter().position(|trial| *trial == plan.order(round)[0]).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(first), [0, 2, 5, 8, 11, 14]);
        let mut order = plan.order(4);
        order.rotate_right(11);
        assert_eq!(order, plan.trials, "every strategy once");
    }

    #[test]
    fn a_distance_takes_longer_where_it_is_paid_more_often() {
        let seconds = |arguments: &[&str], nth: usize| {
            let plan = plan(arguments);
            plan.usual(&plan.trials[nth]).as_secs()
        };
        assert_eq!([seconds(&["--quick"], 1), seconds(&["--quick", "--network", "remote"], 1)], [3, 25]);
    }

    #[test]
    fn there_are_more_of_fast_requests() {
        let requests = |arguments: &[&str]| {
            let plan = plan(arguments);
            [Strategy::BEFORE, Strategy::BEFORE.with(Fix::Pooling), Strategy::AFTER].map(|one| plan.requests(one))
        };
        assert_eq!(requests(&["--quick"]), [100, 1_000, 1_000]);
        assert_eq!(requests(&["--quick", "--network", "remote"]), [100, 100, 286]);
    }

    #[test]
    fn parts_of_the_main_job_are_no_parts_of_the_matrix() {
        for other in [["--only", "stress"], ["--skip", "stress"], ["--workers", "4"]] {
            assert!(Cli::try_parse_from(["xtask", "perf", "--matrix"].iter().chain(&other)).is_err(), "{other:?}");
        }
    }
}
