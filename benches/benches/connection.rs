//! connection: opened for each request, or taken from a pool and given back.

use std::time::{Duration, Instant};

use benches::Bed;
use criterion::Criterion;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tare_gateway::connection::{Connection, Own};
use tare_testbed::Size;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

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
        let pool = ready.get_or_insert_with(|| {
            let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let (tenant, _) = bed.tenant();
            let manager =
                Manager::from_config(tenant.database.config().clone(), MakeRustlsConnect::new(bed.tls()), fast);
            Pool::builder(manager).max_size(16).build().expect("a pool without time-outs builds")
        });
        let acquire = async || drop(pool.get().await.expect("the server answers"));
        bencher.to_async(bed.runtime()).iter(acquire);
    });
    if ready.is_some() {
        bed.expect_connections(1);
    }

    group.finish();
}

async fn select_one(client: &Client) {
    let answer = client.simple_query("select 1").await.expect("the server answers");
    assert!(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))));
}
