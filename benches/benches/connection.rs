//! connection: opened for each request, to the database or to a PgBouncer beside, or taken from a pool and given back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use benches::parts::{self, PARTS};
use benches::{Bed, Group, Meter};
use criterion::Criterion;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tare_gateway::connection::{Connection, Connections, Database, Own, PoolSettings};
use tare_gateway::tenant::Tenant;
use tare_testbed::{Bouncer, PoolMode, Size, has_pgbouncer};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

fn main() {
    benches::run(Size::SMALL, connection);
}

fn connection(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "connection");
    opened(&mut group, bed);
    in_parts(&mut group, bed);
    by_pgbouncer(&mut group, bed);
    pooled(&mut group, bed);
    among_a_thousand(&mut group, bed);
    beside_a_flood(&mut group, bed);
    group.finish();
}

/// How to connect to the first tenant's database.
fn database(bed: &Bed, mode: SslMode) -> Config {
    let mut database = bed.config(&bed.fixture().tenants()[0].login);
    database.ssl_mode(mode);
    database
}

fn opened(group: &mut Group<'_>, bed: &Bed) {
    let ways = [("new-plain", false, false), ("new-tls", true, false), ("new-tls-query", true, true)];
    for (way, encrypted, query) in ways {
        if encrypted && !bed.has_tls() {
            eprintln!("connection/{way} is left out: the server of DATABASE_URL does not do TLS");
            continue;
        }
        let mode = if encrypted { SslMode::Require } else { SslMode::Disable };
        let prepare = || (database(bed, mode), MakeRustlsConnect::new(bed.tls()));
        let open = async |(database, tls): &mut (Config, MakeRustlsConnect), iterations, meter: &mut Meter<'_>| {
            for _ in 0..iterations {
                meter.start();
                let own = Own::open(database, tls.clone()).await.expect("the server answers");
                let connection = Connection::Own(own);
                if query {
                    select_one(&connection).await;
                }
                meter.stop();
                // Closed before the next is opened, and not on its time.
                connection.close().await;
            }
        };
        group.measured(way, prepare, open, |_, _| bed.expect_connections(0));
    }
}

/// What of a new connection is TCP's, what TLS's, and what PostgreSQL's own.
fn in_parts(group: &mut Group<'_>, bed: &Bed) {
    if !bed.has_tls() {
        eprintln!("connection/{} are left out: the server of DATABASE_URL does not do TLS", PARTS.join(", "));
        return;
    }
    for (part, way) in PARTS.into_iter().enumerate() {
        let prepare = || (database(bed, SslMode::Require), MakeRustlsConnect::new(bed.tls()));
        let open = async |(database, tls): &mut (Config, MakeRustlsConnect), iterations, meter: &mut Meter<'_>| {
            for _ in 0..iterations {
                let marks = parts::open(database, tls, bed.address(), bed.relay()).await;
                meter.add(marks[part], marks[part + 1]);
            }
        };
        group.measured(way, prepare, open, |_, _| bed.expect_connections(0));
    }
}

/// A connection for each request to a PgBouncer beside the service, which keeps those to the database.
fn by_pgbouncer(group: &mut Group<'_>, bed: &Bed) {
    if !has_pgbouncer() {
        eprintln!(
            "connection/pgbouncer and connection/pgbouncer-query are left out: the program pgbouncer is not installed"
        );
        return;
    }
    for (way, query) in [("pgbouncer", false), ("pgbouncer-query", true)] {
        let prepare = || {
            let say = |line: &str| eprintln!("{line}");
            let started =
                bed.runtime().block_on(Bouncer::start_to(bed.fixture(), bed.address(), PoolMode::Transaction, 4, &say));
            let bouncer = started.expect("PgBouncer starts").expect("it is installed");
            let database = bouncer.config(&bed.fixture().tenants()[0].login);
            (bouncer, database, MakeRustlsConnect::new(bed.tls()))
        };
        type Ready = (Bouncer, Config, MakeRustlsConnect);
        let open = async |(_, database, tls): &mut Ready, iterations, meter: &mut Meter<'_>| {
            for _ in 0..iterations {
                meter.start();
                let connection = Connection::Own(Own::open(database, tls.clone()).await.expect("PgBouncer answers"));
                if query {
                    select_one(&connection).await;
                }
                meter.stop();
                connection.close().await;
            }
        };
        group.measured(way, prepare, open, |(bouncer, ..), _| {
            drop(bouncer);
            bed.expect_connections(0);
        });
    }
}

