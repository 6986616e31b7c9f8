//! Sections as text for a terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ContentArrangement};
use tare_evidence::Evidence;

use crate::section::{Section, Table, sections, setting, verdict_sentence};

/// All of `evidence`, the verdict last, where a terminal shows it, with times predicted at the distances `predict_ms`.
pub fn terminal(evidence: &Evidence, predict_ms: &[f64]) -> String {
    render(evidence, sections(evidence, predict_ms).iter().skip(1))
}

/// The same without what only a closer look needs.
pub fn terminal_summary(evidence: &Evidence, predict_ms: &[f64]) -> String {
    render(evidence, sections(evidence, predict_ms).iter().filter(|section| section.essential))
}

fn render<'a>(evidence: &Evidence, sections: impl Iterator<Item = &'a Section>) -> String {
    let shown = sections.map(|section| {
        let mut blocks = vec![section.title.clone()];
        blocks.extend(section.table.as_ref().map(aligned));
        blocks.extend(section.paragraphs.iter().map(|paragraph| printable(paragraph)));
        blocks.join("\n")
    });
    let mut text = vec![setting(evidence)];
    text.extend(shown);
    text.push(verdict_sentence(evidence));
    text.join("\n\n")
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
    table.to_string()
}

/// A service's answer may hold escape sequences; a terminal must not obey them.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
