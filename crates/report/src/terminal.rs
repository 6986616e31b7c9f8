//! Sections as text for a terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ContentArrangement};
use tare_evidence::units::{time, whole};
use tare_evidence::{Evidence, Latency};

use crate::section::{Section, Table, next, sections, setting, verdict_sentence};

/// Characters of a line that a screen shows without breaking it.
const SCREEN: usize = 120;

/// All of `evidence`, the verdict last, where a terminal shows it, with times predicted at the distances `predict_ms`.
pub fn terminal(evidence: &Evidence, predict_ms: &[f64]) -> String {
    render(evidence, sections(evidence, predict_ms).iter().skip(1))
}

/// Sections as a terminal shows them.
pub fn terminal_of(sections: &[Section]) -> String {
    sections.iter().map(section_text).collect::<Vec<_>>().join("\n\n")
}

/// The same without what only a closer look needs.
pub fn terminal_summary(evidence: &Evidence, predict_ms: &[f64]) -> String {
    render(evidence, sections(evidence, predict_ms).iter().filter(|section| section.essential))
}

/// Latencies by name, with how many requests each is of.
pub fn latencies(rows: &[(String, u64, Latency)]) -> String {
    let header = ["", "requests", "min", "mean", "P50", "P95", "P99", "P99.9", "max"].map(str::to_owned);
    let rows = rows.iter().map(|(name, requests, latency)| {
        let Latency { min_ms, mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms } = *latency;
        let times = [min_ms, mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms].map(time);
        [name.clone(), whole(*requests as f64)].into_iter().chain(times).collect()
    });
    aligned(&Table { header: header.into(), rows: rows.collect() })
}

fn render<'a>(evidence: &Evidence, sections: impl Iterator<Item = &'a Section>) -> String {
    // Whoever reads one line only should have read what to do.
    let mut text: Vec<_> = next(evidence).as_deref().map(printable).into_iter().collect();
    text.push(setting(evidence));
    text.extend(sections.map(section_text));
    text.push(verdict_sentence(evidence));
    text.join("\n\n")
}

/// A section's title, table, figure and sentences, one below the other.
pub(crate) fn section_text(section: &Section) -> String {
    let mut blocks = vec![printable(&section.title)];
    blocks.extend(section.table.as_ref().map(aligned));
    blocks.extend(section.figure.iter().flat_map(|figure| figure.lines().map(printable)));
    blocks.extend(section.paragraphs.iter().map(|paragraph| printable(paragraph)));
    blocks.join("\n")
}

fn aligned(Table { header, rows }: &Table) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let text = table.to_string();
    if text.lines().all(|line| line.chars().count() <= SCREEN) {
        return text;
    }
    // Columns closer to one another are easier to read than lines that break.
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((0, 1));
    }
    table.to_string()
}

/// A service's answer may hold escape sequences; a terminal must not obey them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Machine, Run};

    use super::*;

    #[test]
    fn a_table_too_wide_for_a_screen_moves_its_columns_together() {
        let width = |cell: usize| {
            let row: Vec<_> = (0..10).map(|_| "x".repeat(cell)).collect();
            aligned(&Table { header: row.clone(), rows: vec![row] }).lines().next().unwrap().chars().count()
        };
        assert_eq!([width(8), width(9)], [111, 121 - 9]);
    }

    #[test]
    fn a_figure_keeps_its_lines_and_loses_what_a_terminal_would_obey() {
        let section = Section {
            title: "Drawn".into(),
            paragraphs: vec!["Said.".into()],
            figure: Some("  █ 1\n\u{1b}[2J▏ 2".into()),
            ..Section::default()
        };
        let text = render(&Evidence::begun(Run::default(), Machine::default()), [&section].into_iter());
        assert!(text.contains("Drawn\n  █ 1\n [2J▏ 2\nSaid."), "{text}");
    }
}
