//! Ways of one component, side by side: each is timed by Criterion, and then what can be counted of it is counted.
//!
//! Round trips and bytes are counted by a relay that stands for distances: what depends on one is a wait for the network, and the
//! rest is work. Allocations are counted of one thread, and everything but the relay is then on it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use tare_evidence::{Counted, Point, median};
use tare_testbed::{COUNT, Counts, Network, Relay};

use crate::exact::{ALLOCATING, agreed, allocations};
use crate::{Bed, turns};

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
    /// For what concerns all ways.
    pub criterion: BenchmarkGroup<'a, WallTime>,
}

/// What passed between its starts and stops.
pub struct Meter<'a> {
    relay: Option<&'a Relay>,
    began: Mark,
    once: Once,
}

/// A moment: when, and what had passed until then.
#[derive(Clone, Copy)]
pub struct Mark(Instant, Counts);

impl Mark {
    /// Now, and what has passed through `relay`.
    pub fn now(relay: Option<&Relay>) -> Self {
        Self(Instant::now(), relay.map_or_else(Counts::default, Relay::counts))
    }
}

/// What of one iteration was measured.
#[derive(Clone, Copy)]
struct Once {
    time: Duration,
    round_trips: u64,
    wire_bytes: u64,
}

impl<'a> Meter<'a> {
    fn new(relay: Option<&'a Relay>) -> Self {
        let once = Once { time: Duration::ZERO, round_trips: 0, wire_bytes: 0 };
        Self { relay, began: Mark::now(relay), once }
    }

    /// What is measured begins.
    pub fn start(&mut self) {
        self.began = Mark::now(self.relay);
        // Counting is not part of it.
        self.began.0 = Instant::now();
    }

    /// It ends.
    pub fn stop(&mut self) {
        // Counting is not part of it.
        let ended = Instant::now();
        self.add(self.began, Mark(ended, Mark::now(self.relay).1));
    }

    /// What passed between two moments is measured.
    pub fn add(&mut self, from: Mark, to: Mark) {
        let passed = to.1.since(from.1);
        self.once.time += to.0 - from.0;
        self.once.round_trips += passed.round_trips_with_tcp();
        self.once.wire_bytes += passed.bytes_up + passed.bytes_down;
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
            meter.once
        };
        let timed = self.timed(way, &prepare, |state, iterations| run(state, iterations, None).time);
        let Some((state, done)) = timed else { return };
        check(state, done);
        let counting = Counting::asked();
        if counting == Counting::Never {
            return;
        }
        let counted = bed.through_a_relay(|relay| {
            // The relay stays on threads of its own.
            bed.on_one_thread(|| {
                let mut state = prepare();
                run(&mut state, WARMUP, None);
                let distances = if counting == Counting::Only { &[0][..] } else { &DISTANCES };
                let (counted, done) = count(bed, relay, distances, || run(&mut state, 1, Some(relay)));
                check(state, WARMUP + done);
                counted
            })
        });
        if let Some(counted) = counted {
            self.keep(way, &counted);
        }
    }

    /// One way of something that goes on among others, and so has no number of round trips. `work` does as many iterations as it is
    /// told, or more, and tells how long so many take.
    pub fn among_others<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: impl Fn(&mut S, u64) -> Duration) {
        self.timed(way, prepare, work);
    }

    /// One way that never waits for anything, and so has no round trips.
    pub fn offline<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: impl Fn(&mut S)) {
        if let Some(mut state) = self.timed_offline(way, prepare, &work) {
            let counts = (0..ALLOCATING).map(|_| allocations(|| work(&mut state)).1 as f64);
            let allocations = agreed(counts.collect());
            self.keep(way, &Counted { allocations, ..Counted::default() });
        }
    }

    /// The same of what asks for memory as often as a key made by chance has it: not counted, for another run has another key.
    pub fn offline_by_chance<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: impl Fn(&mut S)) {
        if self.timed_offline(way, prepare, &work).is_some() {
            self.keep(way, &Counted::default());
        }
    }

    /// What was prepared, once it is timed and where it is to be counted.
    fn timed_offline<S>(&mut self, way: &str, prepare: impl Fn() -> S, work: &impl Fn(&mut S)) -> Option<S> {
        let timed = self.timed(way, prepare, |state, iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                work(state);
            }
            start.elapsed()
        });
        let (mut state, _) = timed.filter(|_| Counting::asked() != Counting::Never)?;
        work(&mut state);
        Some(state)
    }

    /// What was prepared, and how many iterations Criterion did on it. Nothing when it was timed in turns, or another way was asked for.
    fn timed<S>(
        &mut self,
        way: &str,
        prepare: impl Fn() -> S,
        work: impl Fn(&mut S, u64) -> Duration,
    ) -> Option<(S, u64)> {
        let (mut ready, mut done) = (None, 0);
        match turns::asked() {
            Some(id) if id == format!("{}/{way}", self.name) => {
                let mut state = prepare();
                turns::take(|iterations| work(&mut state, iterations));
                // Beside another process there is no telling which rows and connections are whose: it was looked at when it was counted.
                return None;
            }
            Some(_) => return None,
            None => drop(self.criterion.bench_function(way, |bencher| {
                let state = ready.get_or_insert_with(&prepare);
                bencher.iter_custom(|iterations| {
                    done += iterations;
                    work(state, iterations)
                });
            })),
        }
        Some((ready?, done))
    }

    /// No more ways.
    pub fn finish(self) {
        self.criterion.finish();
    }

    /// Beside what Criterion keeps of the same way, and for people to read.
    fn keep(&self, way: &str, counted: &Counted) {
        let way_folder = criterion_home().join(self.name).join(way);
        for folder in [Some("new".to_owned()), argument("--save-baseline")].into_iter().flatten() {
            let folder = way_folder.join(folder);
            let written = serde_json::to_vec(counted).map_err(io::Error::other);
            let written = written.and_then(|text| {
                // Criterion makes none where nothing is timed.
                fs::create_dir_all(&folder)?;
                // Whole, or not at all.
                let new = folder.join(format!("{COUNTS}.new"));
                fs::write(&new, text)?;
                fs::rename(new, folder.join(COUNTS))
            });
            if let Err(error) = written {
                eprintln!("what was counted of {}/{way} cannot be kept in {}: {error}", self.name, folder.display());
                std::process::exit(2);
            }
        }
        let law = counted.law().map_or_else(String::new, |law| {
            format!(", and {:.2} fitted, beside {:.3} ms of work", law.round_trips, law.work_ms)
        });
        let allocations = counted.allocations.map_or_else(String::new, |count| format!(", allocations: {count}"));
        println!("{:24}round trips: {}{law}{allocations}", "", counted.round_trips);
    }
}

