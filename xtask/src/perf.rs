//! The main job: `cargo xtask perf`.

use std::time::Duration;

use anyhow::Result;
use tare_gateway::Strategy;
use tare_testbed::{Network, PrivateFolder, Testbed};
use tokio_util::sync::CancellationToken;

use crate::bench::{self, Settings};
use crate::build::{self, BUILD, Built};
use crate::ceiling::{self, CEILING, Extents};
use crate::cli::{BenchName, Part, Perf};
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session};
use crate::stress::{self, ANY_PORT, Amount, PUBLISHED_ACTION};
use crate::{Ending, matrix, profile};

/// Connections of the published load.
const CONCURRENCY: usize = 10;
/// The actions beside the published one.
const OTHER_ACTIONS: [&str; 3] = ["consume_part", "receive_part", "list_parts"];
/// Requests after which pools no longer grow.
const POOLS_WARM: u64 = 2_000;

/// What is to be done.
struct Plan {
    benches: Vec<BenchName>,
    stress: Option<Amount>,
    profile: Option<usize>,
    ceiling: Option<Extents>,
    settings: Settings,
    /// Of the server without any fix.
    workers: Option<u16>,
}

impl Plan {
    fn of(options: &Perf) -> Self {
        let wanted = |part: Part, group: Part| match options.only.as_slice() {
            [] => !options.skip.contains(&part) && !options.skip.contains(&group),
            only => only.contains(&part) || only.contains(&group),
        };
        let alone = |part: Part| wanted(part, part);
        let benches = bench::ALL.into_iter().filter(|bench| wanted(Part::Bench(*bench), Part::Benches));
        let (quick, network) = (options.quick, options.postgres.network);
        let amount = Amount::published(CONCURRENCY);
        Self {
            benches: benches.collect(),
            stress: alone(Part::Stress).then_some(amount),
            profile: alone(Part::Profile).then_some(if quick { 50 } else { 300 }),
            // pgbench is not sent over the network, and the processors would idle.
            ceiling: (alone(Part::Ceiling) && network == Network::LOOPBACK).then_some(Extents::of(quick)),
            settings: Settings { quick, network, baselines: options.baselines.clone() },
            workers: options.workers,
        }
    }

    /// The steps in their order, and how long they usually take.
    fn steps(&self) -> Vec<(String, Duration)> {
        let mut steps = vec![(POSTGRES.to_owned(), Duration::from_secs(6)), (BUILD.to_owned(), Duration::from_secs(5))];
        steps.extend(self.settings.plan(&self.benches));
        let network = self.settings.network;
        for strategy in [Strategy::BEFORE, Strategy::AFTER] {
            for (action, amount) in self.passes(strategy) {
                steps.push((stress::step(strategy, action), stress::usual(self.way(strategy), &amount, network)));
            }
            if let Some(samples) = self.profile {
                let profiles = self
                    .profiled()
                    .map(|action| (profile::step(strategy, action), profile::usual(strategy, samples, network)));
                steps.extend(profiles);
            }
        }
        steps.extend(self.ceiling.map(|extents| (CEILING.to_owned(), extents.usual())));
        steps
    }

    fn way(&self, strategy: Strategy) -> Way<'_> {
        Way { workers: self.workers.filter(|_| strategy == Strategy::BEFORE), ..Way::of(strategy) }
    }

    /// The actions taken apart. At a distance `before` takes seconds for each, and the published one tells enough.
    fn profiled(&self) -> impl Iterator<Item = &'static str> {
        let others = if self.settings.network == Network::LOOPBACK { &OTHER_ACTIONS[..] } else { &[] };
        std::iter::once(PUBLISHED_ACTION).chain(others.iter().copied())
    }

    /// The stress passes under one strategy.
    fn passes(&self, strategy: Strategy) -> Vec<(&'static str, Amount)> {
        let Some(amount) = &self.stress else { return Vec::new() };
        // Until every tenant's pool has its connections, a pass measures opening them.
        let warmup = if strategy == Strategy::BEFORE { amount.warmup } else { POOLS_WARM };
        // They all have one round trip to wait for, which shows where there is a distance.
        let others = match strategy {
            Strategy::AFTER if self.settings.network != Network::LOOPBACK => &OTHER_ACTIONS[..],
            _ => &[],
        };
        let actions = std::iter::once(PUBLISHED_ACTION).chain(others.iter().copied());
        actions.map(|action| (action, Amount { warmup, ..amount.clone() })).collect()
    }
}

