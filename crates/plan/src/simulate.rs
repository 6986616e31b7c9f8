//! Requests as they go through a fleet.

#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;

use crate::engine::{Engine, Happened, Step};
use crate::model::{Action, Model, Opening};
use crate::outcome::Outcome;
use crate::scenario::{Arrival, Layout, Routing, Scenario, ScenarioError, Spacing};

/// How long the server collects audit events before it writes them to their databases, in seconds; as the gateway does.
const LINGER: f64 = 0.2;
/// Databases that it writes to at a time.
const WRITERS: usize = 4;
/// Share of the server's work on a request that comes before it asks the database, and after it until the connection is given
/// back.
const BEFORE: f64 = 0.5;
const UNTIL_RELEASE: f64 = 0.25;
/// Share of the requests that are late by what comes in bursts.
const LATE: f64 = 0.1;

/// Requests that an instance takes at a time.
pub(crate) const AT_A_TIME: usize = 1_024;

/// How much is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where chance begins: the same seed comes to the same.
    pub seed: u64,
    /// Requests before counting begins.
    pub warmup: usize,
    /// Requests counted.
    pub requests: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { seed: 1, warmup: 5_000, requests: 40_000 }
    }
}

/// What a job or an alarm is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// A request is due.
    Due,
    /// A caller sends its next.
    Caller,
    Request {
        due: f64,
        tenant: usize,
        instance: usize,
    },
    /// Work that no request waits for.
    Behind,
    /// Audit events have been collected.
    Collected {
        instance: usize,
    },
    /// Those of a tenant are to be written.
    Batch {
        instance: usize,
        tenant: usize,
    },
    Written {
        instance: usize,
        tenant: usize,
    },
}

/// Simulates `scenario`.
///
/// # Errors
/// It cannot be: see [`Scenario::check`].
pub fn simulate(model: &Model, scenario: &Scenario, extent: Extent) -> Result<Outcome, ScenarioError> {
    scenario.check(model)?;
    let opening = model.opening.ok_or(ScenarioError::NoOpening)?;
    // Before anything is counted connections are opened, and what has waited for them until then is forgotten.
    let mut first = Fleet::new(model, scenario, opening, extent);
    first.fill_by_chance();
    first.start();
    first.run(Extent { warmup: 0, requests: extent.warmup, ..extent });
    let mut fleet = Fleet::new(model, scenario, opening, extent);
    fleet.fill_as(&first);
    fleet.start();
    // Those that come first meet nobody.
    let warmup = extent.warmup / 10;
    Ok(fleet.run(Extent { warmup, ..extent }))
}

/// The parts of one instance.
struct Instance {
    server: usize,
    queue_disk: usize,
    pools: usize,
    delivery: Delivery,
}

/// Audit events on their way to their databases.
#[derive(Default)]
struct Delivery {
    collecting: bool,
    collected: BTreeSet<usize>,
    /// Those in line for a writer, and those that are being written.
    due: VecDeque<usize>,
    writing: BTreeSet<usize>,
}

struct Fleet<'a> {
    scenario: &'a Scenario,
    action: &'a Action,
    opening: Opening,
    relay_ms: f64,
    engine: Engine<Of>,
    rng: Rng,
    load: Option<usize>,
    relay: Option<usize>,
    postgres: usize,
    commit: usize,
    instances: Vec<Instance>,
    /// Requests under way, and those that wait to be sent.
    under_way: usize,
    unsent: VecDeque<f64>,
    answered: u64,
    due: f64,
    next_tenant: usize,
}

