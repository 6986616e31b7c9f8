//! Processors, shared by whatever runs on them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use super::level::Level;
use super::{At, JobId};

/// How often the next is who has waited longest.
const IN_TURN: f64 = 0.25;

/// A machine: so many cores, which all that runs shares equally, and nothing runs on more than one.
#[derive(Debug)]
pub(crate) struct Host {
    cores: f64,
    /// Seconds of work that each of those that run has been given since the beginning.
    given: f64,
    since: f64,
    /// By how much must have been given when they are done.
    running: BinaryHeap<Reverse<(At, u64, Running)>>,
    begun: u64,
    /// Changes with every change: an end that was foreseen before is none any more.
    pub(crate) stamp: u64,
    pub(crate) busy: Level,
}

/// A piece of work under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Running {
    pub(crate) process: usize,
    pub(crate) job: JobId,
}

impl Host {
    pub(crate) fn new(cores: f64) -> Self {
        Self { cores, given: 0.0, since: 0.0, running: BinaryHeap::new(), begun: 0, stamp: 0, busy: Level::default() }
    }

    pub(crate) fn cores(&self) -> f64 {
        self.cores
    }

    /// How fast each goes: 1 with a core of its own.
    fn pace(&self) -> f64 {
        (self.cores / self.running.len() as f64).min(1.0)
    }

    fn catch_up(&mut self, now: f64) {
        if !self.running.is_empty() {
            self.given += (now - self.since) * self.pace();
        }
        self.since = now;
    }

    fn changed(&mut self, now: f64) {
        self.stamp += 1;
        self.busy.set(now, (self.running.len() as f64).min(self.cores));
    }

    pub(crate) fn begin(&mut self, now: f64, running: Running, seconds: f64) {
        self.catch_up(now);
        self.begun += 1;
        self.running.push(Reverse((At(self.given + seconds), self.begun, running)));
        self.changed(now);
    }

    /// When the next is done, if none comes or goes until then.
    pub(crate) fn next(&self, now: f64) -> Option<f64> {
        let Reverse((At(done), ..)) = self.running.peek()?;
        Some(now + (done - self.given).max(0.0) / self.pace())
    }

    /// The one that is done now.
    pub(crate) fn end(&mut self, now: f64) -> Option<Running> {
        self.catch_up(now);
        let Reverse((At(done), _, running)) = self.running.pop()?;
        // What rounding has left.
        self.given = self.given.max(done);
        self.changed(now);
        Some(running)
    }
}

/// A program on a host: it runs no more at a time than it has threads.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) host: usize,
    threads: usize,
    running: usize,
    queue: VecDeque<(JobId, f64)>,
    /// Seconds of work that were done, in all.
    pub(crate) worked: f64,
    /// Seconds that work has waited for a thread or a core, in all.
    pub(crate) waited: f64,
}

impl Process {
    pub(crate) fn new(host: usize, threads: usize) -> Self {
        Self { host, threads, running: 0, queue: VecDeque::new(), worked: 0.0, waited: 0.0 }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Whether a thread is free, which then takes it; else it waits.
    pub(crate) fn arrive(&mut self, job: JobId, seconds: f64) -> bool {
        if self.running == self.threads {
            self.queue.push_back((job, seconds));
            return false;
        }
        self.running += 1;
        true
    }

    /// A thread is done, and takes the next of those that wait. What is ready at the same time is not always taken in the order in
    /// which it became so: in turn, or any.
    pub(crate) fn depart(&mut self, rng: &mut Rng) -> Option<(JobId, f64)> {
        let waiting = self.queue.len();
        let nth = if waiting == 0 || rng.f64() < IN_TURN { 0 } else { rng.usize(..waiting) };
        let next = self.queue.remove(nth);
        if next.is_none() {
            self.running -= 1;
        }
        next
    }
}
