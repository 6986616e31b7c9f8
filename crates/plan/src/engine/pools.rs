//! One instance's connections, kept for each tenant under one budget, and who gets the next one: as the gateway does it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::JobId;
use super::level::Level;

/// How long a tenant may work with a connection that another has need of and none instead, in seconds.
const QUANTUM: f64 = 0.05;
/// Connections that a tenant keeps against all but a tenant that has none.
const FLOOR: usize = 1;

/// Connections opened in a second at most, once the first few are.
pub(crate) const OPENINGS: f64 = 100.0;
const FEW: f64 = 8.0;

/// The pools of one instance.
#[derive(Debug)]
pub(crate) struct Pools {
    budget: usize,
    cap: usize,
    by_tenant: HashMap<usize, Tenant>,
    /// Tenants by when they were given back a connection that is idle since.
    idle: BTreeMap<u64, usize>,
    given_back: u64,
    /// Who waits for the budget, of which tenant.
    waiting: VecDeque<(JobId, usize)>,
    /// Connections that there are.
    pub(crate) held: Level,
    /// Connections in use.
    pub(crate) used: Level,
    pub(crate) opened: u64,
    /// By when as many would have been opened at that rate as were.
    paced: f64,
}

#[derive(Debug, Default)]
struct Tenant {
    held: usize,
    /// Those of it that wait for the budget: each will have one more connection.
    pending: usize,
    /// When each was opened, and its place among all that are idle. The last was used last.
    idle: Vec<(f64, u64)>,
    waiting: VecDeque<JobId>,
}

/// What becomes of one who wants a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Taken {
    /// It has one, which was opened then.
    Kept(f64),
    /// It may open one.
    Open,
    /// It waits.
    Waits,
}

impl Pools {
    pub(crate) fn new(budget: usize, cap: usize) -> Self {
        Self {
            budget,
            cap: cap.min(budget),
            by_tenant: HashMap::new(),
            idle: BTreeMap::new(),
            given_back: 0,
            waiting: VecDeque::new(),
            held: Level::default(),
            used: Level::default(),
            opened: 0,
            paced: 0.0,
        }
    }

    /// How long one who may open a connection waits before he does, so that no more are opened than may be.
    pub(crate) fn pace(&mut self, now: f64) -> f64 {
        self.paced = self.paced.max(now) + 1.0 / OPENINGS;
        (self.paced - FEW / OPENINGS - now).max(0.0)
    }

