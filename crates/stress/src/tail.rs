//! What sets the slowest requests apart from typical ones.
//!
//! Keeping every request would take memory without end. What is kept is a grid: for each class of latency how many requests
//! there were, and the sum of each component. The components of a request add up to its latency, so means over classes add
//! up, too, and the difference between slow and typical requests is split without a rest.

use std::time::Duration;

use tare_evidence::{Circumstance, Tail, TailShare};

use crate::timeline::Window;

/// Classes per doubling of latency, as a power of two: 32, some 2 % each.
const FINENESS: u32 = 5;
/// Requests below which there is no tail to speak of.
const FEWEST: u64 = 100;
/// How much more often something was going on for slow requests than for all, to be worth telling.
const TELLING: f64 = 2.0;
/// Milliseconds below which a wait is the timer's, and no connection's.
const TELLING_WAIT_MS: f64 = 1.0;
/// What a slow request waited for: an idle connection of the load's own.
const WAITING: &str = "waiting";

/// Sums of components by class of latency.
#[derive(Clone, Default)]
pub(crate) struct Grid(Vec<Class>);

#[derive(Clone, Default)]
struct Class {
    requests: u64,
    nanoseconds: u64,
    waited: u64,
    /// In nanoseconds, in the order in which components were first met.
    components: Vec<u64>,
}

impl Grid {
    /// Counts a request of which `waited` went by before it was sent. Its components are told by their indices.
    pub(crate) fn count(
        &mut self,
        latency: Duration,
        waited: Duration,
        components: impl Iterator<Item = (usize, Duration)>,
    ) {
        let nanoseconds = nanoseconds(latency);
        let class = class(nanoseconds);
        if class >= self.0.len() {
            self.0.resize(class + 1, Class::default());
        }
        let class = &mut self.0[class];
        class.requests += 1;
        class.nanoseconds += nanoseconds;
        class.waited += self::nanoseconds(waited);
        for (index, time) in components {
            *at(&mut class.components, index) += self::nanoseconds(time);
        }
    }

    /// Adds another's, whose component `index` is here known as `known_as[index]`.
    pub(crate) fn add(&mut self, other: &Self, known_as: &[usize]) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), Class::default());
        }
        for (class, other) in self.0.iter_mut().zip(&other.0) {
            class.requests += other.requests;
            class.nanoseconds += other.nanoseconds;
            class.waited += other.waited;
            for (index, time) in other.components.iter().enumerate() {
                *at(&mut class.components, known_as[index]) += time;
            }
        }
    }

    /// What sets the requests above P95 apart from those between P40 and P60, with the components named `names`. Nothing
    /// when there were too few, or when no class of latency is above that of the median.
    pub(crate) fn tail(&self, names: &[&str]) -> Option<Tail> {
        let all: u64 = self.0.iter().map(|class| class.requests).sum();
        if all < FEWEST {
            return None;
        }
        let (mut typical, mut slow) = (Class::default(), Class::default());
        let (mut below, mut median_passed) = (0, false);
        for class in self.0.iter().filter(|class| class.requests > 0) {
            let from = below as f64 / all as f64;
            below += class.requests;
            let to = below as f64 / all as f64;
            // A class that reaches over an end belongs where the greater part of it is; the median's is always typical.
            let middle = (from + to) / 2.0;
            if (from..=to).contains(&0.5) && !median_passed || (0.4..=0.6).contains(&middle) {
                median_passed |= to >= 0.5;
                typical.take(class);
            } else if middle >= 0.95 {
                slow.take(class);
            }
        }
        (slow.requests > 0).then(|| tail(&typical, &slow, names))
    }
}

impl Class {
    fn take(&mut self, other: &Self) {
        self.requests += other.requests;
        self.nanoseconds += other.nanoseconds;
        self.waited += other.waited;
        for (index, time) in other.components.iter().enumerate() {
            *at(&mut self.components, index) += time;
        }
    }

    /// The mean of `sum`, in milliseconds.
    fn mean_ms(&self, sum: u64) -> f64 {
        sum as f64 / self.requests as f64 / 1e6
    }
}

fn tail(typical: &Class, slow: &Class, names: &[&str]) -> Tail {
    let (typical_ms, slow_ms) = (typical.mean_ms(typical.nanoseconds), slow.mean_ms(slow.nanoseconds));
    let share = |component: &str, of_typical: u64, of_slow: u64| {
        let (typical_ms_of, slow_ms_of) = (typical.mean_ms(of_typical), slow.mean_ms(of_slow));
        TailShare {
            component: component.to_owned(),
            typical_ms: typical_ms_of,
            slow_ms: slow_ms_of,
            share: (slow_ms_of - typical_ms_of) / (slow_ms - typical_ms),
        }
    };
    let of = |class: &Class, index: usize| class.components.get(index).copied().unwrap_or_default();
    let mut shares: Vec<_> =
        names.iter().enumerate().map(|(index, name)| share(name, of(typical, index), of(slow, index))).collect();
    if slow.mean_ms(slow.waited) > TELLING_WAIT_MS {
        shares.push(share(WAITING, typical.waited, slow.waited));
    }
    shares.sort_by(|one, other| other.share.total_cmp(&one.share));
    Tail {
        typical_requests: typical.requests,
        slow_requests: slow.requests,
        typical_ms,
        slow_ms,
        shares,
        circumstances: Vec::new(),
    }
}

