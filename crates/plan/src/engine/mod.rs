//! Jobs that go from one thing they wait for to the next: a discrete-event simulation of hosts, processes, disks and pools.
//!
//! It knows nothing of requests. Time is in seconds; what happens at the same moment happens in the order it was foreseen, so that
//! a run is the same each time.

pub(crate) mod disk;
pub(crate) mod host;
pub(crate) mod level;
pub(crate) mod pools;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use self::disk::Disk;
use self::host::{Host, Process, Running};
use self::level::Recent;
use self::pools::{Pools, Taken};

pub(crate) type JobId = usize;

/// A moment, or an amount of work: floats in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct At(pub(crate) f64);

impl Eq for At {}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a job does next. Seconds are those it takes alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Work of a process.
    Work { process: usize, seconds: f64 },
    /// A wait that nothing makes longer.
    Wait { seconds: f64 },
    /// The same far away: meanwhile the job is not at work here.
    Away { seconds: f64 },
    /// A write that is waited for, shared with all who wait for the same.
    Sync { disk: usize, seconds: f64 },
    /// A connection of a pool for a tenant.
    Connect { pools: usize, tenant: usize },
    /// Gives it back.
    Release,
}

/// What comes of the next event that matters to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Happened<T> {
    /// The time of an alarm has come.
    Alarm(T),
    /// A job has done all its steps.
    Ended(T),
}

#[derive(Debug)]
enum Event<T> {
    Alarm(T),
    /// The first work on a host is done, unless the host has changed since.
    Work {
        host: usize,
        stamp: u64,
    },
    Resume(JobId),
    Back(JobId),
    Written(usize),
}

#[derive(Debug)]
struct Job<T> {
    payload: T,
    /// The next one last.
    steps: Vec<Step>,
    /// What opening a connection takes, the first step last.
    opening: Vec<Step>,
    /// Its connection: of which pools and tenant, opened when.
    held: Option<(usize, usize, f64)>,
    /// When it began to wait for what it is at, and the work it has there.
    since: f64,
    work: f64,
}

/// Hosts, processes, disks and pools, and the jobs that are at them.
pub(crate) struct Engine<T> {
    rng: Rng,
    now: f64,
    events: BinaryHeap<Reverse<(At, u64, usize)>>,
    foreseen: u64,
    /// What is to happen, by the place that events name; places are used again.
    pending: Slab<Event<T>>,
    jobs: Slab<Job<T>>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) processes: Vec<Process>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) pools: Vec<Pools>,
    /// Seconds that jobs have waited for a connection, in all.
    pub(crate) waited_for_connections: f64,
    /// Jobs that are neither away nor wait for a connection.
    pub(crate) at_work: Recent,
    /// Jobs that can go on at this moment, in order.
    ready: VecDeque<JobId>,
}

