//! The last of the fit: what processor time and disks alone do not explain.
//!
//! Each pass is simulated as it was sent. Where a request took longer than it should, it waited for something else; where it took less,
//! a part of the processor time was spent behind it. Both are set so that what was measured comes out again.

use crate::calibration::Calibration;
use crate::model::{Model, at_work, middle, next_to_it};
use crate::scenario::{Arrival, Layout, Routing, Scenario, Spacing};
use crate::simulate::{Extent, simulate};

/// How often a point is set. Each time it comes closer.
const ROUNDS: usize = 4;
/// Requests of each simulation.
const EXTENT: Extent = Extent { seed: 1, warmup: 500, requests: 4_000 };
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

pub(crate) fn settle(model: &mut Model, calibration: &Calibration) {
    let names: Vec<_> = model.actions.keys().cloned().collect();
    for name in names {
        for passes in next_to_it(calibration, &name) {
            let sent = &passes[0].sent;
            let (arrival, by) = match sent.rate {
                None => (Arrival::Callers { callers: sent.concurrency, think_ms: 0.0 }, By::Mean),
                Some(per_second) => {
                    let at_a_time = Some(sent.concurrency);
                    (Arrival::Rate { per_second, spacing: Spacing::Even, at_a_time }, By::Median)
                }
            };
            let scenario = Scenario {
                action: name.clone(),
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
            let of = |latency: &tare_evidence::Latency| match by {
                By::Mean => latency.mean_ms,
                By::Median => latency.p50_ms,
            };
            let measured = middle(passes.iter().map(|pass| of(&pass.latency)));
            let Some((measured, point)) = measured.zip(at_work(&passes)) else { continue };
            for _ in 0..ROUNDS {
                let Ok(outcome) = simulate(model, &scenario, EXTENT) else { return };
                set(model, &name, point, measured - of(&outcome.latency));
            }
        }
    }
}

/// Requests at that point should take so many milliseconds more, or less.
fn set(model: &mut Model, name: &str, point: f64, missing_ms: f64) {
    let points = model.actions.get_mut(name).map(|action| &mut action.cpu);
    let Some(at) = points.and_then(|points| points.iter_mut().find(|at| at.at_work == point)) else { return };
    let cpu_ms = at.cpu_ms.all();
    // First less of the one, then more of the other.
    let waits = at.more_ms - at.aside * cpu_ms + missing_ms;
    at.more_ms = waits.max(0.0);
    at.aside = (-waits.min(0.0) / cpu_ms).min(MOST_ASIDE);
}
