//! The fit: what one request takes of each resource, taken from the passes of a calibration.

use std::collections::BTreeMap;

use serde::Serialize;
use tare_evidence::{Latency, median};

use crate::calibration::{Calibration, Cpu, Observation};
use crate::range::Ranges;
use crate::settle;

/// Processors that others may keep busy more than in the quietest pass.
const DISTURBS: f64 = 0.1;

/// What of the time that one request waits is rare.
const RARE: f64 = 0.95;

/// What requests take of what, and in which ranges that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Of the machine that all ran on.
    pub cores: usize,
    /// Share of its processor time that could be used at most, others included: what is ready does not find an idle core at once.
    pub usable: f64,
    /// Processors that others kept busy meanwhile, in the worst of the passes that count.
    pub others: f64,
    /// Threads that sent.
    pub load_threads: usize,
    /// Threads of the server.
    pub server_threads: usize,
    /// Connections of the server at most, when it was measured.
    pub budget: usize,
    /// By name.
    pub actions: BTreeMap<String, Action>,
    /// What it takes to open a connection; nothing where it was not measured.
    pub opening: Option<Opening>,
    /// Processor time of the relay that stood for the network, for one request, in milliseconds.
    pub relay_ms: f64,
    /// What was measured.
    pub ranges: Ranges,
}

/// What a request for an action takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// Processor time in closed loops, with so many requests at work; the fewest first.
    pub looped: Vec<CpuAt>,
    /// The same at rates, the lowest first: whoever is due at a moment of its own wakes more, and shares less with others.
    pub paced: Vec<CpuAt>,
    /// What one request takes besides processor time when no other is there: the quantiles of its latency, each less the
    /// processor time. Waking up, networks of this machine, and the disk.
    pub waiting: Latency,
    /// How much of it, in milliseconds, is not the disk. The same for each request.
    pub wake_ms: f64,
    /// Whether it ends with a commit at the database. Else the server's own audit queue is synced.
    pub commits: bool,
    /// Round trips to the database.
    pub round_trips: f64,
}

/// Processor time of one request when so many are at work: the more there are, the fewer wake somebody up, and the fewer find
/// caches cold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuAt {
    /// Requests at work on average, those not counted that wait for the network.
    pub at_work: f64,
    /// The rate at which they came; nothing in a closed loop.
    pub per_second: Option<f64>,
    /// In milliseconds.
    pub cpu_ms: Cpu,
    /// Share of it that no request waits for: what is done behind it.
    pub aside: f64,
    /// What a request waits besides, in milliseconds: for those that run and do not make way.
    pub more_ms: f64,
    /// The same of one in ten: it meets what comes in bursts.
    pub late_ms: f64,
}

impl CpuAt {
    fn new(at_work: f64, per_second: Option<f64>, cpu_ms: Cpu) -> Self {
        Self { at_work, per_second, cpu_ms, aside: 0.0, more_ms: 0.0, late_ms: 0.0 }
    }
}

/// What it takes to open a connection and to be ready to ask.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Opening {
    /// Processor time of the server, in milliseconds.
    pub server_ms: f64,
    /// Processor time of PostgreSQL, in milliseconds.
    pub postgres_ms: f64,
    /// Besides, in milliseconds.
    pub waiting_ms: f64,
    /// Round trips.
    pub round_trips: f64,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No pass tells what one request takes alone.
    #[error("it has no pass with one request at a time, connections kept and no distance; measure again")]
    NoSinglePass,
    /// A figure is none that a machine could have.
    #[error("its pass of {action} with {concurrency} at a time has figures that no machine has; measure again")]
    Impossible {
        /// The action of the pass.
        action: String,
        /// Requests at a time.
        concurrency: usize,
    },
}

