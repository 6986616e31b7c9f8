//! `published.toml`: the figures that started this.

use serde::Deserialize;

/// Lowest and highest published, in milliseconds.
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
    pub gain: toml::Table,
    /// What has no counterpart on loopback.
    pub others: toml::Table,
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
    /// The bench that measures it with the fix.
    pub after: String,
}

impl Published {
    /// Reads TOML; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