/// Something that was seen going on, at a moment of the pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Since counting began.
    pub at: Duration,
    /// What it was; several at one moment are several of these.
    pub what: &'static str,
}

/// What was going on, of what was `seen`, when requests slower than `p95_ms` came to their end; only what is clearly more
/// frequent then.
pub fn circumstances(windows: &[Window], p95_ms: f64, seen: &[Seen]) -> Vec<Circumstance> {
    let mut what: Vec<_> = seen.iter().map(|seen| seen.what).collect();
    what.sort_unstable();
    what.dedup();
    let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
    let counted: Vec<_> =
        windows.iter().map(|window| (window, window.requests(), window.slower_than(p95_ms))).collect();
    let all = counted.iter().map(|(_, requests, _)| requests).sum();
    let all_slow = counted.iter().map(|(_, _, slow)| slow).sum();
    let circumstances = what.into_iter().map(|what| {
        let during = |window: &Window| seen.iter().any(|seen| seen.what == what && window.holds(seen.at));
        let (requests, slow) = counted
            .iter()
            .filter(|(window, ..)| during(window))
            .fold((0, 0), |(requests, slow), (_, more, more_slow)| (requests + more, slow + more_slow));
        Circumstance { what: what.to_owned(), of_slow: share(slow, all_slow), of_all: share(requests, all) }
    });
    let mut telling: Vec<_> = circumstances.filter(|one| one.of_slow > TELLING * one.of_all).collect();
    telling.sort_by(|one, other| (other.of_slow - other.of_all).total_cmp(&(one.of_slow - one.of_all)));
    telling
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Classes of equal relative width.
fn class(nanoseconds: u64) -> usize {
    let nanoseconds = nanoseconds.max(1 << FINENESS);
    let doubling = nanoseconds.ilog2();
    let within = (nanoseconds >> (doubling - FINENESS)) & ((1 << FINENESS) - 1);
    (((doubling - FINENESS) as usize) << FINENESS) + within as usize
}

/// The sum at `index`, which is made when it is not there.
fn at(sums: &mut Vec<u64>, index: usize) -> &mut u64 {
    if index >= sums.len() {
        sums.resize(index + 1, 0);
    }
    &mut sums[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn classes_are_in_order_and_narrow() {
        let mut before = 0;
        for nanoseconds in (0..200).map(|power| (32.0 * 1.1_f64.powi(power)) as u64) {
            let class = class(nanoseconds);
            assert!(class >= before);
            before = class;
        }
        assert_eq!(class(1 << 20) + 32, class(1 << 21));
        assert_eq!(class(1_000_000), class(1_010_000));
        assert!(class(1_000_000) < class(1_050_000));
    }

    #[test]
    fn the_difference_is_split_without_a_rest() {
        let mut grid = Grid::default();
        for nth in 0..1000_u32 {
            // One in twenty waits 80 ms for a connection and 1 ms longer for its action.
            let (connection, action) = if nth % 20 == 0 { (80, 5) } else { (1, 4) };
            grid.count(
                (connection + action) * MS,
                Duration::ZERO,
                [(0, connection * MS), (1, action * MS)].into_iter(),
            );
        }
        let tail = grid.tail(&["connection", "action"]).unwrap();
        assert_eq!((tail.typical_requests, tail.slow_requests), (950, 50));
        assert_eq!((tail.typical_ms, tail.slow_ms), (5.0, 85.0));
        let shares: Vec<_> = tail.shares.iter().map(|share| (&*share.component, share.share)).collect();
        assert_eq!(shares, [("connection", 79.0 / 80.0), ("action", 1.0 / 80.0)]);
    }

    #[test]
    fn waiting_for_the_loads_own_connections_is_a_part_of_it() {
        let mut grid = Grid::default();
        for nth in 0..200_u32 {
            let waited = if nth < 10 { 30 * MS } else { Duration::ZERO };
            grid.count(waited + MS, waited, [(0, MS)].into_iter());
        }
        let tail = grid.tail(&["action"]).unwrap();
        assert_eq!((&*tail.shares[0].component, tail.shares[0].share), ("waiting", 1.0));
    }

    #[test]
    fn without_a_tail_nothing_is_told() {
        let mut grid = Grid::default();
        (0..99_u32).for_each(|nth| grid.count(nth * MS, Duration::ZERO, std::iter::empty()));
        assert_eq!(grid.tail(&[]), None, "too few");
        let mut grid = Grid::default();
        (0..200).for_each(|_| grid.count(MS, Duration::ZERO, std::iter::empty()));
        assert_eq!(grid.tail(&[]), None, "all alike");
    }

    #[test]
    fn grids_add_up_whatever_the_order_of_their_components() {
        let (mut one, mut other) = (Grid::default(), Grid::default());
        (0..190).for_each(|_| one.count(3 * MS, Duration::ZERO, [(0, MS), (1, 2 * MS)].into_iter()));
        (0..10).for_each(|_| other.count(9 * MS, Duration::ZERO, [(0, 2 * MS), (1, 7 * MS)].into_iter()));
        one.add(&other, &[1, 0]);
        let tail = one.tail(&["auth", "action"]).unwrap();
        assert_eq!((&*tail.shares[0].component, tail.shares[0].share), ("auth", 1.0));
    }
}