impl Model {
    /// Takes it from what was measured.
    ///
    /// # Errors
    /// Something is missing that nothing can be told without.
    pub fn fit(calibration: &Calibration) -> Result<Self, ModelError> {
        for Observation { sent, throughput, latency, cpu_ms, .. } in &calibration.passes {
            let figures = [*throughput, latency.p50_ms, latency.p95_ms, cpu_ms.all()];
            if figures.iter().any(|figure| !figure.is_finite() || *figure <= 0.0) || cpu_ms.all() > 1e6 {
                return Err(ModelError::Impossible { action: sent.action.clone(), concurrency: sent.concurrency });
            }
        }
        let names: std::collections::BTreeSet<_> =
            calibration.passes.iter().map(|pass| pass.sent.action.clone()).collect();
        let mut actions: BTreeMap<_, _> =
            names.into_iter().filter_map(|name| Some((name.clone(), action(calibration, &name)?))).collect();
        // A read waits for the disk in its audit component; what else it waits for a mutation waits for, too.
        let wake = actions.values().filter(|action| !action.commits).map(|action| action.wake_ms).next();
        for action in actions.values_mut().filter(|action| action.commits) {
            action.wake_ms = wake.unwrap_or(0.0).min(action.waiting.min_ms);
        }
        if actions.is_empty() {
            return Err(ModelError::NoSinglePass);
        }
        let mut model = Self {
            cores: calibration.machine.cores,
            load_threads: calibration.load_threads,
            server_threads: calibration.server_threads,
            budget: calibration.budget,
            usable: usable(calibration),
            others: actions
                .keys()
                .flat_map(|name| next_to_it(calibration, name))
                .flatten()
                .map(|pass| pass.others)
                .fold(0.0, f64::max),
            opening: opening(calibration),
            relay_ms: relay(calibration),
            actions,
            ranges: Ranges::of(calibration),
        };
        settle::settle(&mut model, calibration);
        Ok(model)
    }
}

impl Action {
    /// What one takes of so many at work, which callers send, or which come at a rate of so many `per_second`: between what was
    /// measured; outside of it, its ends. At more than any rate that was measured it is as with callers who have as many at work.
    pub fn at(&self, at_work: f64, per_second: Option<f64>) -> CpuAt {
        let most = self.paced.last();
        let is_paced = |per_second: &f64| most.is_some_and(|most| most.per_second >= Some(*per_second));
        let found = match per_second.filter(is_paced) {
            Some(per_second) => {
                between(self.paced.iter(), per_second, |point| point.per_second.unwrap_or_default(), |rate| rate)
            }
            None => {
                let most = most.filter(|_| per_second.is_some());
                let least = most.map_or(0.0, |most| most.at_work);
                let looped = self.looped.iter().filter(|point| point.at_work > least);
                between(most.into_iter().chain(looped), at_work, |point| point.at_work, f64::ln)
            }
        };
        CpuAt { at_work, per_second, ..found }
    }

    /// What a request waits for the disk, and what alone, in milliseconds, when `chance` is from 0 to 1. What is rare happens to one
    /// request, and not to all that wait for the same write.
    pub fn waits_ms(&self, chance: f64) -> [f64; 2] {
        let (all, usual) = (quantile(&self.waiting, chance), quantile(&self.waiting, chance.min(RARE)));
        [(usual - self.wake_ms).max(0.0), all - usual]
    }
}

/// What lies at `place` among points in their order, straight between those beside it once places are `scaled`; outside of them, the end.
fn between<'a>(
    mut points: impl Iterator<Item = &'a CpuAt>,
    place: f64,
    place_of: fn(&CpuAt) -> f64,
    scaled: fn(f64) -> f64,
) -> CpuAt {
    let mut before = None;
    let after = points.find(|point| {
        let is_after = place_of(point) >= place;
        if !is_after {
            before = Some(**point);
        }
        is_after
    });
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (before, after) => return before.or(after.copied()).unwrap_or(CpuAt::new(0.0, None, Cpu::default())),
    };
    let [low, here, high] = [place_of(&before), place, place_of(after)].map(scaled);
    let share = (here - low) / (high - low);
    let between = |of: fn(&CpuAt) -> f64| of(&before) + share * (of(after) - of(&before));
    let cpu_ms = Cpu {
        load: between(|point| point.cpu_ms.load),
        server: between(|point| point.cpu_ms.server),
        postgres: between(|point| point.cpu_ms.postgres),
    };
    let (aside, more_ms) = (between(|point| point.aside), between(|point| point.more_ms));
    // What comes in bursts grows by factors, and not by so much for each request more.
    let late_ms = match before.late_ms.min(after.late_ms) > 0.0 {
        true => before.late_ms * (after.late_ms / before.late_ms).powf(share),
        false => between(|point| point.late_ms),
    };
    CpuAt { cpu_ms, aside, more_ms, late_ms, ..before }
}

