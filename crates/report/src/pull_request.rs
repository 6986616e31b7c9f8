//! Evidence as a comment on a pull request: the verdict and what changed, the rest folded away.

use std::fmt::Write;

use tare_evidence::{Changes, Evidence, Verdict};

use crate::markdown::{escape, fenced, line, rule, write_told};
use crate::section::{Section, Table, changes, next, sections, setting, verdict_sentence};

/// What a comment may be long, in bytes, of which there are no fewer than characters. GitHub takes 65,536 characters.
const LONGEST: usize = 60_000;
/// Kept free for the end of what is cut.
const END: usize = 200;

/// The verdict as a heading, what changed below it, and the rest folded away; at most 60,000 bytes.
pub fn pull_request(evidence: &Evidence) -> String {
    let mut text = Text::default();
    text.push(&format!("## Tare: {}\n", quiet(&headline(evidence))));
    text.paragraph(&verdict_sentence(evidence));
    if let Some(next) = next(evidence) {
        text.paragraph(&next);
    }
    if let Some(changes) = &evidence.changes {
        write_changes(&mut text, changes);
    }
    // The verdict is told, and so are the changes.
    let told = 1 + changes::sections(evidence).len();
    for section in sections(evidence, &[]).into_iter().skip(told) {
        text.folded_section(&section);
    }
    text.paragraph(&setting(evidence));
    text.end()
}

/// A few words for the heading.
fn headline(evidence: &Evidence) -> String {
    let missed = changes::other_checks(evidence).iter().filter(|check| !check.met).count();
    let missed = (missed > 0).then(|| format!("{missed} missed"));
    let compared = evidence.changes.as_ref().map(changes::headline);
    let told: Vec<_> = compared.into_iter().chain(missed).collect();
    match told.as_slice() {
        _ if evidence.run.interrupted => "interrupted".into(),
        [] if evidence.checks.is_empty() => "nothing to judge".into(),
        [] => "all met".into(),
        told => told.join(", "),
    }
}

fn write_changes(text: &mut Text, changes: &Changes) {
    let undecided = changes::undecided(changes);
    text.table(changes::rows(changes, &changes::changed(changes)));
    text.paragraph(&changes::compared(changes));
    for remark in &changes.remarks {
        text.paragraph(remark);
    }
    text.folded(&format!("{} undecided", undecided.len()), changes::rows(changes, &undecided));
    let (counts, times): (Vec<_>, Vec<_>) = changes.with(Verdict::Same).partition(|change| change.figure.is_exact());
    text.folded(&format!("{} the same", times.len()), changes::rows(changes, &changes::same_times(changes)));
    text.folded(&format!("{} counted the same", counts.len()), changes::counted_same(changes));
}

/// Markdown that stops growing before it is too long.
#[derive(Default)]
struct Text {
    written: String,
    /// Something was left out.
    cut: bool,
}

impl Text {
    /// Writes all of `part`, or nothing.
    fn push(&mut self, part: &str) -> bool {
        let fits = self.written.len() + part.len() + END <= LONGEST;
        match fits {
            true => self.written.push_str(part),
            false => self.cut = true,
        }
        fits
    }

    fn paragraph(&mut self, sentence: &str) {
        self.push(&format!("\n{}\n", quiet(&escape(sentence))));
    }

    /// As many rows as fit.
    fn table(&mut self, table: Option<Table>) {
        let Some(Table { header, rows }) = table else { return };
        if !self.push(&format!("\n{}\n{}\n", quiet(&line(&header)), rule(header.len()))) {
            return;
        }
        for (nth, row) in rows.iter().enumerate() {
            if !self.push(&format!("{}\n", quiet(&line(row)))) {
                let more = format!("\n{} more rows are in the report.\n", rows.len() - nth);
                self.written.push_str(&more);
                return;
            }
        }
    }

