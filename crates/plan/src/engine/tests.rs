//! The engine beside what is known of queues.

use fastrand::Rng;

use super::*;

/// Jobs of each run: enough for a mean to come within a twentieth of what it should be.
const JOBS: usize = 200_000;

/// How long work takes.
#[derive(Clone, Copy)]
enum Work {
    /// By chance, with the mean 1.
    Exponential,
    /// Always 1.
    Fixed,
}

struct Seen {
    /// Seconds from arrival to departure.
    time: f64,
    /// In the system, over time.
    there: f64,
    throughput: f64,
    share: f64,
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -(1.0 - rng.f64()).ln() * mean
}

/// Arrivals by chance at `rate`, at `threads` of one process on as many cores.
fn open(rate: f64, threads: usize, work: Work, seed: u64) -> Seen {
    open_on(threads as f64, rate, threads, work, seed)
}

/// The same on `cores`.
fn open_on(cores: f64, rate: f64, threads: usize, work: Work, seed: u64) -> Seen {
    let (mut engine, mut rng) = (Engine::new(0), Rng::with_seed(seed));
    let host = engine.host(cores);
    let process = engine.process(host, threads);
    engine.alarm(0.0, -1.0);
    let (mut ended, mut times, mut there) = (0, 0.0, level::Level::default());
    while let Some(happened) = engine.next() {
        let now = engine.now();
        match happened {
            Happened::Alarm(_) => {
                let seconds = match work {
                    Work::Exponential => exponential(&mut rng, 1.0),
                    Work::Fixed => 1.0,
                };
                engine.begin(now, vec![Step::Work { process, seconds }], Vec::new());
                there.set(now, there.now() + 1.0);
                engine.alarm(now + exponential(&mut rng, 1.0 / rate), -1.0);
            }
            Happened::Ended(since) => {
                (ended, times) = (ended + 1, times + now - since);
                there.set(now, there.now() - 1.0);
            }
        }
        if ended == JOBS {
            break;
        }
    }
    let now = engine.now();
    Seen {
        time: times / JOBS as f64,
        there: there.mean(now),
        throughput: JOBS as f64 / now,
        share: engine.hosts[host].busy.mean(now) / cores,
    }
}

fn is_about(is: f64, should: f64) {
    assert!((is / should - 1.0).abs() < 0.05, "{is} is not about {should}");
}

#[test]
fn one_thread_by_chance_waits_as_m_m_1_does() {
    for rate in [0.3, 0.5, 0.8] {
        let seen = open(rate, 1, Work::Exponential, 1);
        is_about(seen.time, 1.0 / (1.0 - rate));
        is_about(seen.share, rate);
    }
}

#[test]
fn one_thread_with_equal_work_waits_as_m_d_1_does() {
    for rate in [0.3, 0.5, 0.8] {
        let seen = open(rate, 1, Work::Fixed, 2);
        is_about(seen.time, 1.0 + rate / (2.0 * (1.0 - rate)));
    }
}

#[test]
fn several_threads_wait_as_m_m_c_does() {
    for (rate, threads) in [(1.4, 2), (3.2, 4), (6.0, 8)] {
        let seen = open(rate, threads, Work::Exponential, 3);
        // Erlang's formula for how many wait at all.
        let mut blocked = 1.0;
        for nth in 1..=threads {
            blocked = rate * blocked / (nth as f64 + rate * blocked);
        }
        let share = rate / threads as f64;
        let waits = blocked / (1.0 - share * (1.0 - blocked));
        is_about(seen.time, 1.0 + waits / (threads as f64 - rate));
    }
}

#[test]
fn who_shares_one_core_takes_as_long_as_m_m_1_whatever_the_work() {
    // Without a bound of threads the core is shared, which takes no notice of how work is distributed.
    for work in [Work::Exponential, Work::Fixed] {
        is_about(open_on(1.0, 0.5, usize::MAX, work, 4).time, 2.0);
    }
}

#[test]
fn as_many_are_there_as_littles_law_says() {
    for (rate, threads, work) in [(0.7, 1, Work::Exponential), (0.9, 1, Work::Fixed), (2.5, 3, Work::Exponential)] {
        let seen = open(rate, threads, work, 5);
        assert!((seen.there / (seen.throughput * seen.time) - 1.0).abs() < 0.001, "{} {}", seen.there, seen.time);
    }
}

