//! The tenant cache beside a model of it, with whatever is asked, changed and told in whatever order.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tare_gateway::Error;
use tare_gateway::auth::Caller;
use tare_gateway::connection::{Connections, PoolSettings};
use tare_gateway::tenant::{Role, TenantSettings, Tenants};
use tare_testbed::{Fixture, Size};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::bed::{eventually, fixture, settings};

const USERS: usize = 4;
/// Who is told of after each change, for it to be known that what was told before has been dealt with.
const NOBODY: Uuid = Uuid::from_u128(1);

/// Where a user belongs: the tenant's index, the yacht's, and whether it is of the crew; nothing when it is not active.
type Place = Option<(usize, usize, bool)>;

fn place() -> impl Strategy<Value = Place> {
    proptest::option::weighted(0.7, (0_usize..2, 0_usize..2, any::<bool>()))
}

/// The same steps each time.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 8,
        ..ProptestConfig::default()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A control database, users of its own in it, and a cache in front of it.
struct Desk {
    fixture: Arc<Fixture>,
    control: Client,
    tenants: Tenants,
    users: Vec<Uuid>,
}

impl Desk {
    async fn new(fixture: &Arc<Fixture>, remember: TenantSettings) -> Self {
        let settings = settings(fixture, tare_gateway::Strategy::AFTER);
        let connections = Arc::new(Connections::new(true, settings.tls, PoolSettings::default()));
        Self {
            fixture: fixture.clone(),
            control: fixture.server().admin(&fixture.control().database).await.unwrap(),
            tenants: Tenants::new(settings.control, connections, Some(remember)),
            users: (0..USERS).map(|_| Uuid::now_v7()).collect(),
        }
    }