/// The value below which so much of a distribution is: straight lines between the quantiles that are known.
fn quantile(of: &Latency, chance: f64) -> f64 {
    let known = [
        (0.0, of.min_ms),
        (0.5, of.p50_ms),
        (0.95, of.p95_ms),
        (0.99, of.p99_ms),
        (0.999, of.p999_ms),
        (1.0, of.max_ms),
    ];
    let above = known.partition_point(|(share, _)| *share <= chance).clamp(1, known.len() - 1);
    let ((from, low), (to, high)) = (known[above - 1], known[above]);
    low + (high - low) * ((chance - from) / (to - from)).clamp(0.0, 1.0)
}

pub(crate) fn middle(samples: impl Iterator<Item = f64>) -> Option<f64> {
    let samples: Vec<_> = samples.collect();
    (!samples.is_empty()).then(|| median(samples).estimate)
}

/// Of passes of the same those that others disturbed least: within a tenth of a processor of the quietest.
pub fn quietest<'a>(passes: &[&'a Observation]) -> Vec<&'a Observation> {
    let least = passes.iter().map(|pass| pass.others).fold(f64::INFINITY, f64::min);
    passes.iter().copied().filter(|pass| pass.others <= least + DISTURBS).collect()
}

/// The medians of several passes of the same.
fn cpu_of(passes: &[&Observation]) -> Option<Cpu> {
    let of = |figure: fn(&Cpu) -> f64| middle(passes.iter().map(|pass| figure(&pass.cpu_ms)));
    Some(Cpu { load: of(|cpu| cpu.load)?, server: of(|cpu| cpu.server)?, postgres: of(|cpu| cpu.postgres)? })
}

fn latency_of(passes: &[&Observation], less: f64) -> Option<Latency> {
    let of =
        |figure: fn(&Latency) -> f64| Some((middle(passes.iter().map(|pass| figure(&pass.latency)))? - less).max(0.0));
    Some(Latency {
        min_ms: of(|latency| latency.min_ms)?,
        mean_ms: of(|latency| latency.mean_ms)?,
        p50_ms: of(|latency| latency.p50_ms)?,
        p95_ms: of(|latency| latency.p95_ms)?,
        p99_ms: of(|latency| latency.p99_ms)?,
        p999_ms: of(|latency| latency.p999_ms)?,
        max_ms: of(|latency| latency.max_ms)?,
    })
}

/// The passes of an action next to the database, connections kept, that were sent the same.
pub(crate) fn next_to_it<'a>(calibration: &'a Calibration, name: &str) -> Vec<Vec<&'a Observation>> {
    let mut groups: Vec<Vec<&Observation>> = Vec::new();
    for pass in &calibration.passes {
        if pass.sent.action == name && pass.sent.pooled && pass.sent.round_trip_ms == 0.0 {
            match groups.iter_mut().find(|group| group[0].sent == pass.sent) {
                Some(group) => group.push(pass),
                None => groups.push(vec![pass]),
            }
        }
    }
    groups.into_iter().map(|group| quietest(&group)).collect()
}

/// Those of them in a closed loop, so many at a time.
fn looped<'a>(calibration: &'a Calibration, name: &str, concurrency: usize) -> Option<Vec<&'a Observation>> {
    let mut groups = next_to_it(calibration, name).into_iter();
    groups.find(|group| group[0].sent.rate.is_none() && group[0].sent.concurrency == concurrency)
}

