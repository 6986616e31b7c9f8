//! Many runs in the order they were made, and where their figures changed.

mod detect;

use crate::{Compare, Evidence, Figure, median};

pub use self::detect::change_points;

/// What a history keeps of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The command, as typed.
    pub command: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Whether there were changes beyond the commit.
    pub dirty: bool,
    /// What it was measured on.
    pub setting: Setting,
    /// Every figure that a history follows, by what it is of.
    pub figures: Vec<Recording>,
}

/// One figure of one id.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// `component/way` of a bench, `stress/strategy 500 × 10` of a pass.
    pub id: String,
    /// Which of its figures.
    pub figure: Figure,
    /// In the unit of the figure.
    pub value: f64,
}

/// What a run was measured on. Figures of another are not comparable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// Model of the processor.
    pub cpu: String,
    /// Processors that could be used.
    pub cores: usize,
    /// The provider and version of PostgreSQL, and the parts in its fixture; nothing where there was none.
    pub postgres: Option<(String, String, usize)>,
    /// The network between the service and its database.
    pub network: String,
    /// Whether it was a quick run.
    pub quick: bool,
}

/// Runs on one setting, the oldest first, and the course of each figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What they were measured on.
    pub setting: Setting,
    /// The runs, without their figures.
    pub runs: Vec<Occasion>,
    /// One for each figure of each id, in the order they were first met.
    pub trends: Vec<Trend>,
}

/// When a run was made, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Occasion {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Whether there were changes beyond the commit.
    pub dirty: bool,
}

/// The course of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// `component/way` of a bench, `stress/strategy 500 × 10` of a pass.
    pub id: String,
    /// Which of its figures.
    pub figure: Figure,
    /// The runs that have it, as places in [`Group::runs`], and its values.
    pub values: Vec<(usize, f64)>,
    /// Where it changed, the earliest first.
    pub turns: Vec<Turn>,
}

/// A figure that changed to stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// The first run after it, as a place in [`Group::runs`].
    pub run: usize,
    /// The last run before it that has the figure.
    pub after: usize,
    /// What the figure was until then: the median since the turn before.
    pub from: f64,
    /// What it is from then on.
    pub to: f64,
}

impl Recorded {
    /// What a history keeps of `evidence`.
    pub fn of(evidence: &Evidence) -> Self {
        let of = |id: &str, figure, value| Recording { id: id.to_owned(), figure, value };
        let benches = evidence.benches.iter().flat_map(|bench| {
            let count = |figure, count: Option<u64>| count.map(|count| of(&bench.id, figure, count as f64));
            let figures = [
                Some(of(&bench.id, Figure::Time, bench.median_ns.estimate)),
                count(Figure::RoundTrips, bench.round_trips),
                count(Figure::Allocations, bench.allocations),
            ];
            figures.into_iter().flatten()
        });
        let passes = evidence.passes.iter().filter(|pass| !pass.interrupted).map(|pass| {
            let rate = pass.rate.as_ref().map_or_else(String::new, |rate| format!(" at {rate}/s"));
            // Passes of another shape are something else.
            let shape = format!("{}{rate} × {}", pass.requests, pass.concurrency);
            of(&format!("stress/{} {shape}", evidence.label(pass)), Figure::P95, pass.latency.p95_ms)
        });
        let run = &evidence.run;
        Self {
            started_at: run.started_at.clone(),
            command: run.command.clone(),
            commit: run.commit.clone(),
            dirty: run.dirty,
            setting: Setting {
                cpu: evidence.machine.cpu.clone(),
                cores: evidence.machine.cores,
                postgres: evidence.postgres.as_ref().map(|one| (one.provider.clone(), one.version.clone(), one.parts)),
                network: run.network.name.clone(),
                quick: run.quick,
            },
            figures: benches.chain(passes).collect(),
        }
    }
}

/// Groups `runs` by what they were measured on, the group with the latest run last, and finds where their figures changed.
pub fn history(mut runs: Vec<Recorded>, compare: &Compare) -> Vec<Group> {
    runs.sort_by(|one, other| one.started_at.cmp(&other.started_at));
    let mut groups: Vec<(Setting, Vec<Recorded>)> = Vec::new();
    for run in runs {
        match groups.iter().position(|(setting, _)| *setting == run.setting) {
            Some(place) => {
                let mut group = groups.remove(place);
                group.1.push(run);
                groups.push(group);
            }
            None => groups.push((run.setting.clone(), vec![run])),
        }
    }
    groups.into_iter().map(|(setting, runs)| group(setting, runs, compare)).collect()
}

