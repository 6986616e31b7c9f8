//! Several runs, side by side.

use tare_evidence::units::{rate, time, times, whole};
use tare_evidence::{Evidence, Pass};

use crate::plot::{Axis, Chart, Mark, Plot, Row, Scale, Series, Unit};
use crate::section::{Section, Table, short, table};

/// All that several runs have in common, a column for each in the order given; the last beside the first.
pub fn side_by_side(runs: &[Evidence]) -> Vec<Section> {
    [Some(overview(runs)), stress(runs), benches(runs)].into_iter().flatten().collect()
}

/// What a run's column is called.
fn name(nth: usize) -> String {
    format!("run {}", nth + 1)
}

fn overview(runs: &[Evidence]) -> Section {
    let row = |(nth, evidence): (usize, &Evidence)| {
        let run = &evidence.run;
        let commit = run.commit.as_deref().map(short).unwrap_or_default();
        let postgres = evidence
            .postgres
            .as_ref()
            .map_or_else(String::new, |postgres| format!("{} ({})", postgres.version, postgres.provider));
        let machine = format!("{} × {}", evidence.machine.cores, evidence.machine.cpu);
        let changed = if run.dirty { " with changes" } else { "" };
        let commit = format!("{commit}{changed}");
        vec![
            name(nth),
            run.command.clone(),
            run.started_at.clone(),
            commit,
            machine,
            postgres,
            run.network.name.clone(),
        ]
    };
    let header = ["", "command", "when", "commit", "machine", "PostgreSQL", "network"];
    Section {
        title: "Runs".into(),
        paragraphs: vec![
            "Runs of different moments meet different machines, even on one: small differences are not proven by this; \
             `cargo xtask compare` measures two states in turns."
                .into(),
        ],
        table: table(&header, runs.iter().enumerate().map(row).collect()),
        essential: true,
        ..Section::default()
    }
}

/// A header for a figure of every run.
fn header(runs: &[Evidence], what: &str) -> Vec<String> {
    let last = format!("{} to {}", name(runs.len() - 1), name(0));
    [what.to_owned()].into_iter().chain((0..runs.len()).map(name)).chain([last]).collect()
}

/// A row of a figure of every run that has it, and the last to the first.
fn row(what: String, figures: &[Option<f64>], shown: impl Fn(f64) -> String) -> Vec<String> {
    let ratio = match (figures.first(), figures.last()) {
        // Of nothing there is no multiple.
        (Some(Some(first)), Some(Some(last))) if (last / first).is_finite() => times(last / first),
        _ => String::new(),
    };
    let figures = figures.iter().map(|figure| figure.map(&shown).unwrap_or_default());
    [what].into_iter().chain(figures).chain([ratio]).collect()
}

/// All names that any run has, in the order they are met.
fn names<'a>(each: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut known = Vec::new();
    for name in each {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    known
}

fn stress(runs: &[Evidence]) -> Option<Section> {
    let labels: Vec<_> =
        runs.iter().map(|run| run.passes.iter().map(|pass| run.label(pass)).collect::<Vec<_>>()).collect();
    let pass = |run: usize, label: &str| -> Option<&Pass> {
        let nth = labels[run].iter().position(|known| known == label)?;
        runs[run].passes.get(nth)
    };
    type Figure = (&'static str, fn(&Pass) -> f64, fn(f64) -> String);
    let figures: [Figure; 5] = [
        ("P50", |pass| pass.latency.p50_ms, time),
        ("P95", |pass| pass.latency.p95_ms, time),
        ("P99", |pass| pass.latency.p99_ms, time),
        ("throughput", Pass::throughput, rate),
        ("failed", |pass| (pass.requests - pass.succeeded.min(pass.requests)) as f64, whole),
    ];
    let rows = names(labels.iter().flatten().map(|label| &**label)).into_iter().flat_map(|label| {
        figures.map(|(figure, of, shown)| {
            let measured: Vec<_> = (0..runs.len()).map(|run| pass(run, label).map(of)).collect();
            row(format!("{label} {figure}"), &measured, shown)
        })
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| Section {
        title: "Stress".into(),
        table: Some(Table { header: header(runs, "pass"), rows }),
        essential: true,
        ..Section::default()
    })
}

fn benches(runs: &[Evidence]) -> Option<Section> {
    let ids = names(runs.iter().flat_map(|run| &run.benches).map(|bench| &*bench.id));
    let median = |run: &Evidence, id: &str| run.bench(id).map(tare_evidence::Bench::median_ms);
    let rows: Vec<_> = ids
        .iter()
        .map(|id| row((*id).to_owned(), &runs.iter().map(|run| median(run, id)).collect::<Vec<_>>(), time))
        .collect();
    let drawn = ids.iter().map(|id| Row {
        name: (*id).to_owned(),
        marks: runs.iter().enumerate().filter_map(|(nth, run)| Some(Mark::dot(nth, median(run, id)?, None))).collect(),
    });
    let plot = Plot {
        title: "Median of each bench in each run".into(),
        description: "A dot for each run in the row of each bench; the table below has the figures.".into(),
        chart: Chart::Rows {
            x: Axis { name: "time of one iteration", unit: Unit::Time, scale: Scale::Logarithmic },
            series: (0..runs.len()).map(|nth| Series::new(name(nth), nth)).collect(),
            rows: drawn.collect(),
        },
    };
    (!rows.is_empty()).then(|| Section {
        title: "Benches".into(),
        table: Some(Table { header: header(runs, "bench"), rows }),
        plots: vec![plot],
        essential: true,
        ..Section::default()
    })
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Bench, Interval, Latency, Machine, Run};

    use super::*;

    fn run(benches: &[(&str, f64)], p95_ms: f64) -> Evidence {
        let bench = |&(id, ms): &(&str, f64)| {
            let median_ns = Interval { estimate: ms * 1e6, ..Interval::default() };
            Bench { id: id.into(), median_ns, ..Bench::default() }
        };
        let latency = Latency { p95_ms, ..Latency::default() };
        let pass = Pass {
            strategy: Some("after".into()),
            requests: 10,
            succeeded: 9,
            seconds: 1.0,
            latency,
            ..Pass::default()
        };
        Evidence {
            benches: benches.iter().map(bench).collect(),
            passes: vec![pass],
            ..Evidence::begun(Run::default(), Machine::default())
        }
    }

    #[test]
    fn each_run_has_a_column_and_the_last_stands_beside_the_first() {
        let runs = [run(&[("a/b", 2.0)], 8.0), run(&[("a/b", 3.0), ("a/new", 1.0)], 4.0)];
        let sections = side_by_side(&runs);
        let rows = |title: &str| {
            let section = sections.iter().find(|section| section.title == title).unwrap();
            section.table.clone().unwrap().rows
        };
        assert_eq!(rows("Benches"), [["a/b", "2.00 ms", "3.00 ms", "1.5 ×"], ["a/new", "", "1.00 ms", ""]]);
        assert!(rows("Stress").contains(&["after P95", "8.00 ms", "4.00 ms", "0.5 ×"].map(str::to_owned).into()));
        assert!(rows("Stress").contains(&["after failed", "1", "1", "1.0 ×"].map(str::to_owned).into()));
        assert_eq!(rows("Runs").len(), 2);
        let told = [(0.0, 0.0), (0.0, 5.0)]
            .map(|(first, last)| row("failed".into(), &[Some(first), Some(last)], whole)[3].clone());
        assert_eq!(told, ["", ""]);
    }
}