/// In a closed loop as many as there are; at a rate as Little's law has it, by the median, for a few that were slow are not many
/// that were there.
pub(crate) fn at_work(passes: &[&Observation]) -> Option<f64> {
    let of = |pass: &&Observation| match pass.sent.rate {
        None => pass.sent.concurrency as f64,
        Some(_) => pass.throughput * pass.latency.p50_ms / 1e3,
    };
    middle(passes.iter().map(of))
}

fn action(calibration: &Calibration, name: &str) -> Option<Action> {
    let groups = next_to_it(calibration, name);
    let of = |paced: bool| {
        let groups = groups.iter().filter(|group| group[0].sent.rate.is_some() == paced);
        let points = groups.filter_map(|group| Some(CpuAt::new(at_work(group)?, group[0].sent.rate, cpu_of(group)?)));
        let mut points: Vec<_> = points.collect();
        points.sort_by(|one, other| {
            let place = |point: &CpuAt| point.per_second.unwrap_or(point.at_work);
            place(one).total_cmp(&place(other))
        });
        points
    };
    let alone = looped(calibration, name, 1)?;
    let waiting = latency_of(&alone, cpu_of(&alone)?.all())?;
    let audit = middle(alone.iter().filter_map(|pass| Some(pass.audit?.p50_ms)));
    let counted = calibration.passes.iter().filter(|pass| pass.sent.action == name && pass.sent.pooled);
    let round_trips = middle(counted.filter_map(|pass| pass.round_trips));
    Some(Action {
        looped: of(false),
        paced: of(true),
        // The rest of the waiting is of the disk, all that varies included.
        wake_ms: audit.map_or(0.0, |audit| (waiting.p50_ms - audit).clamp(0.0, waiting.min_ms)),
        waiting,
        commits: audit.is_none(),
        // What is written behind requests makes trips, too, and is shared by many: a whole number is what each waits for.
        round_trips: round_trips.map_or(1.0, f64::round),
    })
}

/// The most that was ever busy.
fn usable(calibration: &Calibration) -> f64 {
    let busy = |pass: &Observation| pass.throughput * pass.cpu_ms.all() / 1e3 + pass.others;
    let looped = calibration.passes.iter().filter(|pass| pass.sent.rate.is_none() && pass.sent.round_trip_ms == 0.0);
    let disturbed = |pass: &&Observation| pass.others > DISTURBS;
    let quiet = looped.clone().filter(|pass| !disturbed(pass)).map(busy).fold(0.0, f64::max);
    let most = if quiet > 0.0 { quiet } else { looped.map(busy).fold(0.0, f64::max) };
    (most / calibration.machine.cores as f64).clamp(0.5, 1.0)
}

/// By how much a request takes more when it opens its connection.
fn opening(calibration: &Calibration) -> Option<Opening> {
    let near = |pass: &&Observation| !pass.sent.pooled && pass.sent.round_trip_ms == 0.0;
    let unpooled: Vec<_> = calibration.passes.iter().filter(near).collect();
    let first = unpooled.first()?;
    let pooled = looped(calibration, &first.sent.action, first.sent.concurrency)?;
    let (with, without) = (cpu_of(&unpooled)?, cpu_of(&pooled)?);
    let time = |passes: &[&Observation]| middle(passes.iter().map(|pass| pass.latency.p50_ms));
    let more = |with: f64, without: f64| (with - without).max(0.0);
    let (server_ms, postgres_ms) = (more(with.server, without.server), more(with.postgres, without.postgres));
    let counted = calibration.passes.iter().filter(|pass| !pass.sent.pooled).filter_map(|pass| pass.round_trips);
    let trips = middle(counted);
    Some(Opening {
        server_ms,
        postgres_ms,
        waiting_ms: (time(&unpooled)? - time(&pooled)? - server_ms - postgres_ms).max(0.0),
        round_trips: trips.map_or(6.0, |trips| (trips - 1.0).round().max(1.0)),
    })
}

