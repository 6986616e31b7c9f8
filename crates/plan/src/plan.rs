//! A plan: a scenario, what comes of it, and what to change next.

use serde::Serialize;

use crate::advice::{Advice, advise};
use crate::model::Model;
use crate::outcome::Outcome;
use crate::range::beyond;
use crate::scenario::{Arrival, Scenario, ScenarioError};
use crate::simulate::{Extent, simulate};

/// Parts of the load that is asked, at which it is looked, too.
const COURSE: [f64; 6] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5];

/// A scenario, and what comes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// What was asked.
    pub scenario: Scenario,
    /// What of it was never measured, a sentence each.
    pub beyond: Vec<String>,
    /// What comes of it.
    pub outcome: Outcome,
    /// The same with less load and with more.
    pub course: Vec<Point>,
    /// What helps, the most helpful first.
    pub advice: Vec<Advice>,
}

/// What comes of another load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Requests per second, or callers.
    pub load: f64,
    /// Requests answered per second.
    pub throughput: f64,
    /// In milliseconds.
    pub p95_ms: f64,
    /// Whether it keeps up.
    pub keeps_up: bool,
}

/// Plans `scenario`.
///
/// # Errors
/// It cannot be simulated.
pub fn plan(model: &Model, scenario: &Scenario, extent: Extent) -> Result<Planned, ScenarioError> {
    let outcome = simulate(model, scenario, extent)?;
    let mut course = Vec::new();
    for part in COURSE {
        let (arrival, load) = scaled(scenario.arrival, part);
        let Outcome { throughput, latency, keeps_up, .. } =
            simulate(model, &Scenario { arrival, ..scenario.clone() }, extent)?;
        course.push(Point { load, throughput, p95_ms: latency.p95_ms, keeps_up });
    }
    let advice = advise(model, scenario, &outcome, extent)?;
    Ok(Planned { scenario: scenario.clone(), beyond: beyond(&model.ranges, scenario), outcome, course, advice })
}

fn scaled(arrival: Arrival, part: f64) -> (Arrival, f64) {
    match arrival {
        Arrival::Rate { per_second, spacing, at_a_time } => {
            let per_second = per_second * part;
            (Arrival::Rate { per_second, spacing, at_a_time }, per_second)
        }
        Arrival::Callers { callers, think_ms } => {
            let callers = ((callers as f64 * part).round() as usize).max(1);
            (Arrival::Callers { callers, think_ms }, callers as f64)
        }
    }
}
