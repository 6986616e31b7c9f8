//! What was published, beside what was measured.

use tare_evidence::units::{percent, range, rate, time, times, whole};
use tare_evidence::{Evidence, Fit, Range, Row};

use super::{Section, table};
use crate::plot::{self, AFTER, Axis, BEFORE, Chart, Mark, Plot, Scale, Series, Unit};

/// The comparison. Where the database was at some distance its times are comparable, and each is told to be in the
/// published range or not.
pub(super) fn comparison(evidence: &Evidence) -> Option<Section> {
    let (rows, network) = (evidence.comparison.iter(), &evidence.run.network);
    let table = match network.has_distance() {
        true => table(&WITH_DISTANCE, rows.map(with_distance).collect()),
        false => table(&WITHOUT_DISTANCE, rows.map(without_distance).collect()),
    };
    let how_to_compare = match network.has_distance() {
        true => format!(
            "This run's was {} ms away. Where one figure was published and no range, what was measured is told as a \
             multiple of it.",
            network.round_trip_ms
        ),
        false => "Compare the gains, not the times; --network remote puts the database as far away as it was.".into(),
    };
    Some(Section {
        title: "Published and measured".into(),
        paragraphs: vec![format!("The published database was some 50 ms away, over TLS. {how_to_compare}")],
        table: Some(table?),
        plots: vec![plot(&evidence.comparison)],
        essential: true,
        ..Section::default()
    })
}

/// The times of all rows, as published and as measured.
fn plot(rows: &[Row]) -> Plot {
    let times = rows.iter().filter(|row| row.unit == "ms" && (row.before.is_some() || row.after.is_some()));
    let row = |row: &Row| {
        let published = [row.published_before, row.published_after].into_iter().enumerate();
        let published =
            published.filter_map(|(series, range)| range.map(|[from, to]| Mark { series, from, to, interval: None }));
        let measured = [row.before, row.after].into_iter().enumerate();
        let measured = measured.filter_map(|(series, at)| at.map(|at| Mark::dot(series + 2, at, None)));
        plot::Row { name: row.what.clone(), marks: published.chain(measured).collect() }
    };
    let published = |name, colour| Series::pale(format!("published {name}"), colour);
    let measured = |name, colour| Series::new(format!("this run {name}"), colour);
    Plot {
        title: "As published, and in this run".into(),
        description: "Times of each component and of requests, as published and as measured, each before and after the fixes; the \
                      table below has the figures."
            .into(),
        chart: Chart::Rows {
            x: Axis { name: "time", unit: Unit::Time, scale: Scale::Logarithmic },
            series: vec![
                published("before", BEFORE),
                published("after", AFTER),
                measured("before", BEFORE),
                measured("after", AFTER),
            ],
            rows: times.map(row).collect(),
        },
    }
}

const WITH_DISTANCE: [&str; 8] =
    ["", "published before", "this run before", "in range", "published after", "this run after", "in range", "gain"];

const WITHOUT_DISTANCE: [&str; 6] =
    ["", "published before", "published after", "this run before", "this run after", "gain"];

fn with_distance(row: &Row) -> Vec<String> {
    vec![
        row.what.clone(),
        published(row, row.published_before),
        measured(row, row.before),
        in_range(row.before, row.published_before, row.before_fit()),
        published(row, row.published_after),
        measured(row, row.after),
        in_range(row.after, row.published_after, row.after_fit()),
        gain(row),
    ]
}

fn without_distance(row: &Row) -> Vec<String> {
    vec![
        row.what.clone(),
        published(row, row.published_before),
        published(row, row.published_after),
        measured(row, row.before),
        measured(row, row.after),
        gain(row),
    ]
}

fn published(row: &Row, published: Option<Range>) -> String {
    match published {
        Some([low, high]) if low == high => figure(row, low),
        Some(both) => range(both, &row.unit),
        None => String::new(),
    }
}

fn measured(row: &Row, measured: Option<f64>) -> String {
    measured.map(|value| figure(row, value)).unwrap_or_default()
}

fn figure(row: &Row, value: f64) -> String {
    match &*row.unit {
        "ms" => time(value),
        "s" => time(value * 1e3),
        "req/s" => rate(value),
        "%" => percent(value / 100.0),
        "" => whole(value),
        unit => format!("{value} {unit}"),
    }
}

/// Whether a figure is in the published range, or how many times the one published figure it is.
fn in_range(measured: Option<f64>, published: Option<Range>, fit: Option<Fit>) -> String {
    match (fit, measured, published) {
        (Some(Fit::Below), ..) => "below".into(),
        (Some(Fit::Within), ..) => "yes".into(),
        (Some(Fit::Above), ..) => "above".into(),
        (None, Some(measured), Some([one, _])) if one != 0.0 && measured > 0.0 => format!("{:.2} ×", measured / one),
        _ => String::new(),
    }
}

fn gain(row: &Row) -> String {
    match (row.before, row.after, &*row.unit) {
        (Some(before), Some(after), "ms" | "s") => times(before / after),
        (Some(before), Some(after), "req/s") => times(after / before),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Machine, Network, Run};

    use super::*;

    fn shown(round_trip_ms: f64) -> Section {
        let run = Run { network: Network { round_trip_ms, ..Network::default() }, ..Run::default() };
        let row = |what: &str, published_before, published_after, before, after| Row {
            what: what.into(),
            unit: "ms".into(),
            published_before,
            published_after,
            before,
            after,
        };
        let rows = vec![
            row("connection", Some([280.0, 980.0]), Some([0.0, 1.0]), Some(309.0), Some(0.0003)),
            row("stress P50", Some([3669.9; 2]), None, Some(1431.3), Some(51.2)),
        ];
        comparison(&Evidence { comparison: rows, ..Evidence::begun(run, Machine::default()) }).unwrap()
    }

    #[test]
    fn at_a_distance_each_figure_is_told_to_be_in_range_or_not() {
        let table = shown(50.0).table.unwrap();
        let [connection, p50] = [&table.rows[0], &table.rows[1]];
        assert_eq!(connection[1..], ["280–980 ms", "309 ms", "yes", "≤ 1 ms", "300 ns", "yes", "1,030,000 ×"]);
        assert_eq!(p50[1..], ["3,670 ms", "1,431 ms", "0.39 ×", "", "51.2 ms", "", "28 ×"]);
    }

    #[test]
    fn without_distance_no_time_is_held_against_a_range() {
        let section = shown(0.0);
        assert!(!section.table.unwrap().header.contains(&"in range".to_owned()));
        assert!(section.paragraphs[0].contains("--network remote"));
    }
}
