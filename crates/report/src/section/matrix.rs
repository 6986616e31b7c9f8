//! What each fix is worth.

use tare_evidence::units::{percent, time};
use tare_evidence::{Alternative, Cell, Evidence, Interval, Matrix, MatrixRow};

use super::{Section, table};
use crate::plot::{AFTER, Axis, BEFORE, Chart, Mark, Plot, Row, Scale, Series, Unit};

/// All that is told of the matrix, in the order it is read.
pub(super) fn sections(evidence: &Evidence) -> Vec<Section> {
    let Some(matrix) = &evidence.matrix else { return Vec::new() };
    [worth(matrix), order(matrix), alternatives(matrix), cells(matrix)]
        .into_iter()
        .filter(|section| section.table.is_some())
        .collect()
}

fn worth(matrix: &Matrix) -> Section {
    let row = |row: &MatrixRow| {
        let measured = [row.gain_p50, row.gain_p95, row.loss_p50, row.loss_p95].map(with_interval);
        [row.fix.clone(), row.action.clone()].into_iter().chain(measured).collect()
    };
    let header = ["fix", "action", "gain alone, P50", "gain alone, P95", "loss without, P50", "loss without, P95"];
    Section {
        title: "What each fix is worth".into(),
        paragraphs: vec![format!(
            "The gain is what the fix alone takes off before, the loss what after takes more without it; medians of {} rounds of \
             {} requests or more, {} at a time, and the interval they lie in.",
            matrix.rounds, matrix.requests, matrix.concurrency
        )],
        table: table(&header, matrix.rows.iter().map(row).collect()),
        plots: vec![plot(&matrix.rows)],
        essential: true,
        ..Section::default()
    }
}

/// What each fix takes off P95, and what was published that it would.
fn plot(rows: &[MatrixRow]) -> Plot {
    let row = |row: &MatrixRow| {
        let Interval { estimate, lower, upper } = row.gain_p95;
        let measured = Mark { series: 0, from: 0.0, to: estimate, interval: Some([lower, upper]) };
        let published = row.published.map(|published| Mark::dot(1, published, None));
        Row { name: row.fix.clone(), marks: [measured].into_iter().chain(published).collect() }
    };
    Plot {
        title: "What each fix alone takes off P95".into(),
        description: "A bar for each fix with the interval its end lies in, and a dot where a gain was published."
            .into(),
        chart: Chart::Rows {
            x: Axis { name: "less than before", unit: Unit::Share, scale: Scale::Linear },
            series: vec![Series::new("measured", AFTER), Series::new("published", BEFORE)],
            rows: rows.iter().map(row).collect(),
        },
    }
}

fn order(matrix: &Matrix) -> Section {
    let row = |row: &MatrixRow| {
        let priority = row.priority.map_or_else(|| "none".to_owned(), |priority| format!("{priority:.2}"));
        let published = row.published.map(percent).unwrap_or_default();
        vec![row.fix.clone(), priority, published, row.complexity.name().to_owned(), row.helps.clone()]
    };
    Section {
        title: "Which fix first".into(),
        paragraphs: matrix.interactions.clone(),
        table: table(
            &["fix", "priority", "published gain", "complexity", "helps"],
            matrix.rows.iter().map(row).collect(),
        ),
        essential: true,
        ..Section::default()
    }
}

fn alternatives(matrix: &Matrix) -> Section {
    let row = |row: &Alternative| {
        let measured = [row.gain_p50, row.gain_p95].map(with_interval);
        [row.way.clone(), row.against.clone(), row.action.clone()].into_iter().chain(measured).collect()
    };
    Section {
        title: "What else there is".into(),
        paragraphs: vec!["What one way takes off another; less than nothing is more. docs/pgbouncer.md and docs/cached-reads.md tell \
                          when to choose which."
            .into()],
        table: table(&["way", "against", "action", "gain, P50", "gain, P95"], matrix.alternatives.iter().map(row).collect()),
        essential: true,
        ..Section::default()
    }
}

