//! What is asked: how many of what, how far apart, under which load.

use serde::Serialize;

use crate::model::Model;

/// A fleet and its load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// What is asked of it, by name.
    pub action: String,
    /// Tenants, each with a database of its own, asked equally often.
    pub tenants: usize,
    /// When requests come.
    pub arrival: Arrival,
    /// Processes of the server.
    pub instances: usize,
    /// Connections of one instance to one tenant's database at most.
    pub pool_size: usize,
    /// Connections of one instance at most.
    pub budget: usize,
    /// Between an instance and the database, in milliseconds.
    pub round_trip_ms: f64,
    /// A round trip takes as much longer or shorter, at most.
    pub jitter_ms: f64,
    /// What runs where.
    pub layout: Layout,
    /// Which instance a request goes to.
    pub routing: Routing,
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// So many a second, whether those before them are answered or not.
    Rate {
        /// Requests per second.
        per_second: f64,
        /// How far apart they are.
        spacing: Spacing,
        /// Requests under way at most, the others wait to be sent; as many as the instances take when it is nothing.
        at_a_time: Option<usize>,
    },
    /// From so many callers, each of which sends the next when the last is answered.
    Callers {
        /// How many.
        callers: usize,
        /// What each does in between, in milliseconds.
        think_ms: f64,
    },
}

/// How far apart requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// All the same.
    Even,
    /// By chance, as from many who know nothing of each other.
    Poisson,
}

/// What runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Load, server and PostgreSQL on one machine, as it was measured.
    Together,
    /// Each instance on a machine, and PostgreSQL on another; load comes from elsewhere.
    Apart {
        /// Of each instance; it has as many threads.
        server_cores: usize,
        /// Of PostgreSQL.
        postgres_cores: usize,
    },
}

/// Which instance a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// Any.
    Any,
    /// The same for each tenant.
    ByTenant,
}

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScenarioError {
    /// The action was not measured.
    #[error("{action:?} was not measured; measured were {measured}")]
    UnknownAction {
        /// What was asked.
        action: String,
        /// What there is.
        measured: String,
    },
    /// There must be at least one of something.
    #[error("{0} must be above zero")]
    Nothing(&'static str),
    /// A connection must be opened, and it was not measured what that takes.
    #[error("what it takes to open a connection was not measured; measure again")]
    NoOpening,
}

impl Scenario {
    /// Whether it can be simulated.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, model: &Model) -> Result<(), ScenarioError> {
        if !model.actions.contains_key(&self.action) {
            let measured = model.actions.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(ScenarioError::UnknownAction { action: self.action.clone(), measured });
        }
        let load = match self.arrival {
            Arrival::Rate { per_second, .. } if per_second.is_finite() && per_second > 0.0 => 1,
            Arrival::Rate { .. } => 0,
            Arrival::Callers { callers, .. } => callers,
        };
        let cores = match self.layout {
            Layout::Together => 1,
            Layout::Apart { server_cores, postgres_cores } => server_cores.min(postgres_cores),
        };
        for (number, what) in [
            (load, "the load"),
            (self.tenants, "the number of tenants"),
            (self.instances, "the number of instances"),
            (self.pool_size, "the pool size"),
            (self.budget, "the budget"),
            (cores, "the number of cores"),
        ] {
            if number == 0 {
                return Err(ScenarioError::Nothing(what));
            }
        }
        if model.opening.is_none() {
            return Err(ScenarioError::NoOpening);
        }
        Ok(())
    }
}
