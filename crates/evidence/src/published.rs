//! `published.toml`: the figures that started this.

use serde::Deserialize;

use crate::Complexity;

/// Lowest and highest, both within. From 0 it is a bound; twice the same is one figure, which has no range.
pub type Range = [f64; 2];

/// The figures that started this, as written in `fixtures/published.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The published stress pass.
    pub stress: PublishedStress,
    /// What was published about each component.
    pub components: Vec<PublishedComponent>,
    /// The published targets.
    pub targets: toml::Table,
    /// What each fix was expected to take off the request.
    pub gains: Vec<PublishedGain>,
    /// Published P95s, to be held against the stress passes.
    pub p95: Vec<PublishedP95>,
}

/// The published stress pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PublishedStress {
    pub document: String,
    pub requests: u64,
    pub concurrency: usize,
    pub success_rate: f64,
    pub server_errors: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub requests_per_second: f64,
    pub seconds: f64,
}

/// What was published about one component, and which benches measure the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedComponent {
    /// The component.
    pub name: String,
    /// Where it was published.
    pub document: String,
    /// Without the fix.
    pub published_before_ms: Option<Range>,
    /// With it.
    pub published_after_ms: Option<Range>,
    /// The bench that measures it without the fix.
    pub before: String,
    /// The bench that measures it with the fix; nothing where no fix is for this component alone.
    pub after: Option<String>,
}

/// What a fix was expected to take off the request, which benches measure the same, and what deciding for it takes to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedGain {
    /// The fix.
    pub fix: String,
    /// Where it was published.
    pub document: String,
    /// Share of the request, 0 to 1.
    pub published: f64,
    /// The bench of the request without the fix.
    pub without: String,
    /// The bench of the request with the fix and no other.
    pub with: String,
    /// The action it helps most, on which it is measured under load.
    pub action: String,
    /// How much work it is.
    pub complexity: Complexity,
    /// What it helps, in a few words.
    pub helps: String,
}

/// A published P95 of the whole request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedP95 {
    /// Of what.
    pub name: String,
    /// Where it was published.
    pub document: String,
    /// Without the fixes.
    pub published_before_ms: Option<Range>,
    /// With them.
    pub published_after_ms: Option<Range>,
}

impl Published {
    /// The components of a request without fixes and the middle of their published times, in milliseconds; their parts,
    /// `connection: TLS`, are left out.
    pub fn of_a_request(&self) -> Vec<(String, f64)> {
        let known = self.components.iter().filter(|component| !component.name.contains(':'));
        let middle = |component: &PublishedComponent| {
            let [lowest, highest] = component.published_before_ms?;
            let name = component.name.split(',').next().unwrap_or_default();
            Some((name.to_owned(), f64::midpoint(lowest, highest)))
        };
        known.filter_map(middle).collect()
    }

    /// Reads TOML; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