    fn folded(&mut self, title: &str, table: Option<Table>) {
        const CLOSED: &str = "\n</details>\n";
        if table.is_some() && self.push(&format!("\n<details><summary>{title}</summary>\n")) {
            self.table(table);
            // There is room left for it.
            self.written.push_str(CLOSED);
        }
    }

    /// All of a section, or nothing.
    fn folded_section(&mut self, section: &Section) {
        let mut told = String::new();
        write_told(&mut told, section);
        // GitHub looks for no names within a fence.
        let figure = section.figure.as_deref().map(|figure| format!("\n{}\n", fenced(figure))).unwrap_or_default();
        let title = quiet(&escape(&section.title));
        self.push(&format!("\n<details><summary>{title}</summary>\n{}{figure}\n</details>\n", quiet(&told)));
    }

    fn end(mut self) -> String {
        if self.cut {
            let _ = writeln!(self.written, "\nThis is shortened; `summary.md` beside the evidence has all of it.");
        }
        self.written
    }
}

/// Without what would notify people or link to issues: `@name` and `#1`.
fn quiet(text: &str) -> String {
    text.replace('@', "@\u{200b}").replace('#', "#\u{200b}")
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Change, Check, Figure};

    use super::*;
    use crate::section::changes::tests::{compared_evidence, every_verdict, timed};

    #[test]
    fn the_verdict_is_the_heading_and_what_is_the_same_is_folded_away() {
        let text = pull_request(&every_verdict());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "## Tare: 2 of 8 slower than main");
        let row = text.find("| request/after round trips | 1 | 2 | +1 |  | more |").unwrap();
        let folds: Vec<_> = text.match_indices("<details>").map(|(at, _)| at).collect();
        assert!(row < folds[0] && text.find("response/copied").unwrap() > folds[1], "{text}");
        assert!(text.contains("<summary>1 undecided</summary>") && text.contains("<summary>1 the same</summary>"));
        assert!(text.contains("<summary>2 counted the same</summary>"), "{text}");
        assert!(text.contains("auth/es256 is not in main."), "remarks are told: {text}");
        assert_eq!(folds.len(), text.matches("</details>").count());
        assert!(!text.contains('\u{200b}'), "nothing of our own needs quieting: {text}");
    }

    #[test]
    fn a_run_without_changes_is_told_by_its_checks() {
        let mut evidence = every_verdict();
        evidence.changes = None;
        evidence.checks =
            vec![Check {
                what: "a against b".into(), measured: "3 ×".into(), required: "≤ 2 ×".into(), met: false
            }];
        let text = pull_request(&evidence);
        assert!(
            text.starts_with(
                "## Tare: 1 missed\n\nMissed 1 of 1 targets and budgets: a against b (3 ×, required ≤ 2 ×)."
            ),
            "{text}"
        );
        assert!(text.contains("<summary>Targets and budgets</summary>"), "{text}");
    }

    #[test]
    fn it_is_never_longer_than_a_comment_may_be_and_says_what_is_missing() {
        for verdict in [Verdict::Slower, Verdict::Undecided, Verdict::Same] {
            let many = (0..5_000).map(|nth| timed(&format!("component/way-{nth}"), Figure::Time, 6.0, verdict));
            let text = pull_request(&compared_evidence(many.collect()));
            assert!(text.len() > 50_000 && text.len() <= LONGEST, "{}", text.len());
            assert!(
                text.contains(" more rows are in the report.") && text.contains("This is shortened;"),
                "{verdict:?}"
            );
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        }
    }

    #[test]
    fn hostile_names_stay_names() {
        let id = "a|b\n## c</details>@team #1 ![x](y) `z`";
        let text = pull_request(&compared_evidence(vec![Change::counted(id, Figure::RoundTrips, 1, 2)]));
        assert!(
            text.contains(
                "| a\\|b #\u{200b}#\u{200b} c\\</details\\>@\u{200b}team #\u{200b}1 !\\[x\\](y) \\`z\\` round trips |"
            ),
            "{text}"
        );
        assert_eq!(text.matches("</details>").count(), text.matches("<details>").count());
    }
}