/// By how much a request costs its sender more when the relay is there.
fn relay(calibration: &Calibration) -> f64 {
    let far: Vec<_> =
        calibration.passes.iter().filter(|pass| pass.sent.round_trip_ms > 0.0 && pass.sent.pooled).collect();
    let more = far.iter().filter_map(|pass| {
        let near = looped(calibration, &pass.sent.action, pass.sent.concurrency)?;
        Some(pass.cpu_ms.load - cpu_of(&near)?.load)
    });
    middle(more).map_or(0.0, |more| more.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::scenario::{Arrival, Spacing};
    use crate::simulate::{Extent, simulate};

    #[test]
    fn what_is_between_was_not_measured_and_lies_between() {
        let model = Model::fit(&samples::calibration()).unwrap();
        let action = &model.actions["view_part_details"];
        let at = |at_work: f64| action.at(at_work, None).cpu_ms;
        let (one, four, many) = (at(1.0), at(4.0), at(16.0));
        assert!(one.server > four.server && four.server > many.server, "{one:?} {four:?} {many:?}");
        assert_eq!((at(0.5), at(1_000.0)), (one, many), "the ends go on");
    }

    #[test]
    fn at_a_rate_it_is_what_was_measured_at_rates_and_one_in_ten_is_as_late() {
        let model = Model::fit(&samples::with_rates()).unwrap();
        let action = &model.actions["view_part_details"];
        let server = |at_work, per_second| action.at(at_work, per_second).cpu_ms.server;
        let measured = [Some(500.0), Some(1_250.0), Some(2_000.0), None].map(|per_second| server(1.0, per_second));
        assert!(
            measured.iter().zip([0.4, 0.35, 0.3, 0.2]).all(|(one, other)| (one - other).abs() < 1e-9),
            "{measured:?}"
        );
        assert_eq!(server(16.0, Some(9_000.0)), server(16.0, None), "as with callers who have as many at work");

        for (per_second, p95_ms) in [(500.0, 2.5), (2_000.0, 4.0)] {
            let arrival = Arrival::Rate { per_second, spacing: Spacing::Even, at_a_time: Some(64) };
            let scenario = samples::scenario(arrival);
            let Latency { p50_ms: p50, p95_ms: p95, .. } =
                simulate(&model, &scenario, Extent::default()).unwrap().latency;
            assert!((p95 / p95_ms - 1.0).abs() < 0.25 && (p50 / 1.1 - 1.0).abs() < 0.1, "{per_second}: {p50} {p95}");
        }
    }

    #[test]
    fn what_one_request_waits_for_is_its_latency_less_its_processor_time() {
        let model = Model::fit(&samples::calibration()).unwrap();
        let read = &model.actions["view_part_details"];
        assert!((read.waiting.p50_ms - 0.5).abs() < 1e-9, "{read:?}");
        assert!((read.wake_ms - 0.2).abs() < 1e-9 && !read.commits);
        let [usual, rare] = [0.5, 0.99].map(|chance| read.waits_ms(chance));
        assert!((usual[0] - 0.3).abs() < 1e-9 && usual[1] == 0.0, "{usual:?}");
        assert!((rare[0] - 0.6).abs() < 1e-9 && (rare[1] - 0.3).abs() < 1e-9, "{rare:?}");
        let opening = model.opening.unwrap();
        assert!((opening.server_ms - 2.0).abs() < 1e-9 && opening.round_trips == 6.0, "{opening:?}");
        assert!((model.relay_ms - 0.05).abs() < 1e-9);
    }

    #[test]
    fn without_what_it_needs_there_is_no_model() {
        let mut calibration = samples::calibration();
        calibration.passes.retain(|pass| pass.sent.concurrency > 1);
        assert!(matches!(Model::fit(&calibration), Err(ModelError::NoSinglePass)));
        let mut calibration = samples::calibration();
        calibration.passes[0].throughput = f64::INFINITY;
        assert!(matches!(Model::fit(&calibration), Err(ModelError::Impossible { concurrency: 1, .. })));
    }
}
