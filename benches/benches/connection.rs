//! connection: opened for each request, or taken from a pool and given back.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use benches::Bed;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tare_gateway::connection::{Connection, Database, Own, PoolSettings};
use tare_testbed::Size;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

fn main() {
    benches::run(Size::SMALL, connection);
}

fn connection(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("connection");

    let ways = [("new-plain", false, false), ("new-tls", true, false), ("new-tls-query", true, true)];
    for (way, encrypted, query) in ways {
        if encrypted && !bed.has_tls() {
            eprintln!("connection/{way} is left out: the server of DATABASE_URL does not do TLS");
            continue;
        }
        let mut ready = None;
        group.bench_function(way, |bencher| {
            let (database, tls) = ready.get_or_insert_with(|| {
                let mut database = bed.fixture().tenants()[0].login.config(bed.fixture().server());
                database.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
                (database, MakeRustlsConnect::new(bed.tls()))
            });
            let (database, tls) = (&*database, &*tls);
            bencher.to_async(bed.runtime()).iter_custom(|iterations| async move {
                let mut opening = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    let own = Own::open(database, tls.clone()).await.expect("the server answers");
                    let connection = Connection::Own(own);
                    if query {
                        select_one(&connection).await;
                    }
                    opening += start.elapsed();
                    // Closed before the next is opened, and not on its time.
                    connection.close().await;
                }
                opening
            });
        });
        if ready.is_some() {
            bed.expect_connections(0);
        }
    }

    for (way, query) in [("pooled-acquire", false), ("pooled-acquire-query", true)] {
        let mut ready = None;
        group.bench_function(way, |bencher| {
            let (connections, tenant) = ready.get_or_insert_with(|| (bed.connections(true), bed.tenant().0));
            let acquire = async || {
                let connection = connections.get(tenant.id, &tenant.database).await.expect("the server answers");
                if query {
                    select_one(&connection).await;
                }
            };
            bencher.to_async(bed.runtime()).iter(acquire);
        });
        if ready.is_some() {
            bed.expect_connections(1);
        }
    }

    // What a pool costs at least: deadpool's own `get`.
    let mut ready = None;
    group.bench_function("pooled-acquire-bare", |bencher| {
        let pool = ready.get_or_insert_with(|| bare_pool(bed, &bed.tenant().0.database));
        let acquire = async || drop(pool.get().await.expect("the server answers"));
        bencher.to_async(bed.runtime()).iter(acquire);
    });
    if ready.is_some() {
        bed.expect_connections(1);
    }

    among_a_thousand(&mut group, bed);
    beside_a_flood(&mut group, bed);
    group.finish();
}

async fn select_one(client: &Client) {
    let answer = client.simple_query("select 1").await.expect("the server answers");
    assert!(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))));
}

/// Tenants of which each has a pool.
const TENANTS: u128 = 1_000;
/// Those of them that have a connection, and are asked for in turn.
const CONNECTED: u128 = 50;

fn bare_pool(bed: &Bed, database: &Database) -> Pool {
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(database.config().clone(), MakeRustlsConnect::new(bed.tls()), fast);
    Pool::builder(manager).max_size(16).build().expect("a pool without time-outs builds")
}

/// A database that nobody has: a tenant's pool is there, and has no connection.
fn nowhere(bed: &Bed) -> Database {
    // Nothing listens on the port of discard.
    let nowhere = ("127.0.0.1".to_owned(), 9);
    Database::new(bed.fixture().tenants()[0].login.config_at(bed.fixture().server(), nowhere))
}

/// The same among a thousand tenants, ours and deadpool's pools in a map.
fn among_a_thousand(group: &mut BenchmarkGroup<'_, WallTime>, bed: &Bed) {
    let mut ready = None;
    group.bench_function("pooled-acquire-1000", |bencher| {
        let (connections, database, next) = ready.get_or_insert_with(|| {
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
        });
        bencher.iter_custom(|iterations| {
            bed.runtime().block_on(async {
                let start = Instant::now();
                for _ in 0..iterations {
                    *next = (*next + 1) % CONNECTED;
                    drop(connections.get(Uuid::from_u128(*next), database).await.expect("the server answers"));
                }
                start.elapsed()
            })
        });
    });
    drop(ready);

    let mut ready = None;
    group.bench_function("pooled-acquire-1000-bare", |bencher| {
        let (pools, next) = ready.get_or_insert_with(|| {
            let (tenant, nowhere) = (bed.tenant().0, nowhere(bed));
            let pool = |id| bare_pool(bed, if id < CONNECTED { &tenant.database } else { &nowhere });
            let pools: HashMap<_, _> = (0..TENANTS).map(|id| (Uuid::from_u128(id), pool(id))).collect();
            bed.runtime().block_on(async {
                for id in 0..CONNECTED {
                    drop(pools[&Uuid::from_u128(id)].get().await.expect("the server answers"));
                }
            });
            (RwLock::new(pools), 0)
        });
        bencher.iter_custom(|iterations| {
            bed.runtime().block_on(async {
                let start = Instant::now();
                for _ in 0..iterations {
                    *next = (*next + 1) % CONNECTED;
                    let id = Uuid::from_u128(*next);
                    let pool = pools.read().expect("nobody panicked").get(&id).expect("the tenant has a pool").clone();
                    drop(pool.get().await.expect("the server answers"));
                }
                start.elapsed()
            })
        });
    });
}

/// One tenant's P95 alone, and while another has 64 requests for the whole budget.
fn beside_a_flood(group: &mut BenchmarkGroup<'_, WallTime>, bed: &Bed) {
    const BUDGET: usize = 20;
    const FLOOD: usize = 64;
    for (way, flooded) in [("acquire-p95", false), ("acquire-p95-beside-flood", true)] {
        let mut ready = None;
        group.bench_function(way, |bencher| {
            let (connections, database, flood) = ready.get_or_insert_with(|| {
                let settings = PoolSettings {
                    budget: BUDGET,
                    cap: BUDGET,
                    openings_per_second: 100_000,
                    wait: Duration::from_secs(60),
                    ..PoolSettings::default()
                };
                let (connections, database) = (bed.connections_with(settings), bed.tenant().0.database.clone());
                let callers = if flooded { FLOOD } else { 0 };
                let flood: Vec<_> = (0..callers)
                    .map(|_| {
                        let (connections, database) = (connections.clone(), database.clone());
                        bed.runtime().spawn(async move {
                            loop {
                                let id = Uuid::from_u128(2);
                                let connection = connections.get(id, &database).await.expect("the server answers");
                                select_one(&connection).await;
                            }
                        })
                    })
                    .collect();
                (connections, database, flood)
            });
            bencher.iter_custom(|iterations| {
                let (connections, database) = (connections.clone(), database.clone());
                let quiet = bed.runtime().spawn(async move {
                    let mut times = Vec::with_capacity(iterations as usize);
                    for _ in 0..iterations {
                        let start = Instant::now();
                        let connection = connections.get(Uuid::from_u128(1), &database).await;
                        times.push(start.elapsed());
                        select_one(&connection.expect("the server answers")).await;
                    }
                    times.sort();
                    times[(times.len() * 95).div_ceil(100) - 1] * iterations as u32
                });
                bed.runtime().block_on(quiet).expect("the quiet tenant is served")
            });
            assert!(flood.iter().all(|caller| !caller.is_finished()), "the flood goes on");
        });
        if let Some((_, _, flood)) = ready {
            flood.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
}