impl<T: Copy> Engine<T> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now: 0.0,
            events: BinaryHeap::new(),
            foreseen: 0,
            pending: Slab::default(),
            jobs: Slab::default(),
            hosts: Vec::new(),
            processes: Vec::new(),
            disks: Vec::new(),
            pools: Vec::new(),
            waited_for_connections: 0.0,
            at_work: Recent::default(),
            ready: VecDeque::new(),
        }
    }

    pub(crate) fn now(&self) -> f64 {
        self.now
    }

    pub(crate) fn host(&mut self, cores: f64) -> usize {
        self.hosts.push(Host::new(cores));
        self.hosts.len() - 1
    }

    pub(crate) fn process(&mut self, host: usize, threads: usize) -> usize {
        self.processes.push(Process::new(host, threads));
        self.processes.len() - 1
    }

    pub(crate) fn disk(&mut self) -> usize {
        self.disks.push(Disk::default());
        self.disks.len() - 1
    }

    pub(crate) fn pool(&mut self, budget: usize, cap: usize) -> usize {
        self.pools.push(Pools::new(budget, cap));
        self.pools.len() - 1
    }

    pub(crate) fn alarm(&mut self, at: f64, payload: T) {
        self.foresee(at, Event::Alarm(payload));
    }

    /// A job begins, with its steps in order, and what opening a connection takes if it must.
    pub(crate) fn begin(&mut self, payload: T, mut steps: Vec<Step>, mut opening: Vec<Step>) {
        steps.reverse();
        opening.reverse();
        let job = Job { payload, steps, opening, held: None, since: self.now, work: 0.0 };
        let id = self.jobs.put(job);
        self.at_work.add(self.now, 1.0);
        self.ready.push_back(id);
    }

    /// Forgets what was measured until now.
    pub(crate) fn restart(&mut self) {
        let now = self.now;
        self.hosts.iter_mut().for_each(|host| host.busy.restart(now));
        for process in &mut self.processes {
            (process.worked, process.waited) = (0.0, 0.0);
        }
        for disk in &mut self.disks {
            disk.busy.restart(now);
            disk.waited = 0.0;
        }
        for pools in &mut self.pools {
            pools.held.restart(now);
            pools.used.restart(now);
            pools.opened = 0;
        }
        self.waited_for_connections = 0.0;
    }

    /// Goes on until something happens that matters to others; nothing when there is nothing more to come.
    pub(crate) fn next(&mut self) -> Option<Happened<T>> {
        loop {
            while let Some(job) = self.ready.pop_front() {
                if let Some(payload) = self.go_on(job) {
                    return Some(Happened::Ended(payload));
                }
            }
            let Reverse((At(at), _, place)) = self.events.pop()?;
            self.now = at;
            match self.pending.take(place) {
                Event::Alarm(payload) => return Some(Happened::Alarm(payload)),
                Event::Resume(job) => self.ready.push_back(job),
                Event::Back(job) => {
                    self.at_work.add(at, 1.0);
                    self.ready.push_back(job);
                }
                Event::Work { host, stamp } if self.hosts[host].stamp == stamp => self.work_done(host),
                Event::Work { .. } => {}
                Event::Written(disk) => {
                    let (written, next) = self.disks[disk].end(at);
                    self.ready.extend(written);
                    if let Some(seconds) = next {
                        self.foresee(at + seconds, Event::Written(disk));
                    }
                }
            }
        }
    }

    fn foresee(&mut self, at: f64, event: Event<T>) {
        self.foreseen += 1;
        let place = self.pending.put(event);
        self.events.push(Reverse((At(at), self.foreseen, place)));
    }

    /// Takes a job through its steps until it waits; what it was when it is done.
    fn go_on(&mut self, id: JobId) -> Option<T> {
        let now = self.now;
        loop {
            let job = self.jobs.get(id);
            let Some(step) = job.steps.pop() else {
                self.at_work.add(now, -1.0);
                return Some(self.jobs.take(id).payload);
            };
            job.since = now;
            match step {
                Step::Work { process, seconds } => {
                    job.work = seconds;
                    if self.processes[process].arrive(id, seconds) {
                        self.run(Running { process, job: id }, seconds);
                    }
                    return None;
                }
                Step::Wait { seconds } if seconds > 0.0 => {
                    self.foresee(now + seconds, Event::Resume(id));
                    return None;
                }
                Step::Away { seconds } if seconds > 0.0 => {
                    self.at_work.add(now, -1.0);
                    self.foresee(now + seconds, Event::Back(id));
                    return None;
                }
                Step::Wait { .. } | Step::Away { .. } => {}
                Step::Sync { disk, seconds } => {
                    if let Some(seconds) = self.disks[disk].arrive(now, id, seconds) {
                        self.foresee(now + seconds, Event::Written(disk));
                    }
                    return None;
                }
                Step::Connect { pools, tenant } => {
                    job.held = Some((pools, tenant, now));
                    match self.pools[pools].take(now, id, tenant) {
                        Taken::Waits => {
                            self.at_work.add(now, -1.0);
                            return None;
                        }
                        taken => self.connected(id, taken),
                    }
                }
                Step::Release => {
                    let Some((pools, tenant, opened)) = job.held.take() else { continue };
                    for (waiter, taken) in self.pools[pools].give(now, tenant, opened) {
                        if taken != Taken::Waits {
                            self.waited_for_connections += now - self.jobs.get(waiter).since;
                            self.connected(waiter, taken);
                            self.at_work.add(now, 1.0);
                            self.ready.push_back(waiter);
                        }
                    }
                }
            }
        }
    }

    fn connected(&mut self, id: JobId, taken: Taken) {
        let now = self.now;
        let job = self.jobs.get(id);
        let opened = match taken {
            Taken::Kept(opened) => opened,
            _ => {
                job.steps.extend_from_slice(&job.opening);
                if let Some((pools, ..)) = job.held {
                    job.steps.push(Step::Away { seconds: self.pools[pools].pace(now) });
                }
                now
            }
        };
        if let Some(held) = &mut job.held {
            held.2 = opened;
        }
    }

    fn run(&mut self, running: Running, seconds: f64) {
        let host = self.processes[running.process].host;
        self.hosts[host].begin(self.now, running, seconds);
        self.foresee_work(host);
    }

    fn foresee_work(&mut self, host: usize) {
        if let Some(at) = self.hosts[host].next(self.now) {
            let stamp = self.hosts[host].stamp;
            self.foresee(at, Event::Work { host, stamp });
        }
    }

    fn work_done(&mut self, host: usize) {
        let now = self.now;
        let Some(Running { process, job }) = self.hosts[host].end(now) else { return };
        let Job { since, work, .. } = *self.jobs.get(job);
        self.processes[process].worked += work;
        self.processes[process].waited += (now - since - work).max(0.0);
        self.ready.push_back(job);
        match self.processes[process].depart(&mut self.rng) {
            Some((next, seconds)) => self.run(Running { process, job: next }, seconds),
            None => self.foresee_work(host),
        }
    }
}

/// Places for things, which are used again.
#[derive(Debug)]
struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn put(&mut self, thing: T) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(thing);
                place
            }
            None => {
                self.places.push(Some(thing));
                self.places.len() - 1
            }
        }
    }

    fn get(&mut self, place: usize) -> &mut T {
        self.places[place].as_mut().expect("a place is named as long as something is in it")
    }

    fn take(&mut self, place: usize) -> T {
        self.free.push(place);
        self.places[place].take().expect("a place is named as long as something is in it")
    }
}
