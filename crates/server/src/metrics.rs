//! What is counted of requests, in atomics alone: no request waits for a counter.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use axum::http::StatusCode;

/// Upper bounds of the classes of durations, in seconds.
pub const DURATION_BOUNDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The first status that there is, and how many there may be.
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 900;

/// Requests for actions, since the start and at this moment.
#[derive(Debug)]
pub struct Counters {
    allowed: usize,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    shed: AtomicU64,
    abandoned: AtomicU64,
    statuses: [AtomicU64; STATUSES],
    durations: [AtomicU64; DURATION_BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Counters {
    /// Nothing counted yet; `allowed` requests may be in flight.
    pub fn new(allowed: usize) -> Arc<Self> {
        Arc::new(Self {
            allowed,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            statuses: array::from_fn(|_| AtomicU64::new(0)),
            durations: array::from_fn(|_| AtomicU64::new(0)),
            micros: AtomicU64::new(0),
        })
    }

    /// A place among the requests in flight, until it is dropped; nothing when all are taken, which is counted as shed.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        // Taken before it is looked at: that is one step, and so never gives away more places than there are.
        let place = Place(self.clone());
        if self.in_flight.fetch_add(1, Relaxed) < self.allowed {
            return Some(place);
        }
        self.shed.fetch_add(1, Relaxed);
        None
    }

    /// Begins to measure one request.
    pub fn measure(self: &Arc<Self>) -> Measured {
        Measured { counters: self.clone(), start: Instant::now(), status: None }
    }

    /// Requests that may be in flight.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Those of them that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Requests refused for want of a place.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Requests whose client hung up before it was answered.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Relaxed)
    }

    /// Requests answered, by status; of statuses that were given.
    pub fn answered(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (FIRST_STATUS..).zip(&self.statuses).map(|(status, count)| (status, count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Requests answered, by class of [`DURATION_BOUNDS`] and last those beyond, and the seconds of all together.
    pub fn durations(&self) -> ([u64; DURATION_BOUNDS.len() + 1], f64) {
        (self.durations.each_ref().map(|count| count.load(Relaxed)), self.micros.load(Relaxed) as f64 / 1e6)
    }
}

/// One of the places for requests in flight.
#[derive(Debug)]
pub struct Place(Arc<Counters>);

impl Place {
    /// Counts the request as waiting for a worker until it is its `turn`.
    pub async fn waiting<T>(&self, turn: impl Future<Output = T>) -> T {
        self.0.waiting.fetch_add(1, Relaxed);
        let worker = turn.await;
        self.0.waiting.fetch_sub(1, Relaxed);
        worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A request being measured; dropped without an answer, it counts as abandoned.
#[derive(Debug)]
pub struct Measured {
    counters: Arc<Counters>,
    start: Instant,
    status: Option<StatusCode>,
}

impl Measured {
    /// The request is answered with `status`.
    pub fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let Some(status) = self.status else {
            self.counters.abandoned.fetch_add(1, Relaxed);
            return;
        };
        let took = self.start.elapsed();
        let class = DURATION_BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.counters.durations[class.unwrap_or(DURATION_BOUNDS.len())].fetch_add(1, Relaxed);
        self.counters.micros.fetch_add(took.as_micros() as u64, Relaxed);
        self.counters.statuses[usize::from(status.as_u16() - FIRST_STATUS)].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped_and_one_too_many_is_shed() {
        let counters = Counters::new(2);
        let (first, second) = (counters.place(), counters.place());
        assert!(first.is_some() && second.is_some() && counters.place().is_none());
        assert_eq!((counters.in_flight(), counters.shed()), (2, 1));
        drop(first);
        assert!(counters.place().is_some());
        assert_eq!((counters.in_flight(), counters.shed()), (1, 1));
    }

    #[test]
    fn a_request_counts_once_as_answered_or_as_abandoned() {
        let counters = Counters::new(1);
        counters.measure().answered(StatusCode::OK);
        counters.measure().answered(StatusCode::OK);
        counters.measure().answered(StatusCode::SERVICE_UNAVAILABLE);
        drop(counters.measure());
        assert_eq!(counters.answered().collect::<Vec<_>>(), [(200, 2), (503, 1)]);
        assert_eq!((counters.durations().0.iter().sum::<u64>(), counters.abandoned()), (3, 1));
    }
}
