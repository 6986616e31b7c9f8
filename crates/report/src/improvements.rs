//! What was improved, as it is written into a change's description or a post-mortem: before, after, what was done, what was learnt.

use std::fmt::Write;

use tare_evidence::units::{percent, rate, time, times};
use tare_evidence::{AFTER, Evidence, MatrixRow, Pass};

use crate::markdown::{escape, line, rule};
use crate::section::profile::finding;
use crate::section::{setting, verdict_sentence};

/// The strategy without any fix.
const BEFORE: &str = "before";
/// What the name of a row of the comparison begins with that tells what a fix gains.
const GAIN_OF: &str = "gain of ";

/// What was improved, as Markdown. What was not measured is left out.
pub fn improvements(evidence: &Evidence) -> String {
    let mut text = format!("## Performance improvements\n\n{}\n", escape(&setting(evidence)));
    for (title, told) in [
        ("Before and after", before_and_after(evidence)),
        ("Fixes applied", fixes(evidence)),
        ("Lessons measured", lessons(evidence)),
    ] {
        if !told.is_empty() {
            let _ = write!(text, "\n### {title}\n\n{told}");
        }
    }
    let _ = write!(text, "\n{}\n", escape(&verdict_sentence(evidence)));
    text
}

fn before_and_after(evidence: &Evidence) -> String {
    let passes = [BEFORE, AFTER].map(|strategy| evidence.pass(strategy));
    if passes.iter().all(Option::is_none) {
        return String::new();
    }
    type Figure = (&'static str, fn(&Pass) -> f64, fn(f64) -> String);
    let figures: [Figure; 5] = [
        ("P50", |pass| pass.latency.p50_ms, time),
        ("P95", |pass| pass.latency.p95_ms, time),
        ("P99", |pass| pass.latency.p99_ms, time),
        ("throughput", Pass::throughput, rate),
        ("success", Pass::success_rate, percent),
    ];
    let rows = figures.into_iter().map(|(name, of, shown)| {
        let [before, after] = passes.map(|pass| pass.map(of));
        let gain = match (before, after, name) {
            (Some(before), Some(after), "throughput") => Some(after / before),
            (Some(before), Some(after), "P50" | "P95" | "P99") => Some(before / after),
            _ => None,
        };
        let gain = gain.filter(|gain| gain.is_finite()).map(times).unwrap_or_default();
        let [before, after] = [before, after].map(|figure| figure.map(shown).unwrap_or_default());
        vec![name.to_owned(), before, after, gain]
    });
    table(&["", "before", "after", "gain"], rows.collect())
}

/// What each fix takes off: by the matrix under load where there is one, else of one request's own work.
fn fixes(evidence: &Evidence) -> String {
    if let Some(matrix) = &evidence.matrix {
        let row = |row: &MatrixRow| {
            let interval = row.gain_p95;
            let gain = format!("{} ({} to {})", whole(interval.estimate), whole(interval.lower), whole(interval.upper));
            vec![row.fix.clone(), row.action.clone(), gain, row.published.map(percent).unwrap_or_default()]
        };
        return table(&["fix", "action", "takes off P95", "published"], matrix.rows.iter().map(row).collect());
    }
    let gains = evidence.comparison.iter().filter_map(|row| {
        let published = row.published_after.map(|[published, _]| whole(published / 100.0)).unwrap_or_default();
        Some(vec![row.what.strip_prefix(GAIN_OF)?.to_owned(), whole(row.after? / 100.0), published])
    });
    table(&["fix", "takes off a request", "published"], gains.collect())
}

fn lessons(evidence: &Evidence) -> String {
    let round_trips = |strategy: &str| evidence.bench(&format!("request/{strategy}"))?.round_trips;
    let distance = round_trips(BEFORE).zip(round_trips(AFTER)).map(|(before, after)| {
        format!(
            "A request waits for its database {before} times without the fixes, and {after} with them: as often does each millisecond \
             of distance count."
        )
    });
    let findings = evidence.profiles.iter().map(|profile| finding(profile, evidence));
    let interactions = evidence.matrix.iter().flat_map(|matrix| matrix.interactions.clone());
    let lessons = distance.into_iter().chain(findings).chain(interactions).filter(|lesson| !lesson.is_empty());
    lessons.map(|lesson| format!("- {}\n", escape(&lesson))).collect()
}

fn whole(share: f64) -> String {
    percent((share * 100.0).round() / 100.0)
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let header: Vec<_> = header.iter().map(|&name| name.to_owned()).collect();
    let lines = [line(&header), rule(header.len())].into_iter().chain(rows.iter().map(|row| line(row)));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Bench, Latency, Machine, Profile, Row, Run};

    use super::*;

    fn evidence() -> Evidence {
        let pass = |strategy: &str, ms: f64| Pass {
            strategy: Some(strategy.into()),
            requests: 100,
            succeeded: 100,
            seconds: ms / 100.0,
            latency: Latency { p50_ms: ms, p95_ms: 2.0 * ms, p99_ms: 3.0 * ms, ..Latency::default() },
            ..Pass::default()
        };
        let gain = Row {
            what: "gain of pooling".into(),
            unit: "%".into(),
            published_before: None,
            published_after: Some([70.0; 2]),
            before: None,
            after: Some(75.2),
        };
        let bench = |id: &str, round_trips| Bench { id: id.into(), round_trips, ..Bench::default() };
        Evidence {
            passes: vec![pass("before", 100.0), pass("after", 5.0)],
            comparison: vec![gain],
            benches: vec![bench("request/before", Some(30)), bench("request/after", Some(1))],
            profiles: vec![Profile { finding: "The query is fast | all else is not.".into(), ..Profile::default() }],
            ..Evidence::begun(Run::default(), Machine::default())
        }
    }

    #[test]
    fn what_was_improved_is_told_with_its_figures() {
        let text = improvements(&evidence());
        for expected in [
            "| P95 | 200 ms | 10.0 ms | 20 × |",
            "| throughput | 100 req/s | 2,000 req/s | 20 × |",
            "| success | 100 % | 100 % |  |",
            "| pooling | 75 % | 70 % |",
            "- A request waits for its database 30 times without the fixes, and 1 with them",
            "- The query is fast \\| all else is not.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let text = improvements(&Evidence::begun(Run::default(), Machine::default()));
        assert!(!text.contains("###"), "{text}");
    }
}
