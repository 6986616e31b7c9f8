//! What to change next: each change that could be made is simulated, and the one that helps most is named.

use serde::Serialize;

use crate::model::Model;
use crate::outcome::Outcome;
use crate::scenario::{Arrival, Layout, Routing, Scenario, ScenarioError};
use crate::simulate::{Extent, simulate};

/// Less than this is nothing to work for.
const WORTH: f64 = 0.05;

/// Something that can be changed of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// One instance more.
    Instance,
    /// Twice as many connections for each tenant.
    PoolSize,
    /// Twice as many connections for each instance.
    Budget,
    /// The database half as far away.
    Distance,
    /// Twice as many cores for each instance.
    ServerCores,
    /// Twice as many cores for PostgreSQL.
    PostgresCores,
    /// Each tenant's requests to the same instance.
    ByTenant,
    /// Server and database on machines of their own.
    Apart,
}

/// What a change would come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// What is changed.
    pub change: Change,
    /// In words.
    pub what: String,
    /// What then comes of the same load.
    pub outcome: Outcome,
    /// How many times better, by throughput where it is held back and by P95 otherwise; 1 is the same.
    pub gain: f64,
}

impl Change {
    const ALL: [Self; 8] = [
        Self::Instance,
        Self::PoolSize,
        Self::Budget,
        Self::Distance,
        Self::ServerCores,
        Self::PostgresCores,
        Self::ByTenant,
        Self::Apart,
    ];

    /// `scenario` with the change, and what that is in words; nothing where it cannot be made.
    fn of(self, scenario: &Scenario, model: &Model) -> Option<(Scenario, String)> {
        let mut changed = scenario.clone();
        let what = match (self, scenario.layout) {
            (Self::Instance, Layout::Apart { .. }) => {
                changed.instances += 1;
                format!("{} instances in the place of {}", changed.instances, scenario.instances)
            }
            (Self::PoolSize, _) if scenario.pool_size < scenario.budget => {
                changed.pool_size = (scenario.pool_size * 2).min(scenario.budget);
                format!("--pool-size {} in the place of {}", changed.pool_size, scenario.pool_size)
            }
            (Self::Budget, _) => {
                changed.budget *= 2;
                format!("--budget {} in the place of {}", changed.budget, scenario.budget)
            }
            (Self::Distance, _) if scenario.round_trip_ms > 0.0 => {
                changed.round_trip_ms /= 2.0;
                changed.jitter_ms /= 2.0;
                format!("the database {} ms away in the place of {} ms", changed.round_trip_ms, scenario.round_trip_ms)
            }
            (Self::ServerCores, Layout::Apart { server_cores, postgres_cores }) => {
                changed.layout = Layout::Apart { server_cores: server_cores * 2, postgres_cores };
                format!("{} cores for each instance in the place of {server_cores}", server_cores * 2)
            }
            (Self::PostgresCores, Layout::Apart { server_cores, postgres_cores }) => {
                changed.layout = Layout::Apart { server_cores, postgres_cores: postgres_cores * 2 };
                format!("{} cores for PostgreSQL in the place of {postgres_cores}", postgres_cores * 2)
            }
            (Self::ByTenant, Layout::Apart { .. }) if scenario.instances > 1 && scenario.routing == Routing::Any => {
                changed.routing = Routing::ByTenant;
                "each tenant's requests to the same instance".to_owned()
            }
            (Self::Apart, Layout::Together) => {
                let (server_cores, postgres_cores) = (model.server_threads, model.cores);
                changed.layout = Layout::Apart { server_cores, postgres_cores };
                format!(
                    "machines of their own: {server_cores} cores for each instance, {postgres_cores} for PostgreSQL"
                )
            }
            _ => return None,
        };
        Some((changed, what))
    }
}

/// Every change that helps, the one that helps most first.
///
/// # Errors
/// As those of [`simulate`].
pub fn advise(model: &Model, scenario: &Scenario, now: &Outcome, extent: Extent) -> Result<Vec<Advice>, ScenarioError> {
    let mut all = Vec::new();
    for change in Change::ALL {
        let Some((changed, what)) = change.of(scenario, model) else { continue };
        let outcome = simulate(model, &changed, extent)?;
        let by_throughput = matches!(scenario.arrival, Arrival::Callers { .. }) || !now.keeps_up;
        let gain = match by_throughput {
            true => outcome.throughput / now.throughput,
            false => now.latency.p95_ms / outcome.latency.p95_ms,
        };
        if gain > 1.0 + WORTH {
            all.push(Advice { change, what, outcome, gain });
        }
    }
    all.sort_by(|one, other| other.gain.total_cmp(&one.gain));
    Ok(all)
}
