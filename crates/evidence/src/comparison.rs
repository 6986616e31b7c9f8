//! Published figure, this run before, this run after.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::published::{Published, PublishedComponent, PublishedGain, PublishedP95, Range};
use crate::{Bench, Evidence, Pass};

/// One line of the comparison. All figures of a row have its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What is compared: a component, a figure of the stress pass, or the gain of a fix.
    pub what: String,
    /// `ms`, `req/s`, `s` or `%`; nothing for a count.
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

/// Where a figure lies beside a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Less than the lowest.
    Below,
    /// From the lowest to the highest.
    Within,
    /// More than the highest.
    Above,
}

impl Fit {
    /// Where `measured` lies beside a range.
    pub fn of(measured: f64, [lowest, highest]: Range) -> Self {
        match measured {
            low if low < lowest => Self::Below,
            high if high > highest => Self::Above,
            _ => Self::Within,
        }
    }
}

impl Row {
    /// Where this run without the fixes lies beside what was published; nothing where that is no range.
    pub fn before_fit(&self) -> Option<Fit> {
        fit(self.before, self.published_before)
    }

    /// Where this run with the fixes lies beside what was published; nothing where that is no range.
    pub fn after_fit(&self) -> Option<Fit> {
        fit(self.after, self.published_after)
    }
}

fn fit(measured: Option<f64>, published: Option<Range>) -> Option<Fit> {
    let range = published.filter(|[lowest, highest]| lowest < highest)?;
    Some(Fit::of(measured?, range))
}

/// A row for each published component, figure of the stress pass, P95 and gain. What was not measured is left out of
/// its row.
pub fn compare(published: &Published, evidence: &Evidence) -> Vec<Row> {
    let components = published.components.iter().map(|component| component_row(component, evidence));
    let p95 = published.p95.iter().map(|p95| p95_row(p95, evidence));
    let gains = published.gains.iter().map(|gain| gain_row(gain, evidence));
    let rows = components.chain(stress_rows(published, evidence)).chain(p95).chain(gains);
    rows.filter(|row| row.before.is_some() || row.after.is_some()).collect()
}

fn component_row(component: &PublishedComponent, evidence: &Evidence) -> Row {
    let bench = |id: &str| evidence.bench(id).map(Bench::median_ms);
    Row {
        what: component.name.clone(),
        unit: "ms".into(),
        published_before: component.published_before_ms,
        published_after: component.published_after_ms,
        before: bench(&component.before),
        after: component.after.as_deref().and_then(bench),
    }
}

fn stress_rows(published: &Published, evidence: &Evidence) -> impl Iterator<Item = Row> {
    const TOTAL: &str = "stress total";
    let stress = &published.stress;
    type Figure = (&'static str, &'static str, f64, fn(&Pass) -> f64);
    let figures: [Figure; 8] = [
        ("stress success", "%", stress.success_rate * 100.0, |pass| pass.success_rate() * 100.0),
        ("stress 5xx", "", stress.server_errors as f64, |pass| pass.server_errors() as f64),
        ("stress mean", "ms", stress.mean_ms, |pass| pass.latency.mean_ms),
        ("stress P50", "ms", stress.p50_ms, |pass| pass.latency.p50_ms),
        ("stress P95", "ms", stress.p95_ms, |pass| pass.latency.p95_ms),
        ("stress P99", "ms", stress.p99_ms, |pass| pass.latency.p99_ms),
        ("stress throughput", "req/s", stress.requests_per_second, Pass::throughput),
        (TOTAL, "s", stress.seconds, |pass| pass.seconds),
    ];
    figures.into_iter().map(|(what, unit, published, figure)| {
        // How long a pass takes in all is comparable only to one of as many requests.
        let comparable = |pass: &&Pass| what != TOTAL || pass.requests == stress.requests;
        let measured = |strategy: &str| evidence.pass(strategy).filter(comparable).map(figure);
        Row {
            what: what.into(),
            unit: unit.into(),
            published_before: Some([published, published]),
            published_after: None,
            before: measured("before"),
            after: measured("after"),
        }
    })
}

