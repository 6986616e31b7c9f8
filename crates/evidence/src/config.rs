//! `perf.toml`: what a run must reach.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Range;

/// Targets and budgets, as written in `fixtures/perf.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a stress pass must reach, by strategy.
    pub targets: BTreeMap<String, Targets>,
    /// What a bench may cost.
    pub budgets: Vec<Budget>,
    /// What share of the database's own throughput HTTP must reach, by action and client.
    pub ceilings: Vec<Ceiling>,
    /// How many round trips one iteration of a bench may make, by the bench's id.
    pub round_trips: BTreeMap<String, u64>,
    /// When two states of the code differ.
    pub compare: Compare,
    /// What is asked for beside the rest when the database is at some distance, by the network's name.
    pub networks: BTreeMap<String, AtNetwork>,
}

/// When two states of the code differ.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compare {
    /// A share: a change of so much has to be found, and what is proven to be less is none.
    pub threshold: f64,
    /// The same of single ids, which may be nothing to watch so closely.
    pub thresholds: BTreeMap<String, f64>,
}

impl Default for Compare {
    fn default() -> Self {
        Self { threshold: 0.05, thresholds: BTreeMap::new() }
    }
}

impl Compare {
    /// The threshold of `id`.
    pub fn threshold(&self, id: &str) -> f64 {
        self.thresholds.get(id).copied().unwrap_or(self.threshold)
    }
}

/// What a run on one network must reach.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AtNetwork {
    /// What a stress pass must reach, by strategy.
    pub targets: BTreeMap<String, Targets>,
    /// Lowest and highest median of a bench, in milliseconds, by its id.
    pub times_ms: BTreeMap<String, Range>,
    /// What a bench may cost.
    pub budgets: Vec<Budget>,
}

/// What a stress pass must reach; what is left out is not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// More than this share of requests must succeed, 0 to 1.
    pub success_rate: Option<f64>,
    /// At most this many answers of 500 or more.
    pub server_errors: Option<u64>,
    /// The P50 must be below this.
    pub p50_ms: Option<f64>,
    /// The P95 must be below this.
    pub p95_ms: Option<f64>,
}

/// What a bench may cost, as a multiple of another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The bench judged.
    pub id: String,
    /// The bench it is held against.
    pub against: String,
    /// The judged one's time over the other's, at most.
    pub at_most: f64,
}

/// What share of the database's own throughput HTTP must reach.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// The action.
    pub action: String,
    /// What sends the requests: `wrk` or `tare`.
    pub client: String,
    /// From 0 to 1.
    pub at_least: f64,
}

impl Config {
    /// All that a pass under `strategy` must reach on `network`: what is asked anywhere, and what is asked there.
    pub fn targets(&self, network: &str, strategy: &str) -> impl Iterator<Item = &Targets> {
        let there = self.networks.get(network).and_then(|network| network.targets.get(strategy));
        self.targets.get(strategy).into_iter().chain(there)
    }

    /// Reads TOML; unknown keys are errors, and the message shows the place.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_file_is_understood() {
        let config = Config::parse(include_str!("../../../fixtures/perf.toml")).unwrap();
        assert_eq!(config.targets["after"].p95_ms, Some(500.0));
        assert!(config.budgets.len() >= 6);
        assert_eq!(config.networks["remote"].times_ms["connection/new-tls"], [280.0, 980.0]);
    }

    #[test]
    fn an_unknown_key_and_a_wrong_type_are_shown_in_their_place() {
        for (text, expected) in [
            ("[targets.after]\np95 = 500", "unknown field `p95`"),
            ("[[budgets]]\nid = 1", "expected a string"),
            ("[networks.remote.times]\n", "unknown field `times`"),
            ("[budget]\n", "unknown field `budget`"),
            ("targets = [", "line 1"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("line"), "{error}");
        }
    }
}
