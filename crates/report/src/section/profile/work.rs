//! What the database was asked to do.

use tare_evidence::units::time;
use tare_evidence::{Profile, Statement};

use super::{Section, Table, shortened, table};

/// Characters of a statement that are shown.
const SHOWN: usize = 64;
/// Statements that are shown.
const MOST: usize = 12;

/// What was counted for each request, and the statements.
pub(super) fn work(profile: &Profile) -> Option<Section> {
    let work = profile.work.as_ref()?;
    let each = |count: u64| figure(work.per_request(count));
    let counted = |count: Option<u64>, one: &str| {
        let each = each(count?);
        let many = if each == "1" { "" } else { "s" };
        Some(format!("{each} {one}{many}"))
    };
    let outer = work.statements.iter().filter(|statement| !statement.nested);
    let outer = outer.fold(0_u64, |sum, statement| sum.saturating_add(statement.calls));
    let told = [
        counted(work.round_trips, "round trip"),
        counted((!work.statements.is_empty()).then_some(outer), "statement"),
        counted(work.connections, "connection"),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    let mut paragraphs = Vec::new();
    if !told.is_empty() {
        paragraphs.push(format!("For each of {} requests the database saw {}.", work.requests, told.join(", ")));
    }
    if work.statements.len() > MOST {
        paragraphs
            .push(format!("{} more statements took less time; the evidence has them.", work.statements.len() - MOST));
    }
    let row = |statement: &Statement| {
        let within = if statement.nested { "↳ " } else { "" };
        vec![
            format!("{within}{}", shortened(&statement.sql, SHOWN)),
            each(statement.calls),
            each(statement.rows),
            time(statement.mean_ms()),
            time(statement.total_ms / work.requests.max(1) as f64),
        ]
    };
    let rows = work.statements.iter().take(MOST).map(row).collect();
    let header = ["statement (↳ within a function)", "calls", "rows", "mean", "each request"];
    let table: Option<Table> = table(&header, rows);
    Some(Section {
        title: "What the database was asked to do".into(),
        paragraphs,
        table,
        essential: true,
        ..Section::default()
    })
}

/// `1`, `20`, `0.4`.
fn figure(each: f64) -> String {
    let text = format!("{each:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
