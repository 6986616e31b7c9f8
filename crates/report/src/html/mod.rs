//! Sections as one HTML file: styles, script and pictures are in it, and nothing is loaded.

use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde::Serialize;
use tare_evidence::{Evidence, missed};

use crate::plot::{Plot, svg};
use crate::section::{Section, Table, next, sections, setting, verdict_sentence};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A page elsewhere: Criterion's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is called.
    pub name: String,
    /// Relative to the report.
    pub address: String,
}

/// How a run ended, and by that its colour.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Met,
    Missed,
    Open,
}

#[derive(Serialize)]
struct Told<'a> {
    id: String,
    title: &'a str,
    paragraphs: &'a [String],
    table: Option<&'a Table>,
    plots: Vec<Drawn<'a>>,
    /// Lines of characters, where there is no picture of the same.
    figure: Option<&'a str>,
    /// Long, and for a closer look.
    folded: bool,
}

#[derive(Serialize)]
struct Drawn<'a> {
    title: &'a str,
    description: &'a str,
    svg: Value,
}

/// What the template is told.
#[derive(Serialize)]
struct Page<'a> {
    style: Value,
    script: Value,
    title: String,
    outcome: Outcome,
    next: Option<String>,
    verdict: Option<String>,
    setting: Option<String>,
    sections: Vec<Told<'a>>,
    links: &'a [Link],
}

/// The whole of `evidence` as a page, with times predicted at the distances `predict_ms`, and links to pages beside it.
///
/// # Errors
/// When the page cannot be rendered, which is a defect of its template.
pub fn html(evidence: &Evidence, predict_ms: &[f64], links: &[Link]) -> Result<String, Error> {
    let sections = sections(evidence, predict_ms);
    let outcome = match () {
        () if evidence.run.interrupted || evidence.checks.is_empty() => Outcome::Open,
        () if missed(&evidence.checks).next().is_some() => Outcome::Missed,
        () => Outcome::Met,
    };
    // The first section is what is on top.
    let page = Page::of(format!("tare {}", evidence.run.command), &sections[1..]);
    render(&Page {
        outcome,
        next: next(evidence).or_else(|| next_of_a_run(evidence)),
        verdict: Some(verdict_sentence(evidence)),
        setting: Some(setting(evidence)),
        links,
        ..page
    })
}

/// What to do after a run that was to find out whether all is well.
fn next_of_a_run(evidence: &Evidence) -> Option<String> {
    if evidence.run.interrupted || evidence.checks.is_empty() {
        return None;
    }
    Some(match missed(&evidence.checks).next() {
        Some(check) => format!("look into {}: {} where {} is required.", check.what, check.measured, check.required),
        None => "cargo xtask perf --matrix tells which fix is worth most; cargo xtask profile --url tells what a service of your own \
                 waits for (docs/own-service.md)."
            .into(),
    })
}

/// Sections that are not of one run as a page.
///
/// # Errors
/// When the page cannot be rendered, which is a defect of its template.
pub fn html_of(title: &str, sections: &[Section]) -> Result<String, Error> {
    render(&Page::of(title.to_owned(), sections))
}

impl<'a> Page<'a> {
    fn of(title: String, sections: &'a [Section]) -> Self {
        Self {
            style: Value::from_safe_string(STYLE.to_owned()),
            script: Value::from_safe_string(SCRIPT.to_owned()),
            title,
            outcome: Outcome::Open,
            next: None,
            verdict: None,
            setting: None,
            sections: told(sections),
            links: &[],
        }
    }
}

fn render(page: &Page<'_>) -> Result<String, Error> {
    let mut environment = Environment::new();
    // By the ending of its name everything put into it is escaped.
    environment.add_template("page.html", PAGE)?;
    environment.get_template("page.html")?.render(Serde(page))
}

fn told(sections: &[Section]) -> Vec<Told<'_>> {
    sections
        .iter()
        .enumerate()
        .map(|(nth, section)| {
            let plots: Vec<_> = section.plots.iter().filter_map(drawn).collect();
            Told {
                id: format!("section-{}", nth + 1),
                title: &section.title,
                paragraphs: &section.paragraphs,
                table: section.table.as_ref(),
                figure: section.figure.as_deref().filter(|_| plots.is_empty()),
                plots,
                folded: !section.essential,
            }
        })
        .collect()
}

fn drawn(plot: &Plot) -> Option<Drawn<'_>> {
    let svg = Value::from_safe_string(svg(plot)?);
    Some(Drawn { title: &plot.title, description: &plot.description, svg })
}