fn pooled(group: &mut Group<'_>, bed: &Bed) {
    for (way, query) in [("pooled-acquire", false), ("pooled-acquire-query", true)] {
        let acquire = async |(connections, tenant): &mut (Arc<Connections>, Arc<Tenant>)| {
            let connection = connections.get(tenant.id, &tenant.database).await.expect("the server answers");
            if query {
                select_one(&connection).await;
            }
        };
        group.each(way, || (bed.connections(true), bed.tenant().0), acquire, |_, _| bed.expect_connections(1));
    }
    // What a pool costs at least: deadpool's own `get`.
    group.each(
        "pooled-acquire-bare",
        || bare_pool(bed, &bed.tenant().0.database, BARE_CAP),
        async |pool| drop(pool.get().await.expect("the server answers")),
        |_, _| bed.expect_connections(1),
    );
}

async fn select_one(client: &Client) {
    let answer = client.simple_query("select 1").await.expect("the server answers");
    assert!(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))));
}

/// Tenants of which each has a pool.
const TENANTS: u128 = 1_000;
/// Those of them that have a connection, and are asked for in turn.
const CONNECTED: u128 = 50;

/// Connections of a bare pool at most, where fewer do.
const BARE_CAP: usize = 16;

fn bare_pool(bed: &Bed, database: &Database, cap: usize) -> Pool {
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(database.config().clone(), MakeRustlsConnect::new(bed.tls()), fast);
    Pool::builder(manager).max_size(cap).build().expect("a pool without time-outs builds")
}

/// A database that nobody has: a tenant's pool is there, and has no connection.
fn nowhere(bed: &Bed) -> Database {
    // Nothing listens on the port of discard.
    let nowhere = ("127.0.0.1".to_owned(), 9);
    Database::new(bed.fixture().tenants()[0].login.config_at(bed.fixture().server(), nowhere))
}

/// The same among a thousand tenants, ours and deadpool's pools in a map.
fn among_a_thousand(group: &mut Group<'_>, bed: &Bed) {
    let prepare = || {
        let settings = PoolSettings { openings_per_second: 100_000, ..PoolSettings::default() };
        let (connections, database) = (bed.connections_with(settings), bed.tenant().0.database.clone());
        let nowhere = nowhere(bed);
        bed.runtime().block_on(async {
            for id in 0..TENANTS {
                let database = if id < CONNECTED { &*database } else { &nowhere };
                let connected = connections.get(Uuid::from_u128(id), database).await;
                assert_eq!(connected.is_ok(), id < CONNECTED);
            }
        });
        assert_eq!(connections.metrics().expect("there are pools").pools as u128, TENANTS);
        (connections, database, 0)
    };
    let acquire = async |(connections, database, next): &mut (Arc<Connections>, Arc<Database>, u128)| {
        *next = (*next + 1) % CONNECTED;
        drop(connections.get(Uuid::from_u128(*next), database).await.expect("the server answers"));
    };
    group.each("pooled-acquire-1000", prepare, acquire, |_, _| ());

    let prepare = || {
        let (tenant, nowhere) = (bed.tenant().0, nowhere(bed));
        let pool = |id| bare_pool(bed, if id < CONNECTED { &tenant.database } else { &nowhere }, BARE_CAP);
        let pools: HashMap<_, _> = (0..TENANTS).map(|id| (Uuid::from_u128(id), pool(id))).collect();
        bed.runtime().block_on(async {
            for id in 0..CONNECTED {
                drop(pools[&Uuid::from_u128(id)].get().await.expect("the server answers"));
            }
        });
        (RwLock::new(pools), 0)
    };
    let acquire = async |(pools, next): &mut (RwLock<HashMap<Uuid, Pool>>, u128)| {
        *next = (*next + 1) % CONNECTED;
        let id = Uuid::from_u128(*next);
        let pool = pools.read().expect("nobody panicked").get(&id).expect("the tenant has a pool").clone();
        drop(pool.get().await.expect("the server answers"));
    };
    group.each("pooled-acquire-1000-bare", prepare, acquire, |_, _| ());
}