fn p95_row(p95: &PublishedP95, evidence: &Evidence) -> Row {
    // Only beside what was published: what came with a pool has no `before`.
    let measured = |published: Option<Range>, strategy: &str| {
        published.and_then(|_| evidence.pass(strategy)).map(|pass| pass.latency.p95_ms)
    };
    Row {
        what: p95.name.clone(),
        unit: "ms".into(),
        published_before: p95.published_before_ms,
        published_after: p95.published_after_ms,
        before: measured(p95.published_before_ms, "before"),
        after: measured(p95.published_after_ms, "after"),
    }
}

fn gain_row(gain: &PublishedGain, evidence: &Evidence) -> Row {
    let bench = |id: &str| evidence.bench(id).map(Bench::median_ms);
    let left = bench(&gain.with).zip(bench(&gain.without)).map(|(with, without)| with / without);
    Row {
        what: format!("gain of {}", gain.fix),
        unit: "%".into(),
        published_before: None,
        published_after: Some([gain.published * 100.0; 2]),
        before: None,
        after: left.map(|left| 100.0 * (1.0 - left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interval, Latency, Machine, Run};

    fn rows(benches: &[(&str, f64)], p95_ms: &[(&str, f64)]) -> Vec<Row> {
        let published = Published::parse(include_str!("../../../fixtures/published.toml")).unwrap();
        let benches = benches.iter().map(|&(id, ms)| {
            let median_ns = Interval { estimate: ms * 1e6, ..Interval::default() };
            Bench { id: id.into(), median_ns, ..Bench::default() }
        });
        let passes = p95_ms.iter().map(|&(strategy, p95_ms)| Pass {
            strategy: Some(strategy.into()),
            latency: Latency { p95_ms, ..Latency::default() },
            ..Pass::default()
        });
        let evidence = Evidence {
            benches: benches.collect(),
            passes: passes.collect(),
            ..Evidence::begun(Run::default(), Machine::default())
        };
        compare(&published, &evidence)
    }

    #[test]
    fn a_component_stands_beside_what_was_published() {
        let rows = rows(&[("connection/new-tls", 309.0), ("connection/pooled-acquire", 0.0003)], &[]);
        assert_eq!(rows.len(), 1, "what was not measured has no row");
        assert_eq!(rows[0].published_before, Some([280.0, 980.0]));
        assert_eq!((rows[0].before, rows[0].after), (Some(309.0), Some(0.0003)));
        assert_eq!((rows[0].before_fit(), rows[0].after_fit()), (Some(Fit::Within), Some(Fit::Within)));
    }

    #[test]
    fn a_part_of_a_component_has_no_after() {
        let rows = rows(&[("connection/tls", 90.0), ("connection/tcp", 50.0)], &[]);
        let shown: Vec<_> = rows.iter().map(|row| (&*row.what, row.before_fit(), row.after)).collect();
        assert_eq!(shown, [("connection: TCP", None, None), ("connection: TLS", Some(Fit::Below), None)]);
    }

    #[test]
    fn a_gain_is_what_a_fix_takes_off_the_request() {
        let rows = rows(&[("request/before", 400.0), ("request/pooling", 100.0)], &[]);
        assert_eq!((rows.len(), &*rows[0].what, rows[0].after), (1, "gain of pooling", Some(75.0)));
        assert_eq!(rows[0].after_fit(), None, "one published figure is no range");
    }

    #[test]
    fn a_p95_is_measured_where_one_was_published() {
        let rows = rows(&[], &[("before", 900.0), ("after", 58.0)]);
        let row = |what: &str| rows.iter().find(|row| row.what == what).unwrap();
        let all = row("P95 before and after all fixes");
        assert_eq!((all.before, all.before_fit(), all.after_fit()), (Some(900.0), None, Some(Fit::Below)));
        let postgrest = row("PostgREST with its pool, P95");
        assert_eq!((postgrest.before, postgrest.after), (None, Some(58.0)));
    }

    #[test]
    fn both_ends_are_within() {
        let fits = [0.9, 1.0, 2.0, 2.1].map(|measured| Fit::of(measured, [1.0, 2.0]));
        assert_eq!(fits, [Fit::Below, Fit::Within, Fit::Within, Fit::Above]);
    }
}
