//! The budget beside a model of it, in whatever order connections are asked for, returned, given up, lost and closed.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const TENANTS: usize = 4;
const FLOOR: usize = 1;

/// What happens next. Places are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request of a tenant wants a connection: an idle one of its own, or one by the budget.
    Ask(usize),
    /// Those who wait look whether they were granted anything.
    Look,
    /// A request goes away while it waits, or when it has been granted something and does not know yet.
    GiveUp(usize),
    /// A connection in use comes back; whether it served its tenant for a quantum, and how many wait for it in its pool.
    Return { place: usize, aged: bool, others: usize },
    /// A connection in use is lost.
    Lose(usize),
    /// An idle connection is lost, or its time is over.
    Retire(usize),
    /// One that is being closed is gone.
    Gone(usize),
    /// The budget becomes another.
    Resize(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || 0_usize..64;
    prop_oneof![
        5 => (0..TENANTS).prop_map(Step::Ask),
        4 => Just(Step::Look),
        1 => place().prop_map(Step::GiveUp),
        4 => (place(), any::<bool>(), 0_usize..2).prop_map(|(place, aged, others)| Step::Return { place, aged, others }),
        1 => place().prop_map(Step::Lose),
        1 => place().prop_map(Step::Retire),
        2 => place().prop_map(Step::Gone),
        1 => (0_usize..6).prop_map(Step::Resize),
    ]
}

/// A connection, which lives as long as its permit.
struct Connection {
    id: usize,
    tenant: usize,
    _permit: Permit<Connection>,
}

type Take = Pin<Box<dyn Future<Output = Grant<Connection>>>>;

/// What a request that waited was granted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Granted {
    Permit,
    Connection(usize),
}

/// Who waits, as it is, and by the model what it has been granted.
struct Waiting {
    id: usize,
    tenant: usize,
    take: Take,
    granted: Option<Granted>,
}

struct World {
    budget: Arc<Budget<Connection>>,
    shares: [Arc<Share>; TENANTS],
    size: usize,
    next: usize,
    waiting: Vec<Waiting>,
    in_use: Vec<Connection>,
    idle: Vec<Connection>,
    closing: Vec<Connection>,
    // The model. Who waits in it are the ids of those that have been granted nothing, in their order.
    out: usize,
    held: [usize; TENANTS],
    queue: VecDeque<usize>,
    awaited: usize,
}

impl World {
    fn new(size: usize) -> Self {
        Self {
            budget: Budget::new(size),
            shares: Default::default(),
            size,
            next: 0,
            waiting: Vec::new(),
            in_use: Vec::new(),
            idle: Vec::new(),
            closing: Vec::new(),
            out: 0,
            held: [0; TENANTS],
            queue: VecDeque::new(),
            awaited: 0,
        }
    }

