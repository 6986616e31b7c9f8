//! What can only be timed: both states in turns, until it is decided or time is up.
//!
//! A round starts both states anew, for processes of the same code differ, too, and times them in turns of milliseconds, for the
//! machine's pace changes many times a second. It comes to one pair of each figure; what is decided is decided by how far the
//! pairs of several rounds differ.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tare_evidence::{Change, Estimate, Figure, Measured, Verdict, decide, median, typical};
use tare_gateway::Strategy;

use super::bench::{Bed, Runner};
use super::counting::Pair;
use super::sides::Sides;
use super::stress::{self, Servers};
use crate::cli::Compare;
use crate::session::{Session, write_atomically};

/// The name of the step.
pub const STEP: &str = "measure in turns";
/// Which state is run when: each as often first as second, as often after itself as after the other.
const TURNS: [usize; 8] = [0, 1, 1, 0, 1, 0, 0, 1];
/// How long one turn takes at least: long beside waking a process up, short beside a machine's moods.
const TURN: Duration = Duration::from_millis(2);
/// How long the turns of a round take, and of how many times [`TURNS`] it is at least and at most.
const ROUND: Duration = Duration::from_millis(250);
const TIMES: std::ops::RangeInclusive<usize> = 4..=100;
/// How long one unit is measured before the next one is, at least.
const VISIT: Duration = Duration::from_millis(1_000);
/// More iterations than this are never asked for at once.
const MOST: u64 = 1 << 24;

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
        let logs: Vec<_> = self.pairs.iter().map(|[base, head]| self.figure.times_worse(*base, *head).ln()).collect();
        Measured { estimate: Estimate::of_pairs(&logs), threshold: self.threshold }
    }

    /// What its pairs come to; without a ratio while there are too few, and nothing while there is none.
    fn change(&self, measured: &Measured, verdict: Verdict) -> Option<Change> {
        let of = |nth: usize| median(self.pairs.iter().map(|pair| pair[nth]).collect()).estimate;
        (!self.pairs.is_empty()).then(|| Change {
            id: self.id.clone(),
            figure: self.figure,
            base: of(0),
            head: of(1),
            ratio: measured.estimate.map(|estimate| self.figure.ratio(estimate.interval)),
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
        Self { units, series }
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
                    let measured = session.unless_stopped(STEP, measured).await;
                    if !measured.with_context(|| format!("measuring {id}"))? {
                        session
                            .remark([format!("{id} cannot be timed in turns: one of the states is from before that.")]);
                        untimed.push(*unit);
                        break;
                    }
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
            Unit::Bench(pair) => match bench_turns(pair, round, sides).await? {
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

/// The turns of a round; in every other one the head is first.
pub fn turns(round: usize) -> impl Iterator<Item = usize> {
    TURNS.into_iter().map(move |nth| (nth + round) % 2)
}

/// Times of one id, pair by pair; nothing where a state cannot be timed in turns.
async fn bench_turns(Pair { bench, ids }: &Pair, round: usize, sides: &Sides) -> Result<Option<Vec<[f64; 2]>>> {
    let start = async |nth: usize| {
        let bed: &Bed = &sides.beds[nth];
        Runner::start(&sides.both[nth].executables.benches[bench], &ids[nth], bed).await
    };
    let (base, head) = tokio::try_join!(start(0), start(1))?;
    let (Some(base), Some(head)) = (base, head) else { return Ok(None) };
    let mut runners = [base, head];
    runners.iter().for_each(|runner| runner.run_on(round / 2));
    let mut iterations = 1;
    loop {
        let mut longest: f64 = 1.0;
        for runner in &mut runners {
            longest = longest.max(runner.time(iterations).await?);
        }
        let enough = (TURN.as_nanos() as f64 / longest).ceil() as u64;
        if enough <= iterations || iterations >= MOST {
            break;
        }
        // The first are slower than the rest.
        iterations = enough.min(iterations * 10).min(MOST);
    }
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < *TIMES.start() || (began.elapsed() < ROUND && times.len() < *TIMES.end()) {
        let mut pair = [0.0, 0.0];
        for nth in turns(round) {
            pair[nth] += runners[nth].time(iterations).await? * 2.0 / TURNS.len() as f64;
        }
        times.push(pair);
    }
    for runner in runners {
        runner.end().await?;
    }
    Ok(Some(times))
}
