//! What was measured, and what is asked beyond it.

use serde::Serialize;

use crate::calibration::Calibration;
use crate::scenario::{Arrival, Layout, Routing, Scenario};

/// From the least to the most that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranges {
    /// Requests at a time.
    pub concurrency: [f64; 2],
    /// Requests per second that were answered.
    pub rate: [f64; 2],
    /// Between server and database, in milliseconds.
    pub round_trip_ms: [f64; 2],
    /// Connections to one tenant's database at most.
    pub pool_size: [f64; 2],
    /// Connections of an instance at most.
    pub budget: [f64; 2],
    /// Tenants.
    pub tenants: [f64; 2],
}

impl Ranges {
    /// Of what is in a calibration.
    pub fn of(calibration: &Calibration) -> Self {
        let over = |figure: &dyn Fn(&crate::Observation) -> f64| {
            calibration
                .passes
                .iter()
                .map(figure)
                .fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], one| [least.min(one), most.max(one)])
        };
        let exactly = |one: usize| [one as f64; 2];
        Self {
            concurrency: over(&|pass| pass.sent.concurrency as f64),
            rate: [0.0, over(&|pass| pass.throughput)[1]],
            round_trip_ms: over(&|pass| pass.sent.round_trip_ms),
            pool_size: over(&|pass| pass.sent.pool_size as f64),
            budget: exactly(calibration.budget),
            tenants: exactly(calibration.tenants),
        }
    }
}

/// What of `scenario` was not measured, each in a sentence.
pub fn beyond(ranges: &Ranges, scenario: &Scenario) -> Vec<String> {
    let outside = |what: &str, asked: f64, [least, most]: [f64; 2], unit: &str| {
        let measured = if least == most { format!("{most}{unit}") } else { format!("{least} to {most:.4}{unit}") };
        (asked < least || asked > most).then(|| format!("{what} {asked}{unit}: measured was {measured}"))
    };
    let (callers, rate) = match scenario.arrival {
        Arrival::Callers { callers, .. } => (Some(callers as f64), None),
        Arrival::Rate { per_second, .. } => (None, Some(per_second / scenario.instances as f64)),
    };
    let all = scenario.instances as f64;
    let layout = match scenario.layout {
        Layout::Together => None,
        Layout::Apart { .. } => {
            Some("server and database on machines of their own: measured were all on one machine".to_owned())
        }
    };
    let routing = (scenario.routing == Routing::ByTenant)
        .then(|| "requests sent to the instance of their tenant: measured was one instance for all".to_owned());
    [
        outside("tenants", scenario.tenants as f64, ranges.tenants, ""),
        callers.and_then(|callers| outside("requests at a time", callers, ranges.concurrency, "")),
        rate.and_then(|rate| outside("requests per second and instance", rate, ranges.rate, "")),
        outside("instances", all, [1.0; 2], ""),
        outside("pool size", scenario.pool_size as f64, ranges.pool_size, ""),
        outside("budget", scenario.budget as f64, ranges.budget, ""),
        outside("distance", scenario.round_trip_ms, ranges.round_trip_ms, " ms"),
        layout,
        routing,
    ]
    .into_iter()
    .flatten()
    .collect()
}