    fn id(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Ask(tenant) => self.ask(tenant),
            Step::Look => self.look(),
            Step::GiveUp(place) => self.give_up(place),
            Step::Return { place, aged, others } => {
                if let Some(connection) = pick(&mut self.in_use, place) {
                    self.give_back(connection, aged, others);
                }
            }
            Step::Lose(place) => {
                let lost = pick(&mut self.in_use, place);
                self.gone(lost);
            }
            Step::Retire(place) => {
                let retired = pick(&mut self.idle, place);
                self.gone(retired);
            }
            Step::Gone(place) => {
                let gone = pick(&mut self.closing, place);
                self.gone(gone);
            }
            Step::Resize(size) => self.resize(size),
        }
        self.compare();
    }

    fn ask(&mut self, tenant: usize) {
        if let Some(place) = self.idle.iter().position(|connection| connection.tenant == tenant) {
            return self.in_use.push(self.idle.remove(place));
        }
        let (budget, share, makes_room) = (self.budget.clone(), self.shares[tenant].clone(), Rc::new(Cell::new(0)));
        let asked = makes_room.clone();
        let mut take: Take = Box::pin(async move { budget.take(&share, || asked.set(asked.get() + 1)).await });
        let at_once = self.out < self.size && self.queue.is_empty();
        let got = poll(&mut take);
        assert_eq!((got.is_some(), makes_room.get()), (at_once, usize::from(!at_once)));
        let id = self.id();
        match got {
            Some(grant) => {
                self.out += 1;
                self.held[tenant] += 1;
                self.receive(tenant, grant, Granted::Permit);
            }
            None => {
                self.queue.push_back(id);
                self.waiting.push(Waiting { id, tenant, take, granted: None });
                self.make_room(tenant);
            }
        }
    }

    /// As the pools do: one idle connection of another tenant is closed.
    fn make_room(&mut self, needy: usize) {
        let floor = if self.shares[needy].held() == 0 { 0 } else { FLOOR };
        let spare =
            |connection: &Connection| connection.tenant != needy && self.shares[connection.tenant].held() > floor;
        if let Some(place) = self.idle.iter().position(spare) {
            self.budget.closing();
            self.awaited += 1;
            self.closing.push(self.idle.remove(place));
        }
    }

    fn resize(&mut self, size: usize) {
        self.size = size;
        let wanted = self.budget.resize(size);
        self.grant();
        assert_eq!(wanted, (self.queue.len() + self.out.saturating_sub(size)).saturating_sub(self.awaited));
        // As the pools do.
        for _ in 0..wanted.min(self.idle.len()) {
            self.budget.closing();
            self.awaited += 1;
            self.closing.extend(self.idle.pop());
        }
    }

    /// Who waits gets what is free.
    fn grant(&mut self) {
        while self.out < self.size
            && let Some(first) = self.queue.pop_front()
        {
            let waiting = self.waiting.iter_mut().find(|waiting| waiting.id == first).expect("it waits");
            waiting.granted = Some(Granted::Permit);
            self.held[waiting.tenant] += 1;
            self.out += 1;
        }
    }

    fn look(&mut self) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            match (poll(&mut waiting.take), waiting.granted) {
                (Some(grant), Some(expected)) => self.receive(waiting.tenant, grant, expected),
                (None, None) => self.waiting.push(waiting),
                (got, expected) => {
                    panic!("{} was granted {expected:?}, and got something: {}", waiting.id, got.is_some())
                }
            }
        }
    }

    fn receive(&mut self, tenant: usize, grant: Grant<Connection>, expected: Granted) {
        let connection = match (grant, expected) {
            (Grant::Permit(permit), Granted::Permit) => Connection { id: self.id(), tenant, _permit: permit },
            (Grant::Connection(connection), Granted::Connection(id)) if connection.id == id => connection,
            (_, expected) => panic!("{expected:?} was expected"),
        };
        assert_eq!(connection.tenant, tenant, "nobody gets another's connection");
        self.in_use.push(connection);
    }

    fn give_up(&mut self, place: usize) {
        let Some(gone) = pick(&mut self.waiting, place) else { return };
        drop(gone.take);
        self.queue.retain(|id| *id != gone.id);
        // What it had been granted goes to the next.
        if gone.granted.is_some() {
            self.released(gone.tenant);
        }
    }

    fn give_back(&mut self, connection: Connection, aged: bool, others: usize) {
        let tenant = connection.tenant;
        if !self.budget.is_wanted() {
            return self.idle.push(connection);
        }
        let age = if aged { QUANTUM } else { QUANTUM - Duration::from_nanos(1) };
        let expected = self.placement(tenant, aged, others);
        match (self.budget.place(&self.shares[tenant], others, FLOOR, age), expected) {
            (Placement::Give(grant), Expected::Give(to)) => {
                self.queue.retain(|id| *id != to);
                let waiting = self.waiting.iter_mut().find(|waiting| waiting.id == to).expect("it waits");
                waiting.granted = Some(Granted::Connection(connection.id));
                assert!(grant.send(Grant::Connection(connection)).is_ok(), "who waits is there");
            }
            (Placement::Close, Expected::Close) => {
                self.awaited += 1;
                self.closing.push(connection);
            }
            // Somebody of its own who waits in its pool has it next.
            (Placement::Keep, Expected::Keep) if others > 0 => self.in_use.push(connection),
            (Placement::Keep, Expected::Keep) => self.idle.push(connection),
            (_, expected) => panic!("{expected:?} was expected"),
        }
    }

    /// What the rules on top of the budget say.
    fn placement(&self, tenant: usize, aged: bool, others: usize) -> Expected {
        let tenant_of = |id: &usize| self.waiting.iter().find(|waiting| waiting.id == *id).expect("it waits").tenant;
        if self.out > self.size {
            return Expected::Close;
        }
        let Some(first) = self.queue.front().map(tenant_of) else { return Expected::Keep };
        let own = self.queue.iter().find(|id| tenant_of(id) == tenant);
        let (ours, theirs, needed) = (self.held[tenant], self.held[first], own.is_some() || others > 0);
        let gives_way = match (theirs, needed) {
            _ if first == tenant => false,
            (0, true) => ours > 1 || aged,
            (0, false) => true,
            (theirs, true) => ours >= theirs + 2,
            (_, false) => ours > FLOOR,
        };
        match own {
            _ if gives_way => Expected::Close,
            Some(own) => Expected::Give(*own),
            None if first == tenant => unreachable!("the first is its own"),
            None => Expected::Keep,
        }
    }

    fn gone(&mut self, connection: Option<Connection>) {
        if let Some(Connection { tenant, .. }) = connection {
            self.released(tenant);
        }
    }

    /// A permit has come back from `tenant`.
    fn released(&mut self, tenant: usize) {
        self.held[tenant] -= 1;
        self.out -= 1;
        self.awaited = self.awaited.saturating_sub(1);
        self.grant();
    }

    fn compare(&self) {
        assert_eq!((self.budget.size(), self.budget.held()), (self.size, self.out));
        assert_eq!(self.shares.each_ref().map(|share| share.held()), self.held);
        let beyond = self.out.saturating_sub(self.size);
        assert_eq!(self.budget.is_wanted(), self.queue.len() + beyond > self.awaited);
        let granted = self.waiting.iter().filter(|waiting| waiting.granted.is_some()).count();
        let there = self.in_use.len() + self.idle.len() + self.closing.len() + granted;
        assert_eq!(there, self.out, "each permit is somewhere");
        assert!(self.out >= self.size || self.queue.is_empty(), "nobody waits for what is free");
    }

    /// Who waits gets something as long as connections come back: each round all do, and a connection is closed when it is to be.
    fn serve_all(&mut self) {
        self.take(Step::Resize(self.size.max(1)));
        let rounds = 2 * (self.waiting.len() + self.size.max(self.out));
        for round in 0.. {
            while !self.closing.is_empty() {
                self.take(Step::Gone(0));
            }
            self.take(Step::Look);
            if self.waiting.is_empty() {
                return;
            }
            assert!(round <= rounds, "{} wait forever", self.waiting.len());
            for _ in 0..self.in_use.len() {
                self.take(Step::Return { place: 0, aged: true, others: 0 });
            }
        }
    }
}

#[derive(Debug)]
enum Expected {
    Give(usize),
    Close,
    Keep,
}

fn pick<T>(of: &mut Vec<T>, place: usize) -> Option<T> {
    (!of.is_empty()).then(|| of.remove(place % of.len()))
}

fn poll(take: &mut Take) -> Option<Grant<Connection>> {
    match take.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(grant) => Some(grant),
        Poll::Pending => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_permit_is_accounted_for_and_everybody_is_served(size in 1_usize..6, steps in vec(step(), 0..80)) {
        let mut world = World::new(size);
        for step in steps {
            world.take(step);
        }
        world.serve_all();
        let World { budget, shares, in_use, idle, .. } = world;
        drop((in_use, idle));
        prop_assert_eq!((budget.held(), budget.is_wanted()), (0, false));
        prop_assert!(shares.iter().all(|share| share.held() == 0));
    }
}