impl<'a> Fleet<'a> {
    fn new(model: &'a Model, scenario: &'a Scenario, opening: Opening, extent: Extent) -> Self {
        // Another chance than that of what is simulated on it.
        let mut engine = Engine::new(extent.seed ^ u64::MAX);
        let usable = |cores: usize| cores as f64 * model.usable;
        let (server_host, postgres_host) = match scenario.layout {
            Layout::Together => {
                let one = engine.host(usable(model.cores));
                (Some(one), one)
            }
            Layout::Apart { postgres_cores, .. } => (None, engine.host(usable(postgres_cores))),
        };
        let postgres = engine.process(postgres_host, usize::MAX);
        let load = server_host.map(|host| engine.process(host, model.load_threads));
        let is_far = scenario.round_trip_ms > 0.0;
        let relay = server_host.filter(|_| is_far).map(|host| engine.process(host, 1));
        let instances = (0..scenario.instances).map(|_| {
            let (host, threads) = match (server_host, scenario.layout) {
                (None, Layout::Apart { server_cores, .. }) => (engine.host(usable(server_cores)), server_cores),
                (host, _) => (host.unwrap_or(postgres_host), model.server_threads),
            };
            Instance {
                server: engine.process(host, threads),
                queue_disk: engine.disk(),
                pools: engine.pool(scenario.budget, scenario.pool_size),
                delivery: Delivery::default(),
            }
        });
        let instances = instances.collect();
        let commit = engine.disk();
        Self {
            scenario,
            action: &model.actions[&scenario.action],
            opening,
            relay_ms: model.relay_ms,
            engine,
            rng: Rng::with_seed(extent.seed),
            load,
            relay,
            postgres,
            commit,
            instances,
            under_way: 0,
            unsent: VecDeque::new(),
            answered: 0,
            due: 0.0,
            next_tenant: 0,
        }
    }

    /// Pools as they may be after a while: a connection each for some tenants.
    fn fill_by_chance(&mut self) {
        let Scenario { tenants, instances, budget, .. } = *self.scenario;
        for instance in 0..instances {
            let pools = self.instances[instance].pools;
            for _ in 0..budget.min(tenants) {
                let tenant = self.rng.usize(..tenants);
                if self.scenario.routing == Routing::Any || tenant % instances == instance {
                    self.engine.pools[pools].fill(tenant);
                }
            }
        }
    }

    /// Pools as another fleet has left them.
    fn fill_as(&mut self, other: &Self) {
        for (pools, others) in self.engine.pools.iter_mut().zip(&other.engine.pools) {
            for (tenant, held) in others.shares() {
                (0..held).for_each(|_| pools.fill(tenant));
            }
        }
    }

    /// The first requests.
    fn start(&mut self) {
        match self.scenario.arrival {
            Arrival::Rate { .. } => self.engine.alarm(0.0, Of::Due),
            Arrival::Callers { callers, .. } => {
                (0..callers).for_each(|nth| self.engine.alarm(nth as f64 * 1e-6, Of::Caller));
            }
        }
    }

    fn run(&mut self, extent: Extent) -> Outcome {
        let (mut ended, mut began, mut latencies) = (0, 0.0, Vec::with_capacity(extent.requests));
        let mut waiting_before = 0;
        while let Some(happened) = self.engine.next() {
            match happened {
                Happened::Alarm(Of::Due) => self.request_is_due(),
                Happened::Alarm(Of::Caller) => self.send(self.engine.now()),
                Happened::Alarm(Of::Collected { instance }) => self.collected(instance),
                Happened::Alarm(Of::Batch { instance, tenant }) => self.batch_is_due(instance, tenant),
                Happened::Ended(Of::Request { due, tenant, instance }) => {
                    ended += 1;
                    if ended > extent.warmup {
                        latencies.push((self.engine.now() - due) * 1e3);
                    }
                    self.answered(tenant, instance);
                    if ended == extent.warmup {
                        began = self.engine.now();
                        waiting_before = self.unsent.len() + self.under_way;
                        self.engine.restart();
                    }
                    if ended == extent.warmup + extent.requests {
                        break;
                    }
                }
                Happened::Ended(Of::Written { instance, tenant }) => self.written(instance, tenant),
                Happened::Alarm(_) | Happened::Ended(_) => {}
            }
        }
        let waiting_after = self.unsent.len() + self.under_way;
        self.outcome(latencies, began, [waiting_before, waiting_after])
    }