    /// As the cache has it.
    async fn of(&self, user: usize) -> Place {
        match self.tenants.of(&Caller { user: self.users[user] }).await {
            Ok(tenant) => {
                let index = self.fixture.tenants().iter().position(|known| known.id == tenant.id).unwrap();
                let yachts = &self.fixture.tenants()[index].yachts;
                let yacht = yachts.iter().position(|yacht| *yacht == tenant.yacht).unwrap();
                Some((index, yacht, tenant.role == Role::Crew))
            }
            Err(Error::NoTenant) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Puts a user somewhere; one that is not active need not be known either.
    async fn put(&self, user: usize, place: Place) {
        let (tenant, yacht, crew) = place.unwrap_or_default();
        let tenant = &self.fixture.tenants()[tenant];
        let role = if crew { "crew" } else { "guest" };
        let sql = "insert into control.users (id, tenant_id, yacht_id, role, active) values ($1, $2, $3, $4, $5) \
                   on conflict (id) do update set (tenant_id, yacht_id, role, active) \
                   = (excluded.tenant_id, excluded.yacht_id, excluded.role, excluded.active)";
        let (id, yacht) = (&self.users[user], &tenant.yachts[yacht]);
        self.control.execute(sql, &[id, &tenant.id, yacht, &role, &place.is_some()]).await.unwrap();
    }

    async fn tell(&self, what: &str) {
        self.control.execute("select pg_notify('control', $1)", &[&what]).await.unwrap();
    }

    fn changes(&self) -> u64 {
        self.tenants.metrics().unwrap().changes
    }

    fn looked_up(&self) -> u64 {
        self.tenants.metrics().unwrap().looked_up
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many ask for a user at the same time.
    Ask(usize, usize),
    /// A user is moved, revoked, or let in.
    Put(usize, Place),
    /// A tenant is told to have changed.
    Tenant(usize),
    /// So much has changed that nobody says what.
    Any,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..USERS, 1_usize..20).prop_map(|(user, many)| Step::Ask(user, many)),
        3 => (0..USERS, place()).prop_map(|(user, place)| Step::Put(user, place)),
        1 => (0_usize..2).prop_map(Step::Tenant),
        1 => Just(Step::Any),
    ]
}

/// Nothing ends within the test, so that only what is told makes anything forgotten: to the look-up it is known when there is one.
#[test]
fn what_is_remembered_is_true_and_looked_up_once_until_a_change_is_told() {
    let runtime = runtime();
    let fixture = Arc::new(runtime.block_on(fixture(Size::SMALL)));
    let steps = (vec(place(), USERS), vec(step(), 1..40));
    let run = |(places, steps): (Vec<Place>, Vec<Step>)| {
        runtime.block_on(follow(&fixture, places, steps));
        Ok(())
    };
    runner(16).run(&steps, run).unwrap_or_else(|error| panic!("{error}"));
}

async fn follow(fixture: &Arc<Fixture>, mut places: Vec<Place>, steps: Vec<Step>) {
    let hour = Duration::from_secs(3_600);
    let desk = Desk::new(fixture, TenantSettings { bound: hour, unknown: hour, ..TenantSettings::default() }).await;
    eventually("changes are listened for", async || desk.tenants.metrics().unwrap().listening).await;
    let mut changes = desk.changes();
    // The model: the truth of those who are remembered.
    let mut remembered: HashMap<usize, Place> = HashMap::new();
    let mut looked_up = 0;
    let first = places.clone().into_iter().enumerate().map(|(user, place)| Step::Put(user, place));
    for step in first.chain(steps) {
        match step {
            Step::Ask(user, many) => {
                looked_up += u64::from(remembered.insert(user, places[user]).is_none());
                let answers = join_all((0..many).map(|_| desk.of(user))).await;
                assert_eq!(answers, vec![places[user]; many], "{step:?}");
                assert_eq!(desk.looked_up(), looked_up, "{step:?}");
                continue;
            }
            Step::Put(user, place) => {
                desk.put(user, place).await;
                places[user] = place;
                remembered.remove(&user);
            }
            Step::Tenant(index) => {
                desk.tell(&format!("tenant {}", fixture.tenants()[index].id)).await;
                // A user of no tenant might be of that one now.
                remembered.retain(|_, place| place.is_some_and(|(tenant, ..)| tenant != index));
            }
            Step::Any => {
                desk.tell("all").await;
                remembered.clear();
            }
        }
        desk.tell(&format!("user {NOBODY}")).await;
        changes += 2;
        eventually("the change is heard of", async || desk.changes() == changes).await;
    }
    assert_eq!(desk.tenants.metrics().unwrap().refreshed, 0);
}

/// An answer, and when it was asked for and given.
struct Answer {
    asked: Instant,
    given: Instant,
    place: Place,
}

/// Where the user was, and from when to when that may have been read.
struct Truth {
    from: Instant,
    to: Option<Instant>,
    place: Place,
}

/// The bound that is stated, for every answer, with nobody telling of changes.
#[test]
fn nobody_is_believed_to_be_where_it_was_longer_ago_than_the_bound() {
    let runtime = runtime();
    let fixture = Arc::new(runtime.block_on(fixture(Size::SMALL)));
    let stale = Cell::new(0);
    let places = (40_u64..150, vec(place(), 2..6));
    let run = |(bound, places): (u64, Vec<Place>)| {
        stale.set(stale.get() + runtime.block_on(believe(&fixture, Duration::from_millis(bound), places)));
        Ok(())
    };
    runner(8).run(&places, run).unwrap_or_else(|error| panic!("{error}"));
    assert!(stale.get() > 0, "until the bound what is known is used");
}

/// How many answers were of what was no more.
async fn believe(fixture: &Arc<Fixture>, bound: Duration, places: Vec<Place>) -> usize {
    let remember = TenantSettings { bound, listen: false, ..TenantSettings::default() };
    let desk = Desk::new(fixture, remember).await;
    let ask = async || {
        let asked = Instant::now();
        let place = desk.of(0).await;
        Answer { asked, given: Instant::now(), place }
    };
    // Nobody asks while the bound goes by, so that nothing is looked up in the background.
    for place in &places {
        ask().await;
        desk.put(0, *place).await;
        tokio::time::sleep(bound).await;
        assert_eq!(ask().await.place, *place, "what was before is believed for longer than {bound:?}");
    }
    let done = AtomicBool::new(false);
    let asking = async || {
        let mut answers = Vec::new();
        while !done.load(Ordering::Relaxed) {
            answers.push(ask().await);
            tokio::task::yield_now().await;
        }
        answers
    };
    let changing = async {
        let before = places.last().copied().flatten();
        let mut truths = vec![Truth { from: Instant::now(), to: None, place: before }];
        for place in places {
            let from = Instant::now();
            desk.put(0, place).await;
            truths.last_mut().unwrap().to = Some(Instant::now());
            truths.push(Truth { from, to: None, place });
            eventually("it is known where the user is", async || ask().await.place == place).await;
        }
        done.store(true, Ordering::Relaxed);
        truths
    };
    let (truths, one, other) = tokio::join!(changing, asking(), asking());
    let answers = || one.iter().chain(&other);
    for Answer { asked, given, place } in answers() {
        let since = *asked - bound;
        let true_then =
            |truth: &Truth| truth.place == *place && truth.from <= *given && truth.to.is_none_or(|to| to >= since);
        assert!(truths.iter().any(true_then), "{place:?} was long over");
    }
    // What was true when it was asked for is not stale.
    let was = |answer: &Answer, truth: &Truth| {
        truth.place == answer.place && truth.from <= answer.given && truth.to.is_none_or(|to| to >= answer.asked)
    };
    answers().filter(|answer| !truths.iter().any(|truth| was(answer, truth))).count()
}
