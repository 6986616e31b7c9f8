//! Ways of one component, side by side: each is timed by Criterion, and then its round trips are counted.
//!
//! They are counted by a relay that stands for distances: what depends on one is a wait for the network, and the rest is work.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use tare_evidence::{Counted, Point, median};
use tare_testbed::{Network, Relay};

use crate::Bed;

/// The distances at which round trips are counted, in milliseconds: large against what a busy machine adds by chance.
const DISTANCES: [u64; 4] = [2, 5, 10, 20];
/// Iterations before counting begins: each tenant's pool then has a connection, which knows its statements.
const WARMUP: u64 = 20;
/// Rounds over all distances: many where there are few round trips to wait for, and chance is a larger part.
const ROUNDS: std::ops::RangeInclusive<u64> = 3..=9;
/// Round trips waited for at each distance, about.
const TRIPS: u64 = 30;

/// The ways of one component.
pub struct Group<'a> {
    bed: &'a Bed,
    name: &'static str,
    /// For what is not measured in iterations that can be counted.
    pub criterion: BenchmarkGroup<'a, WallTime>,
}

/// What passed between its starts and stops.
pub struct Meter<'a> {
    relay: Option<&'a Relay>,
    began: Mark,
    time: Duration,
    round_trips: u64,
}

/// A moment: when, and round trips until then.
#[derive(Clone, Copy)]
pub struct Mark(Instant, u64);

impl Mark {
    /// Now, and what has passed through `relay`.
    pub fn now(relay: Option<&Relay>) -> Self {
        Self(Instant::now(), relay.map_or(0, |relay| relay.counts().round_trips_with_tcp()))
    }
}

impl<'a> Meter<'a> {
    fn new(relay: Option<&'a Relay>) -> Self {
        Self { relay, began: Mark::now(relay), time: Duration::ZERO, round_trips: 0 }
    }

    /// What is measured begins.
    pub fn start(&mut self) {
        self.began = Mark::now(self.relay);
        // Counting is not part of it.
        self.began.0 = Instant::now();
    }

    /// It ends.
    pub fn stop(&mut self) {
        let time = self.began.0.elapsed();
        let Mark(_, round_trips) = Mark::now(self.relay);
        self.time += time;
        self.round_trips += round_trips - self.began.1;
    }

    /// What passed between two moments is measured.
    pub fn add(&mut self, from: Mark, to: Mark) {
        self.time += to.0 - from.0;
        self.round_trips += to.1 - from.1;
    }
}

impl<'a> Group<'a> {
    /// The component `name`, measured on `bed`.
    pub fn new(criterion: &'a mut Criterion, bed: &'a Bed, name: &'static str) -> Self {
        Self { bed, name, criterion: criterion.benchmark_group(name) }
    }

    /// One way: `work` is one iteration on what `prepare` made; `check` looks at it afterwards and is told how many there were.
    pub fn each<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: impl AsyncFn(&mut S), check: impl Fn(S, u64)) {
        let all = async |state: &mut S, iterations, meter: &mut Meter<'_>| {
            meter.start();
            for _ in 0..iterations {
                work(state).await;
            }
            meter.stop();
        };
        self.measured(way, prepare, all, check);
    }

    /// One way of which only a part is measured: `work` does as many iterations as it is told, and starts and stops the meter.
    pub fn measured<S>(
        &mut self,
        way: &str,
        prepare: impl Fn() -> S,
        work: impl AsyncFn(&mut S, u64, &mut Meter<'_>),
        check: impl Fn(S, u64),
    ) {
        let bed = self.bed;
        let run = |state: &mut S, iterations, relay: Option<&Relay>| {
            let mut meter = Meter::new(relay);
            bed.runtime().block_on(work(state, iterations, &mut meter));
            (meter.time, meter.round_trips)
        };
        let (mut ready, mut done) = (None, 0);
        self.criterion.bench_function(way, |bencher| {
            let state = ready.get_or_insert_with(&prepare);
            bencher.iter_custom(|iterations| {
                done += iterations;
                run(state, iterations, None).0
            });
        });
        let Some(state) = ready else { return };
        check(state, done);
        if crate::is_measuring() {
            let counted = bed.through_a_relay(|relay| {
                let mut state = prepare();
                run(&mut state, WARMUP, None);
                let (counted, done) = count(bed, relay, || run(&mut state, 1, Some(relay)));
                check(state, WARMUP + done);
                counted
            });
            if let Some(counted) = counted {
                self.keep(way, &counted);
            }
        }
    }

    /// One way that never waits for anything, and so has no round trips.
    pub fn offline<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: impl Fn(&mut S)) {
        let mut ready = None;
        self.criterion.bench_function(way, |bencher| {
            let state = ready.get_or_insert_with(&prepare);
            bencher.iter(|| work(state));
        });
        if ready.is_some() && crate::is_measuring() {
            self.keep(way, &Counted { round_trips: 0, points: Vec::new() });
        }
    }

    /// No more ways.
    pub fn finish(self) {
        self.criterion.finish();
    }

    /// Beside what Criterion keeps of the same way, and for people to read.
    fn keep(&self, way: &str, counted: &Counted) {
        let folder = criterion_home().join(self.name).join(way).join("new");
        let written = serde_json::to_vec(counted).map_err(io::Error::other);
        let written = written.and_then(|text| fs::write(folder.join("round-trips.json"), text));
        if let Err(error) = written {
            eprintln!("the round trips of {}/{way} cannot be kept in {}: {error}", self.name, folder.display());
            std::process::exit(2);
        }
        let law = counted.law().map_or_else(String::new, |law| {
            format!(", and {:.2} fitted, beside {:.3} ms of work", law.round_trips, law.work_ms)
        });
        println!("{:24}round trips: {}{law}", "", counted.round_trips);
    }
}

/// Does `once` at every distance, in turns; also tells how often in all. Medians, as now and then something passes that has
/// nothing to do with it, such as a refreshed cache entry.
fn count(bed: &Bed, relay: &Relay, mut once: impl FnMut() -> (Duration, u64)) -> (Counted, u64) {
    let (mut times, mut trips) = ([const { Vec::new() }; DISTANCES.len()], Vec::new());
    let (mut rounds, mut done) = (*ROUNDS.start(), 0);
    while done < rounds {
        for (distance, times) in DISTANCES.into_iter().zip(&mut times) {
            bed.runtime().block_on(relay.stretch(Network::at(Duration::from_millis(distance))));
            let (time, round_trips) = once();
            times.push(time.as_secs_f64() * 1e3);
            trips.push(round_trips as f64);
        }
        done += 1;
        rounds = (TRIPS / (trips[0] as u64).max(1)).clamp(*ROUNDS.start(), *ROUNDS.end());
    }
    bed.runtime().block_on(relay.stretch(Network::LOOPBACK));
    let point = |(distance, times)| Point { distance_ms: distance as f64, time_ms: median(times).estimate };
    let points = DISTANCES.into_iter().zip(times).map(point).collect();
    (Counted { round_trips: median(trips).estimate as u64, points }, done * DISTANCES.len() as u64)
}

/// Where Criterion keeps what it measured.
pub(crate) fn criterion_home() -> PathBuf {
    let target = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into()).join("criterion")
    };
    std::env::var_os("CRITERION_HOME").map_or_else(target, PathBuf::from)
}