#[test]
fn a_closed_loop_has_as_much_as_its_time_allows() {
    // N callers that think: X = N / (R + Z), whatever they wait for.
    for (callers, think) in [(1, 0.0), (4, 2.0), (20, 5.0)] {
        let (mut engine, mut rng) = (Engine::new(0), Rng::with_seed(6));
        let host = engine.host(2.0);
        let process = engine.process(host, 1);
        (0..callers).for_each(|_| engine.alarm(0.0, 0.0));
        let (mut ended, mut times, most) = (0, 0.0, 50_000);
        while let Some(happened) = engine.next() {
            let now = engine.now();
            match happened {
                Happened::Alarm(_) => {
                    let seconds = exponential(&mut rng, 1.0);
                    engine.begin(now, vec![Step::Work { process, seconds }], Vec::new());
                }
                Happened::Ended(since) => {
                    (ended, times) = (ended + 1, times + now - since);
                    engine.alarm(now + think, 0.0);
                }
            }
            if ended == most {
                break;
            }
        }
        let throughput = f64::from(ended) / engine.now();
        let law = f64::from(callers) / (times / f64::from(ended) + think);
        assert!((throughput / law - 1.0).abs() < 0.005, "{throughput} {law}");
    }
}

#[test]
fn a_disk_writes_for_all_that_came_while_it_wrote() {
    let mut engine = Engine::new(0);
    let disk = engine.disk();
    // The second and the third come while it writes for the first, and share the next write, which takes as long as the second's.
    for (at, seconds) in [(0.0, 1.0), (0.5, 2.0), (0.9, 9.0)] {
        engine.alarm(at, seconds);
    }
    let mut ended = Vec::new();
    while let Some(happened) = engine.next() {
        match happened {
            Happened::Alarm(seconds) => engine.begin(seconds, vec![Step::Sync { disk, seconds }], Vec::new()),
            Happened::Ended(seconds) => ended.push((seconds, engine.now())),
        }
    }
    assert_eq!(ended, [(1.0, 1.0), (2.0, 3.0), (9.0, 3.0)]);
    assert!((engine.disks[disk].waited - 0.6).abs() < 1e-9);
}

#[test]
fn two_that_share_a_core_go_half_as_fast() {
    let mut engine = Engine::new(0);
    let host = engine.host(1.0);
    let [one, other] = [(); 2].map(|()| engine.process(host, 1));
    engine.begin(1.0, vec![Step::Work { process: one, seconds: 1.0 }], Vec::new());
    engine.begin(3.0, vec![Step::Work { process: other, seconds: 3.0 }], Vec::new());
    let mut ended = Vec::new();
    while let Some(Happened::Ended(seconds)) = engine.next() {
        ended.push((seconds, engine.now()));
    }
    assert_eq!(ended, [(1.0, 2.0), (3.0, 4.0)]);
    assert!((engine.processes[one].waited - 1.0).abs() < 1e-9);
}

/// Jobs of `tenants` in turn, each of which holds a connection of one pool for some time: the most there were, and the order in
/// which they ended.
fn held(budget: usize, cap: usize, tenants: usize, jobs: usize) -> (f64, Vec<usize>, u64) {
    let (mut engine, mut rng) = (Engine::new(0), Rng::with_seed(7));
    let pools = engine.pool(budget, cap);
    let opening = vec![Step::Wait { seconds: 0.5 }];
    for job in 0..jobs {
        let steps = vec![
            Step::Connect { pools, tenant: job % tenants },
            Step::Wait { seconds: 0.1 + rng.f64() },
            Step::Release,
        ];
        engine.begin(job, steps, opening.clone());
    }
    let mut ended = Vec::new();
    while let Some(Happened::Ended(job)) = engine.next() {
        ended.push(job);
        assert!(engine.pools[pools].held.now() as usize <= budget);
    }
    (engine.pools[pools].held.peak(), ended, engine.pools[pools].opened)
}

#[test]
fn there_are_never_more_connections_than_the_budget_and_everybody_is_served() {
    for (budget, cap, tenants) in [(1, 16, 7), (3, 1, 7), (20, 16, 200), (80, 2, 5)] {
        let (peak, mut ended, _) = held(budget, cap, tenants, 2_000);
        assert_eq!(peak as usize, budget.min(cap * tenants), "{budget} {cap} {tenants}");
        ended.sort_unstable();
        assert!(ended.iter().copied().eq(0..2_000), "each job ended once");
    }
}

#[test]
fn a_tenants_connections_are_kept_and_go_from_one_of_its_jobs_to_the_next() {
    let (_, ended, opened) = held(80, 1, 1, 50);
    assert_eq!((opened, ended), (1, (0..50).collect()));
}