/// Runs what is planned, keeps its evidence and judges it.
pub async fn run(options: Perf, stop: CancellationToken) -> Result<Ending> {
    if options.matrix {
        return matrix::run(options, stop).await;
    }
    let plan = Plan::of(&options);
    plan.settings.check(&plan.benches)?;
    let command = if options.quick { "perf --quick" } else { "perf" };
    let command = plan.workers.map_or(command.to_owned(), |workers| format!("{command} --workers {workers}"));
    let begin = Begin { command: &command, network: plan.settings.network, quick: options.quick };
    let mut session = Session::begin(begin, &options.judged, &plan.steps(), stop)?;
    session.predicted.clone_from(&options.predicted.distances_ms);
    let measured = measure(&mut session, &plan, &options).await;
    session.finish(measured)
}

async fn measure(session: &mut Session, plan: &Plan, options: &Perf) -> Result<()> {
    let progress = session.progress.clone();
    let mut testbed = session.testbed(options.postgres).await?;
    let built = session.step(BUILD, build::build(&progress, !plan.benches.is_empty())).await?;
    if !plan.benches.is_empty() {
        let folder = PrivateFolder::new()?;
        let handover = folder.path().join("testbed.json");
        testbed.fixture.hand_over(&handover)?;
        bench::run_all(session, &built, &plan.benches, &plan.settings, &handover).await?;
    }
    // Not before: each bench puts itself at its distance.
    testbed.put_at(plan.settings.network).await?;
    for strategy in [Strategy::BEFORE, Strategy::AFTER] {
        under(session, plan, &built, &testbed, strategy).await?;
    }
    Ok(())
}

/// All that is measured of the built-in server under one strategy.
async fn under(session: &mut Session, plan: &Plan, built: &Built, testbed: &Testbed, strategy: Strategy) -> Result<()> {
    let fixture = &testbed.fixture;
    let way = plan.way(strategy);
    for (action, amount) in plan.passes(strategy) {
        stress::pass(session, &built.server, testbed, action, way, &amount).await?;
    }
    let extents = plan.ceiling.filter(|_| strategy == Strategy::AFTER);
    if plan.profile.is_none() && extents.is_none() {
        return Ok(());
    }
    let service = Service::start(&built.server, testbed, way, ANY_PORT).await?;
    if let Some(samples) = plan.profile {
        for action in plan.profiled() {
            profile::action(session, fixture, &service, profile::Asked { action, strategy, samples }).await?;
        }
    }
    if let Some(extents) = extents {
        let (progress, stop) = (session.progress.clone(), session.stop.clone());
        let measured = ceiling::measure(fixture, &service, extents, &progress, &stop);
        session.evidence.ceilings = session.step(CEILING, measured).await?;
        session.save()?;
    }
    service.stop().await.map(drop)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn steps(arguments: &[&str]) -> Vec<String> {
        let cli = Cli::try_parse_from(["xtask", "perf"].iter().chain(arguments)).unwrap();
        let Command::Perf(options) = cli.command else { panic!("perf") };
        Plan::of(&options).steps().into_iter().map(|(name, _)| name).skip(2).collect()
    }

    #[test]
    fn the_whole_job_is_every_part_in_order() {
        let all = steps(&[]);
        assert_eq!(all.len(), 19);
        assert_eq!(
            (&*all[0], &*all[8], &*all[13], &*all[18]),
            ("bench auth", "stress before", "stress after", "ceiling")
        );
    }

    #[test]
    fn parts_are_chosen_or_left_out() {
        assert_eq!(steps(&["--only", "tenant,stress"]), ["bench tenant", "stress before", "stress after"]);
        assert_eq!(steps(&["--skip", "benches,profile"]), ["stress before", "stress after", "ceiling"]);
        assert_eq!(steps(&["--only", "benches"]).len(), 8);
    }

    #[test]
    fn at_a_distance_every_action_is_sent_and_there_is_no_ceiling() {
        let far = steps(&["--skip", "benches,profile", "--network", "remote"]);
        assert_eq!(far.len(), 5);
        assert_eq!((&*far[1], &*far[4]), ("stress after", "stress after list_parts"));
    }
}
