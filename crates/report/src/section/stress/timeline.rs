//! What happened when, drawn.

use tare_evidence::units::{time, whole};
use tare_evidence::{Evidence, Pass, Span};

use super::{Section, compared, label, per_second};
use crate::plot::{Axis, Chart, Line, Plot, Scale, Unit};

/// Heights of a line, the lowest first.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Fewer spans show no course.
const FEWEST: usize = 3;

/// The course of each pass that is compared.
pub(super) fn timeline(evidence: &Evidence) -> Option<Section> {
    let drawn = compared(evidence).filter(|pass| pass.timeline.len() >= FEWEST);
    let drawn: Vec<_> = drawn.map(|pass| lines(pass, &label(pass, evidence)).join("\n")).collect();
    (!drawn.is_empty()).then(|| Section {
        title: "What happened when".into(),
        figure: Some(drawn.join("\n\n")),
        plots: vec![
            plot(evidence, "P95 as time went by", LATENCY, |pass| p95(&pass.timeline)),
            plot(evidence, "Requests per second as time went by", PER_SECOND, |pass| rates(&pass.timeline)),
        ],
        essential: true,
        ..Section::default()
    })
}

/// The time covered, and a line for each figure: `  req/s   ▂▅▇▇▇▆  812 – 1,903`.
fn lines(pass: &Pass, label: &str) -> Vec<String> {
    let spans = &pass.timeline;
    let end = spans.last().map_or(0.0, |span| span.from_s + span.seconds);
    let failed: Vec<_> = spans.iter().map(|span| Some(span.failed as f64)).collect();
    let mut lines = vec![format!("{label}, 0 – {end:.1} s")];
    lines.extend(line("req/s", &rates(spans), per_second));
    lines.extend(line("P95", &p95(spans), time));
    if spans.iter().any(|span| span.failed > 0) {
        lines.extend(line("failed", &failed, whole));
    }
    lines
}

const LATENCY: Axis = Axis { name: "P95", unit: Unit::Time, scale: Scale::Logarithmic };
const PER_SECOND: Axis = Axis { name: "requests per second", unit: Unit::Number, scale: Scale::Logarithmic };

/// A figure of the spans of each pass that is compared.
fn plot(evidence: &Evidence, title: &str, y: Axis, figures: impl Fn(&Pass) -> Vec<Option<f64>>) -> Plot {
    let line = |pass: &Pass| {
        let middles = pass.timeline.iter().map(|span| span.from_s + span.seconds / 2.0);
        let points = middles.zip(figures(pass)).filter_map(|(at, figure)| Some((at, figure?)));
        Line { name: label(pass, evidence), points: points.collect() }
    };
    Plot {
        title: title.into(),
        description: format!("{title}: a line for each pass."),
        chart: Chart::Lines {
            x: Axis { name: "since counting began", unit: Unit::Seconds, scale: Scale::Linear },
            y,
            lines: compared(evidence).map(line).collect(),
        },
    }
}

/// Nothing where nothing came to its end: there is no latency, which is not one of 0.
fn p95(spans: &[Span]) -> Vec<Option<f64>> {
    spans.iter().map(|span| (span.requests > 0).then_some(span.p95_ms)).collect()
}

/// Requests per second. The last span may be a mere rest, of whose few requests no rate is worth telling.
fn rates(spans: &[Span]) -> Vec<Option<f64>> {
    let longest = spans.iter().map(|span| span.seconds).fold(0.0, f64::max);
    let rate = |span: &Span| (span.seconds > longest / 2.0).then(|| span.requests as f64 / span.seconds);
    spans.iter().map(rate).collect()
}

/// A line with its least and its greatest value; nothing where there is no value.
fn line(name: &str, values: &[Option<f64>], shown: impl Fn(f64) -> String) -> Option<String> {
    let known = || values.iter().flatten().copied();
    let (least, greatest) = (known().reduce(f64::min)?, known().reduce(f64::max)?);
    let drawn: String = values.iter().map(|value| value.map_or(' ', |value| height(value, greatest))).collect();
    Some(format!("  {name:<6}  {drawn}  {} – {}", shown(least), shown(greatest)))
}

/// Heights begin at zero, for half as much to look like it; and what is not zero stands out from what is.
fn height(value: f64, greatest: f64) -> char {
    let steps = (HEIGHTS.len() - 1) as f64;
    match greatest > 0.0 {
        true => HEIGHTS[((value / greatest * steps).ceil() as usize).min(HEIGHTS.len() - 1)],
        false => HEIGHTS[0],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::evidence;
    use super::*;

    fn pass(spans: &[(u64, u64, f64)]) -> Pass {
        let timeline = spans.iter().enumerate().map(|(nth, &(requests, failed, p95_ms))| Span {
            from_s: nth as f64 * 2.0,
            seconds: 2.0,
            requests,
            failed,
            p95_ms,
            ..Span::default()
        });
        Pass { name: "view".into(), timeline: timeline.collect(), ..Pass::default() }
    }

    #[test]
    fn a_line_rises_and_falls_from_zero() {
        let heights = |values: &[f64]| values.iter().map(|&value| height(value, 70.0)).collect::<String>();
        assert_eq!(heights(&[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]), "▁▂▃▄▅▆▇█");
        assert_eq!(heights(&[0.1, 35.0]), "▂▅");
        assert_eq!(height(0.0, 0.0), '▁');
    }

    #[test]
    fn figures_have_their_least_and_greatest_and_the_time_covered() {
        let shown = lines(&pass(&[(1000, 0, 4.2), (3806, 0, 9.0), (3000, 0, 5.0)]), "view");
        assert_eq!(shown, ["view, 0 – 6.0 s", "  req/s   ▃█▇  500 – 1,903", "  P95     ▅█▅  4.20 ms – 9.00 ms"]);
    }

    #[test]
    fn failures_have_a_line_where_there_were_any() {
        let shown = lines(&pass(&[(100, 0, 1.0), (100, 12, 1.0), (100, 1, 1.0)]), "view");
        assert_eq!(shown[3], "  failed  ▁█▂  0 – 12");
    }

    #[test]
    fn a_span_without_requests_has_no_latency_and_a_rest_no_rate() {
        let mut pass = pass(&[(200, 0, 4.0), (0, 0, 0.0), (200, 0, 8.0), (9, 0, 2.0)]);
        pass.timeline[3].seconds = 0.001;
        let shown = lines(&pass, "view");
        assert_eq!(shown[1..], ["  req/s   █▁█   0.0 – 100", "  P95     ▅ █▃  2.00 ms – 8.00 ms"]);
    }

    #[test]
    fn few_spans_show_no_course() {
        let of = |spans| timeline(&evidence(vec![pass(spans)]));
        assert_eq!(of(&[(1, 0, 1.0), (1, 0, 1.0)]), None);
        assert!(of(&[(1, 0, 1.0), (1, 0, 1.0), (1, 0, 1.0)]).is_some());
    }
}