fn group(setting: Setting, runs: Vec<Recorded>, compare: &Compare) -> Group {
    let mut trends: Vec<Trend> = Vec::new();
    let mut occasions = Vec::new();
    for (place, run) in runs.into_iter().enumerate() {
        for Recording { id, figure, value } in run.figures {
            match trends.iter_mut().find(|trend| trend.id == id && trend.figure == figure) {
                Some(trend) => trend.values.push((place, value)),
                None => trends.push(Trend { id, figure, values: vec![(place, value)], turns: Vec::new() }),
            }
        }
        occasions.push(Occasion { started_at: run.started_at, commit: run.commit, dirty: run.dirty });
    }
    for trend in &mut trends {
        trend.turns = turns(trend, compare);
    }
    Group { setting, runs: occasions, trends }
}

fn turns(trend: &Trend, compare: &Compare) -> Vec<Turn> {
    let values: Vec<_> = trend.values.iter().map(|(_, value)| *value).collect();
    let at = match trend.figure.is_exact() {
        true => (1..values.len()).filter(|&place| values[place] != values[place - 1]).collect(),
        // What is asked of a pass is asked by its strategy, whatever its shape.
        false => change_points(&values, compare.threshold(trend.id.split(' ').next().unwrap_or(&trend.id))),
    };
    let ends: Vec<_> = [0].into_iter().chain(at).chain([values.len()]).collect();
    let level = |from: usize, to: usize| median(values[from..to].to_vec()).estimate;
    let turn = |ends: &[usize]| Turn {
        run: trend.values[ends[1]].0,
        after: trend.values[ends[1] - 1].0,
        from: level(ends[0], ends[1]),
        to: level(ends[1], ends[2]),
    };
    ends.windows(3).map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bench, Interval, Latency, Machine, Pass, Run};

    fn run(day: u32, cpu: &str, ns: f64, round_trips: u64) -> Recorded {
        let run = Run {
            started_at: format!("2026-11-{day:02}T12:00:00Z"),
            commit: Some(format!("{day:040}")),
            ..Run::default()
        };
        let median_ns = Interval { estimate: ns, ..Interval::default() };
        let bench = Bench { id: "auth/hs256".into(), median_ns, round_trips: Some(round_trips), ..Bench::default() };
        let pass = Pass {
            strategy: Some("after".into()),
            requests: 500,
            concurrency: 10,
            latency: Latency { p95_ms: 12.0, ..Latency::default() },
            ..Pass::default()
        };
        let machine = Machine { cpu: cpu.into(), cores: 2, ..Machine::default() };
        Recorded::of(&Evidence { benches: vec![bench], passes: vec![pass], ..Evidence::begun(run, machine) })
    }

    #[test]
    fn runs_are_put_in_order_and_another_machine_is_no_change() {
        let runs =
            vec![run(3, "new", 50.0, 1), run(1, "old", 100.0, 1), run(4, "old", 100.0, 1), run(2, "new", 50.0, 1)];
        let groups = history(runs, &Compare::default());
        let told: Vec<_> = groups.iter().map(|group| (&*group.setting.cpu, group.runs.len())).collect();
        assert_eq!(told, [("new", 2), ("old", 2)], "the latest is last");
        assert_eq!(groups[0].runs[0].started_at, "2026-11-02T12:00:00Z");
        let ids: Vec<_> =
            groups[0].trends.iter().map(|trend| format!("{} {}", trend.id, trend.figure.name())).collect();
        assert_eq!(ids, ["auth/hs256 time", "auth/hs256 round trips", "stress/after 500 × 10 P95"]);
        assert!(groups.iter().flat_map(|group| &group.trends).all(|trend| trend.turns.is_empty()));
    }

    #[test]
    fn a_count_changes_whenever_it_differs_and_a_time_when_it_stays_so() {
        let runs = (1..=20).map(|day| {
            let scatter = f64::from(day % 3);
            run(day, "one", if day < 11 { 100.0 + scatter } else { 120.0 + scatter }, if day == 7 { 2 } else { 1 })
        });
        let groups = history(runs.collect(), &Compare::default());
        let turns = |place: usize| &groups[0].trends[place].turns;
        assert_eq!(turns(0).as_slice(), [Turn { run: 10, after: 9, from: 101.0, to: 121.0 }]);
        let of: Vec<_> = turns(1).iter().map(|turn| (turn.run, turn.from, turn.to)).collect();
        assert_eq!(of, [(6, 1.0, 2.0), (7, 2.0, 1.0)]);
        assert!(turns(2).is_empty());
    }

    #[test]
    fn a_run_without_the_figure_is_passed_over() {
        let mut runs: Vec<_> = [1, 1, 1, 2].iter().zip(1..).map(|(trips, day)| run(day, "one", 1.0, *trips)).collect();
        runs[2].figures.clear();
        let groups = history(runs, &Compare::default());
        assert_eq!(groups[0].trends[1].turns, [Turn { run: 3, after: 1, from: 1.0, to: 2.0 }]);
    }
}
