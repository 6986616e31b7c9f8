//! How often each bench waits for the network, and what that makes of its time.

use tare_evidence::units::time;
use tare_evidence::{Bench, Evidence, Law};

use super::{Section, Table};
use crate::plot::{Axis, Chart, Line, Plot, Scale, Unit};

/// The round trips that were counted beside those fitted to times at several distances, and the times that follow from
/// them at the distances `predict_ms`.
pub(super) fn round_trips(evidence: &Evidence, predict_ms: &[f64]) -> Option<Section> {
    let counted: Vec<_> = evidence.benches.iter().filter_map(|bench| Some((bench, bench.round_trips?))).collect();
    if counted.is_empty() {
        return None;
    }
    let (rows, without): (Vec<_>, Vec<_>) =
        counted.into_iter().partition(|(bench, counted)| *counted > 0 || disagreement(bench, *counted).is_some());

    let mut paragraphs = vec![
        "Time = work + round trips × distance. The round trips are counted, and exact; beside them are those that a line \
         through the times at several distances comes to."
            .into(),
    ];
    let disagreeing =
        rows.iter().filter_map(|(bench, counted)| Some((bench, *counted, disagreement(bench, *counted)?)));
    paragraphs.extend(disagreeing.map(|(bench, counted, law)| disagreement_sentence(&bench.id, counted, law)));
    if !without.is_empty() {
        let ids: Vec<_> = without.iter().map(|(bench, _)| &*bench.id).collect();
        paragraphs.push(format!("Without a round trip, at any distance: {}.", ids.join(", ")));
    }

    let header = ["bench", "round trips", "fitted", "work", "fit's error"].map(str::to_owned).into_iter();
    let header = header.chain(predict_ms.iter().map(|distance| format!("at {distance} ms"))).collect();
    let rows: Vec<_> = rows.into_iter().map(|(bench, counted)| row(bench, counted, predict_ms)).collect();
    let table = (!rows.is_empty()).then_some(Table { header, rows });
    let plots = vec![plot(&evidence.benches)];
    Some(Section { title: "Round trips".into(), paragraphs, table, plots, essential: true, ..Section::default() })
}

/// How far lines are drawn, in milliseconds.
const FAR: f64 = 100.0;
/// And how many marks they have.
const STEPS: u32 = 5;
/// More lines than this cannot be told apart.
const LINES: usize = 5;

/// The laws of whole requests; where none were measured, of the benches that wait most often.
fn plot(benches: &[Bench]) -> Plot {
    let with_law = || benches.iter().filter(|bench| bench.law.is_some());
    // Each action's would be another five.
    let mut drawn: Vec<_> =
        with_law().filter(|bench| bench.id.starts_with("request/") && !bench.id.ends_with("list_parts")).collect();
    if drawn.is_empty() {
        drawn = with_law().collect();
        drawn.sort_by_key(|bench| std::cmp::Reverse(bench.round_trips));
    }
    let line = |bench: &&Bench| {
        let law = bench.law.as_ref()?;
        let points = (0..=STEPS).map(|step| f64::from(step) * FAR / f64::from(STEPS));
        Some(Line { name: bench.id.clone(), points: points.map(|distance| (distance, law.at(distance))).collect() })
    };
    Plot {
        title: "What distance makes of a request's time".into(),
        description: "A line for each way of doing a request: it begins at the work and rises by its round trips."
            .into(),
        chart: Chart::Lines {
            x: Axis { name: "one round trip to the database", unit: Unit::Time, scale: Scale::Linear },
            y: Axis { name: "time", unit: Unit::Time, scale: Scale::Linear },
            lines: drawn.iter().take(LINES).filter_map(line).collect(),
        },
    }
}

/// The law of a bench whose times tell of another number of round trips than was counted.
fn disagreement(bench: &Bench, counted: u64) -> Option<&Law> {
    bench.law.as_ref().filter(|law| !law.agrees_with(counted))
}

