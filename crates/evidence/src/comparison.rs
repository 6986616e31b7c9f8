//! Published figure, this run before, this run after.

use serde::{Deserialize, Serialize};

use crate::published::{Published, Range};
use crate::{Bench, Pass};

/// One line of the comparison. All figures of a row have its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is compared: a component, or a figure of the stress pass.
    pub what: String,
    /// `ms`, `req/s`, `s` or `%`.
    pub unit: String,
    /// Published without the fixes, lowest and highest.
    pub published_before: Option<Range>,
    /// Published with the fixes, lowest and highest.
    pub published_after: Option<Range>,
    /// This run without the fixes.
    pub before: Option<f64>,
    /// This run with the fixes.
    pub after: Option<f64>,
}

const NS_PER_MS: f64 = 1e6;
const TOTAL: &str = "stress total";

/// A row for each published component and for each figure of the stress pass. What was not measured is left out of its row.
pub fn compare(published: &Published, benches: &[Bench], passes: &[Pass]) -> Vec<Row> {
    let bench =
        |id: &str| benches.iter().find(|bench| bench.id == id).map(|bench| bench.median_ns.estimate / NS_PER_MS);
    let components = published.components.iter().map(|component| Row {
        what: component.name.clone(),
        unit: "ms".into(),
        published_before: component.published_before_ms,
        published_after: component.published_after_ms,
        before: bench(&component.before),
        after: bench(&component.after),
    });
    let stress = &published.stress;
    type Figure = (&'static str, &'static str, f64, fn(&Pass) -> f64);
    let figures: [Figure; 7] = [
        ("stress success", "%", stress.success_rate * 100.0, |pass| pass.success_rate() * 100.0),
        ("stress mean", "ms", stress.mean_ms, |pass| pass.latency.mean_ms),
        ("stress P50", "ms", stress.p50_ms, |pass| pass.latency.p50_ms),
        ("stress P95", "ms", stress.p95_ms, |pass| pass.latency.p95_ms),
        ("stress P99", "ms", stress.p99_ms, |pass| pass.latency.p99_ms),
        ("stress throughput", "req/s", stress.requests_per_second, Pass::throughput),
        (TOTAL, "s", stress.seconds, |pass| pass.seconds),
    ];
    let pass = |strategy: &str| passes.iter().find(|pass| pass.strategy.as_deref() == Some(strategy));
    // How long a pass takes in all is comparable only to one of as many requests.
    let comparable = |what: &str, pass: &&Pass| what != TOTAL || pass.requests == published.stress.requests;
    let stress = figures.into_iter().map(|(what, unit, published, figure)| Row {
        what: what.into(),
        unit: unit.into(),
        published_before: Some([published, published]),
        published_after: None,
        before: pass("before").filter(|pass| comparable(what, pass)).map(figure),
        after: pass("after").filter(|pass| comparable(what, pass)).map(figure),
    });
    components.chain(stress).filter(|row| row.before.is_some() || row.after.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;

    fn published() -> Published {
        Published::parse(include_str!("../../../fixtures/published.toml")).unwrap()
    }

    fn bench(id: &str, ns: f64) -> Bench {
        let interval = Interval { estimate: ns, lower: ns, upper: ns };
        Bench { id: id.into(), median_ns: interval, mean_ns: interval, std_dev_ns: 0.0, samples: 10 }
    }

    #[test]
    fn a_component_stands_beside_what_was_published() {
        let benches = [bench("connection/new-tls", 9e6), bench("connection/pooled-acquire", 300.0)];
        let rows = compare(&published(), &benches, &[]);
        assert_eq!(rows.len(), 1, "what was not measured has no row");
        assert_eq!(rows[0].published_before, Some([280.0, 980.0]));
        assert_eq!((rows[0].before, rows[0].after), (Some(9.0), Some(0.0003)));
    }
}
