//! That figures in the documentation are those of the evidence that is checked in beside it.

use std::path::{Path, PathBuf};

use tare_evidence::units::percent;
use tare_evidence::{Evidence, Interval, MatrixRow};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(docs().join(name)).unwrap()
}

fn matrix() -> Evidence {
    serde_json::from_str(&page("evidence/matrix.json")).unwrap()
}

/// `82 % (79 to 85)`.
fn shown(Interval { estimate, lower, upper }: Interval) -> String {
    let whole = |share: f64| percent((share * 100.0).round() / 100.0).replace('-', "−");
    let [lower, upper] = [lower, upper].map(|end| whole(end).trim_end_matches(" %").to_owned());
    format!("{} ({lower} to {upper})", whole(estimate))
}

fn sentence(row: &MatrixRow, rounds: usize) -> String {
    let published = row.published.map(percent).unwrap_or_default();
    format!(
        "**Gain:** published {published}. Measured under load, {} on {} over {rounds} rounds: alone it takes {} off P95 of `before`; \
         without it `after` takes {} more.",
        "ten requests at a time",
        row.action,
        shown(row.gain_p95),
        shown(row.loss_p95)
    )
}

#[test]
fn every_page_of_a_fix_tells_what_was_measured() {
    let evidence = matrix();
    let matrix = evidence.matrix.as_ref().unwrap();
    let missing: Vec<_> = matrix
        .rows
        .iter()
        .map(|row| (format!("{}.md", row.fix), sentence(row, matrix.rounds)))
        // Lines are broken where it reads well.
        .filter(|(name, sentence)| !page(name).split_whitespace().collect::<Vec<_>>().join(" ").contains(sentence))
        .map(|(name, sentence)| format!("docs/{name}: {sentence}"))
        .collect();
    assert_eq!(matrix.rows.len(), 6);
    assert!(missing.is_empty(), "these pages do not say so:\n{}", missing.join("\n"));
}

#[test]
fn the_page_on_the_matrix_shows_it() {
    let (page, sections) = (page("matrix.md"), tare_report::sections(&matrix(), &[]));
    let worth = sections.iter().find(|section| section.title == "What each fix is worth").unwrap();
    for row in &worth.table.as_ref().unwrap().rows {
        let line = format!("| {} |", row.join(" | "));
        assert!(page.contains(&line), "docs/matrix.md has no line\n{line}");
    }
}