fn cells(matrix: &Matrix) -> Section {
    let row = |cell: &Cell| {
        vec![cell.strategy.clone(), cell.action.clone(), time(cell.p50_ms.estimate), time(cell.p95_ms.estimate)]
    };
    Section {
        title: "What each strategy took".into(),
        table: table(&["strategy", "action", "P50", "P95"], matrix.cells.iter().map(row).collect()),
        ..Section::default()
    }
}

/// `82 % (79..85)`.
fn with_interval(Interval { estimate, lower, upper }: Interval) -> String {
    let [estimate, lower, upper] = [estimate, lower, upper].map(|share| share * 100.0).map(whole);
    match lower == upper {
        true => format!("{estimate} %"),
        false => format!("{estimate} % ({lower}..{upper})"),
    }
}

/// A whole number, negative or not, and never `-0`.
fn whole(number: f64) -> String {
    let sign = if number.round() < 0.0 { "−" } else { "" };
    format!("{sign}{}", tare_evidence::units::whole(number))
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Complexity, Machine, Run};

    use super::*;
    use crate::{markdown, terminal, terminal_summary};

    fn between(estimate: f64, lower: f64, upper: f64) -> Interval {
        Interval { estimate, lower, upper }
    }

    fn evidence() -> Evidence {
        let row = |fix: &str, priority| MatrixRow {
            fix: fix.into(),
            action: "view_part_details".into(),
            gain_p50: between(0.821, 0.79, 0.853),
            gain_p95: between(-0.004, -0.1, 0.02),
            loss_p50: between(21.5, 20.0, 23.25),
            loss_p95: between(18.5, 12.5, 23.25),
            published: Some(0.7),
            complexity: Complexity::Medium,
            helps: "every audited request: no second commit to wait for".into(),
            priority,
        };
        let longest = "tenant-cache+async-audit+indexes+query+one-call";
        let matrix = Matrix {
            rounds: 6,
            requests: 100,
            concurrency: 10,
            cells: vec![Cell { strategy: longest.into(), action: "view_part_details".into(), ..Cell::default() }],
            rows: vec![row("tenant-cache", Some(0.4123)), row("async-audit", None)],
            alternatives: vec![Alternative {
                way: "before through pgbouncer".into(),
                against: "pooling".into(),
                action: "view_part_details".into(),
                gain_p50: between(-0.25, -0.3, -0.2),
                ..Alternative::default()
            }],
            interactions: vec!["tenant-cache matters less.".into()],
            next: "Next: tenant-cache.".into(),
        };
        Evidence { matrix: Some(matrix), ..Evidence::begun(Run::default(), Machine::default()) }
    }

    #[test]
    fn gains_and_losses_are_told_with_their_intervals() {
        let told = sections(&evidence());
        let worth = &told[0].table.as_ref().unwrap().rows[0];
        assert_eq!(worth[2..], ["82 % (79..85)", "0 % (−10..2)", "2,150 % (2,000..2,325)", "1,850 % (1,250..2,325)"]);
        let order = told[1].table.as_ref().unwrap();
        assert_eq!(order.rows[0][1..4], ["0.41", "70 %", "medium"]);
        assert_eq!(order.rows[1][1], "none");
        assert_eq!(told[1].paragraphs, ["tenant-cache matters less."]);
        let alternative = &told[2].table.as_ref().unwrap().rows[0];
        assert_eq!(alternative[1..4], ["pooling", "view_part_details", "−25 % (−30..−20)"]);
    }

    #[test]
    fn tables_fit_a_screen_and_the_next_thing_to_do_is_first() {
        let (evidence, none) = (evidence(), Evidence::begun(Run::default(), Machine::default()));
        let text = terminal(&evidence, &[]);
        let widest = text.lines().filter(|line| line.starts_with('│')).map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 120), "{widest:?}\n{text}");
        assert_eq!(text.lines().next(), Some("Next: tenant-cache."));
        assert!(
            text.contains("What each strategy took") && !terminal_summary(&evidence, &[]).contains("each strategy")
        );
        assert!(markdown(&evidence, &[]).contains("## Which fix first"));
        assert!(sections(&none).is_empty());
    }
}
