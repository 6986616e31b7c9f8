//! What a simulation came to, told of its engine.

use std::collections::BTreeMap;

use super::{Fleet, Instance};
use crate::engine::pools::OPENINGS;
use crate::outcome::{Connections, Outcome, Resource, Use, latency, p95_interval};
use crate::scenario::{Arrival, Layout, Routing};

/// Less than this of what is due, and it does not keep up.
const KEPT_UP: f64 = 0.98;

impl Fleet<'_> {
    pub(super) fn outcome(&self, latencies: Vec<f64>, began: f64, waiting: [usize; 2]) -> Outcome {
        let (engine, now) = (&self.engine, self.engine.now());
        let requests = latencies.len();
        let throughput = requests as f64 / (now - began);
        let connections = Connections {
            open: engine.pools.iter().map(|pools| pools.held.mean(now)).sum(),
            peak: engine.pools.iter().map(|pools| pools.held.peak()).sum(),
            used: engine.pools.iter().map(|pools| pools.used.mean(now)).sum(),
            opened_per_second: engine.pools.iter().map(|pools| pools.opened as f64).sum::<f64>() / (now - began),
        };
        let keeps_up = match self.scenario.arrival {
            Arrival::Callers { .. } => true,
            // By those that were due, who by chance are fewer or more than the rate would have.
            Arrival::Rate { .. } => waiting[1].saturating_sub(waiting[0]) as f64 <= (1.0 - KEPT_UP) * requests as f64,
        };
        Outcome {
            throughput,
            p95_ms: p95_interval(&latencies),
            latency: latency(latencies),
            connections,
            uses: self.uses(began, requests as f64),
            keeps_up,
            requests,
        }
    }

    fn uses(&self, began: f64, requests: f64) -> Vec<Use> {
        let (engine, now) = (&self.engine, self.engine.now());
        let process = |resource, id: usize| {
            let process = &engine.processes[id];
            let host = &engine.hosts[process.host];
            let threads = (process.threads() as f64).min(host.cores());
            (resource, process.worked / (now - began) / threads, process.waited)
        };
        let disk = |resource, id: usize| (resource, engine.disks[id].busy.mean(now), engine.disks[id].waited);
        let host = |resource, id: usize| {
            let host = &engine.hosts[engine.processes[id].host];
            (resource, host.busy.mean(now) / host.cores(), 0.0)
        };
        let machine = match self.scenario.layout {
            Layout::Together => host(Resource::Machine, self.postgres),
            Layout::Apart { .. } => host(Resource::PostgresCores, self.postgres),
        };
        let mut uses = vec![(machine.0, machine.1, engine.processes[self.postgres].waited)];
        uses.extend(self.load.map(|id| process(Resource::LoadThreads, id)));
        uses.extend(self.relay.map(|id| process(Resource::Relay, id)));
        uses.push(disk(Resource::Commit, self.commit));
        for Instance { server, queue_disk, pools, .. } in &self.instances {
            uses.extend([process(Resource::ServerThreads, *server), disk(Resource::AuditQueue, *queue_disk)]);
            let pools = &engine.pools[*pools];
            let tenants = match self.scenario.routing {
                Routing::Any => self.scenario.tenants,
                Routing::ByTenant => self.scenario.tenants.div_ceil(self.scenario.instances),
            };
            let (resource, most) = match tenants.saturating_mul(self.scenario.pool_size) {
                of_tenants if of_tenants < pools.budget() => (Resource::PoolSize, of_tenants),
                _ => (Resource::Budget, pools.budget()),
            };
            // The first few may come at once.
            let openings = (pools.opened as f64 / (now - began) / OPENINGS).min(1.0);
            uses.push((Resource::Openings, openings, 0.0));
            uses.push((resource, pools.used.mean(now) / most as f64, 0.0));
        }
        summed(uses, engine.waited_for_connections, requests)
    }
}

/// One of each resource, the busiest first: of several instances the mean share, and all that was waited for them.
fn summed(uses: Vec<(Resource, f64, f64)>, for_connections: f64, requests: f64) -> Vec<Use> {
    let mut by_resource: BTreeMap<&str, (Resource, Vec<f64>, f64)> = BTreeMap::new();
    for (resource, share, waited) in uses {
        let entry = by_resource.entry(resource.words()).or_insert((resource, Vec::new(), 0.0));
        entry.1.push(share);
        entry.2 += waited;
    }
    let mut uses: Vec<_> = by_resource
        .into_values()
        .map(|(resource, shares, waited)| {
            let waited = match resource {
                Resource::PoolSize | Resource::Budget => for_connections,
                _ => waited,
            };
            let share = shares.iter().sum::<f64>() / shares.len() as f64;
            Use { resource, share, waited_ms: waited / requests.max(1.0) * 1e3 }
        })
        .collect();
    uses.sort_by(|one, other| other.share.total_cmp(&one.share));
    uses
}