    fn request_is_due(&mut self) {
        let Arrival::Rate { per_second, spacing, at_a_time } = self.scenario.arrival else { return };
        let now = self.engine.now();
        // The server refuses who would be one more. Here he waits, and it shows that there are too many.
        let most = at_a_time.unwrap_or(AT_A_TIME * self.instances.len());
        match self.under_way >= most {
            true => self.unsent.push_back(now),
            false => self.send(now),
        }
        self.due += match spacing {
            Spacing::Even => 1.0 / per_second,
            Spacing::Poisson => exponential(&mut self.rng) / per_second,
        };
        self.engine.alarm(self.due, Of::Due);
    }

    /// A request that was due at `due` is sent.
    fn send(&mut self, due: f64) {
        let (tenants, instances) = (self.scenario.tenants, self.scenario.instances);
        // Evenly spaced requests take the tenants in turn, as the load does.
        let tenant = match self.scenario.arrival {
            Arrival::Rate { spacing: Spacing::Poisson, .. } => self.rng.usize(..tenants),
            _ => {
                self.next_tenant += 1;
                self.next_tenant % tenants
            }
        };
        let instance = match self.scenario.routing {
            Routing::ByTenant => tenant % instances,
            Routing::Any => self.rng.usize(..instances),
        };
        self.under_way += 1;
        let (steps, opening) = (self.steps(tenant, instance), self.opening_steps(instance));
        self.engine.begin(Of::Request { due, tenant, instance }, steps, opening);
    }

    /// What a request does, in order.
    fn steps(&mut self, tenant: usize, instance: usize) -> Vec<Step> {
        let action = self.action;
        let Instance { server, queue_disk, pools, .. } = self.instances[instance];
        // Of those under way only who is neither on the network nor in a queue for connections makes work cheaper or dearer.
        let at_work = self.engine.at_work.mean(self.engine.now());
        let per_second = match self.scenario.arrival {
            Arrival::Rate { per_second, .. } => Some(per_second),
            Arrival::Callers { .. } => None,
        };
        let instances = self.instances.len() as f64;
        let mut of_instance = action.at(at_work / instances, per_second.map(|rate| rate / instances));
        let mut of_all = action.at(at_work, per_second);
        if per_second.is_none() && self.scenario.round_trip_ms > 0.0 {
            // Answers come back from a distance one by one, and each wakes somebody up, as requests at a rate do.
            let answered = self.answered as f64 / self.engine.now().max(f64::EPSILON);
            of_instance.cpu_ms.server = action.at(at_work / instances, Some(answered / instances)).cpu_ms.server;
            of_all.cpu_ms.postgres = action.at(at_work, Some(answered)).cpu_ms.postgres;
        }
        let (on_way, cpu) = (1.0 - of_all.aside, of_all.cpu_ms);
        let server_cpu = of_instance.cpu_ms.server / 1e3 * on_way;
        if of_all.aside > 0.0 {
            let work = |process, cpu_ms: f64| Step::Work { process, seconds: cpu_ms * of_all.aside / 1e3 };
            let behind = self.load.map(|load| work(load, cpu.load)).into_iter();
            let behind = behind.chain([work(server, of_instance.cpu_ms.server), work(self.postgres, cpu.postgres)]);
            self.engine.begin(Of::Behind, behind.collect(), Vec::new());
        }
        let wake = Step::Wait { seconds: (action.wake_ms + of_all.more_ms) / 2e3 };
        let [disk_seconds, alone] = action.waits_ms(self.rng.f64()).map(|waits| waits / 1e3);
        let late_ms = if self.rng.f64() < LATE { of_all.late_ms * exponential(&mut self.rng) } else { 0.0 };
        let of_server = |share: f64| Step::Work { process: server, seconds: server_cpu * share };
        let of_load = self.load.map(|process| Step::Work { process, seconds: cpu.load * on_way / 2e3 });
        let mut steps = Vec::with_capacity(16);
        steps.extend(of_load);
        steps.extend([of_server(BEFORE), Step::Connect { pools, tenant }]);
        for _ in 0..action.round_trips as usize {
            self.pass_network(&mut steps, self.relay_ms / action.round_trips);
        }
        steps.extend([wake, Step::Work { process: self.postgres, seconds: cpu.postgres * on_way / 1e3 }]);
        if action.commits {
            steps.push(Step::Sync { disk: self.commit, seconds: disk_seconds });
        }
        steps.extend([of_server(UNTIL_RELEASE), Step::Release, of_server(1.0 - BEFORE - UNTIL_RELEASE)]);
        if !action.commits {
            steps.push(Step::Sync { disk: queue_disk, seconds: disk_seconds });
        }
        steps.extend([wake, Step::Wait { seconds: alone + late_ms / 1e3 }]);
        steps.extend(of_load);
        steps
    }