fn disagreement_sentence(id: &str, counted: u64, law: &Law) -> String {
    let trips = if counted == 1 { "round trip was" } else { "round trips were" };
    let why = match law.round_trips {
        falling if falling < 0.0 => "no time falls with distance, so this is noise",
        fewer if fewer < counted as f64 => "not each of them is waited for",
        _ => "something waits that is not the network",
    };
    format!("{id}: {counted} {trips} counted and {} fitted: {why}.", fitted(law))
}

fn row(bench: &Bench, counted: u64, predict_ms: &[f64]) -> Vec<String> {
    let law = match &bench.law {
        Some(law) => {
            let mark = if law.agrees_with(counted) { "" } else { " ≠" };
            let line = [format!("{}{mark}", fitted(law)), time(law.work_ms), time(law.error_ms)];
            line.into_iter().chain(predict_ms.iter().map(|&distance| time(law.at(distance)))).collect()
        }
        None => vec![String::new(); 3 + predict_ms.len()],
    };
    [bench.id.clone(), counted.to_string()].into_iter().chain(law).collect()
}

/// The slope to a tenth, without the sign of a zero.
fn fitted(law: &Law) -> String {
    format!("{:.1}", (law.round_trips * 10.0).round() / 10.0 + 0.0)
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Counted, Machine, Point, Run};

    use super::*;

    /// An id, the round trips counted, and times at distances.
    type Measured<'a> = (&'a str, Option<u64>, &'a [(f64, f64)]);

    fn shown(predict_ms: &[f64], benches: &[Measured<'_>]) -> Option<Section> {
        let benches = benches.iter().map(|&(id, round_trips, points)| {
            let points = points.iter().map(|&(distance_ms, time_ms)| Point { distance_ms, time_ms }).collect();
            let law = Counted { points, ..Counted::default() }.law();
            Bench { id: id.into(), round_trips, law, ..Bench::default() }
        });
        let evidence = Evidence { benches: benches.collect(), ..Evidence::begun(Run::default(), Machine::default()) };
        round_trips(&evidence, predict_ms)
    }

    #[test]
    fn a_law_has_a_row_and_a_column_for_each_distance_asked_for() {
        let section = shown(&[120.0], &[("connection/new-tls", Some(6), &[(0.0, 9.0), (50.0, 309.0)])]).unwrap();
        let table = section.table.unwrap();
        assert_eq!(table.header[5..], ["at 120 ms"]);
        assert_eq!(table.rows[0], ["connection/new-tls", "6", "6.0", "9.00 ms", "0 ns", "729 ms"]);
    }

    #[test]
    fn a_law_that_disagrees_is_marked_and_told_of() {
        let points: [&[(f64, f64)]; 3] =
            [&[(0.0, 1.0), (10.0, 75.0)], &[(0.0, 1.0), (10.0, 31.0)], &[(0.0, 1.0), (10.0, 3.0)]];
        let benches = [("a/slow", Some(6), points[0]), ("a/fast", Some(4), points[1]), ("a/none", Some(0), points[2])];
        let section = shown(&[], &benches).unwrap();
        let fitted: Vec<_> = section.table.unwrap().rows.into_iter().map(|row| row[2].clone()).collect();
        assert_eq!(fitted, ["7.4 ≠", "3.0 ≠", "0.2 ≠"]);
        assert_eq!(
            section.paragraphs[1..],
            [
                "a/slow: 6 round trips were counted and 7.4 fitted: something waits that is not the network.",
                "a/fast: 4 round trips were counted and 3.0 fitted: not each of them is waited for.",
                "a/none: 0 round trips were counted and 0.2 fitted: something waits that is not the network.",
            ]
        );
    }

    #[test]
    fn benches_without_round_trips_are_summed_up() {
        let flat: &[(f64, f64)] = &[(0.0, 0.0003), (50.0, 0.0003)];
        let section = shown(&[], &[("a/b", Some(0), flat), ("a/c", Some(0), &[]), ("a/d", None, &[])]).unwrap();
        assert_eq!(section.table, None);
        assert_eq!(section.paragraphs[1], "Without a round trip, at any distance: a/b, a/c.");
        assert_eq!(shown(&[], &[("a/d", None, &[])]), None, "nothing was counted");
    }
}