    /// How many connections each tenant has.
    pub(crate) fn shares(&self) -> Vec<(usize, usize)> {
        let mut shares: Vec<_> = self.by_tenant.iter().map(|(tenant, there)| (*tenant, there.held)).collect();
        shares.sort_unstable();
        shares
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Opens one for a tenant beforehand, while there is room.
    pub(crate) fn fill(&mut self, tenant: usize) {
        let there = self.by_tenant.entry(tenant).or_default();
        if (self.held.now() as usize) < self.budget && there.held < self.cap {
            there.held += 1;
            self.held.set(0.0, self.held.now() + 1.0);
            self.rest(tenant, 0.0);
        }
    }

    /// A connection for a job of `tenant`.
    pub(crate) fn take(&mut self, now: f64, job: JobId, tenant: usize) -> Taken {
        let there = self.by_tenant.entry(tenant).or_default();
        if let Some((opened, place)) = there.idle.pop() {
            self.idle.remove(&place);
            self.used.set(now, self.used.now() + 1.0);
            return Taken::Kept(opened);
        }
        if there.held + there.pending >= self.cap {
            there.waiting.push_back(job);
            return Taken::Waits;
        }
        self.open(now, job, tenant)
    }

    fn open(&mut self, now: f64, job: JobId, tenant: usize) -> Taken {
        let there_is_room = (self.held.now() as usize) < self.budget && self.waiting.is_empty();
        if there_is_room || self.make_room(now, tenant) {
            self.permit(now, tenant);
            return Taken::Open;
        }
        self.by_tenant.entry(tenant).or_default().pending += 1;
        self.waiting.push_back((job, tenant));
        Taken::Waits
    }

    fn permit(&mut self, now: f64, tenant: usize) {
        self.by_tenant.entry(tenant).or_default().held += 1;
        self.held.set(now, self.held.now() + 1.0);
        self.used.set(now, self.used.now() + 1.0);
        self.opened += 1;
        debug_assert!(self.held.now() as usize <= self.budget);
    }

    /// Closes the idle connection of another tenant that was used longest ago.
    fn make_room(&mut self, now: f64, needy: usize) -> bool {
        let floor = if self.by_tenant.get(&needy).is_none_or(|needy| needy.held == 0) { 0 } else { FLOOR };
        let spare = |(_, tenant): &(&u64, &usize)| **tenant != needy && self.by_tenant[*tenant].held > floor;
        let Some((place, tenant)) = self.idle.iter().find(spare).map(|(place, tenant)| (*place, *tenant)) else {
            return false;
        };
        self.idle.remove(&place);
        let there = self.by_tenant.entry(tenant).or_default();
        there.idle.retain(|(_, at)| *at != place);
        there.held -= 1;
        self.held.set(now, self.held.now() - 1.0);
        true
    }

    /// A job of `tenant` gives back its connection, which was opened at `opened`: who goes on with it, and who with a new one.
    pub(crate) fn give(&mut self, now: f64, tenant: usize, opened: f64) -> Vec<(JobId, Taken)> {
        self.used.set(now, self.used.now() - 1.0);
        let here = &self.by_tenant[&tenant];
        let (held, waits_here) = (here.held, !here.waiting.is_empty());
        if let Some((_, first)) = self.waiting.front().copied() {
            let own = self.waiting.iter().position(|(_, waiter)| *waiter == tenant);
            let needed = own.is_some() || waits_here;
            let gives_way = match self.by_tenant[&first].held {
                0 => !needed || held > 1 || now - opened >= QUANTUM,
                theirs if needed => held > theirs + 1,
                _ => held > FLOOR,
            };
            if let Some(own) = own.filter(|own| *own == 0 || !gives_way) {
                let (job, _) = self.waiting.remove(own).expect("it was just found there");
                self.by_tenant.entry(tenant).or_default().pending -= 1;
                self.used.set(now, self.used.now() + 1.0);
                return vec![(job, Taken::Kept(opened))];
            }
            if gives_way {
                return self.hand_on(now, tenant);
            }
        }
        match self.by_tenant.get_mut(&tenant).and_then(|here| here.waiting.pop_front()) {
            Some(job) => {
                self.used.set(now, self.used.now() + 1.0);
                vec![(job, Taken::Kept(opened))]
            }
            None => {
                self.rest(tenant, opened);
                Vec::new()
            }
        }
    }

    /// Closes a connection of `tenant` for the first in the queue.
    fn hand_on(&mut self, now: f64, tenant: usize) -> Vec<(JobId, Taken)> {
        let here = self.by_tenant.entry(tenant).or_default();
        here.held -= 1;
        let left = here.waiting.pop_front();
        self.held.set(now, self.held.now() - 1.0);
        let mut go_on = Vec::new();
        if let Some((job, first)) = self.waiting.pop_front() {
            self.by_tenant.entry(first).or_default().pending -= 1;
            self.permit(now, first);
            go_on.push((job, Taken::Open));
        }
        // There is a place below the cap again for who waits of this tenant.
        if let Some(job) = left {
            let taken = self.open(now, job, tenant);
            go_on.push((job, taken));
        }
        go_on
    }

    fn rest(&mut self, tenant: usize, opened: f64) {
        self.given_back += 1;
        self.idle.insert(self.given_back, tenant);
        self.by_tenant.entry(tenant).or_default().idle.push((opened, self.given_back));
    }
}
