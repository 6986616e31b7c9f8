//! What can only be timed: both states in turns, until it is decided or time is up.
//!
//! A round starts both states anew, for processes of the same code differ, too, and times them in turns of milliseconds, for the
//! machine's pace changes many times a second. It comes to one pair of each figure; what is decided is decided by how far the
//! pairs of several rounds differ.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tare_evidence::{Change, Figure, Measured, Verdict, decide, median, typical};
use tare_gateway::Strategy;

use super::counting::Pair;
use super::sides::Sides;
use super::stress::{self, Servers};
use crate::bench::turns::{self, Subject};
use crate::cli::Compare;
use crate::kept::write_atomically;
use crate::session::Session;

/// The name of the step.
pub const STEP: &str = "measure in turns";
/// How long one unit is measured before the next one is, at least.
const VISIT: Duration = Duration::from_millis(1_000);
/// What is measured in one go.
#[derive(Clone, Debug, PartialEq)]
enum Unit {
    /// One id of a bench.
    Bench(Pair),
    /// A pass of the built-in server.
    Stress(Strategy),
}

/// One figure of a unit: a pair of base and head for each round.
#[derive(Clone, Debug, Serialize)]
struct Series {
    id: String,
    figure: Figure,
    #[serde(skip)]
    threshold: f64,
    pairs: Vec<[f64; 2]>,
}

/// Everything that is measured in turns.
pub struct Turns {
    units: Vec<Unit>,
    series: Vec<Series>,
    /// What could not be timed, and why.
    failed: Vec<String>,
}

impl Unit {
    fn id(&self) -> String {
        match self {
            Self::Bench(pair) => pair.ids[1].clone(),
            Self::Stress(strategy) => format!("stress/{strategy}"),
        }
    }

    fn figures(&self) -> &'static [Figure] {
        match self {
            Self::Bench(_) => &[Figure::Time],
            Self::Stress(_) => &stress::FIGURES,
        }
    }
}

impl Series {
    fn measured(&self) -> Measured {
        let logs = self.pairs.iter().map(|[base, head]| self.figure.times_worse(*base, *head).ln());
        Measured::of_pairs(logs.collect(), self.threshold)
    }

    /// What its pairs come to; without a ratio while there are too few, and nothing while there is none.
    fn change(&self, measured: &Measured, verdict: Verdict) -> Option<Change> {
        let of = |nth: usize| median(self.pairs.iter().map(|pair| pair[nth]).collect()).estimate;
        (!self.pairs.is_empty()).then(|| Change {
            id: self.id.clone(),
            figure: self.figure,
            base: of(0),
            head: of(1),
            ratio: measured.interval().map(|times_worse| self.figure.ratio(times_worse)),
            pairs: self.pairs.len(),
            threshold: self.threshold,
            verdict,
        })
    }
}

impl Turns {
    /// What of `pairs` and of stress passes was asked for.
    pub fn plan(session: &Session, sides: &Sides, pairs: Vec<Pair>, options: &Compare) -> Self {
        let benches = pairs.into_iter().map(Unit::Bench);
        let can_be_stressed = sides.both.iter().all(|side| side.executables.server.is_some());
        let stressed = options.wants_stress() && can_be_stressed;
        let passes = [Strategy::BEFORE, Strategy::AFTER].into_iter().filter(|_| stressed).map(Unit::Stress);
        let units: Vec<_> = benches.chain(passes).collect();
        let series = units.iter().flat_map(|unit| {
            let id = unit.id();
            let threshold = session.config().compare.threshold(&id);
            let one = move |figure: &Figure| Series { id: id.clone(), figure: *figure, threshold, pairs: Vec::new() };
            unit.figures().iter().map(one)
        });
        let series = series.collect();
        Self { units, series, failed: Vec::new() }
    }

    /// Measures in rounds until everything is decided, or for `limit`. What there is after each round is in the evidence.
    pub async fn measure(&mut self, session: &mut Session, sides: &Sides, limit: Duration) -> Result<()> {
        let counted = session.changes().changes.clone();
        let mut servers = Servers::of(sides).await?;
        let began = session.begin_step(STEP);
        let until = began + limit;
        let mut open: Vec<usize> = (0..self.units.len()).collect();
        let mut untimed = Vec::new();
        while !open.is_empty() && Instant::now() < until {
            for unit in &open {
                if Instant::now() >= until {
                    break;
                }
                let id = self.units[*unit].id();
                session.progress.at(format!("{} of {} undecided, {id}", open.len(), self.units.len()));
                let visit = Instant::now();
                // What is quickly measured is measured more often, for it is what can be decided.
                while visit.elapsed() < VISIT {
                    let measured = self.round(*unit, session, sides, &mut servers);
                    let why = match session.unless_stopped(STEP, measured).await {
                        Ok(true) => continue,
                        Ok(false) => format!("{id} cannot be timed in turns: one of the states is from before that."),
                        Err(error) if session.stop.is_cancelled() => return Err(error),
                        Err(error) => {
                            self.failed.push(id.clone());
                            format!("{id} could not be timed any further: {error:#}")
                        }
                    };
                    session.remark([why]);
                    untimed.push(*unit);
                    break;
                }
            }
            let measured: Vec<_> = self.series.iter().map(Series::measured).collect();
            let verdicts = decide(&measured);
            let timed = self.series.iter().zip(&measured).zip(&verdicts);
            let timed = timed.filter_map(|((series, measured), verdict)| series.change(measured, *verdict));
            session.changes().changes = counted.iter().cloned().chain(timed).collect();
            session.save()?;
            write_atomically(&session.beside("pairs.json"), &serde_json::to_string(&self.series)?)?;
            // What others came to may leave one undecided that was not.
            let is_open =
                |unit: &usize| !untimed.contains(unit) && self.of(*unit).any(|nth| verdicts[nth] == Verdict::Undecided);
            open = (0..self.units.len()).filter(is_open).collect();
        }
        session.end_step(STEP, began)
    }

    /// What could not be timed.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// Where the series of a unit are.
    fn of(&self, unit: usize) -> std::ops::Range<usize> {
        let before: usize = self.units[..unit].iter().map(|unit| unit.figures().len()).sum();
        before..before + self.units[unit].figures().len()
    }

    /// One more round of one unit; whether it can be timed in turns.
    async fn round(
        &mut self,
        unit: usize,
        session: &Session,
        sides: &Sides,
        servers: &mut Option<Servers>,
    ) -> Result<bool> {
        let series = self.of(unit);
        let round = self.series[series.start].pairs.len();
        let turns = match &self.units[unit] {
            Unit::Bench(pair) => match turns::take(subjects(pair, sides), round, turns::SHORT).await? {
                Some(times) => vec![times],
                None => return Ok(false),
            },
            Unit::Stress(strategy) => {
                let servers = servers.as_mut().context("both states have a server")?;
                servers.turns(*strategy, round, session).await?
            }
        };
        for (series, turns) in self.series[series].iter_mut().zip(&turns) {
            series.pairs.extend(typical(turns));
        }
        Ok(true)
    }
}

/// One id in both states.
fn subjects<'a>(Pair { bench, ids }: &'a Pair, sides: &'a Sides) -> [Subject<'a>; 2] {
    [0, 1].map(|nth| Subject {
        executable: &sides.both[nth].executables.benches[bench],
        id: &ids[nth],
        bed: &sides.beds[nth],
    })
}