/// Does `once` at every distance, in milliseconds, in turns; also tells how often in all. Medians, as now and then something
/// passes that has nothing to do with it, such as a refreshed cache entry.
fn count(bed: &Bed, relay: &Relay, distances: &[u64], mut once: impl FnMut() -> Once) -> (Counted, u64) {
    let mut times = vec![Vec::new(); distances.len()];
    let (mut trips, mut bytes, mut allocated) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rounds, mut done) = (*ROUNDS.start(), 0);
    while done < rounds {
        for (distance, times) in distances.iter().zip(&mut times) {
            bed.runtime().block_on(relay.stretch(Network::at(Duration::from_millis(*distance))));
            let (Once { time, round_trips, wire_bytes }, count) = allocations(&mut once);
            times.push(time.as_secs_f64() * 1e3);
            trips.push(round_trips as f64);
            bytes.push(wire_bytes as f64);
            allocated.push(count as f64);
        }
        done += 1;
        rounds = (TRIPS / (trips[0] as u64).max(1)).clamp(*ROUNDS.start(), *ROUNDS.end());
    }
    bed.runtime().block_on(relay.stretch(Network::LOOPBACK));
    let point =
        |(distance, times): (&u64, Vec<f64>)| Point { distance_ms: *distance as f64, time_ms: median(times).estimate };
    let points = distances.iter().zip(times).map(point).collect();
    let round_trips = median(trips).estimate as u64;
    let (wire_bytes, allocations) = (agreed(bytes), agreed(allocated));
    (Counted { round_trips, wire_bytes, allocations, points }, done * distances.len() as u64)
}

/// What a bench writes beside Criterion's own files.
const COUNTS: &str = "counts.json";

/// Whether what can be counted is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// After what is timed, and at several distances.
    Too,
    /// And nothing is timed, where [`COUNT`] is `only`; Criterion is then told to test.
    Only,
    /// Where it is timed in turns, or Criterion was asked for something else than to measure.
    Never,
}

impl Counting {
    fn asked() -> Self {
        match std::env::var(COUNT).as_deref() {
            Ok("only") => Self::Only,
            _ if turns::asked().is_some() => Self::Never,
            _ if is_measuring() => Self::Too,
            _ => Self::Never,
        }
    }
}

/// Whether benches are measured, and not only listed, tried or watched by a profiler.
fn is_measuring() -> bool {
    let other = |argument: String| matches!(&*argument, "--list" | "--test" | "--profile-time");
    std::env::args().any(|argument| argument == "--bench") && !std::env::args().any(other)
}

/// What was given for `flag`, as `--flag value` or `--flag=value`.
fn argument(flag: &str) -> Option<String> {
    let mut arguments = std::env::args();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(flag) {
            Some("") => return arguments.next(),
            Some(value) if value.starts_with('=') => return Some(value[1..].to_owned()),
            _ => {}
        }
    }
    None
}

/// Where Criterion keeps what it measured.
pub(crate) fn criterion_home() -> PathBuf {
    let target = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into()).join("criterion")
    };
    std::env::var_os("CRITERION_HOME").map_or_else(target, PathBuf::from)
}