/// Who else is there while one tenant's acquires are timed.
#[derive(Clone, Copy)]
enum Others {
    Nobody,
    /// A tenant of the same pools, with as many requests as [`FLOOD`] for the whole budget.
    Flood,
    /// As many requests on as many connections of a bare pool: they share the machine, and nothing of ours.
    BareFlood,
}

const BUDGET: usize = 20;
const FLOOD: usize = 64;

/// One tenant's P95 alone, while another has 64 requests for the whole budget, and while those keep the machine as busy past our
/// pools: what is cold in the processors' caches then is no matter of whom a pool serves. Among others, an acquire has no number of
/// round trips. The flood is there only while it is measured: neither way has that of another beside it.
fn beside_a_flood(group: &mut Group<'_>, bed: &Bed) {
    const FOR_A_P95: usize = 100;
    let ways = [
        ("acquire-p95", Others::Nobody),
        ("acquire-p95-beside-bare-flood", Others::BareFlood),
        ("acquire-p95-beside-flood", Others::Flood),
    ];
    for (way, others) in ways {
        let prepare = || {
            let settings = PoolSettings {
                budget: BUDGET,
                cap: BUDGET,
                openings_per_second: 100_000,
                wait: Duration::from_secs(60),
                ..PoolSettings::default()
            };
            let database = bed.tenant().0.database.clone();
            Flooded { connections: bed.connections_with(settings), bare: bare_pool(bed, &database, BUDGET), database }
        };
        let acquire = |flooded: &mut Flooded, iterations| {
            let acquires = (iterations as usize).max(FOR_A_P95);
            let p95 = bed.runtime().spawn(flooded.clone().p95_beside(others, acquires));
            bed.runtime().block_on(p95).expect("everybody is served") * iterations as u32
        };
        group.among_others(way, prepare, acquire);
    }
}

/// Our pools, and a bare one, of the same database.
#[derive(Clone)]
struct Flooded {
    connections: Arc<Connections>,
    bare: Pool,
    database: Arc<Database>,
}

impl Flooded {
    /// The P95 of so many acquires of one tenant, while the requests of others are there all along.
    async fn p95_beside(self, others: Others, acquires: usize) -> Duration {
        let callers = if matches!(others, Others::Nobody) { 0 } else { FLOOD };
        let (over, all_there) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(callers + 1)));
        let mut flood = JoinSet::new();
        for _ in 0..callers {
            let (flooded, over, all_there) = (self.clone(), over.clone(), all_there.clone());
            flood.spawn(async move {
                flooded.request(others).await;
                all_there.wait().await;
                while !over.load(Ordering::Relaxed) {
                    flooded.request(others).await;
                }
            });
        }
        all_there.wait().await;
        let mut times = Vec::with_capacity(acquires);
        for _ in 0..acquires {
            let start = Instant::now();
            let connection = self.connections.get(Uuid::from_u128(1), &self.database).await;
            times.push(start.elapsed());
            select_one(&connection.expect("the server answers")).await;
        }
        over.store(true, Ordering::Relaxed);
        flood.join_all().await;
        times.sort();
        times[(acquires * 95).div_ceil(100) - 1]
    }

    /// One request of the others.
    async fn request(&self, others: Others) {
        match others {
            Others::Nobody => {}
            Others::Flood => {
                let connection = self.connections.get(Uuid::from_u128(2), &self.database).await;
                select_one(&connection.expect("the server answers")).await;
            }
            Others::BareFlood => select_one(&self.bare.get().await.expect("the server answers")).await,
        }
    }
}
