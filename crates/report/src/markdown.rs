//! Sections as Markdown.

use std::fmt::Write;

use tare_evidence::Evidence;

use crate::section::{Section, Table, sections};
use crate::terminal::printable;

/// The whole of `evidence`, as GitHub-flavoured Markdown, with times predicted at the distances `predict_ms`.
pub fn markdown(evidence: &Evidence, predict_ms: &[f64]) -> String {
    markdown_of(&sections(evidence, predict_ms))
}

/// Sections as GitHub-flavoured Markdown.
pub fn markdown_of(sections: &[Section]) -> String {
    let mut text = String::new();
    for (nth, section) in sections.iter().enumerate() {
        write_section(&mut text, section, if nth == 0 { "#" } else { "##" });
    }
    text
}

pub(crate) fn write_section(text: &mut String, section: &Section, level: &str) {
    let separator = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{separator}{level} {}", escape(&section.title));
    write_told(text, section);
    if let Some(figure) = &section.figure {
        let _ = writeln!(text, "\n{}", fenced(figure));
    }
}

/// The sentences and the table of a section.
pub(crate) fn write_told(text: &mut String, section: &Section) {
    for paragraph in &section.paragraphs {
        let _ = writeln!(text, "\n{}", escape(paragraph));
    }
    if let Some(Table { header, rows }) = &section.table {
        let _ = writeln!(text, "\n{}", line(header));
        let _ = writeln!(text, "{}", rule(header.len()));
        for row in rows {
            let _ = writeln!(text, "{}", line(row));
        }
    }
}

/// Within a fence longer than any that what is in it could close it with.
pub(crate) fn fenced(figure: &str) -> String {
    let mut fence = "```".to_owned();
    while figure.contains(&fence) {
        fence.push('`');
    }
    let lines: Vec<_> = figure.lines().map(printable).collect();
    format!("{fence}text\n{}\n{fence}", lines.join("\n"))
}

/// Below the header of so many columns: names to the left, figures to the right.
pub(crate) fn rule(columns: usize) -> String {
    let rule: Vec<_> = (0..columns).map(|column| if column == 0 { "---" } else { "--:" }.to_owned()).collect();
    line(&rule)
}

pub(crate) fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| escape(cell)).collect();
    format!("| {} |", cells.join(" | "))
}

/// A service's answer may hold anything; it must neither break a table nor become markup.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '<' | '>' | '`' | '*' | '[' | ']' | '\\' => escaped.extend(['\\', character]),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_answers_cannot_break_out_of_its_cell() {
        assert_eq!(line(&["a|b\n<c>".into(), "d".into()]), "| a\\|b \\<c\\> | d |");
    }

    #[test]
    fn a_figure_is_fenced_below_the_table() {
        let section = Section {
            title: "Drawn".into(),
            table: Some(Table { header: vec!["a".into()], rows: vec![vec!["b".into()]] }),
            figure: Some("  █ 1\n  ▏ 2".into()),
            ..Section::default()
        };
        let mut text = String::new();
        write_section(&mut text, &section, "##");
        assert_eq!(text, "## Drawn\n\n| a |\n| --- |\n| b |\n\n```text\n  █ 1\n  ▏ 2\n```\n");
    }

    #[test]
    fn nothing_in_a_figure_can_close_its_fence() {
        assert_eq!(fenced("```\n\u{1b}█"), "````text\n```\n █\n````");
    }
}
