//! The last of the fit: what processor time and disks alone do not explain.
//!
//! Each pass is simulated as it was sent. Where a request took longer than it should, it waited for something else; where it took less,
//! a part of the processor time was spent behind it. Where P95 was more than that, one in ten met something that comes in bursts. All is
//! set so that what was measured comes out again.

use tare_evidence::Latency;

use crate::calibration::{Calibration, Observation};
use crate::model::{Model, at_work, middle, next_to_it};
use crate::scenario::{Arrival, Layout, Routing, Scenario, Spacing};
use crate::simulate::{Extent, simulate};

/// How often a point is set. Each time it comes closer.
const ROUNDS: usize = 8;
/// Requests of each simulation.
const EXTENT: Extent = Extent { seed: 1, warmup: 3_000, requests: 5_000 };
/// Of the processor time no more is behind a request.
const MOST_ASIDE: f64 = 0.8;

/// What a pass is told by.
#[derive(Clone, Copy)]
enum By {
    /// In a closed loop it gives the throughput.
    Mean,
    /// At a rate a few that were slow, by chance, would count too much.
    Median,
}

/// Sets the points of every action, all of them in turns: each is felt by those beside it.
pub(crate) fn settle(model: &mut Model, calibration: &Calibration) {
    let names: Vec<_> = model.actions.keys().cloned().collect();
    for name in names {
        let targets: Vec<_> =
            next_to_it(calibration, &name).iter().filter_map(|passes| Target::of(calibration, passes)).collect();
        for target in (0..ROUNDS).flat_map(|_| &targets) {
            let Ok(outcome) = simulate(model, &target.scenario, EXTENT) else { return };
            let Latency { p95_ms, .. } = outcome.latency;
            set(model, &name, target, target.usual_ms - target.by.of(&outcome.latency), target.p95_ms - p95_ms);
        }
    }
}

/// What should come out of passes that were sent the same.
struct Target {
    scenario: Scenario,
    /// Requests at work.
    point: f64,
    by: By,
    usual_ms: f64,
    p95_ms: f64,
}

impl Target {
    fn of(calibration: &Calibration, passes: &[&Observation]) -> Option<Self> {
        let sent = &passes.first()?.sent;
        let (arrival, by) = match sent.rate {
            None => (Arrival::Callers { callers: sent.concurrency, think_ms: 0.0 }, By::Mean),
            Some(per_second) => {
                let at_a_time = Some(sent.concurrency);
                (Arrival::Rate { per_second, spacing: Spacing::Even, at_a_time }, By::Median)
            }
        };
        let scenario = Scenario {
            action: sent.action.clone(),
            tenants: calibration.tenants.max(1),
            arrival,
            instances: 1,
            pool_size: sent.pool_size,
            budget: calibration.budget.max(1),
            round_trip_ms: 0.0,
            jitter_ms: 0.0,
            layout: Layout::Together,
            routing: Routing::Any,
        };
        // From one request of a caller to his next: what he does in between is a part of it.
        let usual = |pass: &&Observation| match by {
            By::Mean => sent.concurrency as f64 / pass.throughput * 1e3,
            By::Median => pass.latency.p50_ms,
        };
        let usual_ms = middle(passes.iter().map(usual))?;
        let p95_ms = middle(passes.iter().map(|pass| pass.latency.p95_ms))?;
        Some(Self { scenario, point: at_work(passes)?, by, usual_ms, p95_ms })
    }
}

impl By {
    fn of(self, latency: &Latency) -> f64 {
        match self {
            Self::Mean => latency.mean_ms,
            Self::Median => latency.p50_ms,
        }
    }
}

/// Requests at that point should take so many milliseconds more, or less, and so many at P95.
fn set(model: &mut Model, name: &str, Target { point, by, .. }: &Target, missing_ms: f64, missing_p95_ms: f64) {
    let points = model.actions.get_mut(name).map(|action| match by {
        By::Mean => &mut action.looped,
        By::Median => &mut action.paced,
    });
    let Some(at) = points.and_then(|points| points.iter_mut().find(|at| at.at_work == *point)) else { return };
    let cpu_ms = at.cpu_ms.all();
    // First less of the one, then more of the other.
    let waits = at.more_ms - at.aside * cpu_ms + missing_ms;
    at.more_ms = waits.max(0.0);
    // Where several are at work, what is done behind one is in the way of the others.
    let most = if *point > 1.0 { 0.0 } else { MOST_ASIDE };
    at.aside = (-waits.min(0.0) / cpu_ms).clamp(0.0, most);
    at.late_ms = (at.late_ms + missing_p95_ms - missing_ms.max(0.0)).max(0.0);
}
