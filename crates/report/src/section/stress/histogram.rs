//! How often which latency was met, drawn.

use tare_evidence::units::{time, whole};
use tare_evidence::{Evidence, Latency, Pass};

use super::super::bar::bar;
use super::{Section, compared, label};
use crate::plot::{Axis, Chart, Line, Plot, Scale, Unit};

/// Characters of the longest bar.
const WIDTH: usize = 40;

/// A histogram of each pass that is compared.
pub(super) fn histogram(evidence: &Evidence) -> Option<Section> {
    let drawn = compared(evidence).filter(|pass| !pass.histogram.is_empty());
    let drawn = drawn.map(|pass| {
        // Each line tells its upper end, so the first one's lower end is told here.
        let least = time(pass.latency.min_ms);
        format!("{}, from {least}\n{}", label(pass, evidence), lines(pass).join("\n"))
    });
    let drawn: Vec<_> = drawn.collect();
    (!drawn.is_empty()).then(|| Section {
        title: "How long requests took".into(),
        figure: Some(drawn.join("\n\n")),
        plots: vec![curve(evidence), classes(evidence)],
        essential: true,
        ..Section::default()
    })
}

const LATENCY: Axis = Axis { name: "latency", unit: Unit::Time, scale: Scale::Logarithmic };

/// Which share of requests took how long at most.
fn curve(evidence: &Evidence) -> Plot {
    let line = |pass: &Pass| {
        let (all, mut done) = (pass.requests.max(1) as f64, 0.0);
        let reached = pass.histogram.iter().map(|class| {
            done += class.requests as f64;
            // Of so many requests none tells more than this of the slowest.
            ((done / all).min(1.0 - 0.5 / all), class.up_to_ms)
        });
        let points = [(0.0, pass.latency.min_ms)].into_iter().chain(reached).collect();
        Line { name: label(pass, evidence), points }
    };
    Plot {
        title: "Latency by percentile".into(),
        description: "A line for each pass: which share of its requests took how long at most.".into(),
        chart: Chart::Lines {
            x: Axis { name: "share of requests", unit: Unit::Share, scale: Scale::Nines },
            y: LATENCY,
            lines: compared(evidence).map(line).collect(),
        },
    }
}

/// How many requests took about how long.
fn classes(evidence: &Evidence) -> Plot {
    let line = |pass: &Pass| {
        let (all, mut from) = (pass.requests.max(1) as f64, pass.latency.min_ms);
        let steps = pass.histogram.iter().flat_map(|class| {
            let share = class.requests as f64 / all;
            let step = [(from, share), (class.up_to_ms, share)];
            from = class.up_to_ms;
            step
        });
        Line { name: label(pass, evidence), points: steps.collect() }
    };
    Plot {
        title: "How many requests took about how long".into(),
        description: "A line of steps for each pass: the share of its requests in each class of latency.".into(),
        chart: Chart::Lines {
            x: LATENCY,
            y: Axis { name: "share of requests", unit: Unit::Share, scale: Scale::Linear },
            lines: compared(evidence).map(line).collect(),
        },
    }
}

/// A line for each bar: `  ≤ 4.20 ms  ████████ 1,234 P50`.
fn lines(pass: &Pass) -> Vec<String> {
    let bounds: Vec<_> = pass.histogram.iter().map(|bar| time(bar.up_to_ms)).collect();
    let widest = bounds.iter().map(|bound| bound.chars().count()).max().unwrap_or(0);
    let most = pass.histogram.iter().map(|bar| bar.requests).max().unwrap_or(0);
    let marks = marks(pass);
    let lines = pass.histogram.iter().zip(bounds).zip(marks).map(|((class, bound), marks)| {
        format!(
            "  ≤ {bound:>widest$}  {} {}{marks}",
            bar(class.requests as f64, most as f64, WIDTH),
            whole(class.requests as f64)
        )
    });
    lines.collect()
}

/// For each bar the percentiles that lie in it: ` P50`, or nothing.
fn marks(pass: &Pass) -> Vec<String> {
    let Latency { p50_ms, p95_ms, p99_ms, .. } = pass.latency;
    let mut marks = vec![String::new(); pass.histogram.len()];
    for (name, percentile) in [("P50", p50_ms), ("P95", p95_ms), ("P99", p99_ms)] {
        // A percentile is rounded, and may be a trace above the last bar's end.
        let within = pass.histogram.iter().position(|bar| percentile <= bar.up_to_ms).or(marks.len().checked_sub(1));
        if let Some(nth) = within {
            marks[nth] += &format!(" {name}");
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use tare_evidence::Bar;

    use super::super::tests::evidence;
    use super::*;

    fn pass(bars: &[(f64, u64)], [p50_ms, p95_ms, p99_ms]: [f64; 3]) -> Pass {
        Pass {
            name: "view".into(),
            latency: Latency { p50_ms, p95_ms, p99_ms, ..Latency::default() },
            histogram: bars.iter().map(|&(up_to_ms, requests)| Bar { up_to_ms, requests }).collect(),
            ..Pass::default()
        }
    }

    #[test]
    fn percentiles_are_marked_in_the_lines_they_lie_in() {
        let shown = lines(&pass(&[(4.2, 1234), (9.0, 617), (40.0, 0), (120.0, 9)], [4.2, 8.0, 8.9]));
        assert_eq!(
            shown,
            [
                format!("  ≤ 4.20 ms  {} 1,234 P50", "█".repeat(40)),
                format!("  ≤ 9.00 ms  {} 617 P95 P99", "█".repeat(20)),
                "  ≤ 40.0 ms   0".to_owned(),
                "  ≤  120 ms  ▍ 9".to_owned(),
            ]
        );
    }

    #[test]
    fn a_percentile_rounded_above_all_bars_is_in_the_last() {
        assert_eq!(marks(&pass(&[(1.0, 9), (2.0, 1)], [0.5, 1.5, 2.001])), [" P50", " P95 P99"]);
    }

    #[test]
    fn each_pass_is_drawn_under_its_name_and_markdown_fences_it() {
        let mut one = pass(&[(1.0, 1)], [1.0; 3]);
        one.latency.min_ms = 0.5;
        let other = Pass { strategy: Some("after".into()), ..one.clone() };
        let evidence = evidence(vec![one, other]);
        let figure = histogram(&evidence).unwrap().figure.unwrap();
        let bar = format!("  ≤ 1.00 ms  {} 1 P50 P95 P99", "█".repeat(40));
        assert_eq!(figure, format!("view, from 500 µs\n{bar}\n\nafter, from 500 µs\n{bar}"));
        let markdown = crate::markdown(&evidence, &[]);
        assert!(markdown.contains(&format!("## How long requests took\n\n```text\n{figure}\n```\n")), "{markdown}");
    }
}