    /// A round trip, and the relay's work for it where there is one.
    fn pass_network(&mut self, steps: &mut Vec<Step>, relay_ms: f64) {
        let Scenario { round_trip_ms, jitter_ms, .. } = *self.scenario;
        if round_trip_ms > 0.0 {
            let jitter = jitter_ms * (2.0 * self.rng.f64() - 1.0);
            steps.push(Step::Away { seconds: (round_trip_ms + jitter) / 1e3 });
            steps.extend(self.relay.map(|process| Step::Work { process, seconds: relay_ms / 1e3 }));
        }
    }

    fn opening_steps(&mut self, instance: usize) -> Vec<Step> {
        let Opening { server_ms, postgres_ms, waiting_ms, round_trips } = self.opening;
        vec![
            Step::Away { seconds: round_trips * self.scenario.round_trip_ms / 1e3 },
            Step::Wait { seconds: waiting_ms / 1e3 },
            Step::Work { process: self.instances[instance].server, seconds: server_ms / 1e3 },
            Step::Work { process: self.postgres, seconds: postgres_ms / 1e3 },
        ]
    }

    fn answered(&mut self, tenant: usize, instance: usize) {
        self.under_way -= 1;
        self.answered += 1;
        let now = self.engine.now();
        match self.scenario.arrival {
            Arrival::Callers { think_ms, .. } => self.engine.alarm(now + think_ms / 1e3, Of::Caller),
            Arrival::Rate { .. } => {
                if let Some(due) = self.unsent.pop_front() {
                    self.send(due);
                }
            }
        }
        if !self.action.commits {
            let delivery = &mut self.instances[instance].delivery;
            delivery.collected.insert(tenant);
            if !std::mem::replace(&mut delivery.collecting, true) {
                self.engine.alarm(now + LINGER, Of::Collected { instance });
            }
        }
    }

    /// What was collected is to be written, a batch for each tenant, evenly spread over the time in which the next are collected.
    fn collected(&mut self, instance: usize) {
        let delivery = &mut self.instances[instance].delivery;
        delivery.collecting = false;
        let collected = std::mem::take(&mut delivery.collected);
        let gap = LINGER / collected.len().max(1) as f64;
        for (tenant, nth) in collected.into_iter().zip(0..) {
            self.engine.alarm(self.engine.now() + f64::from(nth) * gap, Of::Batch { instance, tenant });
        }
    }

    fn batch_is_due(&mut self, instance: usize, tenant: usize) {
        let due = &mut self.instances[instance].delivery.due;
        if !due.contains(&tenant) {
            due.push_back(tenant);
        }
        self.write(instance);
    }

    fn write(&mut self, instance: usize) {
        loop {
            let delivery = &mut self.instances[instance].delivery;
            let next = delivery.due.iter().position(|tenant| !delivery.writing.contains(tenant));
            let Some(next) = next.filter(|_| delivery.writing.len() < WRITERS) else { return };
            let Some(tenant) = delivery.due.remove(next) else { return };
            delivery.writing.insert(tenant);
            let mut steps = vec![Step::Connect { pools: self.instances[instance].pools, tenant }];
            // Its work is counted with the requests'.
            self.pass_network(&mut steps, 0.0);
            let seconds = self.action.waits_ms(self.rng.f64())[0] / 1e3;
            steps.extend([Step::Sync { disk: self.commit, seconds }, Step::Release]);
            let opening = self.opening_steps(instance);
            self.engine.begin(Of::Written { instance, tenant }, steps, opening);
        }
    }

    fn written(&mut self, instance: usize, tenant: usize) {
        self.instances[instance].delivery.writing.remove(&tenant);
        self.write(instance);
    }
}

/// By chance, with the mean 1: hardly any as often as not, and at times a lot.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}
